//! Which refused objects govern a pod, for people: each is named on the pod.

use k8s_openapi::api::core::v1::Pod;

use super::workloads::Labels;
use crate::{
    finding::{Finding, Severity, code},
    pod::PodId,
    resource::{Governing, Kind, Object, ObjectKey, Objects, Reach, Refused, security::Selector},
};

/// A finding on the pod for each.
pub(super) fn findings(objects: &Objects, pod: &PodId, governing: &Governing) -> Vec<Finding> {
    let told = governing.iter().map(|key| {
        let message = format!(
            "{key} is refused, and no good form of it is known: until it is mended the pod is \
             judged by the strictest that it may mean, {}",
            reading(key.kind, objects.is_reach_unknown(key))
        );
        let field = match key.kind {
            Kind::Namespace => "metadata.namespace",
            Kind::Pod => "metadata.name",
            _ => "metadata.labels",
        };
        Finding::new(Severity::Error, code::REFUSED_GOVERNS, &pod.key(), field, message)
    });
    told.collect()
}

const fn reading(kind: Kind, is_reach_unknown: bool) -> &'static str {
    match kind {
        Kind::Pod if is_reach_unknown => "which may dial nothing",
        Kind::Pod => "a pod with a network of its own",
        Kind::RequestAuthentication => "which wants a token, and takes none",
        Kind::VirtualNode | Kind::VirtualGateway => "DROP_ALL without backends",
        Kind::Mesh => "DROP_ALL",
        Kind::ConfigMap => "REGISTRY_ONLY",
        Kind::PeerAuthentication | Kind::Policy | Kind::MeshPolicy => "mutual TLS alone (STRICT)",
        Kind::AuthorizationPolicy => "which lets nothing in",
        _ => "REGISTRY_ONLY with nothing in the registry",
    }
}

/// The refused policies about what comes in that govern a pod of Istio's mesh.
pub(super) fn policies(objects: &Objects, pod: &Pod, root: &str) -> Governing {
    const KINDS: [Kind; 5] = [
        Kind::PeerAuthentication,
        Kind::AuthorizationPolicy,
        Kind::RequestAuthentication,
        Kind::Policy,
        Kind::MeshPolicy,
    ];
    let own = pod.metadata.namespace.as_deref().unwrap_or_default();
    let labels = pod.metadata.labels.clone().unwrap_or_default();
    let all = KINDS.iter().flat_map(|kind| objects.refused_of(*kind));
    let governing = all.filter(|(key, refused)| {
        let of_all = key.namespace.is_empty() || key.namespace == root;
        (of_all || key.namespace == own) && may_select(objects, (key, refused), own, &labels)
    });
    governing.map(|(key, _)| ObjectKey::clone(key)).collect()
}

fn may_select(
    objects: &Objects,
    (key, refused): (&ObjectKey, &Refused),
    own: &str,
    labels: &Labels,
) -> bool {
    let selects = |selector: &Option<Selector>| {
        let wanted = selector.as_ref().map(|one| &one.match_labels);
        let wanted = wanted.filter(|wanted| !wanted.is_empty());
        wanted.is_none_or(|wanted| {
            key.namespace == own && wanted.iter().all(|(key, value)| labels.get(key) == Some(value))
        })
    };
    if refused.reach == Reach::Unknown {
        return true;
    }
    match &refused.stand_in {
        Object::PeerAuthentication(one) => selects(&one.spec.selector),
        Object::AuthorizationPolicy(one) => selects(&one.spec.selector),
        Object::RequestAuthentication(one) => selects(&one.spec.selector),
        Object::Policy(one) => {
            let named = |name: &str| {
                let service = objects.get(&ObjectKey::new(Kind::Service, own, name));
                matches!(service, Some(Object::Service(one)) if one.selects(labels))
            };
            let targets = &one.spec.targets;
            targets.is_empty() || targets.iter().any(|target| named(&target.name))
        }
        _ => true,
    }
}
