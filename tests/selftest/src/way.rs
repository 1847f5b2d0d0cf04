//! The ways out of a pod: every row of the leak matrix, and what is expected of it.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use serde::{Deserialize, Serialize};

use crate::world::{address4, address6};

/// How the destination is dialled.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Family {
    /// An IPv4 socket.
    V4,
    /// An IPv6 socket.
    V6,
    /// An IPv6 socket that dials `::ffff:a.b.c.d`: IPv4 on the wire.
    Mapped,
}

/// The families that a way is tried with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Families {
    /// All three.
    Sockets,
    /// IPv4 and IPv6.
    Plain,
    /// IPv4 alone.
    OnlyV4,
    /// IPv6 alone.
    OnlyV6,
}

/// What has to be granted for a way to be open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Needs {
    /// A rule for the address and the port.
    Rule,
    /// A policy that lets anything out: no rule can name it.
    AnyPolicy,
}

/// How a refusal shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The call fails with `EPERM`, at once.
    Errno,
    /// There is no call that could answer: the frame is dropped.
    Silent,
}

/// The layer that refuses: what an event about it must say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layer {
    /// The hooks of socket calls.
    Connect,
    /// The hook where packets leave a socket.
    Packet,
    /// The host's end of the pod's link.
    Link,
}

/// Where the process runs that tries a way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stand {
    /// In the pod.
    Pod,
    /// In the pod's network namespace, outside every group that is hooked.
    ForeignGroup,
    /// In the pod's network namespace, in another group below the hooked one.
    SiblingGroup,
    /// On the node, in a group below the hooked one.
    Node,
}

/// What is known of a way.
#[derive(Clone, Copy, Debug)]
pub struct Profile {
    /// The families it is tried with.
    pub families: Families,
    /// What opens it.
    pub needs: Needs,
    /// How its refusal shows.
    pub refusal: Refusal,
    /// Who refuses it.
    pub layer: Layer,
    /// Where it is tried from.
    pub stand: Stand,
}

macro_rules! ways {
    ($($(#[$doc:meta])* $name:ident: $families:ident $needs:ident $refusal:ident $layer:ident $stand:ident;)+) => {
        /// A way out of a pod.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(rename_all = "kebab-case")]
        pub enum Way {
            $($(#[$doc])* $name,)+
        }

        impl Way {
            /// Every one.
            pub const ALL: &[Self] = &[$(Self::$name,)+];

            /// What is expected of it.
            pub const fn profile(self) -> Profile {
                match self {
                    $(Self::$name => Profile {
                        families: Families::$families,
                        needs: Needs::$needs,
                        refusal: Refusal::$refusal,
                        layer: Layer::$layer,
                        stand: Stand::$stand,
                    },)+
                }
            }
        }
    };
}

ways! {
    /// `connect()` and an exchange.
    TcpConnect: Sockets Rule Errno Connect Pod;
    /// `sendto(MSG_FASTOPEN)`: data in the SYN.
    TcpFastOpen: Sockets Rule Errno Connect Pod;
    /// `TCP_FASTOPEN_CONNECT`: the SYN leaves with the first write.
    TcpFastOpenConnect: Sockets Rule Errno Connect Pod;
    /// `connect()` to an allowed address, undone, then to this one on the same socket.
    TcpReconnect: Sockets Rule Errno Connect Pod;
    /// The first subflow of a multipath connection.
    MptcpConnect: Sockets Rule Errno Connect Pod;
    /// A later subflow, that a kernel worker opens to an address which the far end announced.
    MptcpJoin: Plain Rule Silent Connect Pod;
    /// An unconnected socket's `sendto()`.
    UdpSendTo: Sockets Rule Errno Connect Pod;
    /// `connect()`, then `send()`.
    UdpConnected: Sockets Rule Errno Connect Pod;
    /// An unconnected socket's `sendmsg()`.
    UdpSendMsg: Sockets Rule Errno Connect Pod;
    /// An unconnected socket's `sendmmsg()`.
    UdpSendMmsg: Sockets Rule Errno Connect Pod;
    /// A socket connected to an allowed address, and `sendto()` to this one.
    UdpSendToBeside: Sockets Rule Errno Connect Pod;
    /// A datagram for an allowed address by way of this one (IPv4 loose source routing).
    UdpSourceRoute: OnlyV4 AnyPolicy Errno Packet Pod;
    /// An unprivileged ping socket's `sendto()`.
    PingSendTo: Plain AnyPolicy Errno Packet Pod;
    /// An unprivileged ping socket, connected.
    PingConnected: Plain AnyPolicy Errno Connect Pod;
    /// A raw socket for ICMP.
    RawIcmp: Plain AnyPolicy Errno Packet Pod;
    /// A raw socket for TCP: a SYN of the pod's own making.
    RawTcp: Plain Rule Errno Packet Pod;
    /// A raw socket for UDP.
    RawUdp: Plain Rule Errno Packet Pod;
    /// A raw socket for a protocol without ports.
    RawOther: Plain AnyPolicy Errno Packet Pod;
    /// A raw socket that brings its own IP header, with a TCP SYN.
    RawHeaderTcp: Plain Rule Errno Packet Pod;
    /// A raw socket that brings its own IP header, with a UDP datagram.
    RawHeaderUdp: Plain Rule Errno Packet Pod;
    /// As before, but the address in the call is an allowed one, and the header's is not.
    RawHeaderForged: Plain Rule Errno Packet Pod;
    /// `connect()` by `io_uring`.
    UringConnect: Sockets Rule Errno Connect Pod;
    /// `connect()` by `io_uring`, issued by a kernel thread that polls the ring.
    UringPolledConnect: Sockets Rule Errno Connect Pod;
    /// `sendmsg()` by `io_uring`.
    UringSendMsg: Sockets Rule Errno Connect Pod;
    /// A packet socket: a TCP SYN.
    PacketTcpSyn: Plain Rule Silent Link Pod;
    /// A packet socket: a TCP segment with data that belongs to no connection.
    PacketTcpData: Plain Rule Silent Link Pod;
    /// A packet socket: a UDP datagram.
    PacketUdp: Plain Rule Silent Link Pod;
    /// A packet socket whose link header the kernel writes.
    PacketCooked: Plain Rule Silent Link Pod;
    /// A packet socket that skips the queueing discipline.
    PacketBypass: Plain Rule Silent Link Pod;
    /// A packet socket: an echo request.
    PacketIcmp: Plain AnyPolicy Silent Link Pod;
    /// A packet socket: an ICMP error about a datagram of a flow that was allowed once.
    PacketIcmpError: Plain Rule Silent Link Pod;
    /// A packet socket: UDP behind IPv4 options.
    PacketOptions: OnlyV4 Rule Silent Link Pod;
    /// A packet socket: UDP behind a hop-by-hop header.
    PacketHopByHop: OnlyV6 Rule Silent Link Pod;
    /// A packet socket: UDP behind a routing header with no segment left.
    PacketRouting: OnlyV6 Rule Silent Link Pod;
    /// A packet socket: UDP behind a routing header that names another destination.
    PacketSegmentsLeft: OnlyV6 AnyPolicy Silent Link Pod;
    /// A packet socket: UDP behind destination options.
    PacketDestinationOptions: OnlyV6 Rule Silent Link Pod;
    /// A packet socket: UDP behind a fragment header that says it is whole.
    PacketAtomicFragment: OnlyV6 Rule Silent Link Pod;
    /// A packet socket: UDP behind more extension headers than any real packet has.
    PacketDeepHeaders: OnlyV6 AnyPolicy Silent Link Pod;
    /// A packet socket: a UDP datagram in two fragments.
    PacketFragments: Plain Rule Silent Link Pod;
    /// A packet socket: a later fragment without its first.
    PacketLaterFragment: Plain AnyPolicy Silent Link Pod;
    /// A packet socket: a first fragment too short to hold a TCP header.
    PacketTinyFragment: Plain AnyPolicy Silent Link Pod;
    /// A packet socket: UDP behind a VLAN tag.
    PacketTagged: Plain AnyPolicy Silent Link Pod;
    /// A packet socket: an ethertype set aside for experiments.
    PacketUnknown: Plain AnyPolicy Silent Link Pod;
    /// A packet socket: a packet of one family under the ethertype of the other.
    PacketWrongFamily: Plain AnyPolicy Silent Link Pod;
    /// A packet socket: a UDP datagram for loopback, to the far host's station.
    PacketLoopback: Plain AnyPolicy Silent Link Pod;
    /// A TCP socket made in a group that no hook sees, passed in by `SCM_RIGHTS`.
    ForeignTcp: Plain Rule Silent Link ForeignGroup;
    /// A UDP socket made in a group that no hook sees, passed in by `SCM_RIGHTS`.
    ForeignUdp: Plain Rule Silent Link ForeignGroup;
    /// A TCP socket made in another pod's group, passed in by `SCM_RIGHTS`.
    SiblingTcp: Plain Rule Errno Connect SiblingGroup;
    /// A UDP socket made in another pod's group, passed in by `SCM_RIGHTS`.
    SiblingUdp: Plain Rule Errno Connect SiblingGroup;
    /// A thread of a process on the node that enters the pod's namespace and connects.
    EnteringTcp: Plain Rule Errno Connect Node;
    /// A thread of a process on the node that enters the pod's namespace and sends a datagram.
    EnteringUdp: Plain Rule Errno Connect Node;
}

/// Each way has a destination of its own, so that a frame tells which way it came.
const FIRST_DESTINATION: u8 = 64;

impl Way {
    /// Where it goes: a far host's address that no other way uses, or loopback.
    pub fn destination(self, family: Family) -> IpAddr {
        let number = FIRST_DESTINATION + self as u8;
        match family {
            Family::V6 if self == Self::PacketLoopback => Ipv6Addr::LOCALHOST.into(),
            _ if self == Self::PacketLoopback => Ipv4Addr::LOCALHOST.into(),
            Family::V6 => address6(number).into(),
            Family::V4 | Family::Mapped => address4(number).into(),
        }
    }

    /// How a refusal of a fresh try shows.
    pub fn refusal(self, family: Family) -> Refusal {
        match (self, family) {
            // `ping_v6_sendmsg()` does not look at what the push of its frame returned.
            (Self::PingSendTo, Family::V6) => Refusal::Silent,
            _ => self.profile().refusal,
        }
    }

    /// How a refusal of what is open already shows.
    pub fn refusal_of_held(self, family: Family) -> Refusal {
        match (self, family) {
            // An MPTCP socket outlives its subflows, in the hope of another one, for
            // net.mptcp.close_timeout; nothing in the kernel resets it from outside.
            (Self::MptcpConnect, _) | (Self::PingConnected, Family::V6) => Refusal::Silent,
            _ => self.refusal(family),
        }
    }

    /// Whether the probe alone decides every byte of what it sends.
    pub fn is_hand_made(self) -> bool {
        self.profile().layer as u8 == Layer::Link as u8
            && self.profile().stand as u8 == Stand::Pod as u8
    }

    /// Whether a report about it names its destination: of what cannot be read, none can.
    pub fn is_named(self) -> bool {
        !matches!(
            self,
            Self::UdpSourceRoute
                | Self::PacketSegmentsLeft
                | Self::PacketDeepHeaders
                | Self::PacketLaterFragment
                | Self::PacketTinyFragment
                | Self::PacketTagged
                | Self::PacketUnknown
                | Self::PacketWrongFamily
        )
    }

    /// Whether a router would pass on what it sends.
    pub fn is_routed(self) -> bool {
        !matches!(
            self,
            Self::PacketTagged
                | Self::PacketUnknown
                | Self::PacketWrongFamily
                | Self::PacketLoopback
                | Self::UdpSourceRoute
        )
    }

    /// Whether it is tried with this family.
    pub fn speaks(self, family: Family) -> bool {
        matches!(
            (self.profile().families, family),
            (Families::Sockets, _)
                | (Families::Plain | Families::OnlyV4, Family::V4)
                | (Families::Plain | Families::OnlyV6, Family::V6)
        )
    }
}

impl fmt::Display for Way {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self:?}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_way_has_a_destination_apart_from_pods_and_hosts() {
        let last = Way::ALL[Way::ALL.len() - 1].destination(Family::V4);
        assert!(last < IpAddr::from(address4(200)), "{last} is a far host's own");
    }
}
