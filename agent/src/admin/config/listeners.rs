//! Which connections of a pod go by the proxy or straight out, why, and what is told apart there.

use std::{collections::BTreeMap, num::NonZeroU16};

use agent_model::{
    egress::{Action, Protocol, Rule},
    pod::PodId,
    registry::PathReason,
    requests::{
        self,
        gateway::{Gateway, GatewayPort, Inside},
        outbound::{Listener, StreamRoute},
    },
    snapshot::{Enrolment, Snapshot},
};
use ipnet::IpNet;

use super::{ListenerRow, StreamRow, shares, words};

/// The port, the address and the protocol of connections. Rules for all of IPv4 and for all of IPv6
/// are one.
type Key = (u16, Option<IpNet>, Protocol);

/// A row for each port and address that a rule lets out, or that is served.
pub(super) fn rows(snapshot: &Snapshot, pod: &PodId) -> Vec<ListenerRow> {
    let rules = match snapshot.pods.get(pod).map(|plan| &plan.enrolment) {
        Some(Enrolment::Enrolled(policy)) => policy.rules.rules(),
        Some(Enrolment::NotEnrolled(_) | Enrolment::Pending(_)) | None => &[],
    };
    let mut rows: BTreeMap<Key, ListenerRow> = BTreeMap::new();
    for (rule, reason) in snapshot.registry.reasons(rules) {
        let key = key(rule);
        rows.entry(key).or_insert_with(|| let_out(key, rule, reason));
    }
    let outbound = snapshot.requests.outbound(pod);
    for served in outbound.iter().flat_map(|outbound| outbound.listeners()) {
        let key = (served.port, served.at, Protocol::Tcp);
        tell(rows.entry(key).or_insert_with(|| unreached(key)), &served);
    }
    let gateway = snapshot.requests.gateway(pod);
    rows.into_values().chain(gateway.iter().flat_map(|gateway| of_gateway(gateway))).collect()
}

fn key(rule: &Rule) -> Key {
    let at = (rule.cidr.prefix_len() != 0).then_some(rule.cidr);
    (rule.port.map_or(0, NonZeroU16::get), at, rule.protocol)
}

fn empty(direction: &str, (port, at, protocol): Key) -> ListenerRow {
    ListenerRow {
        direction: direction.to_owned(),
        port,
        address: words::address(at),
        path: String::new(),
        reason: String::new(),
        protocols: vec![protocol.to_string()],
        hosts: 0,
        streams: Vec::new(),
    }
}

/// A listener for what goes out by no rule of its own.
fn unreached(key: Key) -> ListenerRow {
    let reason = "no rule sends connections there to it".to_owned();
    ListenerRow { path: "none".to_owned(), reason, ..empty("outbound", key) }
}

fn let_out(key: Key, rule: &Rule, reason: Option<PathReason>) -> ListenerRow {
    let path = if rule.action == Action::Direct { "direct" } else { "proxy" };
    let reason = reason.map(PathReason::words).unwrap_or_default();
    ListenerRow { path: path.to_owned(), reason: reason.to_owned(), ..empty("outbound", key) }
}

/// What is served at a listener.
fn tell(row: &mut ListenerRow, served: &requests::ListenerRow<'_>) {
    let Listener { hosts, tls, tcp } = served.listener;
    let kinds = [("http", !hosts.is_empty()), ("tls", !tls.is_empty()), ("tcp", tcp.is_some())];
    let there = kinds.iter().filter(|(_, is_there)| *is_there);
    row.protocols = there.map(|(name, _)| (*name).to_owned()).collect();
    row.hosts = hosts.len();
    row.streams = tls.iter().chain(tcp).map(|one| stream(one)).collect();
}

fn stream(route: &StreamRoute) -> StreamRow {
    let names = route.names.iter().map(|name| name.as_str().to_owned());
    StreamRow { server_names: names.collect(), destinations: shares(&route.to) }
}

fn of_gateway(gateway: &Gateway) -> Vec<ListenerRow> {
    let row = |(port, served): (&u16, &GatewayPort)| {
        let (protocol, hosts, streams) = match served {
            GatewayPort::Http(hosts) => ("http", hosts.len(), Vec::new()),
            GatewayPort::Tcp(route) => ("tcp", 0, route.iter().map(stream).collect()),
            GatewayPort::Tls(servers) => {
                let hosts = servers.iter().map(|server| match &server.then {
                    Inside::Http(hosts) => hosts.len(),
                    Inside::Tcp(_) => 0,
                });
                let streams = servers.iter().flat_map(|server| match &server.then {
                    Inside::Http(_) => &[][..],
                    Inside::Tcp(routes) => routes,
                });
                ("tls", hosts.sum(), streams.map(stream).collect())
            }
        };
        let protocols = vec![protocol.to_owned()];
        ListenerRow { protocols, hosts, streams, ..empty("gateway", (*port, None, Protocol::Tcp)) }
    };
    gateway.ports.iter().map(row).collect()
}
