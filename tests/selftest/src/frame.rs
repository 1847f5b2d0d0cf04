//! What a frame is, as the far end sees it: enough to tell a leak from the link's own upkeep, and
//! which way out sent it. Reads leniently, since the frames that matter most are the odd ones.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// What a frame is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Address resolution for IPv4.
    Arp,
    /// Neighbour discovery and multicast-listener messages: what IPv6 needs to run at all.
    Neighbour,
    /// Everything else: if no rule allows it, it is a leak.
    Traffic,
}

/// A frame from its destination station on, cut at [`Frame::KEPT`] bytes.
#[derive(Clone, PartialEq, Eq)]
pub struct Frame(Vec<u8>);

const ARP: u16 = 0x0806;
const IPV4: u16 = 0x0800;
const IPV6: u16 = 0x86dd;
const VLAN: u16 = 0x8100;
const ICMPV6: u8 = 58;
const HOP_BY_HOP: u8 = 0;
const TCP: u8 = 6;
const RST: u8 = 4;

impl Frame {
    /// How much of a frame is kept.
    pub const KEPT: usize = 256;

    /// A frame as it was received.
    pub fn new(bytes: &[u8]) -> Self {
        Self(bytes[..bytes.len().min(Self::KEPT)].to_vec())
    }

    /// Its bytes.
    pub fn bytes(&self) -> &[u8] {
        &self.0
    }

    /// What it is for.
    pub fn kind(&self) -> Kind {
        match self.network() {
            (ARP, _) => Kind::Arp,
            (IPV6, packet) if is_neighbour(packet) => Kind::Neighbour,
            _ => Kind::Traffic,
        }
    }

    /// The station that sent it.
    pub fn source(&self) -> Option<[u8; 6]> {
        self.0.get(6..12)?.try_into().ok()
    }

    /// Where it goes, or where it says it goes: a frame that is no IP packet names its way out by
    /// the address at the start of its payload (see [`crate::packet::marked`]).
    pub fn destination(&self) -> Option<IpAddr> {
        let (ethertype, packet) = self.network();
        match ethertype {
            ARP => None,
            // By the packet's own version, which need not be what the ethertype says.
            IPV4 | IPV6 if packet.first()? >> 4 == 4 => v4(packet.get(16..20)?),
            IPV4 | IPV6 => v6(packet.get(24..40)?),
            _ => v6(packet.get(..16)?),
        }
    }

    /// A TCP segment that resets and carries nothing.
    pub fn is_bare_reset(&self) -> bool {
        let (ethertype, packet) = self.network();
        let (protocol, segment) = match ethertype {
            IPV4 => (packet.get(9), packet.get(20..)),
            IPV6 => (packet.get(6), packet.get(40..)),
            _ => return false,
        };
        protocol == Some(&TCP)
            && segment.is_some_and(|segment| {
                let header = segment.get(12).map_or(0, |word| usize::from(word >> 4) * 4);
                segment.get(13).is_some_and(|flags| flags & RST != 0) && segment.len() <= header
            })
    }

    /// The ethertype behind any tags, and what follows it.
    fn network(&self) -> (u16, &[u8]) {
        let mut rest = self.0.get(12..).unwrap_or_default();
        loop {
            let Some((ethertype, packet)) = rest.split_first_chunk::<2>() else {
                return (0, &[]);
            };
            match (u16::from_be_bytes(*ethertype), packet.get(2..)) {
                (VLAN, Some(inner)) => rest = inner,
                (ethertype, _) => return (ethertype, packet),
            }
        }
    }
}

impl std::fmt::Debug for Frame {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:?} to {:?}:", self.kind(), self.destination())?;
        self.0.iter().try_for_each(|byte| write!(f, " {byte:02x}"))
    }
}

/// Types 130 to 132 and 143 are multicast-listener messages (RFC 2710, RFC 3810), and those come
/// behind a hop-by-hop header; 133 to 137 are neighbour discovery (RFC 4861).
fn is_neighbour(packet: &[u8]) -> bool {
    let kind = match packet.get(6) {
        Some(&ICMPV6) => packet.get(40),
        Some(&HOP_BY_HOP) if packet.get(40) == Some(&ICMPV6) => packet.get(48),
        _ => None,
    };
    matches!(kind, Some(130..=137 | 143))
}

fn v4(bytes: &[u8]) -> Option<IpAddr> {
    <[u8; 4]>::try_from(bytes).ok().map(|octets| Ipv4Addr::from(octets).into())
}

fn v6(bytes: &[u8]) -> Option<IpAddr> {
    let address = <[u8; 16]>::try_from(bytes).ok().map(Ipv6Addr::from)?;
    Some(address.to_canonical())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::packet::{Ends, ethernet, icmp_echo, tagged, tcp, udp};

    fn ends(dst: &str) -> Ends {
        let dst: IpAddr = dst.parse().unwrap();
        let src = if dst.is_ipv4() { "203.0.113.10" } else { "2001:db8::a" };
        Ends { src: src.parse().unwrap(), dst, src_port: 1000, dst_port: 7000 }
    }

    fn framed(packet: &[u8], ethertype: u16) -> Frame {
        Frame::new(&ethernet([2; 6], [3; 6], ethertype, packet))
    }

    #[test]
    fn destination_is_read_behind_a_tag_in_both_families() {
        for (dst, ethertype) in [("203.0.113.70", IPV4), ("2001:db8::46", IPV6)] {
            let packet = udp(&ends(dst), b"x");
            assert_eq!(framed(&packet, ethertype).destination(), Some(ends(dst).dst));
            let frame = Frame::new(&tagged([2; 6], [3; 6], ethertype, &packet));
            assert_eq!(frame.destination(), Some(ends(dst).dst));
            assert_eq!(frame.kind(), Kind::Traffic);
        }
    }

    #[test]
    fn a_frame_of_no_known_kind_names_its_way_by_its_payload() {
        let dst: IpAddr = "203.0.113.99".parse().unwrap();
        let frame = framed(&crate::packet::marked(dst), 0x88b5);
        assert_eq!(frame.destination(), Some(dst));
        assert_eq!(frame.kind(), Kind::Traffic);
    }

    #[test]
    fn only_the_links_own_upkeep_is_excepted() {
        assert_eq!(framed(&[0; 28], ARP).kind(), Kind::Arp);
        let mut solicitation = icmp_echo(&ends("2001:db8::46"), b"");
        assert_eq!(framed(&solicitation, IPV6).kind(), Kind::Traffic);
        solicitation[40] = 135;
        assert_eq!(framed(&solicitation, IPV6).kind(), Kind::Neighbour);
    }

    #[test]
    fn a_reset_with_a_payload_is_not_bare() {
        let bare = framed(&tcp(&ends("203.0.113.70"), RST, b""), IPV4);
        let laden = framed(&tcp(&ends("203.0.113.70"), RST, b"secret"), IPV4);
        assert!(bare.is_bare_reset());
        assert!(!laden.is_bare_reset());
    }
}
