//! App Mesh: which of its objects are in a mesh, and what each node and gateway may dial.
//!
//! ```text
//! VirtualService ─► Service: the addresses of its name and of its nodes      service
//! VirtualNode, VirtualGateway ─► List: the VirtualServices that they may dial   backends
//! Pod ─► Member: the list of what selects it, and the mesh's answer for the rest
//! ```
//!
//! Decisions where the dialect assumes an Envoy on every path:
//!
//! - A declared name is reached at the addresses that it resolves to, by the proxy where its listener
//!   speaks HTTP, HTTP/2 or gRPC. Its nodes' own addresses are reached straight: routes are for the
//!   name.
//! - The mesh's filter is about TCP there, since only TCP gets to the Envoy. Here `DROP_ALL` also
//!   stops datagrams, but for the resolvers': an allowlist that half of the protocols ignore is none.
//! - The instance's metadata (169.254.169.254) is not ignored by default as it is there: a pod that
//!   reaches it has the node's credentials. `appmesh.k8s.aws/egressIgnoredIPs` lets a pod do so.
//! - The same pod may be in Istio's mesh too, see [`super::enrol`].

mod backends;
mod name_target;
mod service;
mod within;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use k8s_openapi::api::core::v1::{Namespace, Pod};

use super::{Notes, endpoints::Index};
use crate::{
    egress::{DefaultAction, RuleSource},
    finding::{Finding, Severity, code},
    names::Answers,
    registry::{List, Service},
    resource::{
        Described as _, Governing, Kind, Object, ObjectKey, Objects, Short,
        app_mesh::{EgressFilterType, Enrolment, MembershipError, Mesh, Reference, VirtualService},
    },
};

pub(super) use within::{enrolment_within, mesh_within};

/// The kinds that belong to a namespace's mesh.
const MEMBERS: [Kind; 6] = [
    Kind::VirtualNode,
    Kind::VirtualRouter,
    Kind::AppMeshVirtualService,
    Kind::VirtualGateway,
    Kind::GatewayRoute,
    Kind::BackendGroup,
];

/// The objects of App Mesh, read once a translation.
#[derive(Debug)]
pub(super) struct AppMesh<'a> {
    objects: &'a Objects,
    namespaces: BTreeMap<&'a str, &'a Arc<Namespace>>,
    /// The mesh of each namespace, or why it has none.
    meshes: BTreeMap<&'a str, Result<&'a Mesh, MembershipError>>,
    /// What each node and gateway may dial.
    lists: BTreeMap<ObjectKey, Arc<List>>,
}

/// What a pod is in its mesh.
#[derive(Debug)]
pub(super) struct Member {
    /// What it may dial.
    pub(super) list: Arc<List>,
    /// What becomes of the rest.
    pub(super) default: DefaultAction,
    /// The refused objects that this follows from.
    pub(super) refused: Governing,
    /// Why it is not clear what it is in which mesh.
    pub(super) undecided: Option<MembershipError>,
}

impl<'a> AppMesh<'a> {
    pub(super) fn read(objects: &'a Objects, findings: &mut Vec<Finding>) -> Self {
        let named = |one: &'a Arc<Namespace>| Some((one.metadata.name.as_deref()?, one));
        let namespaces: BTreeMap<_, _> = objects.namespaces().filter_map(named).collect();
        let mesh = |(name, namespace): (&&'a str, &&Arc<Namespace>)| {
            (*name, mesh_within(objects, namespace))
        };
        let meshes = namespaces.iter().map(mesh).collect();
        let mut found = Self { objects, namespaces, meshes, lists: BTreeMap::new() };
        findings.extend(found.in_no_mesh());
        let is_good = |mesh: &&Arc<Mesh>| {
            objects.refused(&ObjectKey::of(Kind::Mesh, &mesh.metadata)).is_none()
        };
        findings.extend(objects.meshes().filter(is_good).filter_map(|mesh| without_names(mesh)));
        let lists = backends::read(&found, findings).into_iter();
        found.lists = lists.map(|(key, list)| (key, Arc::new(list))).collect();
        found
    }

    /// A namespace that is given.
    pub(super) fn namespace(&self, name: &str) -> Option<&'a Namespace> {
        self.namespaces.get(name).map(|one| &***one)
    }

    /// The mesh of a namespace.
    pub(super) fn mesh(&self, namespace: &str) -> Option<&'a Mesh> {
        self.meshes.get(namespace)?.as_ref().ok().copied()
    }

    /// Objects that are in no mesh, or would be in several. Told only where the namespace is given:
    /// a few manifests by themselves name many that live elsewhere.
    fn in_no_mesh(&self) -> Vec<Finding> {
        let all = MEMBERS.iter().flat_map(|kind| self.objects.of_kind(*kind));
        let told = all.filter_map(|object| {
            let key = object.key();
            let error = self.meshes.get(key.namespace.as_str())?.as_ref().err()?;
            let message = format!("{error}; the object has no effect");
            let (severity, code) = (Severity::Error, code::MEMBERSHIP);
            Some(Finding::new(severity, code, &key, "metadata.namespace", message))
        });
        told.collect()
    }

    /// The names that nodes may list: those of namespaces with a mesh.
    pub(super) fn services(&self) -> impl Iterator<Item = &'a Arc<VirtualService>> {
        let all = self.objects.app_mesh_virtual_services();
        all.filter(|service| {
            self.mesh(service.metadata.namespace.as_deref().unwrap_or("")).is_some()
        })
    }

    /// The rules of a name.
    pub(super) fn define(
        &self,
        service: &Arc<VirtualService>,
        (endpoints, answers): (&Index, &Answers),
        domain: &str,
    ) -> Service {
        let objects = self.objects;
        service::define(service, &name_target::NameInputs { objects, endpoints, domain, answers })
    }

    /// What a pod is in its mesh.
    pub(super) fn member(&self, pod: &Pod) -> Result<Member, MembershipError> {
        let own = pod.metadata.namespace.as_deref().unwrap_or_default();
        let Some(namespace) = self.namespaces.get(own) else {
            // Only the namespace's labels would say whether it is wanted in a mesh.
            let name = pod.metadata.name.as_deref().unwrap_or_default();
            return Err(MembershipError::NotEnabled { pod: format!("{own}/{name}") });
        };
        let Self { objects, .. } = self;
        let of_pod = ObjectKey::new(Kind::Pod, own, pod.metadata.name());
        let enrolment = match enrolment_within(objects, pod, namespace) {
            Err(error) if error.is_ambiguous() => return Ok(self.undecided(own, error)),
            // Without its labels a pod may belong to any workload of its namespace.
            Ok(_) | Err(MembershipError::NoWorkload { .. })
                if objects.is_reach_unknown(&of_pod) && self.has_workloads(own) =>
            {
                let name = self.mesh(own).and_then(|mesh| mesh.metadata.name.as_deref());
                return Ok(nothing_listed(name.unwrap_or_default(), [of_pod].into()));
            }
            other => other?,
        };
        let (mesh, key) = match enrolment {
            Enrolment::Node(mesh, node) => (mesh, ObjectKey::of(Kind::VirtualNode, &node.metadata)),
            Enrolment::Gateway(mesh, one) => {
                (mesh, ObjectKey::of(Kind::VirtualGateway, &one.metadata))
            }
        };
        let of_mesh = ObjectKey::of(Kind::Mesh, &mesh.metadata);
        let of_namespace = ObjectKey::of(Kind::Namespace, &namespace.metadata);
        let is_refused = |key: &ObjectKey| objects.refused(key).is_some();
        let of_namespace = Some(of_namespace).filter(|key| objects.is_reach_unknown(key));
        // Where all is let out a node still restricts: it may demand TLS of what it dials
        // (`clientPolicy`). Of whom cannot be told, so that nothing may be dialled in the clear.
        let is_closed = is_refused(&of_mesh) || is_refused(&key) || of_namespace.is_some();
        let all = [of_mesh, key.clone(), of_pod].into_iter().filter(is_refused);
        let refused: Governing = all.chain(of_namespace).collect();
        let default = match mesh.spec.egress() {
            EgressFilterType::AllowAll if !is_closed => DefaultAction::AllowAny,
            EgressFilterType::AllowAll | EgressFilterType::DropAll => DefaultAction::RegistryOnly,
        };
        // Each node and gateway of a namespace with a mesh has a list.
        let list = self.lists.get(&key).cloned().unwrap_or_else(|| list(key, mesh).into());
        Ok(Member { list, default, refused, undecided: None })
    }

    /// A pod of several meshes, nodes or gateways: each says other things, and nothing is let out
    /// that only one of them would.
    fn undecided(&self, namespace: &str, error: MembershipError) -> Member {
        let first = match &error {
            MembershipError::Meshes { found, .. } => found.first().cloned(),
            _ => self.mesh(namespace).and_then(|mesh| mesh.metadata.name.clone()),
        };
        let nothing = nothing_listed(&first.unwrap_or_default(), Governing::new());
        Member { undecided: Some(error), ..nothing }
    }

    /// Whether a namespace has nodes or gateways.
    fn has_workloads(&self, namespace: &str) -> bool {
        let kinds = [Kind::VirtualNode, Kind::VirtualGateway];
        let mut all = kinds.iter().flat_map(|kind| self.objects.of_kind(*kind));
        all.any(|object| object.key().namespace == namespace)
    }
}

/// A pod of a mesh that may dial nothing.
fn nothing_listed(mesh: &str, refused: Governing) -> Member {
    let list = List { field: "backends", ..named_list(ObjectKey::new(Kind::Mesh, "", mesh), mesh) };
    let default = DefaultAction::RegistryOnly;
    Member { list: list.into(), default, refused, undecided: None }
}

/// The empty list of a node or gateway.
fn list(key: ObjectKey, mesh: &Mesh) -> List {
    named_list(key, mesh.metadata.name.as_deref().unwrap_or_default())
}

/// In the mesh of a name.
fn named_list(key: ObjectKey, mesh: &str) -> List {
    let field = if key.kind == Kind::VirtualGateway { "GatewayRoutes" } else { "spec.backends" };
    let otherwise = RuleSource {
        kind: Kind::Mesh.shown(),
        namespace: Short::default(),
        name: mesh.into(),
        field: "spec.egressFilter".into(),
        host: None,
    };
    List { key, field, members: BTreeSet::new(), otherwise }
}

/// A filter that lets AWS's own names through, which no address tells.
fn without_names(mesh: &Mesh) -> Option<Finding> {
    let drops = mesh.spec.egress() == EgressFilterType::DropAll;
    let message = "DROP_ALL also stops *.amazonaws.com, which App Mesh lets through: which of \
                   its names a pod dials, no address tells; let a pod reach what it needs of it by its annotation \
                   appmesh.k8s.aws/egressIgnoredIPs";
    let key = ObjectKey::of(Kind::Mesh, &mesh.metadata);
    let (severity, code) = (Severity::Info, code::NOT_SUPPORTED);
    drops.then(|| Finding::new(severity, code, &key, "spec.egressFilter", message))
}

/// The object that a reference in a namespace means.
fn referred(kind: Kind, reference: &Reference, own: &str) -> ObjectKey {
    ObjectKey::new(kind, reference.namespace.as_deref().unwrap_or(own), &*reference.name)
}

/// Reports a reference that leads nowhere.
fn not_found(field: &str, wanted: &ObjectKey, notes: &mut Notes<'_>) {
    notes.warn(code::REFERENCE_UNKNOWN, field, format!("there is no {wanted}"));
}

const ARN: &str = "an ARN names something in AWS, which is not asked here: give a reference to an \
                   object of this cluster instead";

fn virtual_service<'a>(objects: &'a Objects, key: &ObjectKey) -> Option<&'a Arc<VirtualService>> {
    match objects.get(key)? {
        Object::AppMeshVirtualService(found) => Some(found),
        _ => None,
    }
}
