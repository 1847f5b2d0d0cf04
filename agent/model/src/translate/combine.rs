//! The rules of all that a client sees, made into one set.

use std::{collections::BTreeMap, num::NonZeroU16};

use super::rules::{ALLOWED, BY_NAME};
use crate::{
    egress::{Protocol, Rule, RuleSet},
    registry::Selected,
    resource::protocol::is_server_first,
};

pub(super) fn rule_set(selected: &[Selected], exempt: &[Rule]) -> RuleSet {
    let mut rules: Vec<Rule> = Vec::new();
    for one in selected {
        for port in one.ports() {
            rules.extend_from_slice(&port.rules);
        }
    }
    merge_whole_ports(&mut rules);
    rules.extend_from_slice(exempt);
    RuleSet::new(rules)
}

/// The set of a selection that follows from another one, whose set is given; `None` where a rule
/// for a whole port comes or goes, which decides about others.
pub(super) fn follow(set: &RuleSet, removed: &[Selected], added: &[Selected]) -> Option<RuleSet> {
    let rules = |all: &[Selected]| {
        let rules = all.iter().flat_map(Selected::ports).flat_map(|port| &port.rules).cloned();
        rules.collect::<Vec<Rule>>()
    };
    let (removed, added) = (rules(removed), rules(added));
    if removed.iter().chain(&added).any(is_whole_port) {
        return None;
    }
    Some(set.follow(&RuleSet::new(removed), &RuleSet::new(added)))
}

/// Where one rule allows every address on a port and another decides by name there, both cannot
/// hold as they stand: the proxy tells the two apart by the first bytes, and what is neither HTTP
/// nor TLS is allowed. So the rule by address goes to the proxy, and stands alone: the proxy knows
/// names from the registry, but where opaque bytes go from the rule that let them in. On the ports
/// of server-first protocols waiting for bytes would hang, so there the older rule decides.
fn merge_whole_ports(rules: &mut Vec<Rule>) {
    let mut ports: BTreeMap<NonZeroU16, (bool, bool)> = BTreeMap::new();
    for rule in rules.iter().filter(|rule| is_whole_port(rule)) {
        if let Some(port) = rule.port {
            let (by_name, by_address) = ports.entry(port).or_default();
            *by_name |= rule.action == BY_NAME;
            *by_address |= rule.action != BY_NAME;
        }
    }
    ports.retain(|port, found| *found == (true, true) && !is_server_first(port.get()));
    if ports.is_empty() {
        return;
    }
    rules.retain_mut(|rule| {
        let merged = is_whole_port(rule) && rule.port.is_some_and(|port| ports.contains_key(&port));
        let stays = !merged || rule.action != BY_NAME;
        if merged {
            rule.action = ALLOWED;
        }
        stays
    });
}

fn is_whole_port(rule: &Rule) -> bool {
    rule.cidr.prefix_len() == 0 && rule.protocol == Protocol::Tcp
}
