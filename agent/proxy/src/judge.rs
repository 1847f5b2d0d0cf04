//! What the configuration says about a connection.

use std::sync::Arc;

use agent_model::{
    egress::{DefaultAction, ProxyDuty},
    endpoints::Endpoints,
    requests::{backend::Backend, outbound::Outbound},
};

use crate::{Origin, WorkloadId};

/// What the rule and the workload's policy say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ruling {
    /// What is left to decide before the bytes may be carried.
    pub duty: ProxyDuty,
    /// The policy's answer where nothing that was named allows the connection.
    pub default_action: DefaultAction,
    /// Where the bytes go; `None` is where the client dialled.
    pub upstream: Option<Endpoints>,
    /// Whether requests are read even where no object has a say in them.
    pub reads_all: bool,
    /// Whether what an endpoint speaks decides how connections are made, so that one is chosen here even
    /// where a route gives a connection nothing else to do.
    pub by_endpoint: bool,
}

/// Asks the snapshot in force.
pub trait Judge: Send + Sync {
    /// Another number for each configuration: while it stays, so do the other answers.
    fn version(&self) -> u64;

    /// The ruling for one connection; `None` when the rule or the workload is not known (any
    /// more), and then the connection is refused.
    fn judge(&self, workload: WorkloadId, origin: &Origin) -> Option<Ruling>;

    /// What the workload may dial, and where requests lead; `None` where it is in no mesh.
    fn outbound(&self, workload: WorkloadId) -> Option<Arc<Outbound>>;

    /// Where a backend is at the moment.
    fn endpoints(&self, backend: &Backend) -> Endpoints;
}
