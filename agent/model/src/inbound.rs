//! Which ports of a pod refuse plaintext, and which of them the kubelet probes: what the kernel is told of
//! a `PeerAuthentication`.

use agent_abi::{InboundPort, inbound_flag};

/// What a pod's ports take. The default takes everything.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Inbound {
    /// In the order of the ports; zero, the first, stands for each that is not here.
    ports: Vec<(u16, PortAccess)>,
}

/// What one port takes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PortAccess {
    /// Nothing but the mesh's mutual TLS.
    pub is_strict: bool,
    /// What the node itself sends to it, though it be strict.
    pub is_probed: bool,
}

impl Inbound {
    /// Of a pod whose unnamed ports are `other` and that has some apart, in the order of their numbers.
    pub fn new(other: PortAccess, apart: impl IntoIterator<Item = (u16, PortAccess)>) -> Self {
        let ports: Vec<_> = std::iter::once((0, other)).chain(apart).collect();
        if ports.iter().any(|(_, access)| access.is_strict) {
            Self { ports }
        } else {
            Self::default()
        }
    }

    /// Whether any port refuses plaintext.
    pub fn is_strict(&self) -> bool {
        !self.ports.is_empty()
    }

    /// The entries of the map of ports, in the order of their keys.
    pub fn words(&self) -> impl Iterator<Item = (u16, InboundPort)> + Clone {
        self.ports.iter().map(|(port, access)| (*port, access.word()))
    }
}

impl PortAccess {
    fn word(self) -> InboundPort {
        let strict = if self.is_strict { inbound_flag::STRICT } else { 0 };
        let probe = if self.is_probed { inbound_flag::PROBE } else { 0 };
        InboundPort { flags: strict | probe }
    }
}
