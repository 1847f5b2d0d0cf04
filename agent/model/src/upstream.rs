//! Where the proxy carries the bytes of a connection.

use std::{fmt, net::IpAddr, num::NonZeroU16, sync::Arc};

use ipnet::IpNet;

/// Where the bytes of a proxied connection go.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Upstream {
    /// To the address that the pod dialled, on another port.
    Original {
        /// The port.
        port: NonZeroU16,
    },
    /// To one of these, and never to the address that the pod dialled; to nobody when there is
    /// none.
    Endpoints(Arc<[Endpoint]>),
    /// To what one of these names resolves to: to the address that the pod dialled where it is one
    /// of theirs, else to one of their current addresses; to nobody where there is none.
    Named(Arc<[NamedEndpoint]>),
    /// To what the name in the request resolves to. Names in requests are not read yet: a connection
    /// whose address a rule allows goes to the address that the pod dialled.
    AsRequested {
        /// The port.
        port: NonZeroU16,
    },
}

impl Upstream {
    /// Whether a connection to an address that this leads to keeps its port.
    pub fn keeps(&self, dialled: NonZeroU16) -> bool {
        match self {
            Self::Original { port } | Self::AsRequested { port } => *port == dialled,
            Self::Endpoints(endpoints) => endpoints.iter().all(|one| one.port == dialled),
            Self::Named(names) => names.iter().all(|one| one.port == dialled),
        }
    }

    /// Whether this leads to one address and port and nowhere else.
    pub fn is_just(&self, cidr: IpNet, port: NonZeroU16) -> bool {
        match self {
            Self::Endpoints(endpoints) => matches!(
                endpoints[..],
                [one] if IpNet::from(one.address) == cidr && one.port == port
            ),
            Self::Named(names) => matches!(
                &names[..],
                [one] if one.lingering.is_empty()
                    && one.port == port
                    && matches!(one.current[..], [only] if IpNet::from(only) == cidr)
            ),
            Self::Original { .. } | Self::AsRequested { .. } => false,
        }
    }
}

/// Where a service is reached, by name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NamedEndpoint {
    /// The name, in lower case; an IP stands for itself.
    pub host: String,
    /// The port.
    pub port: NonZeroU16,
    /// Its share of the load, at least 1; each of its addresses has it.
    pub weight: u32,
    /// What new connections are sent to.
    pub current: Vec<IpAddr>,
    /// What new connections may go to where the pod dialled it.
    pub lingering: Vec<IpAddr>,
}

/// Where a service is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Endpoint {
    /// The address.
    pub address: IpAddr,
    /// The port.
    pub port: NonZeroU16,
    /// Its share of the load, at least 1.
    pub weight: u32,
}

impl fmt::Display for Upstream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Original { port } => write!(f, "address dialled, port {port}"),
            Self::AsRequested { port } => write!(f, "name requested, port {port}"),
            Self::Named(names) => {
                f.write_str(&names.iter().map(named).collect::<Vec<_>>().join(", "))
            }
            Self::Endpoints(endpoints) if endpoints.is_empty() => f.write_str("nobody"),
            Self::Endpoints(endpoints) => {
                let socket = |one: &Endpoint| {
                    let address = std::net::SocketAddr::new(one.address, one.port.get());
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
