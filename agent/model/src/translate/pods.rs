//! The pods of the node: enrolled or why not, and by what policy.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
    sync::Arc,
};

use k8s_openapi::api::core::v1::{Namespace, Pod};

use super::{
    annotation::{self, AUDIT, MIRROR, NETNS},
    app_mesh::{self, AppMesh},
    context::{NetnsAnnotation, NodeContext},
    enrol::{self, Membership, PodNotice, membership, truth},
    exempt::{self, Dialect},
    intern::{Interner, View},
    mesh_config::{MeshSettings, outbound},
    pod_facts,
    requests::{Member, Mesh},
    sidecars::{self, Sidecars},
};
use crate::{
    egress::{DefaultAction, Rule},
    registry::{List, Registry, Scope, Visibility},
    resource::{Described as _, Objects, sidecar::Sidecar},
    snapshot::{Enrolment, Finding, PodId, PodPlan, Severity, code},
};

/// Plans one pod after another.
#[derive(Debug)]
pub(super) struct Planner<'a> {
    node: &'a NodeContext,
    mesh: &'a MeshSettings,
    app_mesh: &'a AppMesh<'a>,
    namespaces: BTreeMap<&'a str, &'a Arc<Namespace>>,
    sidecars: Sidecars,
    registry: Registry,
    interner: &'a mut Interner,
    exempt: exempt::NodeRules,
    /// The names that what is seen follows from.
    wanted: BTreeSet<Arc<str>>,
    /// Who is asked about requests.
    members: BTreeMap<PodId, Member>,
}

/// What decides what a pod sees.
#[derive(Clone, Copy, Debug)]
enum Sees<'a> {
    /// A Sidecar, or none.
    Sidecar(Option<&'a Sidecar>),
    /// A list.
    List(&'a Arc<List>),
}

pub(super) fn id_of(pod: &Pod) -> PodId {
    PodId {
        namespace: pod.metadata.namespace.clone().unwrap_or_default(),
        name: pod.metadata.name.clone().unwrap_or_default(),
    }
}

/// What Istio's policy for a pod says where no rule matches.
pub(super) fn istio_default(
    sidecars: &Sidecars,
    mesh: &MeshSettings,
    (pod, id): (&Pod, &PodId),
) -> DefaultAction {
    let labels = pod.metadata.labels.clone().unwrap_or_default();
    let sidecar = sidecars.of(&id.namespace, &labels);
    let own = sidecar.and_then(|one| one.spec.outbound_traffic_policy.as_ref());
    own.map_or(mesh.outbound, |policy| outbound(policy.mode))
}

/// Addresses of a pod that are none.
pub(super) fn unread_addresses(pod: &Pod, id: &PodId) -> Option<Finding> {
    let (_, unread) = pod_facts::addresses(pod);
    let message = format!("not an IP: {}", unread.join(", "));
    let (severity, code) = (Severity::Warning, code::POD_ADDRESS);
    let finding = || Finding::new(severity, code, &id.key(), "status.podIPs", message);
    (!unread.is_empty()).then(finding)
}

/// What is to be reported of a pod's place in a mesh.
pub(super) fn noticed(id: &PodId, (severity, code, message): PodNotice) -> Finding {
    Finding::new(severity, code, &id.key(), "metadata.labels", message)
}

impl<'a> Planner<'a> {
    pub(super) fn new(
        (objects, app_mesh): (&'a Objects, &'a AppMesh<'a>),
        node: &'a NodeContext,
        mesh: &'a MeshSettings,
        registry: Registry,
        interner: &'a mut Interner,
    ) -> Self {
        let named = |one: &'a Arc<Namespace>| Some((one.metadata.name.as_deref()?, one));
        Self {
            node,
            mesh,
            app_mesh,
            namespaces: objects.namespaces().filter_map(named).collect(),
            sidecars: Sidecars::new(objects, &mesh.root_namespace),
            registry,
            interner,
            exempt: exempt::of_node(objects, node),
            wanted: BTreeSet::new(),
            members: BTreeMap::new(),
        }
    }

    /// The names that the pods planned so far want resolved.
    pub(super) fn take_wanted(&mut self) -> BTreeSet<Arc<str>> {
        std::mem::take(&mut self.wanted)
    }

    /// The registry, and the pods that were planned.
    pub(super) fn finish(self) -> (Registry, BTreeMap<PodId, Member>) {
        let exempt::NodeRules { of_cluster, outlived, all: _ } = self.exempt;
        (self.registry.with_exempt(of_cluster, outlived), self.members)
    }

    /// The plan of a pod, if it is one of this node's.
    pub(super) fn plan(
        &mut self,
        pod: &Arc<Pod>,
        findings: &mut Vec<Finding>,
    ) -> Option<(PodId, PodPlan)> {
        let node = pod.spec.as_ref().and_then(|spec| spec.node_name.as_deref());
        if node != Some(self.node.node_name.as_str()) {
            return None;
        }
        let id = id_of(pod);
        let (addresses, _) = pod_facts::addresses(pod);
        findings.extend(unread_addresses(pod, &id));
        let by_annotation = self.node.netns == NetnsAnnotation::Honour;
        let netns = pod.metadata.annotation(NETNS).filter(|_| by_annotation).map(PathBuf::from);
        let labels = pod.metadata.labels.clone().unwrap_or_default();
        let sidecar = self.sidecars.of(&id.namespace, &labels).cloned();
        let istio = istio_default(&self.sidecars, self.mesh, (pod, &id));
        let namespace = self.namespaces.get(id.namespace.as_str()).map(|one| &***one);
        let (membership, notice) = membership((pod, &id), namespace, self.app_mesh, istio);
        findings.extend(notice.map(|notice| noticed(&id, notice)));
        if by_annotation && membership.is_ok() && netns.is_none() {
            let message = format!(
                "the pod is in the mesh and has no annotation {NETNS}: its network namespace is \
                 not known"
            );
            let (severity, field) = (Severity::Warning, annotation::path(NETNS));
            findings.push(Finding::new(severity, code::NO_NETNS, &id.key(), field, message));
        }
        let pending = enrol::pending((pod, &id), namespace, self.node.unknown);
        let mesh = match (&pending, &membership) {
            (None, Ok(Membership::Istio)) => Some(Mesh::Istio),
            (None, Ok(Membership::AppMesh(_))) => Some(Mesh::AppMesh),
            (Some(_), _) | (None, Err(_)) => None,
        };
        self.members.insert(id.clone(), Member { pod: Arc::clone(pod), mesh });
        let enrolment = match (pending, membership) {
            (Some(why), _) => Enrolment::Pending(why),
            (None, Err(why)) => Enrolment::NotEnrolled(why),
            (None, Ok(Membership::Istio)) => {
                let visibility = Sees::Sidecar(sidecar.as_deref());
                Enrolment::Enrolled(self.policy((pod, &id), visibility, istio, findings))
            }
            (None, Ok(Membership::AppMesh(app_mesh::Member { list, default }))) => {
                Enrolment::Enrolled(self.policy((pod, &id), Sees::List(&list), default, findings))
            }
        };
        let mirrored = pod.metadata.annotation(MIRROR).map(str::to_owned);
        let uid = mirrored.or_else(|| pod.metadata.uid.clone()).unwrap_or_default();
        Some((id, PodPlan { uid, addresses, netns, enrolment }))
    }

    fn policy(
        &mut self,
        (pod, id): (&Pod, &PodId),
        sees: Sees<'_>,
        default: DefaultAction,
        findings: &mut Vec<Finding>,
    ) -> Arc<crate::egress::EgressPolicy> {
        let dialect = match sees {
            Sees::Sidecar(_) => Dialect::Istio,
            Sees::List(_) => Dialect::AppMesh,
        };
        let view = self.view(&id.namespace, sees);
        self.registry.place(id.clone(), view.scope);
        let own = exempt::of_pod((pod, id), dialect, self.node, findings);
        let rules = if own.is_empty() {
            self.interner.set(&view.selected, &self.exempt.all)
        } else {
            let exempt: Vec<Rule> = self.exempt.all.iter().cloned().chain(own).collect();
            self.interner.set(&view.selected, &exempt)
        };
        let default = self.audited((pod, id), default);
        self.interner.policy(rules, default)
    }

    /// What a point of view shows.
    fn view(&mut self, namespace: &str, sees: Sees<'_>) -> View {
        let (by, visibility) = match sees {
            Sees::Sidecar(sidecar) => {
                let filter = |sidecar| sidecars::filter(sidecar, namespace);
                (sidecar.map(sidecars::key), Visibility::Exported(sidecar.and_then(filter)))
            }
            Sees::List(list) => (Some(list.key.clone()), Visibility::Listed(Arc::clone(list))),
        };
        let scope = Scope { namespace: namespace.to_owned(), visibility };
        let view = self.interner.view((namespace.to_owned(), by), scope, &self.registry);
        self.wanted.extend(view.names.keys().cloned());
        view
    }

    /// A default that denies only reports where the pod or its namespace is audited.
    fn audited(&self, (pod, id): (&Pod, &PodId), default: DefaultAction) -> DefaultAction {
        let namespace = self.namespaces.get(id.namespace.as_str());
        let of_namespace = namespace.and_then(|one| one.metadata.annotation(AUDIT));
        let audit = pod.metadata.annotation(AUDIT).or(of_namespace).and_then(truth);
        match default {
            DefaultAction::RegistryOnly if audit == Some(true) => DefaultAction::Audit,
            other => other,
        }
    }
}
