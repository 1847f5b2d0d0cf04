//! One verdict, or the end of one connection, with all that the agent knows of it. Typed: whatever
//! decides something decides on this. What people and other programs read is made of it at the
//! edge, by [`super::flow_view`] and [`super::log`].

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    sync::Arc,
};

use agent_abi::{
    Addr, Event, EventKind, FAMILY_V4, LAYER_CONNECT, LAYER_INBOUND, LAYER_LINK, LAYER_PACKET,
    Reason, Verdict, protocol,
};
use agent_model::{
    egress::RuleSource,
    pod::{PodId, WorkloadName},
};
use agent_pods::connections::Reset;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::flow_request::FlowRequest;

/// See the module.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct FlowRecord {
    /// When.
    pub(crate) time: Timestamp,
    /// Ties the end of a connection to its verdict: the cookie of the pod's socket, unique until
    /// the node is booted again. None for packets and frames, which have no socket.
    pub(crate) connection: Option<u64>,
    /// Who opened it.
    pub(crate) direction: Direction,
    /// The cookie of the network namespace.
    pub(crate) netns: u64,
    /// The pod; none where the namespace is not a known pod's.
    pub(crate) pod: Option<PodId>,
    /// What that is a part of.
    pub(crate) workload: Option<Arc<WorkloadName>>,
    /// The pod's end.
    pub(crate) source: Source,
    /// The far end, as the pod sees it.
    pub(crate) destination: Destination,
    /// The number of the protocol.
    pub(crate) protocol: Protocol,
    /// Who judged.
    pub(crate) layer: Layer,
    /// What was decided.
    pub(crate) verdict: Verdict,
    /// Why.
    pub(crate) reason: FlowReason,
    /// The generation that judged.
    pub(crate) generation: u64,
    /// What decided, and the host that it is for.
    pub(crate) rule: Option<Arc<RuleSource>>,
    /// The process that called.
    pub(crate) pid: Option<u32>,
    /// What the proxy dialled.
    pub(crate) upstream: Option<SocketAddr>,
    /// The server name that its TLS asks for, where the proxy read it.
    pub(crate) server_name: Option<String>,
    /// As whom the other end has shown itself by the mesh's TLS.
    pub(crate) peer: Option<String>,
    /// What went wrong, with its causes.
    pub(crate) error: Option<String>,
    /// For the end of a connection: what it carried.
    pub(crate) carried: Option<Carried>,
    /// The request that this tells of, and not its connection.
    pub(crate) request: Option<Box<FlowRequest>>,
}

/// Who opened a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Direction {
    /// The pod.
    Outbound,
    /// Another: by the mesh's TLS, or in plaintext that a port has refused. Of plaintext that is taken no
    /// flow tells.
    Inbound,
}

/// The pod's end of a flow.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Source {
    /// None where the pod is not known.
    pub(crate) address: Option<IpAddr>,
    /// None where it was not chosen yet, or the protocol has none.
    pub(crate) port: Option<u16>,
}

/// The far end of a flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Destination {
    pub(crate) address: IpAddr,
    /// None where the protocol has none.
    pub(crate) port: Option<u16>,
}

/// A number of `IPPROTO_*`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Protocol(pub(crate) u32);

/// Who judged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Layer {
    /// A hook on socket calls.
    Connect,
    /// A hook on packets that leave a socket.
    Packet,
    /// A hook on the host's end of the pod's link.
    Link,
    /// A hook on connections to the pod.
    Inbound,
    /// The proxy.
    Proxy,
}

/// Why it was decided so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FlowReason {
    /// By the rules.
    Rules(Reason),
    /// The proxy could not carry it: [`agent_proxy::Failure::cause`].
    Proxy(&'static str),
}

/// What a connection carried.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Carried {
    /// Bytes from the pod that the far end acknowledged.
    pub(crate) bytes_sent: u64,
    /// Bytes to the pod.
    pub(crate) bytes_received: u64,
    /// How long it was open, in microseconds.
    pub(crate) duration_us: u64,
    /// The smoothed round-trip time in microseconds; 0 where it was not measured.
    pub(crate) rtt_us: u32,
}

/// What the agent knows of an event that the kernel does not.
#[derive(Clone, Debug, Default)]
pub(crate) struct Known {
    /// The pod.
    pub(crate) pod: Option<PodId>,
    /// What that is a part of.
    pub(crate) workload: Option<Arc<WorkloadName>>,
    /// Its address of the flow's family.
    pub(crate) address: Option<IpAddr>,
    /// The rule that decided.
    pub(crate) rule: Option<Arc<RuleSource>>,
}

impl FlowRecord {
    /// An event of the kernel as a record. `None` when a word of it is not of this ABI.
    pub(crate) fn from_event(event: &Event, time: Timestamp, known: Known) -> Option<Self> {
        let carried = (event.kind == EventKind::CLOSE).then_some(Carried {
            bytes_sent: event.bytes_sent,
            bytes_received: event.bytes_received,
            duration_us: event.duration_ns / 1_000,
            rtt_us: event.rtt_us,
        });
        let layer = Layer::from_word(event.layer)?;
        Some(Self {
            time,
            connection: (event.socket != 0).then_some(event.socket),
            direction: layer.direction(),
            netns: event.netns,
            pod: known.pod,
            workload: known.workload,
            source: Source { address: known.address, port: port(event.src_port) },
            destination: Destination { address: ip(event.dst), port: port(event.dst_port) },
            protocol: Protocol(event.protocol),
            layer,
            verdict: Verdict::from_word(event.verdict)?,
            reason: FlowReason::Rules(Reason::from_word(event.reason)?),
            generation: event.generation,
            rule: known.rule,
            pid: (event.pid != 0).then_some(event.pid),
            upstream: None,
            server_name: None,
            peer: None,
            error: None,
            carried,
            request: None,
        })
    }

    /// A connection that was reset by a change of rules.
    pub(crate) fn of_reset(reset: &Reset) -> Self {
        let Reset { pod, netns, revoked } = reset;
        let (own, own_port) = revoked.socket.local;
        let (layer, reason) = match revoked.judgement.reason {
            Reason::Plaintext => (Layer::Inbound, Reason::Plaintext),
            _ => (Layer::Connect, Reason::Revoked),
        };
        Self {
            time: Timestamp::now(),
            connection: Some(revoked.socket.id.cookie()),
            direction: layer.direction(),
            netns: *netns,
            pod: Some(pod.clone()),
            workload: None,
            source: Source { address: Some(ip(own)), port: port(own_port) },
            destination: Destination { address: ip(revoked.dst.0), port: port(revoked.dst.1) },
            protocol: Protocol(revoked.socket.protocol.into()),
            layer,
            verdict: revoked.judgement.verdict,
            reason: FlowReason::Rules(reason),
            generation: revoked.judgement.generation,
            rule: None,
            pid: None,
            upstream: None,
            server_name: None,
            peer: None,
            error: None,
            carried: None,
            request: None,
        }
    }

    /// True for what was refused or held, and for what an audit would refuse.
    pub(crate) fn is_denied(&self) -> bool {
        matches!(self.verdict, Verdict::Deny | Verdict::Hold)
            || self.reason == FlowReason::Rules(Reason::WouldDeny)
    }

    /// The host that the rule is for.
    pub(crate) fn service(&self) -> Option<&str> {
        self.rule.as_ref()?.host.as_deref()
    }
}

impl Direction {
    /// The name that users see.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Outbound => "outbound",
            Self::Inbound => "inbound",
        }
    }
}

impl Layer {
    const fn from_word(word: u32) -> Option<Self> {
        match word {
            LAYER_CONNECT => Some(Self::Connect),
            LAYER_PACKET => Some(Self::Packet),
            LAYER_LINK => Some(Self::Link),
            LAYER_INBOUND => Some(Self::Inbound),
            _ => None,
        }
    }

    /// Who opened what it judges.
    const fn direction(self) -> Direction {
        match self {
            Self::Inbound => Direction::Inbound,
            Self::Connect | Self::Packet | Self::Link | Self::Proxy => Direction::Outbound,
        }
    }

    /// The name that users see.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Connect => "connect",
            Self::Packet => "packet",
            Self::Link => "link",
            Self::Inbound => "inbound",
            Self::Proxy => "proxy",
        }
    }
}

impl FlowReason {
    /// The name that users see.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Rules(reason) => reason.name(),
            Self::Proxy(cause) => cause,
        }
    }
}

impl Protocol {
    /// What the proxy carries.
    pub(crate) const TCP: Self = Self(protocol::TCP as u32);

    const fn name(self) -> Option<&'static str> {
        const UDP: u32 = protocol::UDP as u32;
        const ICMP: u32 = protocol::ICMP as u32;
        const ICMPV6: u32 = protocol::ICMPV6 as u32;
        match self {
            Self::TCP => Some("tcp"),
            Self(UDP) => Some("udp"),
            Self(ICMP) => Some("icmp"),
            Self(ICMPV6) => Some("icmpv6"),
            Self(_) => None,
        }
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name() {
            Some(name) => f.write_str(name),
            None => write!(f, "{}", self.0),
        }
    }
}

/// One end of a flow, for people: an address, with its port where it has one.
pub(crate) struct End(pub(crate) IpAddr, pub(crate) Option<u16>);

impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self(address, Some(port)) => write!(f, "{}", SocketAddr::new(address, port)),
            Self(address, None) => write!(f, "{address}"),
        }
    }
}

impl From<SocketAddr> for Destination {
    fn from(to: SocketAddr) -> Self {
        Self { address: to.ip(), port: Some(to.port()) }
    }
}

const fn port(port: u16) -> Option<u16> {
    if port == 0 { None } else { Some(port) }
}

/// The address of the ABI as the standard library's.
pub(crate) fn ip(addr: Addr) -> IpAddr {
    if addr.family == FAMILY_V4 {
        return Ipv4Addr::from(u32::from_be(addr.words_be[0])).into();
    }
    let words = addr.words_be.map(u32::from_be);
    Ipv6Addr::from(words.iter().fold(0_u128, |bits, word| (bits << 32) | u128::from(*word))).into()
}

#[cfg(test)]
mod tests;
#[cfg(test)]
pub(crate) use tests::test_record;
