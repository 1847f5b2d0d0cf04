//! Compiles a rule set into the prefix table that one longest-match look-up can answer from.

use agent_abi::Addr;

use crate::egress::{Action, Rule};

/// A prefix of a [`Table`]. The order is the address's family, then its bits, then the length, so
/// a prefix comes right before those that it covers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Prefix {
    /// Masked.
    pub addr: Addr,
    /// Bits of the address that count.
    pub len: u8,
}

/// A port of a port set: what the kernel finds under (set, protocol, port).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PortRule {
    /// The protocol number.
    pub protocol: u8,
    /// The port, or zero for any.
    pub port: u16,
    /// What to do.
    pub action: Action,
    /// Index into the rule set's [`crate::egress::RuleSet::rules`].
    pub rule: u32,
}

/// The compiled form of a rule set: the longest prefix that covers an address names the port set
/// that already holds what every wider prefix says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Table {
    /// Sorted; each with the index of its port set.
    pub prefixes: Vec<(Prefix, u32)>,
    /// Distinct port sets, each sorted by (protocol, port).
    pub port_sets: Vec<Vec<PortRule>>,
}

/// The rule of `rules` that decides about a packet, by looking at each: the obvious answer that
/// the compiled table is held against.
pub fn scan(rules: &[Rule], dst: Addr, protocol: u8, port: u16) -> Option<&Rule> {
    let _ = (rules, dst, protocol, port);
    None
}
