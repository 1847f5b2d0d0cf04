//! IPv4 and IPv6 headers, and the first words of what they carry, into one [`Packet`].
//!
//! Lengths come from the headers themselves (options, extension headers), never from an assumed
//! twenty or forty bytes. Only a datagram's first fragment has ports.

use agent_abi::{Addr, protocol};
use aya_ebpf::programs::sk_buff::SkBuff;

/// IPv6 extension headers that a packet may nest; more is malformed. Linux sends four at most.
const MAX_EXTENSIONS: usize = 6;
/// Bytes of IPv4 options at the most: fifteen words of header less the five that are fixed.
const MAX_OPTION_BYTES: usize = 40;
/// All bits of [`MAX_OPTION_BYTES`].
const OPTION_MASK: u32 = 63;

/// Ethernet's type for IPv4, as a context has it.
pub(crate) const IPV4_BE: u32 = 0x0800_u16.to_be() as u32;
/// Ethernet's type for IPv6.
pub(crate) const IPV6_BE: u32 = 0x86dd_u16.to_be() as u32;

const HOP_BY_HOP: u8 = 0;
const ROUTING: u8 = 43;
const FRAGMENT: u8 = 44;
const AUTHENTICATION: u8 = 51;
const DESTINATION_OPTIONS: u8 = 60;

const TCP_FIN: u8 = 0x01;
const TCP_SYN: u8 = 0x02;
const TCP_RST: u8 = 0x04;
const TCP_ACK: u8 = 0x10;

/// Where a packet stands in a datagram in fragments.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fragment {
    /// Whole.
    No,
    /// The first, with ports.
    First,
    /// One without.
    Later,
}

/// What layers 2 and 3 need to know of a packet.
#[derive(Clone, Copy)]
pub(crate) struct Packet {
    pub(crate) src: Addr,
    pub(crate) dst: Addr,
    /// Zero where the protocol has none; for ICMP echo the identifier.
    pub(crate) src_port: u16,
    /// Zero where the protocol has none; for ICMP echo the identifier.
    pub(crate) dst_port: u16,
    pub(crate) protocol: u8,
    /// ICMP's type.
    pub(crate) kind: u8,
    /// TCP's flags.
    flags: u8,
    pub(crate) hops: u8,
    pub(crate) fragment: Fragment,
    pub(crate) fragment_id: u32,
    /// Where the transport header begins.
    pub(crate) transport: u32,
    /// Bytes behind the network header, as it says.
    pub(crate) payload: u16,
}

impl Packet {
    /// True for what asks a peer for something new: judged by the rules whatever flow it matches.
    #[inline(always)]
    pub(crate) fn opens(&self) -> bool {
        match self.protocol {
            protocol::TCP => self.flags & (TCP_SYN | TCP_ACK) == TCP_SYN,
            protocol::ICMP => !matches!(self.kind, 0 | 3 | 11 | 12),
            protocol::ICMPV6 => !matches!(self.kind, 1..=4 | 129),
            _ => false,
        }
    }

    /// True for an ICMP error, which quotes the packet that it is about.
    #[inline(always)]
    pub(crate) fn is_icmp_error(&self) -> bool {
        match self.protocol {
            protocol::ICMP => matches!(self.kind, 3 | 11 | 12),
            protocol::ICMPV6 => matches!(self.kind, 1..=4),
            _ => false,
        }
    }

    /// True for an echo request.
    #[inline(always)]
    pub(crate) fn is_echo_request(&self) -> bool {
        matches!((self.protocol, self.kind), (protocol::ICMP, 8) | (protocol::ICMPV6, 128))
    }

    /// True when its sender will send no more on this TCP connection.
    #[inline(always)]
    pub(crate) fn ends(&self) -> bool {
        self.protocol == protocol::TCP && self.flags & (TCP_FIN | TCP_RST) != 0
    }

    /// True for a TCP reset.
    #[inline(always)]
    pub(crate) fn resets(&self) -> bool {
        self.protocol == protocol::TCP && self.flags & TCP_RST != 0
    }

    /// Neighbour discovery (RFC 4861) and multicast listener reports (RFC 3810), without which a
    /// pod's IPv6 dies. Held to what cannot carry a message past the link: the hop limit that the
    /// RFCs ask of a receiver, and no room beyond a link-layer address.
    #[inline(always)]
    pub(crate) fn is_neighbour(&self) -> bool {
        if self.protocol != protocol::ICMPV6 || self.fragment != Fragment::No {
            return false;
        }
        let first = u32::from_be(self.dst.words_be[0]);
        let on_link = first >> 16 == 0xff02 || first >> 22 == 0xfe80 >> 6;
        match self.kind {
            133 | 135 | 136 => self.hops == 255 && (on_link || self.payload <= 32),
            131 | 132 | 143 => self.hops == 1 && first >> 16 == 0xff02,
            _ => false,
        }
    }
}

/// Reads the packet whose network header is at `offset`; `None` when it is cut short, contradicts
/// itself, nests too deep or is routed by its own headers (RFC 5095, RFC 7126).
#[inline(always)]
pub(crate) fn read(skb: &SkBuff, offset: u32) -> Option<Packet> {
    let version: u8 = skb.load(offset as usize).ok()?;
    // SAFETY: a word of the context.
    let ether_type = unsafe { (*skb.skb).protocol };
    // A frame that calls itself one version and holds the other is read differently by each receiver.
    let mut packet = match (ether_type, version >> 4) {
        (IPV4_BE, 4) => read_v4(skb, offset)?,
        (IPV6_BE, 6) => read_v6(skb, offset)?,
        _ => return None,
    };
    if packet.fragment != Fragment::Later {
        read_transport(skb, &mut packet)?;
    }
    Some(packet)
}

/// The packet that an ICMP error quotes, as far as its ports; extension headers are not followed,
/// so an error about a packet with them is judged by the rules.
#[inline(always)]
pub(crate) fn read_quoted(skb: &SkBuff, offset: u32) -> Option<Packet> {
    let version: u8 = skb.load(offset as usize).ok()?;
    let mut packet = match version >> 4 {
        4 => fields_v4(&skb.load(offset as usize).ok()?, offset),
        _ => fields_v6(&skb.load(offset as usize).ok()?, offset),
    };
    let ports: u32 = skb.load(packet.transport as usize).ok()?;
    read_ports(&mut packet, ports);
    Some(packet)
}

#[inline(always)]
fn read_v4(skb: &SkBuff, offset: u32) -> Option<Packet> {
    let packet = fields_v4(&skb.load(offset as usize).ok()?, offset);
    let header = packet.transport - offset;
    if header < 20 {
        return None;
    }
    if header > 20 && is_source_routed(skb, packet.transport, header - 20)? {
        return None;
    }
    Some(packet)
}

#[inline(always)]
fn fields_v4(words: &[u32; 5], offset: u32) -> Packet {
    let first = u32::from_be(words[0]);
    let second = u32::from_be(words[1]);
    let third = u32::from_be(words[2]);
    let header = (first >> 24 & 0xf) * 4;
    let more = second & 0x2000 != 0;
    let fragment = match (second & 0x1fff, more) {
        (0, false) => Fragment::No,
        (0, true) => Fragment::First,
        _ => Fragment::Later,
    };
    Packet {
        src: Addr::v4(words[3]),
        dst: Addr::v4(words[4]),
        src_port: 0,
        dst_port: 0,
        protocol: (third >> 16 & 0xff) as u8,
        kind: 0,
        flags: 0,
        hops: (third >> 24) as u8,
        fragment,
        fragment_id: second >> 16,
        transport: offset + header,
        payload: ((first & 0xffff) as u16).saturating_sub(header as u16),
    }
}

/// True for loose or strict source routing: the packet's true destination is in its options, which
/// are the last `length` bytes before `end`.
#[inline(always)]
fn is_source_routed(skb: &SkBuff, end: u32, length: u32) -> Option<bool> {
    // Counted down and masked, so that every turn looks alike to the verifier: counted up, it
    // walks each combination of option lengths by itself.
    let mut left = length;
    for _ in 0..MAX_OPTION_BYTES {
        left &= OPTION_MASK;
        if left == 0 {
            return Some(false);
        }
        let kind: u8 = skb.load((end - left) as usize).ok()?;
        let mut size = 1_u8;
        match kind {
            0 => return Some(false),
            1 => {}
            131 | 137 => return Some(true),
            _ => size = skb.load((end - left + 1) as usize).ok()?,
        }
        if size == 0 || u32::from(size) > left {
            return None;
        }
        left -= u32::from(size);
    }
    Some(false)
}

#[inline(always)]
fn read_v6(skb: &SkBuff, offset: u32) -> Option<Packet> {
    let mut packet = fields_v6(&skb.load(offset as usize).ok()?, offset);
    for _ in 0..MAX_EXTENSIONS {
        if !step_over(skb, &mut packet)? {
            return Some(packet);
        }
    }
    None
}

#[inline(always)]
fn fields_v6(words: &[u32; 10], offset: u32) -> Packet {
    let second = u32::from_be(words[1]);
    Packet {
        src: Addr::v6([words[2], words[3], words[4], words[5]]),
        dst: Addr::v6([words[6], words[7], words[8], words[9]]),
        src_port: 0,
        dst_port: 0,
        protocol: (second >> 8 & 0xff) as u8,
        kind: 0,
        flags: 0,
        hops: (second & 0xff) as u8,
        fragment: Fragment::No,
        fragment_id: 0,
        transport: offset + 40,
        payload: (second >> 16) as u16,
    }
}

/// Steps over one extension header; false when the next header is not one.
#[inline(always)]
fn step_over(skb: &SkBuff, packet: &mut Packet) -> Option<bool> {
    let unit = match packet.protocol {
        HOP_BY_HOP | DESTINATION_OPTIONS | ROUTING | FRAGMENT => 8,
        AUTHENTICATION => 4,
        _ => return Some(false),
    };
    if packet.fragment == Fragment::Later {
        return Some(false);
    }
    let words: [u32; 2] = skb.load(packet.transport as usize).ok()?;
    let first = u32::from_be(words[0]);
    let length = first >> 16 & 0xff;
    match packet.protocol {
        // A packet with segments left is on its way elsewhere than its header says.
        ROUTING if first & 0xff != 0 => return None,
        FRAGMENT => {
            let more = first & 1 != 0;
            packet.fragment = match (first >> 3 & 0x1fff, more) {
                // An atomic fragment (RFC 6946) is whole.
                (0, false) => Fragment::No,
                (0, true) => Fragment::First,
                _ => Fragment::Later,
            };
            packet.fragment_id = words[1];
            packet.transport += 8;
        }
        AUTHENTICATION => packet.transport += (length + 2) * unit,
        _ => packet.transport += (length + 1) * unit,
    }
    packet.protocol = (first >> 24) as u8;
    Some(true)
}

#[inline(always)]
fn read_transport(skb: &SkBuff, packet: &mut Packet) -> Option<()> {
    let at = packet.transport as usize;
    match packet.protocol {
        protocol::TCP => {
            let words: [u32; 4] = skb.load(at).ok()?;
            read_ports(packet, words[0]);
            packet.flags = (u32::from_be(words[3]) >> 16 & 0xff) as u8;
        }
        protocol::UDP => {
            let words: [u32; 2] = skb.load(at).ok()?;
            read_ports(packet, words[0]);
        }
        protocol::ICMP | protocol::ICMPV6 => {
            let words: [u32; 2] = skb.load(at).ok()?;
            packet.kind = (u32::from_be(words[0]) >> 24) as u8;
            let echo = match packet.protocol {
                protocol::ICMP => matches!(packet.kind, 0 | 8),
                _ => matches!(packet.kind, 128 | 129),
            };
            if echo {
                packet.src_port = (u32::from_be(words[1]) >> 16) as u16;
                packet.dst_port = packet.src_port;
            }
        }
        _ => {}
    }
    Some(())
}

#[inline(always)]
fn read_ports(packet: &mut Packet, word_be: u32) {
    let word = u32::from_be(word_be);
    packet.src_port = (word >> 16) as u16;
    packet.dst_port = (word & 0xffff) as u16;
}
