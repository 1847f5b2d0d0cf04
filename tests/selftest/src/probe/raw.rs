//! Raw IP sockets. They wait for no answer: that the frame arrives is counted elsewhere.

use std::{
    io,
    net::{IpAddr, SocketAddr},
};

use crate::{
    errand::Errand,
    packet::{self, number},
    way::Way,
};
use socket2::{Protocol, SockAddr, Type};

use super::{
    Attempt,
    exchange::{self, MESSAGE},
};

/// The kernel writes the IP header.
pub(crate) fn body(errand: &Errand) -> io::Result<Attempt> {
    let ends = errand.ends();
    let (protocol, body) = match errand.way {
        Way::RawTcp => (number::TCP, packet::tcp_body(&ends, number::SYN, b"")),
        Way::RawUdp => (number::UDP, packet::udp_body(&ends, MESSAGE)),
        Way::RawOther => (number::EXPERIMENT, MESSAGE.to_vec()),
        _ => packet::icmp_body(&ends, MESSAGE),
    };
    let socket = exchange::socket(errand, Type::RAW, Protocol::from(i32::from(protocol)))?;
    let to = portless(errand.dst);
    Attempt::new(move || socket.send_to(&body, &to).map(|_| true))
}

/// The pod writes the IP header.
pub(crate) fn whole(errand: &Errand) -> io::Result<Attempt> {
    let ends = errand.ends();
    let packet = match errand.way {
        Way::RawHeaderTcp => packet::tcp(&ends, number::SYN, b""),
        _ => packet::udp(&ends, MESSAGE),
    };
    let protocol = Protocol::from(libc::IPPROTO_RAW);
    let socket = exchange::socket(errand, Type::RAW, protocol)?;
    match errand.dst {
        IpAddr::V4(_) => socket.set_header_included_v4(true)?,
        IpAddr::V6(_) => socket.set_header_included_v6(true)?,
    }
    let called = if errand.way == Way::RawHeaderForged { errand.door } else { errand.dst };
    let to = portless(called);
    Attempt::new(move || socket.send_to(&packet, &to).map(|_| true))
}

/// Raw IPv6 sockets take a port in an address for a protocol number, and refuse any other.
fn portless(address: IpAddr) -> SockAddr {
    SocketAddr::new(address, 0).into()
}
