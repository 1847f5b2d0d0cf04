//! What the generation in force says of this node's pods, for what is handed one by the cookie of
//! its namespace: the proxy, and the reader of the kernel's events.

use std::{
    collections::{BTreeMap, HashMap},
    net::IpAddr,
    sync::{Arc, Mutex},
};

use agent_base::lock::lock;
use agent_identity::spiffe::SpiffeId;
use agent_model::{
    egress::RuleSource,
    endpoints::Endpoints,
    pod::WorkloadName,
    requests::{MeshPeer, NoRequests, Requests, backend::Backend, outbound::Outbound},
    snapshot::Snapshot,
};
use agent_pods::view::PodViews;

/// What the generation in force says to the proxy.
#[derive(Debug)]
pub(crate) struct Members {
    /// The pods.
    pub(crate) pods: Arc<PodViews>,
    /// Where rules send what they match, by their source; see [`Snapshot::upstreams`].
    pub(crate) upstreams: Arc<BTreeMap<Arc<RuleSource>, Endpoints>>,
    /// Tells it from those before: each is one more.
    pub(crate) version: u64,
    /// Where the pods' requests lead.
    requests: Arc<dyn Requests>,
    /// The same, of the pods that have asked: each connection asks.
    outbound: Mutex<HashMap<u64, Option<Arc<Outbound>>>>,
}

impl Members {
    /// Of a snapshot.
    pub(crate) fn new(pods: Arc<PodViews>, snapshot: &Snapshot, version: u64) -> Self {
        Self {
            version,
            pods,
            upstreams: Arc::clone(&snapshot.upstreams),
            requests: Arc::clone(&snapshot.requests),
            outbound: Mutex::default(),
        }
    }

    /// What a pod may dial, by the cookie of its namespace.
    pub(crate) fn outbound(&self, netns: u64) -> Option<Arc<Outbound>> {
        if let Some(known) = lock(&self.outbound).get(&netns) {
            return known.clone();
        }
        // Worked out without the lock, and kept by the model: a second caller at the same time gets it too.
        let found = self.pods.in_netns(netns).and_then(|pod| self.requests.outbound(&pod.id));
        lock(&self.outbound).insert(netns, found.clone());
        found
    }

    /// As whom a pod speaks, by the cookie of its namespace.
    pub(crate) fn identity(&self, netns: u64) -> Option<SpiffeId> {
        self.pods.in_netns(netns)?.identity.as_ref()?.parse().ok()
    }

    /// The pod in the mesh that has an address.
    pub(crate) fn mesh_peer(&self, address: IpAddr) -> Option<MeshPeer> {
        self.requests.mesh_peer(address)
    }

    /// What the pod at an address is a part of.
    pub(crate) fn workload_at(&self, address: IpAddr) -> Option<Arc<WorkloadName>> {
        self.requests.workload_at(address)
    }

    /// Where a backend is.
    pub(crate) fn endpoints(&self, backend: &Backend) -> Endpoints {
        self.requests.load_assignment(backend).endpoints
    }
}

impl Default for Members {
    fn default() -> Self {
        Self {
            version: 0,
            pods: Arc::default(),
            upstreams: Arc::default(),
            requests: Arc::new(NoRequests),
            outbound: Mutex::default(),
        }
    }
}
