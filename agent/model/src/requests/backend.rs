//! Where requests and connections end up.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    num::NonZeroU16,
    sync::Arc,
    time::Duration,
};

use serde::Serialize;

use super::{change::HeaderChanges, policy::ClientPolicy};
use crate::{
    endpoints::{Endpoints, NamedEndpoint},
    registry::Service,
    resource::{ObjectKey, protocol::AppProtocol},
};

/// A destination and its share.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Weighted {
    /// The share, at least 1.
    pub weight: u32,
    /// The destination.
    pub target: Target,
    /// Changes of headers, after those of the route.
    pub headers: HeaderChanges,
    /// How long one try may take where the destination's own side gives up sooner than the route.
    pub answer_within: Option<Duration>,
}

/// A destination, or why there is none.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub enum Target {
    /// It is there.
    Backend(Arc<Backend>),
    /// It is not: a request fails with 503, a connection is closed.
    Missing(Missing),
}

/// Why a destination is not there. It never means "any other instead".
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub enum Missing {
    /// Nothing that the client may see has this name.
    Service(String),
    /// The service does not have this port.
    Port(String, u16),
    /// The service has no subset of this name.
    Subset(String, String),
    /// Nothing answers for this name.
    Provider(String),
}

/// A part of a service on one port, and how it is dialled: what Envoy calls a cluster. Two that mean
/// the same are equal, whatever their endpoints are looked up by.
#[derive(Clone, Debug, Serialize)]
pub struct Backend {
    /// The service's name.
    pub service: String,
    /// Its port.
    pub port: u16,
    /// The subset; none is all of it.
    pub subset: Option<String>,
    /// What is spoken there.
    pub protocol: AppProtocol,
    /// How it is dialled.
    pub policy: ClientPolicy,
    /// Who its endpoints are.
    #[serde(skip)]
    pub(crate) members: Members,
}

impl Backend {
    /// All of a service on one port, with endpoints that do not change: for tests of what dials it.
    pub fn stated(
        (service, port): (String, u16),
        protocol: AppProtocol,
        policy: ClientPolicy,
        endpoints: Endpoints,
    ) -> Self {
        Self { service, port, subset: None, protocol, policy, members: Members::Stated(endpoints) }
    }

    /// Whether a connection to a port is carried to the address that was dialled, on that port.
    pub(super) fn is_where_dialled(&self, port: u16) -> bool {
        let at = |endpoints: &Endpoints| matches!(endpoints, Endpoints::Dialled { port: own, .. } if own.get() == port);
        match &self.members {
            Members::Stated(endpoints) => at(endpoints),
            Members::OfPort { port: of, .. } => {
                let own = &of.service.ports[of.index];
                own.endpoints.as_ref().map_or(of.service.headless, at)
            }
            Members::Listed(_) | Members::OfNode { .. } => false,
        }
    }

    /// Whether connections to its service are carried elsewhere than is dialled.
    pub(super) fn leads_elsewhere(&self) -> bool {
        match &self.members {
            Members::OfPort { port: of, .. } => {
                of.service.leads_elsewhere(&of.service.ports[of.index])
            }
            Members::Stated(_) | Members::Listed(_) | Members::OfNode { .. } => false,
        }
    }

    /// Whether a connection to this address and port is one to this anyway.
    pub(super) fn is_at(&self, address: IpAddr, port: u16) -> bool {
        if self.is_where_dialled(port) {
            return true;
        }
        let Members::OfPort { port: of, .. } = &self.members else { return false };
        let has = |name: &NamedEndpoint| {
            name.current.contains(&address) || name.lingering.contains(&address)
        };
        let resolved = match &of.service.ports[of.index].endpoints {
            Some(Endpoints::Named { names, .. }) => names.iter().any(has),
            _ => false,
        };
        let own = || of.service.addresses.iter().any(|net| net.contains(&address));
        self.port == port && (resolved || own())
    }

    /// Its endpoints, where they do not change.
    pub fn stated_endpoints(&self) -> Option<&Endpoints> {
        match &self.members {
            Members::Stated(endpoints) => Some(endpoints),
            _ => None,
        }
    }
}

impl PartialEq for Backend {
    fn eq(&self, other: &Self) -> bool {
        let Self { service, port, subset, protocol, policy, members: _ } = self;
        *service == other.service
            && *port == other.port
            && *subset == other.subset
            && *protocol == other.protocol
            && *policy == other.policy
    }
}

impl Eq for Backend {}

/// Who the endpoints of a backend are. It follows from services, routes and rules, which change
/// seldom; their addresses change with every pod and are looked up
/// ([`super::Requests::load_assignment`]).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Members {
    /// Those behind a port of a service that have some labels.
    OfPort {
        /// The port.
        port: PortOfHost,
        /// The labels of a subset; none is all of them.
        labels: BTreeMap<String, String>,
    },
    /// Those behind a port of a service, whatever is known of them, also of one that is headless.
    Listed(PortOfHost),
    /// The pods of App Mesh's `VirtualNode`.
    OfNode {
        /// The node.
        node: ObjectKey,
        /// The port there.
        port: NonZeroU16,
    },
    /// As said here.
    Stated(Endpoints),
}

/// A port under a host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PortOfHost {
    pub(crate) host: Arc<str>,
    pub(crate) service: Arc<Service>,
    /// Which of the service's ports.
    pub(crate) index: usize,
}

/// Who serves a backend at the moment: what Envoy calls a cluster load assignment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct LoadAssignment {
    /// Where it is.
    pub endpoints: Endpoints,
    /// Who may answer where the mesh's TLS is spoken.
    pub identities: BTreeSet<String>,
}

impl LoadAssignment {
    /// Without any endpoint.
    pub fn nobody() -> Self {
        Self { endpoints: Endpoints::Listed([].into()), identities: BTreeSet::new() }
    }
}

/// Shares in lowest terms, those of nothing left out. One destination alone has all, whatever its
/// weight says.
pub(crate) fn share_out(mut all: Vec<Weighted>) -> Vec<Weighted> {
    if let [one] = &mut all[..] {
        one.weight = 1;
        return all;
    }
    all.retain(|one| one.weight > 0);
    let divisor = all.iter().map(|one| one.weight).fold(0, greatest_common_divisor).max(1);
    for one in &mut all {
        one.weight /= divisor;
    }
    all
}

fn greatest_common_divisor(one: u32, other: u32) -> u32 {
    if other == 0 { one } else { greatest_common_divisor(other, one % other) }
}
