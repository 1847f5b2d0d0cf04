//! The probes of one canary: a call or a packet for each hook, sent from inside a pod's namespace to where no host
//! is ([`agent_abi::canary`]).
//!
//! Nothing of it leaves the node, whether the hooks are alive or not. What a hook of layer 1 does
//! not refuse stays on loopback, to which its socket is bound; so does the packet for layer 2, which
//! carries the mark that makes it judged there. The frame for layer 3 has no hops left and goes to a
//! station to which no bridge passes anything on (IEEE 802.1Q, table 8-1).

use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
};

use agent_abi::canary::{self, hook};
use socket2::{Domain, Protocol, SockAddr, Socket, Type};

mod packet;

use crate::veth::HostEnd;
use packet::{frame, link_address};

/// What came of one call.
#[derive(Debug)]
pub(super) enum Reply {
    /// It was refused, as a hook does it.
    Refused,
    /// It was taken.
    Sent,
    /// The namespace has no such way, so nothing has to be proved.
    NoWay,
    /// It was taken by a link that leads nowhere, one of its ends being down.
    Stuck,
    /// Something else came of it.
    Failed(io::Error),
}

/// One call, and what came of it.
#[derive(Debug)]
pub(super) struct Probe {
    /// One of [`agent_abi::canary::hook`].
    pub(super) hook: u32,
    /// The host's end of the link, or zero.
    pub(super) interface: u32,
    /// The name that users see.
    pub(super) name: String,
    /// The layer that is asked.
    pub(super) layer: u8,
    /// What came of it.
    pub(super) reply: Reply,
}

type Send = fn(Family) -> io::Result<()>;

/// At the cgroup. A socket that cannot be made is no way out.
const CALLS: [(u32, &str, u8, Family, Send); 6] = [
    (hook::CONNECT4, "connect4", 1, Family::V4, connect),
    (hook::CONNECT6, "connect6", 1, Family::V6, connect),
    (hook::SEND4, "sendmsg4", 1, Family::V4, send_datagram),
    (hook::SEND6, "sendmsg6", 1, Family::V6, send_datagram),
    (hook::PACKET4, "skb_egress (IPv4)", 2, Family::V4, send_raw),
    (hook::PACKET6, "skb_egress (IPv6)", 2, Family::V6, send_raw),
];

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Family {
    V4,
    V6,
}

impl Family {
    fn domain(self) -> Domain {
        if self == Self::V4 { Domain::IPV4 } else { Domain::IPV6 }
    }

    fn destination(self) -> SocketAddr {
        let addr = match self {
            Self::V4 => IpAddr::from(Ipv4Addr::from_bits(u32::from_be(canary::V4.words_be[0]))),
            Self::V6 => {
                let [a, b, c, d] = canary::V6.words_be.map(|word| u128::from(u32::from_be(word)));
                Ipv6Addr::from_bits(a << 96 | b << 64 | c << 32 | d).into()
            }
        };
        SocketAddr::new(addr, canary::PORT)
    }
}

const FRAMES: [(u32, &str, Family); 2] =
    [(hook::WIRE4, "IPv4", Family::V4), (hook::WIRE6, "IPv6", Family::V6)];

/// Every hook that a probe may meet, with the interface to whose end it is attached.
pub(super) fn hooks(links: &[HostEnd]) -> impl Iterator<Item = (u32, u32)> {
    let frames =
        links.iter().flat_map(|link| FRAMES.iter().map(move |(hook, ..)| (*hook, link.ifindex)));
    CALLS.iter().map(|(hook, ..)| (*hook, 0)).chain(frames)
}

/// What was sent.
#[derive(Debug)]
pub(super) struct Sent {
    pub(super) probes: Vec<Probe>,
    /// To be dropped where nothing waits: closing one takes the kernel a grace period.
    pub(super) packet_socket: Option<Socket>,
}

/// Sends all probes from the calling thread's namespace. It takes a fraction of a millisecond and
/// waits for nothing.
pub(super) fn send(links: &[HostEnd], asks_layer_2: bool) -> Sent {
    let calls = CALLS.iter().filter(|(_, _, layer, ..)| asks_layer_2 || *layer != 2).map(
        |(hook, name, layer, family, send)| {
            let reply = reply(send(*family), *layer);
            Probe { hook: *hook, interface: 0, name: (*name).to_owned(), layer: *layer, reply }
        },
    );
    // Protocol 0: it hears nothing.
    let packet_socket = Socket::new(Domain::PACKET, Type::RAW.nonblocking(), None);
    let frames = links.iter().flat_map(|link| {
        let packet_socket = &packet_socket;
        FRAMES.iter().map(move |(hook, version, family)| Probe {
            hook: *hook,
            interface: link.ifindex,
            name: format!("layer 3 on {}, the host's end of {} ({version})", link.name, link.link),
            layer: 3,
            reply: match reply(send_frame(packet_socket, *family, link.inside), 3) {
                Reply::Sent if !link.is_up => Reply::Stuck,
                reply => reply,
            },
        })
    });
    let probes = calls.chain(frames).collect();
    Sent { probes, packet_socket: packet_socket.ok() }
}

/// Errnos of a namespace that lacks a family, a route on loopback, or a link that is up.
const NO_FAMILY: [i32; 1] = [libc::EAFNOSUPPORT];
const NO_LOOPBACK: [i32; 3] = [libc::EAFNOSUPPORT, libc::ENETUNREACH, libc::EADDRNOTAVAIL];
const NO_LINK: [i32; 3] = [libc::ENETDOWN, libc::ENXIO, libc::ENODEV];

fn reply(called: io::Result<()>, layer: u8) -> Reply {
    // A hook of layer 1 comes before any route: without one, an answer about routes tells that
    // there is no hook.
    let no_way: &[i32] = match layer {
        1 => &NO_FAMILY,
        2 => &NO_LOOPBACK,
        _ => &NO_LINK,
    };
    match called {
        Ok(()) => Reply::Sent,
        Err(error) => match error.raw_os_error() {
            Some(libc::EPERM) => Reply::Refused,
            Some(libc::EINPROGRESS) => Reply::Sent,
            Some(errno) if no_way.contains(&errno) => Reply::NoWay,
            _ => Reply::Failed(error),
        },
    }
}

fn on_loopback(family: Family, kind: Type, protocol: Protocol) -> io::Result<Socket> {
    let socket = Socket::new(family.domain(), kind.nonblocking(), Some(protocol))?;
    socket.bind_device(Some(b"lo"))?;
    Ok(socket)
}

fn connect(family: Family) -> io::Result<()> {
    let socket = on_loopback(family, Type::STREAM, Protocol::TCP)?;
    socket.connect(&family.destination().into())
}

fn send_datagram(family: Family) -> io::Result<()> {
    let socket = on_loopback(family, Type::DGRAM, Protocol::UDP)?;
    socket.send_to(&[], &family.destination().into()).map(drop)
}

/// The packet says where it goes, and the call sends it to loopback.
fn send_raw(family: Family) -> io::Result<()> {
    /// Headers are the caller's (`IPPROTO_RAW`, raw(7)).
    const OWN_HEADERS: i32 = 255;
    let kind = Type::RAW.nonblocking();
    let socket = Socket::new(family.domain(), kind, Some(Protocol::from(OWN_HEADERS)))?;
    socket.set_mark(canary::MARK)?;
    let loopback: IpAddr = match family {
        Family::V4 => Ipv4Addr::LOCALHOST.into(),
        Family::V6 => Ipv6Addr::LOCALHOST.into(),
    };
    let to: SockAddr = SocketAddr::new(loopback, 0).into();
    socket.send_to(&packet::packet(family), &to).map(drop)
}

fn send_frame(socket: &io::Result<Socket>, family: Family, interface: u32) -> io::Result<()> {
    let again =
        |error: &io::Error| io::Error::from_raw_os_error(error.raw_os_error().unwrap_or(libc::EIO));
    let socket = socket.as_ref().map_err(again)?;
    socket.send_to(&frame(family), &link_address(family, interface)).map(drop)
}
