//! Destinations that no host has, to which the agent sends from inside a pod to see the hooks
//! refuse it. Every hook refuses them to an enrolled pod, whatever its rules, and writes down in
//! PROOFS that it did and under which generation; there is no event, since no application asked for a
//! destination.
//!
//! Both are reserved by the IETF and valid as a destination nowhere (IANA's special-purpose
//! registries), so no rule can mean them.

use crate::{Addr, FAMILY_V4};

/// The IPv4 dummy address, 192.0.0.8 (RFC 7600).
pub const V4: Addr = Addr::v4(0xc000_0008_u32.to_be());
/// An address of the IPv6 dummy prefix, `100:0:0:1::/64` (RFC 9780).
pub const V6: Addr = Addr::v6([0x0100_0000_u32.to_be(), 1_u32.to_be(), 0, 1_u32.to_be()]);
/// The port that is dialled: discard (RFC 863).
pub const PORT: u16 = 9;
/// The mark of a packet that layer 2 judges on loopback too, where it judges nothing else. A
/// process that sets it too is judged more, not less.
pub const MARK: u32 = 0x5ec1_0ca7;

/// What can prove itself: values of [`crate::ProofKey::hook`].
pub mod hook {
    /// `connect()` of an IPv4 socket.
    pub const CONNECT4: u32 = 0;
    /// `connect()` of an IPv6 socket.
    pub const CONNECT6: u32 = 1;
    /// A datagram of an unconnected IPv4 socket.
    pub const SEND4: u32 = 2;
    /// A datagram of an unconnected IPv6 socket.
    pub const SEND6: u32 = 3;
    /// An IPv4 packet that leaves a socket.
    pub const PACKET4: u32 = 4;
    /// An IPv6 packet that leaves a socket.
    pub const PACKET6: u32 = 5;
    /// An IPv4 frame on the host's end of a link.
    pub const WIRE4: u32 = 6;
    /// An IPv6 frame on the host's end of a link.
    pub const WIRE6: u32 = 7;
}

/// True for a canary's destination.
#[inline(always)]
pub fn is_its(dst: &Addr) -> bool {
    let [first, second, third, fourth] = dst.words_be;
    if dst.family == FAMILY_V4 {
        first == V4.words_be[0]
    } else {
        first == V6.words_be[0]
            && second == V6.words_be[1]
            && third == V6.words_be[2]
            && fourth == V6.words_be[3]
    }
}
