//! What the generation in force says of this node's pods, for whoever is handed one by the cookie of
//! its namespace: the proxy, and the reader of the kernel's events.

use std::{collections::BTreeMap, sync::Arc};

use agent_model::{egress::RuleSource, snapshot::Endpoints};
use agent_pods::view::PodViews;

/// What the generation in force says to the proxy.
#[derive(Debug, Default)]
pub(crate) struct Members {
    /// The pods.
    pub(crate) pods: Arc<PodViews>,
    /// Where rules send what they match, by their source; see [`Snapshot::upstreams`].
    ///
    /// [`Snapshot::upstreams`]: agent_model::snapshot::Snapshot::upstreams
    pub(crate) upstreams: Arc<BTreeMap<Arc<RuleSource>, Endpoints>>,
}
