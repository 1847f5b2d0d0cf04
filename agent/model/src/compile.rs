//! Compiles a rule set into the prefix table that one longest-match look-up can answer from.
//!
//! A longest match finds one prefix and never those around it. So the port set of each prefix
//! already holds what every wider prefix says, and each exact port of a set already holds what the
//! rules for any port say about it. Which rule wins is decided here, by `rank` alone, which
//! [`scan`] asks as well: the slow, obvious answer that tests and `why` hold the table against.
//!
//! ```text
//! rules ─► sorted by prefix ─► sweep with the stack of covering prefixes ─► Table
//!                                 └ own rules of a prefix folded into its parent's port set
//! ```
//!
//! Sets are shared: prefixes that say the same name one set, and a prefix that says what its
//! nearest covering prefix says is left out.

mod again;
mod fold;
mod limits;
mod prefix;
mod rank;
mod sets;
mod sweep;

use std::sync::Arc;

use agent_abi::Addr;

use crate::egress::{Action, Class, Rule, RuleSet, RuleSource};

pub use again::recompile;
pub use limits::CompileError;
pub use prefix::addr_of;

/// A prefix of a [`Table`]. The order is the address's family, then its bits, then the length, so
/// a prefix comes right before those that it covers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
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
    /// The class of the rule that won.
    pub class: Class,
    /// Index into [`Table::decisions`].
    pub decision: u32,
}

/// What is done, and on whose word. Rules of one field with one action share a decision, so the
/// many addresses of one object share a port set.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Decision {
    /// The object and field.
    pub source: Arc<RuleSource>,
    /// What to do.
    pub action: Action,
}

/// The compiled form of a rule set: the longest prefix that covers an address names the port set
/// that already holds what every wider prefix says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Table {
    /// Sorted; each with the index of its port set.
    pub prefixes: Vec<(Prefix, u32)>,
    /// What the port sets refer to.
    pub decisions: Vec<Decision>,
    port_rules: Vec<PortRule>,
    /// Where each set ends in `port_rules`.
    set_ends: Vec<u32>,
}

impl Table {
    /// How many port sets there are.
    pub fn set_count(&self) -> usize {
        self.set_ends.len()
    }

    /// A port set, sorted by (protocol, port).
    pub fn set(&self, index: u32) -> &[PortRule] {
        let index = index as usize;
        let start = if index == 0 { 0 } else { self.set_ends[index - 1] as usize };
        &self.port_rules[start..self.set_ends[index] as usize]
    }

    /// All port sets, in the order of their indices.
    pub fn sets(&self) -> impl Iterator<Item = &[PortRule]> {
        let mut start = 0;
        self.set_ends.iter().map(move |end| {
            let set = &self.port_rules[start..*end as usize];
            start = *end as usize;
            set
        })
    }

    /// How many ports all sets have together.
    pub fn port_rule_count(&self) -> usize {
        self.port_rules.len()
    }

    /// The port set of the longest prefix that covers an address.
    pub fn longest_match(&self, addr: Addr) -> Option<u32> {
        prefix::longest_match(&self.prefixes, addr)
    }

    /// A port's entry of a set: the exact one, else the one for any port.
    pub fn port_rule(&self, set: u32, protocol: u8, port: u16) -> Option<PortRule> {
        let set = self.set(set);
        let find =
            |port| set.binary_search_by_key(&(protocol, port), |rule| (rule.protocol, rule.port));
        find(port).or_else(|_| find(0)).ok().map(|at| set[at])
    }

    /// What is decided about a packet, as the kernel finds it.
    pub fn decide(&self, dst: Addr, protocol: u8, port: u16) -> Option<&Decision> {
        let rule = self.port_rule(self.longest_match(dst)?, protocol, port)?;
        Some(&self.decisions[rule.decision as usize])
    }
}

/// Compiles a rule set. Equal sets give equal tables.
pub fn compile(set: &RuleSet) -> Result<Table, CompileError> {
    sweep::sweep(set.rules())
}

/// The rule of a rule set that decides about a packet, by looking at each: the obvious answer that
/// the compiled table is held against.
pub fn scan(rules: &[Rule], dst: Addr, protocol: u8, port: u16) -> Option<&Rule> {
    rules
        .iter()
        .filter(|rule| rank::matches(rule, dst, protocol, port))
        .max_by(|one, other| rank::rank(one).cmp(&rank::rank(other)))
}

#[cfg(test)]
mod tests;
