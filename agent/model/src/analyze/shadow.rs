//! Ports whose rules never match: older rules have every one of their addresses, or another object
//! holds every one of their hosts.
//!
//! Each namespace is a client here; what Sidecars leave out is left out on purpose and counts as
//! seen.

use std::collections::{BTreeSet, HashMap, HashSet};

use crate::{
    egress::{Action, ProxyDuty, Rule, RuleSource},
    finding::{Finding, Severity, code},
    registry::{Hidden, Registry, Scope, Service, ServicePort, Visibility},
    resource::Objects,
};

pub(super) fn find(objects: &Objects, registry: &Registry) -> Vec<Finding> {
    let scopes = clients(objects);
    let mut fates = Fates::default();
    for scope in &scopes {
        fates.observe(registry, scope);
    }
    let mut findings = Vec::new();
    for service in registry.services() {
        for (index, port) in service.ports.iter().enumerate() {
            let message = fates
                .shadowed_by(port)
                .map(|by| format!("never matches: {by} is older and has the same addresses"))
                .or_else(|| overruled(registry, service, index, &scopes));
            if let Some(message) = message {
                let field = port.source.field.clone();
                let (severity, key) = (Severity::Warning, &service.key);
                findings.push(Finding::new(severity, code::SHADOWED, key, field, message));
            }
        }
    }
    findings
}

/// Every namespace that is named anywhere.
fn clients(objects: &Objects) -> Vec<Scope> {
    let mut names: BTreeSet<String> = BTreeSet::new();
    for (key, _) in objects.iter() {
        names.insert(if key.namespace.is_empty() { &key.name } else { &key.namespace }.to_string());
    }
    names
        .into_iter()
        .map(|namespace| Scope { namespace, visibility: Visibility::Exported(None), unsaid: None })
        .collect()
}

/// For each source: whether any rule of it ever decides, and else whose rule does.
#[derive(Default)]
struct Fates<'a> {
    decides: HashSet<&'a RuleSource>,
    beaten_by: HashMap<&'a RuleSource, &'a RuleSource>,
}

impl<'a> Fates<'a> {
    fn observe(&mut self, registry: &'a Registry, scope: &Scope) {
        let mut winners: HashMap<_, &'a Rule> = HashMap::new();
        let mut seen: Vec<&'a Rule> = Vec::new();
        for (service, ports) in registry.seen(scope) {
            let ports = service.ports.iter().enumerate().filter(|(at, _)| ports.contains(*at));
            // Rules by name share their addresses: the name tells them apart.
            let rules = ports.flat_map(|(_, port)| &port.rules).filter(|rule| !is_by_name(rule));
            for rule in rules {
                seen.push(rule);
                let winner = winners.entry((rule.protocol, rule.cidr, rule.port)).or_insert(rule);
                // Of rules for the same packets the older one decides, see `Rule`.
                if (rule.age, &rule.source) < (winner.age, &winner.source) {
                    *winner = rule;
                }
            }
        }
        self.decides.extend(winners.values().map(|rule| &*rule.source));
        for rule in seen {
            let winner = winners[&(rule.protocol, rule.cidr, rule.port)];
            self.beaten_by.entry(&rule.source).or_insert(&winner.source);
        }
    }

    fn shadowed_by(&self, port: &ServicePort) -> Option<&'a RuleSource> {
        let has_names = port.rules.iter().any(is_by_name);
        let decides = has_names || self.decides.contains(&*port.source);
        if decides { None } else { self.beaten_by.get(&*port.source).copied() }
    }
}

fn is_by_name(rule: &Rule) -> bool {
    rule.action == Action::Proxy(ProxyDuty::NameRequired)
}

/// Who holds the hosts of a port that no client sees.
fn overruled(
    registry: &Registry,
    service: &Service,
    port: usize,
    scopes: &[Scope],
) -> Option<String> {
    // What follows from names has no rules before they are resolved.
    if service.ports[port].rules.is_empty() && service.names.is_empty() {
        return None;
    }
    let mut holder = None;
    for scope in scopes {
        match registry.hidden(service, port, scope) {
            None => return None,
            Some(Hidden::Overruled { by }) => holder = Some(by),
            Some(Hidden::NotExported | Hidden::Filtered { .. } | Hidden::NotListed { .. }) => {}
        }
    }
    holder.map(|by| {
        format!(
            "no pod sees it: {by} has the same host and comes first; entries of one host are taken \
             together only if namespace, resolution, labels, selector and exportTo are equal, and \
             a port number counts once"
        )
    })
}
