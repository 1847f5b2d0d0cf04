//! What the objects of a cluster mean for requests, in no dialect's words: which names a workload
//! may dial and where they lead, what a gateway serves, what a workload accepts.
//!
//! ```text
//! Outbound ─► Listener ─┬─ hosts: VirtualHost ─► Route ─► Forward ─► Weighted ─► Target
//!                       ├─ tls:   StreamRoute (by server name) ─────────────────► Target
//!                       └─ tcp:   StreamRoute ──────────────────────────────────► Target
//! Target ─► Backend = service, port, subset: endpoints and policy, or Missing: it fails, and how
//! ```
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

use std::{fmt, sync::Arc};

use crate::pod::PodId;
use gateway::Gateway;
use outbound::Outbound;
use server::Server;

/// Where the requests of a node's pods lead: each answer is worked out when somebody asks for it,
/// and shared by all pods that see the same.
pub trait Requests: fmt::Debug + Send + Sync {
    /// The pods that it knows.
    fn pods(&self) -> Vec<PodId>;

    /// What a pod may dial; `None` if there is no such pod, or it is in no mesh.
    fn outbound(&self, pod: &PodId) -> Option<Arc<Outbound>>;

    /// What a pod accepts; `None` if there is no such pod, or it is in no mesh.
    fn server(&self, pod: &PodId) -> Option<Arc<Server>>;

    /// What a pod serves at the edge; `None` if it is no gateway.
    fn gateway(&self, pod: &PodId) -> Option<Arc<Gateway>>;
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
                self.outbound(pod) == other.outbound(pod)
                    && self.server(pod) == other.server(pod)
                    && self.gateway(pod) == other.gateway(pod)
            })
    }
}
