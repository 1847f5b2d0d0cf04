//! UDP and ping sockets.

use std::{io, net::IpAddr};

use crate::{errand::Errand, packet, sys};
use socket2::{MsgHdr, Protocol, SockAddr, Socket, Type};

use super::{
    Attempt,
    exchange::{self, MESSAGE},
};

fn udp(errand: &Errand) -> io::Result<(Socket, SockAddr)> {
    Ok((exchange::socket(errand, Type::DGRAM, Protocol::UDP)?, errand.target().into()))
}

pub(crate) fn send_to(errand: &Errand) -> io::Result<Attempt> {
    let (socket, to) = udp(errand)?;
    unconnected(socket, to)
}

/// Sends by `sendto()` on any UDP socket.
pub(crate) fn unconnected(socket: Socket, to: SockAddr) -> io::Result<Attempt> {
    Attempt::new(move || exchange::datagram(&socket, |s| s.send_to(MESSAGE, &to)))
}

pub(crate) fn connected(errand: &Errand) -> io::Result<Attempt> {
    let (socket, to) = udp(errand)?;
    socket.connect(&to)?;
    Attempt::new(move || exchange::datagram(&socket, |s| s.send(MESSAGE)))
}

pub(crate) fn send_msg(errand: &Errand) -> io::Result<Attempt> {
    let (socket, to) = udp(errand)?;
    Attempt::new(move || {
        let parts = [io::IoSlice::new(MESSAGE)];
        let message = MsgHdr::new().with_addr(&to).with_buffers(&parts);
        exchange::datagram(&socket, |s| s.sendmsg(&message, 0))
    })
}

pub(crate) fn send_mmsg(errand: &Errand) -> io::Result<Attempt> {
    let (socket, to) = udp(errand)?;
    Attempt::new(move || exchange::datagram(&socket, |s| sys::send_twice(s, MESSAGE, &to)))
}

pub(crate) fn beside(errand: &Errand) -> io::Result<Attempt> {
    let (socket, to) = udp(errand)?;
    socket.connect(&errand.dial(errand.door).into())?;
    // The answer comes from an address that the socket is not connected to, and is not seen.
    Attempt::new(move || socket.send_to(MESSAGE, &to).map(|_| true))
}

pub(crate) fn source_route(errand: &Errand) -> io::Result<Attempt> {
    let (socket, _) = udp(errand)?;
    let IpAddr::V4(hop) = errand.dst else {
        return Err(io::Error::other("source routing is IPv4's"));
    };
    // Loose source and record route (RFC 791), one hop, padded to a whole number of words.
    let mut options = vec![131, 7, 4];
    options.extend(hop.octets());
    options.push(0);
    sys::set_bytes(&socket, libc::IPPROTO_IP, libc::IP_OPTIONS, &options)?;
    let to = errand.dial(errand.door).into();
    Attempt::new(move || socket.send_to(MESSAGE, &to).map(|_| true))
}

pub(crate) fn ping(errand: &Errand, connect: bool) -> io::Result<Attempt> {
    let (protocol, echo) = match errand.dst {
        IpAddr::V4(_) => (Protocol::ICMPV4, packet::icmp_body(&errand.ends(), MESSAGE).1),
        IpAddr::V6(_) => (Protocol::ICMPV6, packet::icmp_body(&errand.ends(), MESSAGE).1),
    };
    let socket = exchange::socket(errand, Type::DGRAM, protocol)?;
    let to: SockAddr = errand.target().into();
    if connect {
        socket.connect(&to)?;
        return Attempt::new(move || exchange::datagram(&socket, |s| s.send(&echo)));
    }
    Attempt::new(move || exchange::datagram(&socket, |s| s.send_to(&echo, &to)))
}
