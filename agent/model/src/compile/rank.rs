//! Which rule decides: the one ordering that both the compiler and the linear scan ask.

use std::cmp::Reverse;

use agent_abi::{Addr, protocol};

use super::Prefix;
use crate::egress::{Action, Class, Protocol, Rule, RuleSource};

/// What ranks a rule before its age and name do. The compiler compares these alone where two rules
/// cannot tie on them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Priority {
    pub(super) class: Class,
    pub(super) prefix_len: u8,
    pub(super) exact_port: bool,
}

/// How a rule ranks among those that match the same packet; the greatest decides. Two rules that
/// are equal up to the source differ in nothing but the action; then the stricter one decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Rank<'a> {
    priority: Priority,
    age: Reverse<u32>,
    source: Reverse<&'a RuleSource>,
    action: Action,
}

pub(super) fn rank(rule: &Rule) -> Rank<'_> {
    Rank {
        priority: Priority {
            class: rule.class,
            prefix_len: rule.cidr.prefix_len(),
            exact_port: rule.port.is_some(),
        },
        age: Reverse(rule.age),
        source: Reverse(&rule.source),
        action: rule.action,
    }
}

/// Whether a rule says anything about a packet.
pub(super) fn matches(rule: &Rule, dst: Addr, protocol: u8, port: u16) -> bool {
    number(rule.protocol) == protocol
        && rule.port.is_none_or(|exact| exact.get() == port)
        && Prefix::from(rule.cidr).covers(dst)
}

/// A transport as the IP header numbers it.
pub(super) const fn number(protocol: Protocol) -> u8 {
    match protocol {
        Protocol::Tcp => protocol::TCP,
        Protocol::Udp => protocol::UDP,
    }
}
