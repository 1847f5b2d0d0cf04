//! The rules of all that a client sees, made into one set.

use std::{collections::BTreeMap, num::NonZeroU16};

use super::rules::{ALLOWED, BY_NAME};
use crate::{
    egress::{Action, Protocol, Rule, RuleSet},
    registry::{Authority, Selected, Service, ServicePort},
    resource::protocol::{AppProtocol, Family, is_server_first},
};

/// What decides, besides the rules, which connections go by the proxy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Ways {
    /// Every connection whose protocol has requests or names does.
    pub(super) all: bool,
    /// A name may be all that lets a connection out.
    pub(super) by_name: bool,
    /// There are routes for hosts that nothing declares: those are served on the web's port.
    pub(super) undeclared: bool,
}

/// Hosts that nothing declares are served on this port.
const WEB: u16 = 80;

impl Ways {
    /// A rule of a port: by the proxy where that has something to do, straight out elsewhere.
    fn take(self, service: &Service, port: &ServicePort, rule: &Rule) -> Option<Rule> {
        let is_steered = port.steered || service.leads_elsewhere(port);
        let family = port.protocol.map(AppProtocol::family);
        let straight = || Rule { action: Action::Direct, ..rule.clone() };
        match rule.action {
            _ if self.all => {}
            // An address that names share lets out none of them by itself.
            ALLOWED if family == Some(Family::Tls) && service.authority == Authority::Declared => {
                return Some(if self.by_name || is_steered { rule.clone() } else { straight() });
            }
            ALLOWED if !is_steered => return Some(straight()),
            BY_NAME if !self.by_name => {
                // A Service with an address has a rule for that address; an entry for HTTP has none.
                let is_at_address =
                    service.authority == Authority::Cluster && !service.addresses.is_empty();
                let at_any_address = is_steered && !is_at_address;
                let may_be_undeclared =
                    self.undeclared && port.number == WEB && family == Some(Family::Http);
                return (at_any_address || may_be_undeclared).then(|| rule.clone());
            }
            _ => {}
        }
        Some(rule.clone())
    }

    fn rules(self, all: &[Selected]) -> Vec<Rule> {
        let mut rules = Vec::new();
        for one in all {
            for port in one.ports() {
                let taken =
                    port.rules.iter().filter_map(|rule| self.take(&one.service, port, rule));
                rules.extend(taken);
            }
        }
        rules
    }
}

pub(super) fn rule_set(selected: &[Selected], exempt: &[Rule], ways: Ways) -> RuleSet {
    let mut rules = ways.rules(selected);
    merge_whole_ports(&mut rules);
    rules.extend_from_slice(exempt);
    RuleSet::new(rules)
}

/// The set of a selection that follows from another one, whose set is given; `None` where a rule
/// for a whole port comes or goes, which decides about others.
pub(super) fn follow(
    set: &RuleSet,
    (removed, added): (&[Selected], &[Selected]),
    ways: Ways,
) -> Option<RuleSet> {
    let (removed, added) = (ways.rules(removed), ways.rules(added));
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
