//! Rules that come near.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

use ipnet::IpNet;

use super::{Mismatch, NearMiss, Query};
use crate::{
    egress::{Class, EgressPolicy, Rule, RuleSource},
    registry::{Hidden, Registry, Scope},
    snapshot::Snapshot,
};

/// As many as a person reads, and of rules for other addresses only the very nearest.
const MOST: usize = 5;
const MOST_OTHER_ADDRESSES: usize = 2;

pub(super) fn misses(snapshot: &Snapshot, policy: &EgressPolicy, query: &Query) -> Vec<NearMiss> {
    let mut found = Vec::new();
    let registry = &snapshot.registry;
    if let Some(scope) = registry.scope(&query.pod) {
        hidden(registry, scope, query, &mut found);
    }
    let resolved = resolved(registry, query);
    for rule in policy.rules.rules() {
        if let Some((mismatch, distance)) = mismatch(rule, query) {
            let host = resolved.get(&*rule.source).filter(|_| mismatch == Mismatch::Address);
            let by_name = host.map(|host| Mismatch::Resolved { host: (*host).to_owned() });
            found.push((by_name.unwrap_or(mismatch), distance, rule));
        }
    }
    found.sort_by(|one, other| (&one.0, one.1).cmp(&(&other.0, other.1)));
    let mut other_addresses = 0;
    let mut seen = BTreeSet::new();
    found.retain(|(mismatch, _, rule)| {
        let is_other = matches!(mismatch, Mismatch::Address | Mismatch::Resolved { .. });
        other_addresses += usize::from(is_other);
        let wanted = !is_other || other_addresses <= MOST_OTHER_ADDRESSES;
        wanted && seen.insert((mismatch.clone(), rule.source.clone()))
    });
    found.truncate(MOST);
    let told = found.into_iter();
    told.map(|(mismatch, _, rule)| NearMiss { rule: rule.into(), mismatch }).collect()
}

/// The sources of rules that are for what hosts resolve to, on the port that was asked about, each with
/// its host.
fn resolved<'a>(registry: &'a Registry, query: &Query) -> BTreeMap<&'a RuleSource, &'a str> {
    let services = registry.services().iter();
    let services = services.filter(|one| one.resolves_hosts && one.addresses.is_empty());
    let ports = services.flat_map(|one| &one.ports).filter(|port| port.number == query.port.get());
    ports.filter_map(|port| Some((&*port.source, port.source.host.as_deref()?))).collect()
}

/// Rules that would match, if only the pod saw them, or if they were for new connections.
fn hidden<'a>(
    registry: &'a Registry,
    scope: &Scope,
    query: &Query,
    found: &mut Vec<(Mismatch, u8, &'a Rule)>,
) {
    // What is listed by others is nothing that a client without a list could come to see.
    let listed = if scope.list().is_some() { registry.listed() } else { &[] };
    for service in listed.iter().chain(registry.services()) {
        for (index, port) in service.ports.iter().enumerate() {
            let matching = |rules: &'a [Rule]| rules.iter().find(|rule| matches(rule, query));
            let kept = matching(&port.outlived);
            let Some(rule) = matching(&port.rules).or(kept) else { continue };
            let mismatch = match registry.hidden(service, index, scope) {
                None if kept.is_some() => Mismatch::OpenAlone,
                None => continue,
                Some(Hidden::NotExported) => Mismatch::NotExported,
                Some(Hidden::Filtered { by }) => Mismatch::Filtered { by: by.to_string() },
                Some(Hidden::Overruled { by }) => Mismatch::Overruled { by: by.to_string() },
                Some(Hidden::NotListed { by, field }) => {
                    Mismatch::NotListed { by: by.to_string(), field: field.to_owned() }
                }
            };
            found.push((mismatch, 0, rule));
        }
    }
}

fn matches(rule: &Rule, query: &Query) -> bool {
    rule.protocol == query.protocol
        && rule.port.is_none_or(|port| port == query.port)
        && rule.cidr.contains(&query.address)
}

/// What alone does not match, and how far off it is; `None` for a rule that differs in more.
fn mismatch(rule: &Rule, query: &Query) -> Option<(Mismatch, u8)> {
    let on_port = rule.port.is_none_or(|port| port == query.port);
    let at_address = rule.cidr.contains(&query.address);
    let same_protocol = rule.protocol == query.protocol;
    match (same_protocol, at_address, on_port) {
        (false, true, true) => Some((Mismatch::Protocol, 0)),
        // A rule for every address says nothing about this one in particular.
        (true, true, false) if rule.cidr.prefix_len() > 0 => {
            Some((Mismatch::Port, rule.cidr.max_prefix_len() - rule.cidr.prefix_len()))
        }
        // A pod's resolvers and exclusions are near to nothing.
        (true, false, true) if rule.port.is_some() && rule.class == Class::Registered => {
            Some((Mismatch::Address, missing_bits(rule.cidr, query.address)?))
        }
        _ => None,
    }
}

/// How many bits of a prefix an address does not share; `None` across families.
fn missing_bits(cidr: IpNet, address: IpAddr) -> Option<u8> {
    let shared = match (cidr.network(), address) {
        (IpAddr::V4(one), IpAddr::V4(other)) => (one.to_bits() ^ other.to_bits()).leading_zeros(),
        (IpAddr::V6(one), IpAddr::V6(other)) => (one.to_bits() ^ other.to_bits()).leading_zeros(),
        _ => return None,
    };
    u8::try_from(u32::from(cidr.prefix_len()).saturating_sub(shared)).ok()
}
