//! What a workload may dial, and where it leads.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use ipnet::IpNet;
use serde::Serialize;

use super::{backend::Weighted, host::Domain, route::VirtualHost};

/// What a workload may dial. What is not here goes where the policy of the workload says.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Outbound {
    /// By port.
    pub ports: BTreeMap<u16, Port>,
}

/// What may be dialled on a port.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Port {
    /// By what was dialled: the longest prefix that covers it, and before [`Self::any`].
    pub at: BTreeMap<IpNet, Listener>,
    /// Whatever address was dialled.
    pub any: Listener,
}

/// What a connection is held against, once its first bytes are known.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Listener {
    /// HTTP, by its host.
    pub hosts: Vec<VirtualHost>,
    /// TLS that is not ended here; the most specific name decides, of equal ones the first.
    pub tls: Vec<StreamRoute>,
    /// Everything else.
    pub tcp: Option<StreamRoute>,
}

impl Listener {
    /// Whether nothing is served.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// Where connections go as they are.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct StreamRoute {
    /// The server names that TLS asks for; none is any.
    pub names: BTreeSet<Domain>,
    /// Where to, by shares, each connection by itself. Nowhere is a connection that is closed.
    pub to: Vec<Weighted>,
    /// How long nothing may be sent either way.
    pub idle: Option<Duration>,
}
