//! Which pods see the same, and what was worked out for them.

use std::{
    hash::Hash,
    net::IpAddr,
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak},
};

use hashbrown::HashMap;
use k8s_openapi::api::core::v1::Pod;

use super::{
    Gateway, Labels, Lazy, Object, ObjectKey, Outbound, PodId, RequestModel, Requests, Server,
    backend::MadeWith, definition::Definition, destination::DestinationRules, id_of, peers::Peers,
    pool::Pool, sidecars, visible::VisibleHost, workload,
};
use crate::{
    pod::WorkloadName,
    requests::{
        MeshPeer,
        backend::{Backend, LoadAssignment},
    },
    resource::{Kind, app_mesh::VirtualNode, security::MtlsMode},
};

/// The kinds that what pods may dial follows from, besides services, which the registry has. Pods
/// and endpoints are none of them: who serves a backend is looked up.
const KINDS: [Kind; 17] = [
    Kind::Namespace,
    Kind::ConfigMap,
    Kind::MutatingWebhookConfiguration,
    Kind::Sidecar,
    Kind::VirtualService,
    Kind::DestinationRule,
    Kind::Gateway,
    Kind::PeerAuthentication,
    Kind::MeshPolicy,
    Kind::Policy,
    Kind::Mesh,
    Kind::VirtualNode,
    Kind::VirtualRouter,
    Kind::AppMeshVirtualService,
    Kind::VirtualGateway,
    Kind::GatewayRoute,
    Kind::BackendGroup,
];

/// A pod that is asked about.
#[derive(Clone, Debug)]
pub(in crate::translate) struct Member {
    pub(in crate::translate) pod: Arc<Pod>,
    /// The mesh that it is enrolled in.
    pub(in crate::translate) mesh: Option<Mesh>,
}

/// A mesh.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::translate) enum Mesh {
    Istio,
    AppMesh,
}

/// What tells what a pod may dial: pods with equal keys share it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum ViewKey {
    /// In Istio's mesh: its namespace, its Sidecar, and those of its labels that some object asks
    /// for.
    Istio { namespace: String, sidecar: Option<ObjectKey>, labels: Labels },
    /// In App Mesh's: its namespace, and the node that it is.
    AppMesh { namespace: String, node: ObjectKey },
}

/// What pods with equal keys may dial, and what that was put together from.
#[derive(Debug, Default)]
pub(super) struct View {
    pub(super) outbound: Arc<Outbound>,
    pub(super) definitions: Box<[Arc<Definition>]>,
    pub(super) read: Destinations,
}

/// What destinations were made from besides services: two are the same that are one allocation.
#[derive(Clone, Debug, Default)]
pub(super) struct Destinations {
    rules: Weak<OnceLock<DestinationRules>>,
    peers: Weak<OnceLock<Peers>>,
}

impl Destinations {
    pub(super) fn is_same(&self, other: &Self) -> bool {
        self.rules.ptr_eq(&other.rules) && self.peers.ptr_eq(&other.peers)
    }
}

type Last = HashMap<ViewKey, (Arc<View>, u8)>;

/// What was worked out so far.
#[derive(Debug, Default)]
pub(super) struct Views {
    /// What all generations under the same settings have in common.
    pub(super) shared: Arc<Shared>,
    outbound: Arc<Kept<ViewKey, View>>,
    /// The last views before these, which the next ones follow from, and how many generations ago
    /// they were made.
    before: Arc<Mutex<Last>>,
    gateways: Arc<Kept<PodId, Option<Arc<Gateway>>>>,
}

/// What is the same for several views or generations.
#[derive(Debug, Default)]
pub(super) struct Shared {
    pub(super) hosts: Pool<(), VisibleHost>,
    pub(super) backends: Pool<MadeWith, Backend>,
    pub(super) definitions: Pool<(), Definition>,
}

/// A view that no pod asked for in so many generations is forgotten.
const OLDEST: u8 = 4;

impl Views {
    /// Those of a generation that follows.
    fn follow(&mut self, before: &Self, same: bool) {
        self.shared = Arc::clone(&before.shared);
        if same {
            self.outbound = Arc::clone(&before.outbound);
            self.before = Arc::clone(&before.before);
            return;
        }
        let older = lock(&before.before);
        let older = older.iter().filter(|(_, (_, age))| *age < OLDEST);
        let mut last: Last =
            older.map(|(key, (view, age))| (key.clone(), (Arc::clone(view), age + 1))).collect();
        last.extend(before.outbound.made().into_iter().map(|(key, view)| (key, (view, 0))));
        self.before = Arc::new(Mutex::new(last));
    }

    /// The view of a key, which follows from the last one.
    fn outbound(&self, key: &ViewKey, make: impl FnOnce(Option<&View>) -> View) -> Arc<Outbound> {
        let view = self.outbound.get(key.clone(), || {
            let last = lock(&self.before).remove(key);
            make(last.as_ref().map(|(view, _)| &**view))
        });
        Arc::clone(&view.outbound)
    }
}

fn lock<T>(of: &Mutex<T>) -> MutexGuard<'_, T> {
    of.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Made once for each key, never under the lock.
#[derive(Debug)]
struct Kept<K, V>(Mutex<HashMap<K, Lazy<Arc<V>>>>);

impl<K, V> Default for Kept<K, V> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<K: Eq + Hash, V> Kept<K, V> {
    fn get(&self, key: K, make: impl FnOnce() -> V) -> Arc<V> {
        let slot = {
            let mut kept = lock(&self.0);
            Arc::clone(kept.entry(key).or_default())
        };
        Arc::clone(slot.get_or_init(|| Arc::new(make())))
    }
}

impl<K: Clone, V> Kept<K, V> {
    fn made(&self) -> Vec<(K, Arc<V>)> {
        let kept = lock(&self.0);
        let made = kept.iter();
        made.filter_map(|(key, slot)| Some((key.clone(), Arc::clone(slot.get()?)))).collect()
    }
}

/// The newer one if it was made, else the older.
fn last<T>(newer: &Lazy<T>, older: &Lazy<T>) -> Lazy<T> {
    Arc::clone(if newer.get().is_some() { newer } else { older })
}

impl RequestModel {
    /// Takes over from the generation before what follows from nothing that has changed;
    /// `same_services` says whether all services are the same.
    pub(in crate::translate) fn follow(mut self, before: &Self, same_services: bool) -> Self {
        let others = std::mem::take(&mut self.others).into_iter();
        let others = others.map(|one| {
            let same = before.others.iter().find(|other| one.settings == other.settings);
            match same {
                Some(same) => one.follow(same, same_services),
                None => one,
            }
        });
        self.others = others.collect();
        let (one, other) = (&*self.settings, &*before.settings);
        let shares = |kinds: &[Kind]| {
            let same = |kind: &Kind| self.objects.shares(&before.objects, *kind);
            self.domain == before.domain && kinds.iter().all(same)
        };
        let same_root = one.root_namespace == other.root_namespace;
        let same_refused = self.objects.same_refused(&before.objects);
        if same_refused && shares(&[Kind::Sidecar]) {
            self.sidecars = Arc::clone(&before.sidecars);
        }
        if one.routes == other.routes && self.domain == before.domain {
            self.before.routes = last(&before.routes, &before.before.routes);
            if shares(&[Kind::VirtualService]) {
                self.routes = Arc::clone(&before.routes);
            }
        }
        if same_root && one.rules == other.rules && self.domain == before.domain {
            self.before.rules = last(&before.rules, &before.before.rules);
            if shares(&[Kind::DestinationRule]) {
                self.rules = Arc::clone(&before.rules);
            }
        }
        if same_root
            && same_refused
            && shares(&[Kind::PeerAuthentication, Kind::MeshPolicy, Kind::Policy])
        {
            self.peers = Arc::clone(&before.peers);
        }
        let same = same_services && same_refused && shares(&KINDS);
        if one == other && self.domain == before.domain {
            self.views.follow(&before.views, same);
            // A gateway is its pod's by the pod's labels, and by Services that select it.
            if same && shares(&[Kind::Pod, Kind::Service]) {
                self.views.gateways = Arc::clone(&before.views.gateways);
            }
        }
        self
    }

    fn member(&self, id: &PodId) -> Option<Member> {
        if let Some(members) = &self.members {
            return members.get(id).cloned();
        }
        let Some(Object::Pod(pod)) = self.objects.get(&id.key()) else { return None };
        let mesh = match self.enrolment(pod) {
            Some(_) => Some(Mesh::AppMesh),
            None => workload(pod, self.namespace(&id.namespace)).enrolled.then_some(Mesh::Istio),
        };
        Some(Member { pod: Arc::clone(pod), mesh })
    }

    /// What its destinations are made from.
    fn destinations(&self) -> Destinations {
        Destinations { rules: Arc::downgrade(&self.rules), peers: Arc::downgrade(&self.peers) }
    }

    fn istio_outbound(&self, pod: &Pod) -> Arc<Outbound> {
        let namespace = pod.metadata.namespace.clone().unwrap_or_default();
        let all = pod.metadata.labels.clone().unwrap_or_default();
        let sidecar = self.sidecars().of(pod, &self.settings.root_namespace);
        let filter = sidecar.and_then(|sidecar| sidecars::filter(sidecar, &namespace));
        let asked = |key: &String| self.routes().asks_for(key) || self.rules().asks_for(key);
        let labels: Labels = all.into_iter().filter(|(key, _)| asked(key)).collect();
        let key = ViewKey::Istio {
            namespace: namespace.clone(),
            sidecar: sidecar.map(|one| sidecars::key(one)),
            labels: labels.clone(),
        };
        self.views.outbound(&key, |before| {
            let client = self.client_of(namespace, labels, filter);
            let read = self.destinations();
            View::of(self.definitions(&client, &read, before), read, before)
        })
    }

    fn app_mesh_view(&self, pod: &Pod) -> Option<Arc<Outbound>> {
        let node = |node: &VirtualNode| ObjectKey::of(Kind::VirtualNode, &node.metadata);
        let namespace = pod.metadata.namespace.clone().unwrap_or_default();
        let Some(node) = self.node_of(pod).map(node) else {
            return self.app_mesh_outbound(pod).map(Arc::new);
        };
        let key = ViewKey::AppMesh { namespace, node };
        let make = || Arc::new(self.app_mesh_outbound(pod).unwrap_or_default());
        Some(self.views.outbound(&key, |_| View { outbound: make(), ..View::default() }))
    }
}

impl Requests for RequestModel {
    fn pods(&self) -> Vec<PodId> {
        match &self.members {
            Some(members) => members.keys().cloned().collect(),
            None => self.objects.pods().map(|pod| id_of(pod)).collect(),
        }
    }

    fn outbound(&self, id: &PodId) -> Option<Arc<Outbound>> {
        let Member { pod, mesh } = self.member(id)?;
        match mesh? {
            Mesh::Istio => Some(self.governing(&pod).istio_outbound(&pod)),
            Mesh::AppMesh => self.app_mesh_view(&pod),
        }
    }

    fn load_assignment(&self, backend: &Backend) -> LoadAssignment {
        self.assignment(backend)
    }

    fn mesh_peer(&self, address: IpAddr) -> Option<MeshPeer> {
        let pod = self.workloads.at(address).filter(|pod| pod.enrolled)?;
        let is_here = self.members.as_ref().is_some_and(|all| all.contains_key(&pod.id));
        let by_default = self.settings.auto_mutual
            && self.peers().of_namespace(&pod.namespace) != MtlsMode::Disable;
        Some(MeshPeer { identity: self.identity_of(pod), by_default, is_here })
    }

    fn workload_at(&self, address: IpAddr) -> Option<Arc<WorkloadName>> {
        Some(Arc::clone(&self.workloads.at(address)?.name))
    }

    fn server(&self, id: &PodId) -> Option<Arc<Server>> {
        let Member { pod, mesh } = self.member(id)?;
        let server = match mesh? {
            Mesh::Istio => {
                let workload = workload(&pod, self.namespace(&id.namespace));
                self.governing(&pod).server_of(&pod, &workload)
            }
            Mesh::AppMesh => self.app_mesh_server(&pod)?,
        };
        Some(Arc::new(server))
    }

    fn gateway(&self, id: &PodId) -> Option<Arc<Gateway>> {
        let Member { pod, mesh } = self.member(id)?;
        let make = || {
            let own = (mesh == Some(Mesh::AppMesh)).then(|| self.app_mesh_gateway(&pod)).flatten();
            own.or_else(|| self.governing(&pod).gateway_of(&pod)).map(Arc::new)
        };
        // A pod that no object names may be another one under the same name tomorrow.
        let is_object = matches!(
            self.objects.get(&id.key()),
            Some(Object::Pod(known)) if Arc::ptr_eq(known, &pod)
        );
        if is_object { (*self.views.gateways.get(id.clone(), make)).clone() } else { make() }
    }
}
