//! The words that the kernel programs and user space share, and the one judgement.
//!
//! Everything here is plain data or a pure function: no allocation, no I/O, no clock. The kernel
//! programs, the agent and the tests of both call the same [`decide`].
//!
//! Invariants of the types that cross the boundary:
//! * `repr(C)`, fixed-width integers, padding spelled out and zero: a map compares keys byte by
//!   byte, so a stray padding byte would be another key.
//! * Numbers are in host order unless the field's name ends in `_be` (network order).
//! * Any change of a layout bumps [`ABI_VERSION`]; the agent pins its maps under that number and
//!   moves to fresh ones when it differs.
#![no_std]
#![expect(
    clippy::inline_always,
    reason = "a kernel program is one function to the verifier, which follows no reference out of it"
)]

mod addr;
pub mod canary;
mod event;
mod inbound;
mod judge;
mod limits;
mod tables;
mod verdict;

pub use addr::{Addr, FAMILY_V4, FAMILY_V6};
pub use event::{
    Event, EventKind, LAYER_CONNECT, LAYER_INBOUND, LAYER_LINK, LAYER_PACKET, counter,
};
pub use inbound::{
    Admission, Arrival, InboundKey, InboundPort, InboundTables, MESH_PORT, admit, inbound_flag,
};
pub use judge::{Flow, Judgement, Standing, Tables, decide};
pub use limits::{
    MAX_ADDRESSES, MAX_FLOWS, MAX_FRAGMENTS, MAX_INBOUND, MAX_ORIGINS, MAX_PODS, MAX_PREFIXES,
    MAX_PROOFS, MAX_RULES, MAX_VETHS, RING_BYTES,
};
pub use tables::{
    FlowKey, FlowState, FragmentKey, NodeState, OpenedBy, Origin, OriginKey, PodKey, PodPolicy,
    PrefixKey, PrefixValue, Proof, ProofKey, RuleKey, RuleValue, SocketKind, SocketState,
    node_flag, policy_default, policy_flag, rule_action,
};
pub use verdict::{Reason, Verdict};

/// The layout of everything in this crate. A loader refuses maps of any other number.
pub const ABI_VERSION: u32 = if cfg!(feature = "next-layout") { 1_000_005 } else { 5 };

/// Protocol numbers as in an IP header (IANA).
pub mod protocol {
    /// ICMP for IPv4.
    pub const ICMP: u8 = 1;
    /// Transmission Control Protocol.
    pub const TCP: u8 = 6;
    /// User Datagram Protocol.
    pub const UDP: u8 = 17;
    /// ICMP for IPv6.
    pub const ICMPV6: u8 = 58;
}

#[cfg(test)]
mod tests;
