//! Frames by hand: what a pod with `CAP_NET_RAW` may put on its link. Pure; checksums are right,
//! so that a far host would take what arrives.

use std::net::{IpAddr, Ipv6Addr};

/// Ethertypes and protocol numbers (IANA).
pub mod number {
    /// IPv4.
    pub const ETHER_V4: u16 = 0x0800;
    /// IPv6.
    pub const ETHER_V6: u16 = 0x86dd;
    /// The first of the two that IEEE 802 sets aside for local experiments.
    pub const ETHER_LOCAL: u16 = 0x88b5;
    /// TCP.
    pub const TCP: u8 = 6;
    /// UDP.
    pub const UDP: u8 = 17;
    /// ICMP for IPv4.
    pub const ICMP: u8 = 1;
    /// ICMP for IPv6.
    pub const ICMPV6: u8 = 58;
    /// Set aside for experiments (RFC 3692).
    pub const EXPERIMENT: u8 = 253;
    /// A TCP segment's SYN bit.
    pub const SYN: u8 = 2;
    /// A TCP segment's PSH and ACK bits.
    pub const PSH_ACK: u8 = 0x18;
}

use number::{ETHER_V4, ETHER_V6, ICMP, ICMPV6, TCP, UDP};

/// IPv6 extension headers (RFC 8200, 4.1).
pub mod extension {
    /// Hop-by-hop options.
    pub const HOP_BY_HOP: u8 = 0;
    /// Routing.
    pub const ROUTING: u8 = 43;
    /// Fragment.
    pub const FRAGMENT: u8 = 44;
    /// Destination options.
    pub const DESTINATION: u8 = 60;
}

/// Both ends of a flow; the addresses are of one family.
#[derive(Clone, Copy, Debug)]
pub struct Ends {
    /// The pod.
    pub src: IpAddr,
    /// The far end.
    pub dst: IpAddr,
    /// The pod's port.
    pub src_port: u16,
    /// The far end's port.
    pub dst_port: u16,
}

impl Ends {
    /// The ethertype that goes with the family.
    pub fn ethertype(&self) -> u16 {
        if self.dst.is_ipv4() { ETHER_V4 } else { ETHER_V6 }
    }
}

/// The payload that names its way out where no header does: the address, then plain words.
pub fn marked(dst: IpAddr) -> Vec<u8> {
    let address: Ipv6Addr = match dst {
        IpAddr::V4(v4) => v4.to_ipv6_mapped(),
        IpAddr::V6(v6) => v6,
    };
    [&address.octets()[..], b" sekisho leak marker, padded to the least length of a frame"].concat()
}

/// A frame.
pub fn ethernet(to: [u8; 6], from: [u8; 6], ethertype: u16, packet: &[u8]) -> Vec<u8> {
    [&to[..], &from, &ethertype.to_be_bytes(), packet].concat()
}

/// A frame with an 802.1Q tag, of VLAN 7.
pub fn tagged(to: [u8; 6], from: [u8; 6], ethertype: u16, packet: &[u8]) -> Vec<u8> {
    [&to[..], &from, &[0x81, 0, 0, 7], &ethertype.to_be_bytes(), packet].concat()
}

/// A UDP datagram with its IP header.
pub fn udp(ends: &Ends, payload: &[u8]) -> Vec<u8> {
    packet(ends, UDP, &udp_body(ends, payload))
}

/// A TCP segment with its IP header.
pub fn tcp(ends: &Ends, flags: u8, payload: &[u8]) -> Vec<u8> {
    packet(ends, TCP, &tcp_body(ends, flags, payload))
}

/// An echo request of the family's ICMP, with its IP header.
pub fn icmp_echo(ends: &Ends, payload: &[u8]) -> Vec<u8> {
    let (protocol, body) = icmp_body(ends, payload);
    packet(ends, protocol, &body)
}

/// A UDP datagram without its IP header.
pub fn udp_body(ends: &Ends, payload: &[u8]) -> Vec<u8> {
    let mut body = Vec::new();
    body.extend(ends.src_port.to_be_bytes());
    body.extend(ends.dst_port.to_be_bytes());
    body.extend(length(8 + payload.len()));
    body.extend([0, 0]);
    body.extend(payload);
    seal(ends, UDP, &mut body, 6);
    body
}

/// A TCP segment without its IP header.
pub fn tcp_body(ends: &Ends, flags: u8, payload: &[u8]) -> Vec<u8> {
    let mut body = Vec::new();
    body.extend(ends.src_port.to_be_bytes());
    body.extend(ends.dst_port.to_be_bytes());
    body.extend(1_u32.to_be_bytes());
    body.extend(u32::from(flags & number::SYN == 0).to_be_bytes());
    body.extend([5 << 4, flags, 0x20, 0, 0, 0, 0, 0]);
    body.extend(payload);
    seal(ends, TCP, &mut body, 16);
    body
}

/// An echo request without its IP header, and its protocol.
pub fn icmp_body(ends: &Ends, payload: &[u8]) -> (u8, Vec<u8>) {
    let v4 = ends.dst.is_ipv4();
    let mut body = vec![if v4 { 8 } else { 128 }, 0, 0, 0];
    body.extend(ends.src_port.to_be_bytes());
    body.extend([0, 1]);
    body.extend(payload);
    if v4 {
        let sum = checksum(&body);
        body[2..4].copy_from_slice(&sum);
        return (ICMP, body);
    }
    seal(ends, ICMPV6, &mut body, 2);
    (ICMPV6, body)
}

/// "Port unreachable" about a datagram that came in from the far end, as a host would send it.
pub fn icmp_error(ends: &Ends) -> Vec<u8> {
    let back =
        Ends { src: ends.dst, dst: ends.src, src_port: ends.dst_port, dst_port: ends.src_port };
    let quoted = udp(&back, b"what came in");
    let v4 = ends.dst.is_ipv4();
    let mut body = if v4 { vec![3, 3, 0, 0, 0, 0, 0, 0] } else { vec![1, 4, 0, 0, 0, 0, 0, 0] };
    body.extend(quoted);
    if v4 {
        let sum = checksum(&body);
        body[2..4].copy_from_slice(&sum);
        return packet(ends, ICMP, &body);
    }
    seal(ends, ICMPV6, &mut body, 2);
    packet(ends, ICMPV6, &body)
}

/// An IPv6 packet with a routing header that sends it on to `last` from its destination.
pub fn with_segment(ends: &Ends, last: IpAddr, body: &[u8]) -> Vec<u8> {
    let mut chain = vec![UDP, 2, 0, 1, 0, 0, 0, 0];
    if let IpAddr::V6(last) = last {
        chain.extend(last.octets());
    }
    chain.extend(body);
    v6_packet(ends, extension::ROUTING, &chain)
}

/// An IP packet around a body.
pub fn packet(ends: &Ends, protocol: u8, body: &[u8]) -> Vec<u8> {
    match (ends.src, ends.dst) {
        (IpAddr::V4(_), IpAddr::V4(_)) => v4_packet(ends, protocol, &Fragment::WHOLE, &[], body),
        _ => v6_packet(ends, protocol, body),
    }
}

/// An IPv4 packet with options, whose length is a multiple of four.
pub fn with_options(ends: &Ends, options: &[u8], protocol: u8, body: &[u8]) -> Vec<u8> {
    v4_packet(ends, protocol, &Fragment::WHOLE, options, body)
}

/// An IPv6 packet with extension headers before its body, in order.
pub fn with_extensions(ends: &Ends, kinds: &[u8], protocol: u8, body: &[u8]) -> Vec<u8> {
    let mut chain = Vec::new();
    for (position, &kind) in kinds.iter().enumerate() {
        let next = kinds.get(position + 1).copied().unwrap_or(protocol);
        chain.extend(extension_header(ends, kind, next));
    }
    chain.extend(body);
    v6_packet(ends, kinds.first().copied().unwrap_or(protocol), &chain)
}

/// The body cut in two fragments, the first of `first` bytes (a multiple of eight).
pub fn fragments(ends: &Ends, protocol: u8, body: &[u8], first: usize) -> [Vec<u8>; 2] {
    let (head, tail) = body.split_at(first);
    let at = u16::try_from(first / 8).unwrap_or(u16::MAX);
    [
        fragment(ends, protocol, &Fragment { offset: 0, more: true }, head),
        fragment(ends, protocol, &Fragment { offset: at, more: false }, tail),
    ]
}

/// Where a fragment lies.
struct Fragment {
    /// In units of eight bytes.
    offset: u16,
    more: bool,
}

impl Fragment {
    const WHOLE: Self = Self { offset: 0, more: false };
    /// Any will do: the tests send one datagram in fragments to an address at a time.
    const ID: u16 = 0x5e1d;
}

fn fragment(ends: &Ends, protocol: u8, place: &Fragment, part: &[u8]) -> Vec<u8> {
    if ends.dst.is_ipv4() {
        return v4_packet(ends, protocol, place, &[], part);
    }
    let word = place.offset << 3 | u16::from(place.more);
    let mut body = vec![protocol, 0];
    body.extend(word.to_be_bytes());
    body.extend(u32::from(Fragment::ID).to_be_bytes());
    body.extend(part);
    v6_packet(ends, extension::FRAGMENT, &body)
}

fn v4_packet(ends: &Ends, protocol: u8, place: &Fragment, options: &[u8], body: &[u8]) -> Vec<u8> {
    let (IpAddr::V4(src), IpAddr::V4(dst)) = (ends.src, ends.dst) else { return Vec::new() };
    let header_length = 20 + options.len();
    let words = u8::try_from(header_length / 4).unwrap_or(u8::MAX);
    let mut packet = vec![4 << 4 | words, 0];
    packet.extend(length(header_length + body.len()));
    packet.extend(Fragment::ID.to_be_bytes());
    packet.extend((place.offset | u16::from(place.more) << 13).to_be_bytes());
    packet.extend([64, protocol, 0, 0]);
    packet.extend(src.octets());
    packet.extend(dst.octets());
    packet.extend(options);
    let sum = checksum(&packet);
    packet[10..12].copy_from_slice(&sum);
    packet.extend(body);
    packet
}

fn v6_packet(ends: &Ends, next: u8, body: &[u8]) -> Vec<u8> {
    let (IpAddr::V6(src), IpAddr::V6(dst)) = (ends.src, ends.dst) else { return Vec::new() };
    let mut packet = vec![6 << 4, 0, 0, 0];
    packet.extend(length(body.len()));
    packet.extend([next, 64]);
    packet.extend(src.octets());
    packet.extend(dst.octets());
    packet.extend(body);
    packet
}

/// Eight bytes of padding options, or of what else the header needs.
fn extension_header(ends: &Ends, kind: u8, next: u8) -> Vec<u8> {
    match kind {
        extension::FRAGMENT => vec![next, 0, 0, 0, 0, 0, 0x5e, 0x1d],
        extension::ROUTING => {
            // Type 0 with no segment left, so that the destination is the one in the IP header.
            let mut header = vec![next, 2, 0, 0, 0, 0, 0, 0];
            if let IpAddr::V6(src) = ends.src {
                header.extend(src.octets());
            }
            header
        }
        _ => vec![next, 0, 1, 4, 0, 0, 0, 0],
    }
}

/// Puts the checksum over the pseudo header and the body at `place`.
fn seal(ends: &Ends, protocol: u8, body: &mut [u8], place: usize) {
    let mut covered = match (ends.src, ends.dst) {
        (IpAddr::V4(src), IpAddr::V4(dst)) => [src.octets(), dst.octets()].concat(),
        (IpAddr::V6(src), IpAddr::V6(dst)) => [src.octets(), dst.octets()].concat(),
        _ => Vec::new(),
    };
    covered.extend([0, protocol]);
    covered.extend(length(body.len()));
    covered.extend(&*body);
    body[place..place + 2].copy_from_slice(&checksum(&covered));
}

/// The Internet checksum (RFC 1071).
fn checksum(bytes: &[u8]) -> [u8; 2] {
    let sum = bytes.chunks(2).fold(0_u16, |sum, pair| {
        let word = u16::from_be_bytes([pair[0], pair.get(1).copied().unwrap_or(0)]);
        let (sum, carried) = sum.overflowing_add(word);
        sum + u16::from(carried)
    });
    (!sum).to_be_bytes()
}

/// Lengths here are those of small packets built above.
fn length(bytes: usize) -> [u8; 2] {
    u16::try_from(bytes).unwrap_or(u16::MAX).to_be_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    const V4: Ends = Ends {
        src: IpAddr::V4(std::net::Ipv4Addr::new(203, 0, 113, 10)),
        dst: IpAddr::V4(std::net::Ipv4Addr::new(203, 0, 113, 70)),
        src_port: 1000,
        dst_port: 7000,
    };

    #[test]
    fn a_checksum_over_a_sealed_header_is_zero() {
        let packet = with_options(&V4, &[1, 1, 1, 0], UDP, b"");
        assert_eq!(checksum(&packet[..24]), [0, 0]);
        assert_eq!(packet[0], 0x46);
    }

    #[test]
    fn fragments_join_to_the_body() {
        let body = udp_body(&V4, b"0123456789abcdef");
        let [first, later] = fragments(&V4, UDP, &body, 16);
        assert_eq!([&first[20..], &later[20..]].concat(), body);
        assert_eq!((first[6], later[7]), (0x20, 2));
    }

    #[test]
    fn extension_headers_name_one_another_in_order() {
        let ends = Ends {
            src: "2001:db8::a".parse().unwrap(),
            dst: "2001:db8::46".parse().unwrap(),
            ..V4
        };
        let kinds = [extension::HOP_BY_HOP, extension::DESTINATION];
        let packet = with_extensions(&ends, &kinds, UDP, b"");
        assert_eq!((packet[6], packet[40], packet[48]), (0, 60, UDP));
    }
}
