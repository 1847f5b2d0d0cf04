//! What the generation in force says of this node's pods, for whoever is handed one by the cookie of
//! its namespace: the proxy, and the reader of the kernel's events.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use agent_kernel::netns::NetNs;
use agent_model::{
    egress::{DefaultAction, RuleSource},
    snapshot::{Endpoints, PodId},
};

/// A pod as the proxy needs to know it.
#[derive(Clone, Debug)]
pub(crate) struct Member {
    /// The pod's name.
    pub(crate) id: PodId,
    /// Its namespace.
    pub(crate) netns: NetNs,
    /// What happens where no rule matches; `None` for a pod that is not judged (any more).
    pub(crate) default_action: Option<DefaultAction>,
}

/// What the generation in force says to the proxy.
#[derive(Debug, Default)]
pub(crate) struct Members {
    /// The pods, by the cookies of their namespaces.
    pub(crate) pods: HashMap<u64, Member>,
    /// Where rules send what they match, by their source; see [`Snapshot::upstreams`].
    ///
    /// [`Snapshot::upstreams`]: agent_model::snapshot::Snapshot::upstreams
    pub(crate) upstreams: Arc<BTreeMap<Arc<RuleSource>, Endpoints>>,
}
