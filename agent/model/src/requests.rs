//! What the objects of a cluster mean for requests, in no dialect's words: which names a workload
//! may dial and where they lead, what a gateway serves, what a workload accepts.
//!
//! ```text
//! Outbound ─► Listener ─┬─ hosts: VirtualHost ─► Route ─► Forward ─► Weighted ─► Target
//!                       ├─ tls:   StreamRoute (by server name) ─────────────────► Target
//!                       └─ tcp:   StreamRoute ──────────────────────────────────► Target
//! Target ─► Backend = service, port, subset: policy, and who its endpoints are; or Missing
//! ```
//!
//! Which addresses a backend has is asked for apart, as Envoy's clusters and endpoints are apart: they
//! change with every pod, and routes do not.
//!
//! Everything is said: a default is a value here, so two dialects that mean the same give equal
//! models. Nothing here says where it was said, for the same reason.

pub mod backend;
pub mod change;
mod find;
pub mod gateway;
pub mod host;
mod list;
mod needs;
pub mod outbound;
pub mod policy;
pub mod route;
pub mod server;
pub mod text;

pub use find::{Decided, Request, Sent, Verdict};
pub use list::{AnyRoute, ClusterName, ListenerRow, RouteRow};
pub use needs::Reading;

use std::{collections::BTreeMap, fmt, net::IpAddr, sync::Arc};

use crate::pod::{PodId, WorkloadName};
use backend::{Backend, LoadAssignment};
use gateway::Gateway;
use outbound::Outbound;
use server::Server;

/// Where the requests of a node's pods lead: each answer is worked out when it is first asked for,
/// and shared by all pods that see the same.
pub trait Requests: fmt::Debug + Send + Sync {
    /// The pods that it knows.
    fn pods(&self) -> Vec<PodId>;

    /// What a pod may dial; `None` if there is no such pod, or it is in no mesh.
    fn outbound(&self, pod: &PodId) -> Option<Arc<Outbound>>;

    /// Who serves a backend of this generation.
    fn load_assignment(&self, backend: &Backend) -> LoadAssignment;

    /// The pod in the mesh that has an address, so that the mesh's TLS is spoken with it.
    fn mesh_peer(&self, address: IpAddr) -> Option<MeshPeer>;

    /// What the pod at an address is a part of.
    fn workload_at(&self, address: IpAddr) -> Option<Arc<WorkloadName>>;

    /// What a pod accepts; `None` if there is no such pod, or it is in no mesh.
    fn server(&self, pod: &PodId) -> Option<Arc<Server>>;

    /// What a pod serves at the edge; `None` if it is no gateway.
    fn gateway(&self, pod: &PodId) -> Option<Arc<Gateway>>;
}

/// A pod in the mesh.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MeshPeer {
    /// As whom it speaks, `spiffe://…`.
    pub identity: String,
    /// Whether the mesh's TLS is spoken with it where no object asks for it: `enableAutoMtls`, and no
    /// `DISABLE` of its namespace or the mesh.
    pub by_default: bool,
    /// Whether it is on this node, so that nothing on the way has to be hidden or proved.
    pub is_here: bool,
}

/// Of no pod at all.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoRequests;

impl Requests for NoRequests {
    fn pods(&self) -> Vec<PodId> {
        Vec::new()
    }

    fn outbound(&self, _: &PodId) -> Option<Arc<Outbound>> {
        None
    }

    fn load_assignment(&self, _: &Backend) -> LoadAssignment {
        LoadAssignment::nobody()
    }

    fn mesh_peer(&self, _: IpAddr) -> Option<MeshPeer> {
        None
    }

    fn workload_at(&self, _: IpAddr) -> Option<Arc<WorkloadName>> {
        None
    }

    fn server(&self, _: &PodId) -> Option<Arc<Server>> {
        None
    }

    fn gateway(&self, _: &PodId) -> Option<Arc<Gateway>> {
        None
    }
}

impl Eq for dyn Requests {}

/// Slow: each answer for each pod is worked out and compared.
impl PartialEq for dyn Requests {
    fn eq(&self, other: &Self) -> bool {
        let pods = self.pods();
        pods == other.pods()
            && pods.iter().all(|pod| {
                self.server(pod) == other.server(pod) && served(self, pod) == served(other, pod)
            })
    }
}

/// What a pod dials and serves, with who is behind it.
fn served(requests: &dyn Requests, pod: &PodId) -> impl PartialEq {
    let assigned = |clusters: BTreeMap<ClusterName<'_>, &Backend>| -> Vec<LoadAssignment> {
        clusters.into_values().map(|one| requests.load_assignment(one)).collect()
    };
    let (outbound, gateway) = (requests.outbound(pod), requests.gateway(pod));
    let behind = (
        outbound.as_deref().map(|one| assigned(one.clusters())),
        gateway.as_deref().map(|one| assigned(one.clusters())),
    );
    (outbound, gateway, behind)
}
