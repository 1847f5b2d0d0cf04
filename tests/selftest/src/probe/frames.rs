//! Frames by packet socket: what no socket hook sees.

use std::io;

use crate::{
    errand::Errand,
    packet::{self, Ends, extension as ext, number},
    sys,
    way::Way,
};
use rustix::net::netdevice::name_to_index;
use socket2::{Domain, SockAddr, Socket, Type};

use super::{Attempt, exchange::MESSAGE};

/// From `linux/if_packet.h`.
const PACKET_QDISC_BYPASS: i32 = 20;
/// More extension headers than any stack sends.
const DEEP: [u8; 12] = [ext::DESTINATION; 12];

pub(crate) fn send(errand: &Errand) -> io::Result<Attempt> {
    let cooked = errand.way == Way::PacketCooked;
    let kind = if cooked { Type::DGRAM } else { Type::RAW };
    let socket = Socket::new(Domain::PACKET, kind, None)?;
    if errand.way == Way::PacketBypass {
        sys::set_option(&socket, libc::SOL_PACKET, PACKET_QDISC_BYPASS, 1)?;
    }
    let ethertype = errand.ends().ethertype();
    let interface = name_to_index(&socket, "eth0")?;
    let to: SockAddr = sys::link_address(interface, ethertype, errand.next_hop)?;
    let frames = if cooked { vec![packet::udp(&errand.ends(), MESSAGE)] } else { frames(errand) };
    Attempt::new(move || {
        for frame in &frames {
            socket.send_to(frame, &to)?;
        }
        Ok(true)
    })
}

fn frames(errand: &Errand) -> Vec<Vec<u8>> {
    let ends = errand.ends();
    let framed = |ethertype, packet: &[u8]| {
        packet::ethernet(errand.next_hop, errand.station, ethertype, packet)
    };
    match errand.way {
        Way::PacketTagged => {
            let udp = packet::udp(&ends, MESSAGE);
            vec![packet::tagged(errand.next_hop, errand.station, ends.ethertype(), &udp)]
        }
        Way::PacketUnknown => vec![framed(number::ETHER_LOCAL, &packet::marked(errand.dst))],
        Way::PacketWrongFamily => {
            let other = number::ETHER_V4 ^ number::ETHER_V6 ^ ends.ethertype();
            vec![framed(other, &packet::udp(&ends, MESSAGE))]
        }
        _ => packets(errand, &ends).iter().map(|p| framed(ends.ethertype(), p)).collect(),
    }
}

fn packets(errand: &Errand, ends: &Ends) -> Vec<Vec<u8>> {
    let udp = packet::udp_body(ends, MESSAGE);
    let behind = |kinds: &[u8]| vec![packet::with_extensions(ends, kinds, number::UDP, &udp)];
    match errand.way {
        Way::PacketTcpSyn => vec![packet::tcp(ends, number::SYN, b"")],
        Way::PacketTcpData => vec![packet::tcp(ends, number::PSH_ACK, MESSAGE)],
        Way::PacketIcmp => vec![packet::icmp_echo(ends, MESSAGE)],
        Way::PacketIcmpError => vec![packet::udp(ends, MESSAGE), packet::icmp_error(ends)],
        // Three no-operations and the end of the list.
        Way::PacketOptions => vec![packet::with_options(ends, &[1, 1, 1, 0], number::UDP, &udp)],
        Way::PacketHopByHop => behind(&[ext::HOP_BY_HOP]),
        Way::PacketRouting => behind(&[ext::ROUTING]),
        Way::PacketSegmentsLeft => vec![packet::with_segment(ends, errand.door, &udp)],
        Way::PacketDestinationOptions => behind(&[ext::DESTINATION]),
        Way::PacketAtomicFragment => behind(&[ext::FRAGMENT]),
        Way::PacketDeepHeaders => behind(&DEEP),
        Way::PacketFragments => packet::fragments(ends, number::UDP, &udp, 16).to_vec(),
        Way::PacketLaterFragment => vec![packet::fragments(ends, number::UDP, &udp, 16)[1].clone()],
        Way::PacketTinyFragment => {
            let segment = packet::tcp_body(ends, number::SYN, b"");
            packet::fragments(ends, number::TCP, &segment, 8).to_vec()
        }
        _ => vec![packet::udp(ends, MESSAGE)],
    }
}
