//! Where a service is: what the proxy carries a connection to, whether a rule or a route sends it
//! there.

use std::{
    collections::BTreeMap,
    fmt,
    net::{IpAddr, SocketAddr},
    num::NonZeroU16,
    sync::Arc,
};

use ipnet::IpNet;
use serde::Serialize;

/// Where a service is.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
pub enum Endpoints {
    /// At one of these, and never at the address that was dialled; nowhere when there is none.
    Listed(Arc<[Endpoint]>),
    /// At the address that was dialled.
    Dialled {
        /// The port there.
        port: NonZeroU16,
        /// Whether mutual TLS is spoken with it.
        mutual: bool,
    },
    /// At what one of these names resolves to: the address that was dialled where it is one of
    /// theirs, else one of their current addresses; nowhere when there is none.
    Named {
        /// The names.
        names: Arc<[NamedEndpoint]>,
        /// Whether only the first current answer is used.
        first_only: bool,
        /// Whether mutual TLS is spoken with it.
        mutual: bool,
    },
    /// At what the name in the request resolves to. Names in requests are not read yet: a connection
    /// whose address a rule allows goes to the address that was dialled.
    AsRequested {
        /// The port there.
        port: NonZeroU16,
    },
}

impl Endpoints {
    /// Whether a connection to an address that this leads to keeps its port.
    pub fn keeps(&self, dialled: NonZeroU16) -> bool {
        match self {
            Self::Dialled { port, .. } | Self::AsRequested { port } => *port == dialled,
            Self::Listed(endpoints) => endpoints.iter().all(|one| one.port == dialled),
            Self::Named { names, .. } => names.iter().all(|one| one.port == dialled),
        }
    }

    /// Whether the mesh's TLS is spoken with an address and port that this leads to.
    pub fn is_mutual(&self, at: SocketAddr) -> bool {
        match self {
            Self::Listed(endpoints) => endpoints
                .iter()
                .any(|one| one.mutual && one.address == at.ip() && one.port.get() == at.port()),
            Self::Dialled { mutual, .. } | Self::Named { mutual, .. } => *mutual,
            Self::AsRequested { .. } => false,
        }
    }

    /// Whether this leads to one address and port and nowhere else.
    pub fn is_just(&self, cidr: IpNet, port: NonZeroU16) -> bool {
        match self {
            Self::Listed(endpoints) => matches!(
                &endpoints[..],
                [one] if IpNet::from(one.address) == cidr && one.port == port
            ),
            Self::Named { names, .. } => matches!(
                &names[..],
                [one] if one.lingering.is_empty()
                    && one.port == port
                    && matches!(one.current[..], [only] if IpNet::from(only) == cidr)
            ),
            Self::Dialled { .. } | Self::AsRequested { .. } => false,
        }
    }
}

/// An address and a port.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct Endpoint {
    /// The address.
    pub address: IpAddr,
    /// The port.
    pub port: NonZeroU16,
    /// Its share of the load, at least 1.
    pub weight: u32,
    /// `region/zone/subzone`, where it is known.
    pub locality: String,
    /// What an object says of who is there.
    #[serde(skip)]
    pub workload: Option<Arc<StatedWorkload>>,
    /// Whether mutual TLS is spoken with it.
    pub mutual: bool,
}

impl Endpoint {
    /// An endpoint of which nothing else is known.
    pub const fn new(address: IpAddr, port: NonZeroU16, weight: u32) -> Self {
        Self { address, port, weight, locality: String::new(), workload: None, mutual: false }
    }
}

/// What an object says of the workload at an endpoint; it comes before what is known of a pod.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StatedWorkload {
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// Its service account; empty where nothing says.
    pub service_account: String,
}

/// A name and a port.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct NamedEndpoint {
    /// The name, in lower case; an IP stands for itself.
    pub host: String,
    /// The port.
    pub port: NonZeroU16,
    /// Its share of the load, at least 1; each of its addresses has it.
    #[serde(skip_serializing_if = "is_one")]
    pub weight: u32,
    /// What new connections are sent to.
    #[serde(skip)]
    pub current: Vec<IpAddr>,
    /// What new connections may go to where the pod dialled it.
    #[serde(skip)]
    pub lingering: Vec<IpAddr>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes fields by reference")]
const fn is_one(weight: &u32) -> bool {
    *weight == 1
}

impl fmt::Display for Endpoints {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Dialled { port, .. } => write!(f, "address dialled, port {port}"),
            Self::AsRequested { port } => write!(f, "name requested, port {port}"),
            Self::Named { names, .. } => {
                f.write_str(&names.iter().map(named).collect::<Vec<_>>().join(", "))
            }
            Self::Listed(endpoints) if endpoints.is_empty() => f.write_str("none"),
            Self::Listed(endpoints) => {
                let socket = |one: &Endpoint| {
                    let address = SocketAddr::new(one.address, one.port.get());
                    format!("{address} weight {}", one.weight)
                };
                f.write_str(&endpoints.iter().map(socket).collect::<Vec<_>>().join(", "))
            }
        }
    }
}

fn named(one: &NamedEndpoint) -> String {
    let NamedEndpoint { host, port, weight, current, lingering } = one;
    let list = |of: &[IpAddr]| of.iter().map(IpAddr::to_string).collect::<Vec<_>>().join(" ");
    let text = format!("{host}:{port} weight {weight} ({})", list(current));
    if lingering.is_empty() { text } else { format!("{text}, lingering {}", list(lingering)) }
}
