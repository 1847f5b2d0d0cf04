//! What the generation in force says of this node's pods, for whoever is handed one by the cookie of
//! its namespace: the proxy, and the reader of the kernel's events.

use std::{
    collections::{BTreeMap, HashMap},
    net::IpAddr,
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
    /// Its addresses, as the manifest has them.
    pub(crate) addresses: Vec<IpAddr>,
    /// What happens where no rule matches; `None` for a pod that is not judged (any more).
    pub(crate) default_action: Option<DefaultAction>,
}

impl Member {
    /// The address from which it reaches another.
    pub(crate) fn address_towards(&self, other: IpAddr) -> Option<IpAddr> {
        self.addresses.iter().find(|own| own.is_ipv4() == other.is_ipv4()).copied()
    }
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
