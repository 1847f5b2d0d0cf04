//! The pods of the node: enrolled or why not, and by what policy.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
    sync::Arc,
};

use k8s_openapi::api::core::v1::{Namespace, Pod};

use super::{
    access_log::access_log,
    annotation::{self, AUDIT, MIRROR, NETNS},
    app_mesh::{self, AppMesh},
    context::{Http, NetnsAnnotation, NodeContext},
    enrol::{self, Membership, PodNotice, membership, truth},
    exempt::{self, Dialect},
    governing,
    intern::{Interner, View, ViewKey},
    mesh_config::{MeshSettings, outbound},
    observe, pod_facts, probes,
    requests::{Member, Mesh},
    revisions::{Governed, Revisions},
    sidecars::{self, Sidecars},
    workload_name::workload_name,
};
use crate::{
    egress::{DefaultAction, EgressPolicy, Rule},
    finding::{Finding, Severity, code},
    pod::{AccessLog, PodId},
    registry::{List, Registry, Scope, Visibility},
    resource::{
        Described as _, Governing, Kind, ObjectKey, Objects, sidecar::Sidecar, tag::REVISION,
    },
    snapshot::{Enrolment, PodPlan},
};

/// Plans one pod after another.
#[derive(Debug)]
pub(super) struct Planner<'a> {
    node: &'a NodeContext,
    objects: &'a Objects,
    revisions: &'a Revisions,
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

/// What Istio's objects say of a pod.
#[derive(Debug)]
pub(super) struct InIstio<'a> {
    settings: &'a Arc<MeshSettings>,
    sidecar: Option<Arc<Sidecar>>,
    /// Where no rule matches.
    pub(super) default: DefaultAction,
    /// Why the settings are the stricter reading.
    unknown: Option<String>,
}

/// What decides what a pod sees.
#[derive(Clone, Copy, Debug)]
enum Sees<'a> {
    /// A Sidecar, or none, in a mesh of these settings.
    Sidecar(Option<&'a Sidecar>, &'a MeshSettings),
    /// A list.
    List(&'a Arc<List>),
}

pub(super) fn id_of(pod: &Pod) -> PodId {
    PodId {
        namespace: pod.metadata.namespace.clone().unwrap_or_default(),
        name: pod.metadata.name.clone().unwrap_or_default(),
    }
}

/// What Istio's objects say of a pod.
pub(super) fn in_istio<'a>(
    (sidecars, revisions): (&Sidecars, &'a Revisions),
    pod: &Pod,
    namespace: Option<&Namespace>,
) -> InIstio<'a> {
    let Governed { settings, unknown } = revisions.of(pod, namespace);
    let sidecar = sidecars.of(pod, &settings.root_namespace).cloned();
    let own = sidecar.as_ref().and_then(|one| one.spec.outbound_traffic_policy.as_ref());
    let default = own.map_or(settings.outbound, |policy| outbound(policy.mode));
    InIstio { settings, sidecar, default, unknown }
}

/// As whom a pod speaks. One without a `ServiceAccount` is the namespace's `default`; the kubelet's own
/// pods have none, and get no token either.
fn identity((pod, id): (&Pod, &PodId), settings: &MeshSettings) -> Option<String> {
    let account = pod.spec.as_ref().and_then(|spec| spec.service_account_name.as_deref());
    let account = account.filter(|account| !account.is_empty());
    let is_mirror = pod.metadata.annotation(MIRROR).is_some();
    let account = account.or_else(|| (!is_mirror).then_some("default"))?;
    Some(settings.identity(&id.namespace, account))
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
        revisions: &'a Revisions,
        registry: Registry,
        interner: &'a mut Interner,
    ) -> Self {
        let named = |one: &'a Arc<Namespace>| Some((one.metadata.name.as_deref()?, one));
        Self {
            node,
            objects,
            revisions,
            app_mesh,
            namespaces: objects.namespaces().filter_map(named).collect(),
            sidecars: Sidecars::new(objects),
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
        let id = id_of(pod);
        let node = pod.spec.as_ref().and_then(|spec| spec.node_name.as_deref());
        // A refused pod may be on any node.
        let may_be_here = node.is_none() && self.objects.is_reach_unknown(&id.key());
        if node != Some(self.node.node_name.as_str()) && !may_be_here {
            return None;
        }
        let (addresses, _) = pod_facts::addresses(pod);
        findings.extend(unread_addresses(pod, &id));
        let by_annotation = self.node.netns == NetnsAnnotation::Honour;
        let netns = pod.metadata.annotation(NETNS).filter(|_| by_annotation).map(PathBuf::from);
        let namespace = self.namespaces.get(id.namespace.as_str()).map(|one| &***one);
        let istio = in_istio((&self.sidecars, self.revisions), pod, namespace);
        let (membership, notices) = membership((pod, &id), namespace, self.app_mesh, istio.default);
        findings.extend(notices.into_iter().map(|notice| noticed(&id, notice)));
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
            (None, Ok(membership)) => {
                Enrolment::Enrolled(self.enrolled((pod, &id), membership, &istio, findings))
            }
        };
        let mirrored = pod.metadata.annotation(MIRROR).map(str::to_owned);
        let uid = mirrored.or_else(|| pod.metadata.uid.clone()).unwrap_or_default();
        let workload = Arc::new(workload_name(pod));
        let access_log = access_log((pod, &id), namespace, findings);
        let identity = identity((pod, &id), istio.settings);
        let probes = probes::ports(pod);
        let plan =
            PodPlan { uid, workload, identity, addresses, netns, access_log, probes, enrolment };
        Some((id, plan))
    }

    /// The policy of a pod that is in a mesh.
    fn enrolled(
        &mut self,
        (pod, id): (&Pod, &PodId),
        membership: Membership,
        istio: &InIstio<'_>,
        findings: &mut Vec<Finding>,
    ) -> Arc<EgressPolicy> {
        match membership {
            Membership::Istio => {
                findings.extend(governing::findings(
                    self.objects,
                    id,
                    &self.governing((pod, id), istio),
                ));
                if let Some(why) = &istio.unknown {
                    let (severity, code) = (Severity::Error, code::REVISION_UNKNOWN);
                    let field = annotation::label_path(REVISION);
                    findings.push(Finding::new(severity, code, &id.key(), field, why.clone()));
                }
                let sees = Sees::Sidecar(istio.sidecar.as_deref(), istio.settings);
                self.policy((pod, id), sees, istio.default, findings)
            }
            Membership::AppMesh(app_mesh::Member { list, default, refused, .. }) => {
                findings.extend(governing::findings(self.objects, id, &refused));
                self.policy((pod, id), Sees::List(&list), default, findings)
            }
        }
    }

    /// The refused objects that a pod's policy follows from.
    fn governing(&self, (pod, id): (&Pod, &PodId), istio: &InIstio<'_>) -> Governing {
        let InIstio { settings, sidecar, .. } = istio;
        let mut governing = governing::policies(self.objects, pod, &settings.root_namespace);
        governing.extend(Some(id.key()).filter(|key| self.objects.refused(key).is_some()));
        let namespace = ObjectKey::new(Kind::Namespace, "", id.namespace.as_str());
        if self.objects.is_reach_unknown(&namespace) {
            governing.insert(namespace);
        } else if let Some(sidecar) = sidecar {
            let key = sidecars::key(sidecar);
            governing.extend(Some(key).filter(|key| self.objects.refused(key).is_some()));
        }
        let says = sidecar.as_ref().is_some_and(|one| one.spec.outbound_traffic_policy.is_some());
        governing.extend(settings.refused.clone().filter(|_| !says));
        governing
    }

    fn policy(
        &mut self,
        (pod, id): (&Pod, &PodId),
        sees: Sees<'_>,
        default: DefaultAction,
        findings: &mut Vec<Finding>,
    ) -> Arc<EgressPolicy> {
        let dialect = match sees {
            Sees::Sidecar(..) => Dialect::Istio,
            Sees::List(_) => Dialect::AppMesh,
        };
        let view = self.view(&id.namespace, sees);
        self.registry.place(id.clone(), view.scope);
        let own = exempt::of_pod((pod, id), dialect, self.node, findings);
        let default = self.audited((pod, id), default);
        let reads_all = self.reads_all((pod, id), findings);
        let ways = (reads_all, default != DefaultAction::AllowAny);
        let rules = if own.is_empty() {
            self.interner.set(&view.selected, &self.exempt.all, ways)
        } else {
            let exempt: Vec<Rule> = self.exempt.all.iter().cloned().chain(own).collect();
            self.interner.set(&view.selected, &exempt, ways)
        };
        self.interner.policy(rules, default, reads_all)
    }

    /// What a point of view shows.
    fn view(&mut self, namespace: &str, sees: Sees<'_>) -> View {
        let (by, visibility, unsaid) = match sees {
            Sees::Sidecar(sidecar, settings) => {
                let filter = |sidecar| sidecars::filter(sidecar, namespace);
                let visibility = Visibility::Exported(sidecar.and_then(filter));
                let unsaid = Some(&settings.services);
                let unsaid = unsaid.filter(|one| **one != self.revisions.main().services);
                (sidecar.map(sidecars::key), visibility, unsaid.cloned())
            }
            Sees::List(list) => {
                (Some(list.key.clone()), Visibility::Listed(Arc::clone(list)), None)
            }
        };
        let namespace = namespace.to_owned();
        let key = ViewKey { namespace: namespace.clone(), by, unsaid: unsaid.clone() };
        let scope = Scope { namespace, visibility, unsaid };
        let view = self.interner.view(key, scope, &self.registry);
        self.wanted.extend(view.names.keys().cloned());
        view
    }

    /// Whether all requests of a pod go by the proxy: since the node says so, or since the pod or its
    /// namespace asks for something that only the proxy sees.
    fn reads_all(&self, (pod, id): (&Pod, &PodId), findings: &mut Vec<Finding>) -> bool {
        let namespace = self.namespaces.get(id.namespace.as_str()).map(|one| &***one);
        // What cannot be read of the access log is told where its lines are chosen.
        let log = access_log((pod, id), namespace, &mut Vec::new());
        self.node.http == Http::Always
            || observe::is_asked((pod, id), namespace, findings)
            || log.is_some_and(|log| log != AccessLog::Off)
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
