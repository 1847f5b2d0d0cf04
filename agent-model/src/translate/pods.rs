//! The pods of the node: enrolled or why not, and by what policy.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    path::PathBuf,
    sync::Arc,
};

use k8s_openapi::api::core::v1::{Namespace, Pod};

use super::{
    annotation::{self, AUDIT, INJECT, INJECTION, NETNS, annotation, label},
    context::NodeContext,
    exempt,
    intern::Interner,
    mesh::{Mesh, outbound},
    sidecars::{self, Sidecars},
};
use crate::{
    egress::{DefaultAction, Rule},
    registry::{Registry, Scope, Selected},
    resource::{Kind, ObjectKey, Objects, sidecar::Sidecar},
    snapshot::{Enrolment, Finding, PodId, PodPlan, Severity, code},
};

/// Plans one pod after another.
#[derive(Debug)]
pub(super) struct Planner<'a> {
    node: &'a NodeContext,
    mesh: &'a Mesh,
    namespaces: BTreeMap<&'a str, &'a Arc<Namespace>>,
    sidecars: Sidecars,
    registry: Registry,
    interner: &'a mut Interner,
    exempt: Vec<Rule>,
    /// What each point of view shows, by namespace and Sidecar.
    views: BTreeMap<(String, Option<ObjectKey>), View>,
    /// The names that what is seen follows from.
    wanted: BTreeSet<Arc<str>>,
}

#[derive(Clone, Debug)]
struct View {
    scope: Arc<Scope>,
    selected: Arc<[Selected]>,
}

impl<'a> Planner<'a> {
    pub(super) fn new(
        objects: &'a Objects,
        node: &'a NodeContext,
        mesh: &'a Mesh,
        registry: Registry,
        interner: &'a mut Interner,
    ) -> Self {
        let named = |one: &'a Arc<Namespace>| Some((one.metadata.name.as_deref()?, one));
        Self {
            node,
            mesh,
            namespaces: objects.namespaces().filter_map(named).collect(),
            sidecars: Sidecars::new(objects, &mesh.root_namespace),
            registry,
            interner,
            exempt: exempt::of_node(objects, node),
            views: BTreeMap::new(),
            wanted: BTreeSet::new(),
        }
    }

    /// The names that the pods planned so far want resolved.
    pub(super) fn take_wanted(&mut self) -> BTreeSet<Arc<str>> {
        std::mem::take(&mut self.wanted)
    }

    pub(super) fn into_registry(self) -> Registry {
        self.interner.sweep();
        self.registry
    }

    /// The plan of a pod, if it is one of this node's.
    pub(super) fn plan(
        &mut self,
        pod: &Pod,
        findings: &mut Vec<Finding>,
    ) -> Option<(PodId, PodPlan)> {
        let node = pod.spec.as_ref().and_then(|spec| spec.node_name.as_deref());
        if node != Some(self.node.node_name.as_str()) {
            return None;
        }
        let id = PodId {
            namespace: pod.metadata.namespace.clone().unwrap_or_default(),
            name: pod.metadata.name.clone().unwrap_or_default(),
        };
        let (addresses, unread) = addresses(pod);
        let mut warn = |code, field: &str, message: String| {
            let PodId { namespace, name } = id.clone();
            let key = ObjectKey { kind: Kind::Pod, namespace, name };
            findings.push(Finding::new(Severity::Warning, code, &key, field, message));
        };
        if !unread.is_empty() {
            let message = format!("not an IP: {}", unread.join(", "));
            warn(code::POD_ADDRESS, "status.podIPs", message);
        }
        let netns = annotation(&pod.metadata, NETNS).map(PathBuf::from);
        let enrolment = if let Some(why) = self.outside(pod, &id) {
            Enrolment::Outside(why)
        } else {
            if netns.is_none() {
                let message = format!(
                    "the pod is in the mesh and has no annotation {NETNS}: \
                                           its network namespace is not known"
                );
                warn(code::NO_NETNS, &annotation::path(NETNS), message);
            }
            Enrolment::Enrolled(self.policy(pod, &id, findings))
        };
        let uid = pod.metadata.uid.clone().unwrap_or_default();
        Some((id, PodPlan { uid, addresses, netns, enrolment }))
    }

    fn outside(&self, pod: &Pod, id: &PodId) -> Option<String> {
        let namespace = self.namespaces.get(id.namespace.as_str()).copied();
        outside(pod, &id.namespace, namespace.map(Arc::as_ref))
    }

    fn policy(
        &mut self,
        pod: &Pod,
        id: &PodId,
        findings: &mut Vec<Finding>,
    ) -> Arc<crate::egress::Policy> {
        let labels = pod.metadata.labels.clone().unwrap_or_default();
        let sidecar = self.sidecars.of(&id.namespace, &labels).cloned();
        let view = self.view(&id.namespace, sidecar.as_deref());
        self.registry.place(id.clone(), view.scope);
        let own = exempt::of_pod(pod, id, self.node, findings);
        let rules = if own.is_empty() {
            self.interner.set(&view.selected, &self.exempt)
        } else {
            let exempt: Vec<Rule> = self.exempt.iter().cloned().chain(own).collect();
            self.interner.set(&view.selected, &exempt)
        };
        let default = self.default_action(pod, id, sidecar.as_deref());
        self.interner.policy(rules, default)
    }

    /// What a point of view shows; definitions without a rule are left out, so they do not keep
    /// two views from sharing a set.
    fn view(&mut self, namespace: &str, sidecar: Option<&Sidecar>) -> View {
        let key = (namespace.to_owned(), sidecar.map(sidecars::key));
        let (registry, wanted) = (&self.registry, &mut self.wanted);
        let view = self.views.entry(key).or_insert_with(|| {
            let filter = sidecar.and_then(|sidecar| sidecars::filter(sidecar, namespace));
            let scope = Arc::new(Scope { namespace: namespace.to_owned(), filter });
            let selected = registry.select(&scope);
            wanted.extend(selected.iter().flat_map(|one| one.definition.names.iter().cloned()));
            let selected =
                selected.into_iter().filter(|one| one.ports().any(|port| !port.rules.is_empty()));
            View { scope, selected: selected.collect() }
        });
        view.clone()
    }

    fn default_action(&self, pod: &Pod, id: &PodId, sidecar: Option<&Sidecar>) -> DefaultAction {
        let own = sidecar.and_then(|sidecar| sidecar.spec.outbound_traffic_policy.as_ref());
        let default = own.map_or(self.mesh.outbound, |policy| outbound(policy.mode));
        let namespace = self.namespaces.get(id.namespace.as_str());
        let of_namespace = namespace.and_then(|one| annotation(&one.metadata, AUDIT));
        let audit = annotation(&pod.metadata, AUDIT).or(of_namespace).and_then(truth);
        match default {
            DefaultAction::RegistryOnly if audit == Some(true) => DefaultAction::Audit,
            other => other,
        }
    }
}

/// Why a pod is not in the mesh; `None` if it is.
pub(super) fn outside(pod: &Pod, name: &str, namespace: Option<&Namespace>) -> Option<String> {
    let spec = pod.spec.as_ref();
    if spec.and_then(|spec| spec.host_network) == Some(true) {
        return Some("the pod uses the host's network".to_owned());
    }
    if is_finished(pod) {
        return Some("the pod has finished".to_owned());
    }
    let own = label(&pod.metadata, INJECT).or_else(|| annotation(&pod.metadata, INJECT));
    match own.and_then(truth) {
        Some(false) => return Some(format!("the pod says {INJECT}: \"false\"")),
        Some(true) => return None,
        None => {}
    }
    let Some(namespace) = namespace else {
        return Some(format!("its namespace {name} is not known"));
    };
    let of_namespace = |key| label(&namespace.metadata, key);
    let injected = of_namespace(INJECTION) == Some("enabled")
        || of_namespace(INJECT).and_then(truth) == Some(true);
    (!injected).then(|| format!("namespace {name} has no label {INJECTION}=enabled"))
}

/// The words for yes and no that Istio takes.
fn truth(value: &str) -> Option<bool> {
    match value.to_ascii_lowercase().as_str() {
        "true" | "yes" | "y" | "on" => Some(true),
        "false" | "no" | "n" | "off" => Some(false),
        _ => None,
    }
}

pub(super) fn is_finished(pod: &Pod) -> bool {
    let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref());
    matches!(phase, Some("Succeeded" | "Failed"))
}

/// Unless it says that it is not.
pub(super) fn is_ready(pod: &Pod) -> bool {
    let conditions = pod.status.as_ref().and_then(|status| status.conditions.as_deref());
    !conditions.unwrap_or_default().iter().any(|one| one.type_ == "Ready" && one.status == "False")
}

/// A pod's addresses.
pub(crate) fn pod_addresses(pod: &Pod) -> Vec<IpAddr> {
    addresses(pod).0
}

/// A pod's addresses, and what of them cannot be read.
pub(super) fn addresses(pod: &Pod) -> (Vec<IpAddr>, Vec<String>) {
    let Some(status) = &pod.status else { return (Vec::new(), Vec::new()) };
    let all = status.pod_ips.iter().flatten().map(|one| &one.ip).chain(&status.pod_ip);
    let (mut addresses, mut unread) = (Vec::new(), Vec::new());
    for text in all.filter(|text| !text.is_empty()) {
        match text.parse::<IpAddr>() {
            Ok(address) if !addresses.contains(&address) => addresses.push(address),
            Ok(_) => {}
            Err(_) => unread.push(text.clone()),
        }
    }
    (addresses, unread)
}
