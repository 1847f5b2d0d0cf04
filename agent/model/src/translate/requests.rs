//! Objects to the model of requests ([`crate::requests`]): Istio's here, App Mesh's in a module of
//! its own, both from the one registry of services that rules are made from, too.
//!
//! ```text
//! registry, endpoints, workloads, settings ─► RequestModel ─► outbound(pod)  what it may dial
//! VirtualServices, DestinationRules, peers ─┘                 server(pod)    what it accepts
//!                                                             gateway(pod)   what it serves
//! ```
//!
//! Each revision of the mesh has settings of its own, and under each a pod sees another model.
//!
//! Nothing is worked out before it is asked for. What was is shared by all pods that see the same,
//! and by the generations after for as long as nothing that it follows from changes: a view as a
//! whole, and of a view that changes each port, host, route and destination of its own.
//!
//! ```text
//! services ─► VisibleHost ─┐            reads: the destinations that its routes lead to
//! routes ─────► Routes ────┼─► Definition ─► pieces ─► Port ─► Outbound
//! rules ──► Merged ─► Backend ─┘
//! ```

mod actions;
mod app_mesh;
mod backend;
mod definition;
mod delegate;
mod destination;
mod edge;
mod findings;
mod http;
mod legacy;
mod listeners;
mod matches;
mod missing;
mod named;
mod outbound;
mod peers;
mod policy;
mod pool;
mod reads;
mod steered;
mod stream;
mod views;
mod virtual_service;
mod visible;

use std::{
    cell::RefCell,
    collections::BTreeMap,
    fmt,
    sync::{Arc, OnceLock},
};

use hashbrown::HashMap;
use k8s_openapi::api::core::v1::{Namespace, Pod};

use super::{
    NodeContext,
    app_mesh::AppMesh,
    endpoints::Index,
    mesh_config::MeshSettings,
    revisions::Revisions,
    sidecars::{self, Sidecars},
    workloads::{Labels, Workloads, workload},
};
use crate::{
    pod::PodId,
    registry::{Filter, Registry, Scope, Visibility},
    requests::{Requests, backend::Target, gateway::Gateway, outbound::Outbound, server::Server},
    resource::{Kind, Object, ObjectKey, Objects},
};
use destination::DestinationRules;
pub(super) use named::expand;
use peers::Peers;
use reads::Read;
pub(super) use steered::Steered;
use views::Views;
pub(super) use views::{Member, Mesh};
use virtual_service::VirtualServices;
use visible::VisibleHost;

/// What is needed of a translation.
#[derive(Debug)]
pub(super) struct Inputs {
    pub(super) objects: Objects,
    pub(super) domain: Arc<str>,
    pub(super) revisions: Arc<Revisions>,
    pub(super) registry: Arc<Registry>,
    pub(super) endpoints: Arc<Index>,
    pub(super) workloads: Arc<Workloads>,
    pub(super) steered: Arc<Steered>,
}

/// What some objects mean for requests.
pub struct RequestModel {
    objects: Objects,
    domain: Arc<str>,
    revisions: Arc<Revisions>,
    /// Those of the default revision.
    settings: Arc<MeshSettings>,
    /// The same model under the settings of each other revision.
    others: Vec<Self>,
    registry: Arc<Registry>,
    endpoints: Arc<Index>,
    workloads: Arc<Workloads>,
    steered: Arc<Steered>,
    sidecars: Lazy<Sidecars>,
    routes: Lazy<VirtualServices>,
    rules: Lazy<DestinationRules>,
    /// Those that were made last, which routes and rules are made from where they are other ones.
    before: Before,
    peers: Lazy<Peers>,
    /// The pods that are asked about; without it all that there are.
    members: Option<BTreeMap<PodId, Member>>,
    views: Views,
}

/// Something that is made when it is first asked for, and kept by the generations after.
type Lazy<T> = Arc<OnceLock<T>>;

/// What was made for objects before these, under the same settings.
#[derive(Clone, Debug, Default)]
struct Before {
    routes: Lazy<VirtualServices>,
    rules: Lazy<DestinationRules>,
}

/// Who asks.
#[derive(Debug)]
struct Client {
    namespace: String,
    labels: Labels,
    scope: Scope,
    is_gateway: bool,
    /// What it sees: its own Sidecar's choice.
    seen: Vec<Arc<VisibleHost>>,
    /// Where routes may lead it: all that is exported to it, since a route that it sees brings its
    /// destinations along.
    reachable: HashMap<Arc<str>, Arc<VisibleHost>>,
    /// Made so far: by object, host, port and subset.
    backends: RefCell<BTreeMap<Part, Target>>,
    /// What is looked up, while a definition is made.
    reads: RefCell<Option<Vec<Read>>>,
}

type Part = (ObjectKey, Arc<str>, u16, Option<String>);

impl RequestModel {
    /// The model of some objects, for each pod of theirs.
    pub fn new(objects: &Objects, domain: &str) -> Self {
        let objects = &objects.stricter();
        let revisions = Arc::new(Revisions::read(objects).0);
        let node = NodeContext { cluster_domain: domain.to_owned(), ..NodeContext::new("") };
        let app_mesh = AppMesh::read(objects, &mut Vec::new());
        let mut fresh = super::Interner::default();
        super::define((objects, &app_mesh, &revisions), &node, &mut fresh);
        let registry = Arc::new(fresh.registry(revisions.main().services.clone()));
        let inputs = Inputs {
            objects: objects.clone(),
            domain: domain.into(),
            revisions,
            registry,
            endpoints: fresh.endpoints(),
            workloads: fresh.workloads(),
            steered: fresh.steered(),
        };
        Self::of(&inputs, None)
    }

    /// The model of a translation, for the pods of its node.
    pub(super) fn of(inputs: &Inputs, members: Option<BTreeMap<PodId, Member>>) -> Self {
        let revisions = Arc::clone(&inputs.revisions);
        let sidecars = Lazy::default();
        let others = revisions.all().into_iter().skip(1);
        let others = others.map(|settings| Self::under(settings, inputs, &sidecars)).collect();
        Self { others, members, ..Self::under(revisions.main(), inputs, &sidecars) }
    }

    fn under(settings: &Arc<MeshSettings>, of: &Inputs, sidecars: &Lazy<Sidecars>) -> Self {
        let Inputs { objects, domain, revisions, registry, endpoints, workloads, steered } = of;
        Self {
            objects: objects.clone(),
            domain: Arc::clone(domain),
            revisions: Arc::clone(revisions),
            settings: Arc::clone(settings),
            others: Vec::new(),
            registry: Arc::clone(registry),
            endpoints: Arc::clone(endpoints),
            workloads: Arc::clone(workloads),
            steered: Arc::clone(steered),
            sidecars: Arc::clone(sidecars),
            routes: Lazy::default(),
            rules: Lazy::default(),
            before: Before::default(),
            peers: Lazy::default(),
            members: None,
            views: Views::default(),
        }
    }

    /// The model under the settings that govern a pod.
    fn governing(&self, pod: &Pod) -> &Self {
        let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
        let settings = self.revisions.of(pod, self.namespace(namespace)).settings;
        self.others.iter().find(|one| one.settings == *settings).unwrap_or(self)
    }

    fn sidecars(&self) -> &Sidecars {
        self.sidecars.get_or_init(|| Sidecars::new(&self.objects))
    }

    fn routes(&self) -> &VirtualServices {
        let usual = &self.settings.routes;
        let before = self.before.routes.get();
        let make = || VirtualServices::new(&self.objects, &self.domain, usual, before);
        self.routes.get_or_init(make)
    }

    fn rules(&self) -> &DestinationRules {
        let MeshSettings { rules, root_namespace, .. } = &*self.settings;
        let (domain, before) = (&self.domain, self.before.rules.get());
        let make = || DestinationRules::new(&self.objects, domain, rules, root_namespace, before);
        self.rules.get_or_init(make)
    }

    fn peers(&self) -> &Peers {
        self.peers.get_or_init(|| Peers::new(&self.objects, &self.settings.root_namespace))
    }

    fn namespace(&self, name: &str) -> Option<&Namespace> {
        match self.objects.get(&ObjectKey::new(Kind::Namespace, "", name))? {
            Object::Namespace(namespace) => Some(namespace),
            _ => None,
        }
    }

    fn client_of(&self, namespace: String, labels: Labels, filter: Option<Filter>) -> Client {
        let unsaid = Some(&self.settings.services);
        let unsaid = unsaid.filter(|one| **one != self.revisions.main().services);
        let scope = |filter| Scope {
            namespace: namespace.clone(),
            visibility: Visibility::Exported(filter),
            unsaid: unsaid.cloned(),
        };
        let all = self.visible(&scope(None));
        let narrows = filter.is_some();
        let scope = scope(filter);
        let seen = if narrows { self.visible(&scope) } else { all.clone() };
        Client {
            seen,
            reachable: all.into_iter().map(|one| (Arc::clone(&one.host), one)).collect(),
            namespace,
            labels,
            scope,
            is_gateway: false,
            backends: RefCell::default(),
            reads: RefCell::default(),
        }
    }
}

/// Objects by themselves say little about a model, and at great length.
impl fmt::Debug for RequestModel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RequestModel").field("pods", &self.pods()).finish_non_exhaustive()
    }
}

fn id_of(pod: &Pod) -> PodId {
    PodId {
        namespace: pod.metadata.namespace.clone().unwrap_or_default(),
        name: pod.metadata.name.clone().unwrap_or_default(),
    }
}
