//! The packets of a canary: a datagram from loopback, with no hops left, to an address that no host has.

use agent_abi::canary;
use socket2::{SockAddr, SockAddrStorage};

use super::Family;

/// To the station of IEEE 802.3's pause frames, which a bridge never passes on, from none.
const STATIONS: [u8; 12] = [0x01, 0x80, 0xc2, 0, 0, 1, 0, 0, 0, 0, 0, 0];
const UDP_HEADER: u8 = 8;

fn ether_type(family: Family) -> u16 {
    match family {
        Family::V4 => 0x0800,
        Family::V6 => 0x86dd,
    }
}

/// An IP packet with its own header; the kernel fills in IPv4's checksum where it is asked to.
pub(super) fn packet(family: Family) -> Vec<u8> {
    let mut packet = match family {
        Family::V4 => header4().to_vec(),
        Family::V6 => header6().to_vec(),
    };
    let port = canary::PORT.to_be_bytes();
    packet.extend([port[0], port[1], port[0], port[1], 0, UDP_HEADER, 0, 0]);
    packet
}

fn header4() -> [u8; 20] {
    let mut header = [0; 20];
    header[0] = 0x45;
    header[3] = 20 + UDP_HEADER;
    header[9] = agent_abi::protocol::UDP;
    header[12..16].copy_from_slice(&[127, 0, 0, 1]);
    header[16..].copy_from_slice(&canary::V4.words_be[0].to_ne_bytes());
    let sum: u32 =
        header.chunks_exact(2).map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]]))).sum();
    let folded = (sum & 0xffff) + (sum >> 16);
    let checksum = !u16::try_from(folded).unwrap_or(u16::MAX);
    header[10..12].copy_from_slice(&checksum.to_be_bytes());
    header
}

fn header6() -> [u8; 40] {
    let mut header = [0; 40];
    header[0] = 0x60;
    header[5] = UDP_HEADER;
    header[6] = agent_abi::protocol::UDP;
    header[23] = 1;
    for (place, word) in header[24..].chunks_exact_mut(4).zip(canary::V6.words_be) {
        place.copy_from_slice(&word.to_ne_bytes());
    }
    header
}

/// An Ethernet frame around the packet.
pub(super) fn frame(family: Family) -> Vec<u8> {
    let kind = ether_type(family).to_be_bytes();
    [&STATIONS[..], &kind, &packet(family)].concat()
}

/// Where a packet socket sends: an interface of its own namespace.
#[expect(unsafe_code, reason = "socket2 has no safe constructor for a link-layer address")]
pub(super) fn link_address(family: Family, interface: u32) -> SockAddr {
    let mut storage = SockAddrStorage::zeroed();
    // SAFETY: a structure of integers, no larger than the storage, which is zero.
    let address: &mut libc::sockaddr_ll = unsafe { storage.view_as() };
    address.sll_family = libc::AF_PACKET.cast_unsigned().try_into().unwrap_or_default();
    address.sll_protocol = ether_type(family).to_be();
    address.sll_ifindex = interface.cast_signed();
    address.sll_halen = 6;
    address.sll_addr[..6].copy_from_slice(&STATIONS[..6]);
    let length = libc::socklen_t::try_from(size_of::<libc::sockaddr_ll>()).unwrap_or_default();
    // SAFETY: the storage holds a link-layer address of this length.
    unsafe { SockAddr::new(storage, length) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_packet_says_its_length_and_its_destination() {
        let v4 = packet(Family::V4);
        assert_eq!((v4.len(), v4[3]), (28, 28));
        assert_eq!(v4[16..20], [192, 0, 0, 8]);
        assert_eq!(v4[8], 0, "hops");
        let v6 = packet(Family::V6);
        assert_eq!((v6.len(), v6[5]), (48, 8));
        assert_eq!(v6[24..40], [1, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 1]);
        assert_eq!(v6[7], 0, "hops");
        assert_eq!(frame(Family::V6)[12..14], [0x86, 0xdd]);
    }

    #[test]
    fn an_ipv4_header_sums_up() {
        let sum: u32 = header4()
            .chunks_exact(2)
            .map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]])))
            .sum();
        assert_eq!((sum & 0xffff) + (sum >> 16), 0xffff);
    }
}
