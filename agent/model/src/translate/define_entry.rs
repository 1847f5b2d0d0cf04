//! A `ServiceEntry` as rules.
//!
//! Decisions where the dialect assumes a proxy on every path and we have none on a direct one:
//!
//! - Plain TCP with addresses goes out directly where the address dialled is the address reached.
//!   A `targetPort` that differs (NONE), or endpoints that are not just that address (STATIC),
//!   change where the bytes go, so they go by the proxy and the port's [`Upstream`] says where to.
//! - With DNS resolution and no addresses, plain TCP is allowed to what the hosts resolve to, and
//!   goes there directly: "any address on that port" would take the connections to every other
//!   service on the port. With addresses, those are what clients dial and the proxy carries them to
//!   what the names resolve to. Endpoints that are listed are the entry's own word on where its port
//!   leads, so without addresses the port is taken whole, as with STATIC.
//! - Endpoints that are all IPs need no resolving and count as STATIC.
//! - TLS with a CIDR needs the name as well as the address; with a single IP the address will do.
//!   Both are Istio's own: a CIDR's filter chain also matches the SNI.
//! - Datagrams are never redirected, so endpoints and target ports have no effect on them.

use std::{net::IpAddr, num::NonZeroU16, sync::Arc};

use ipnet::IpNet;

use super::{
    Notes, annotation,
    exposure::exposure,
    resolved::{Resolved, Spread, named},
    rules::{ALLOWED, BY_NAME, PortRules},
    workloads::Workloads,
};
use crate::{
    address,
    egress::{Action, Protocol},
    names::{Answer, Answers},
    registry::{Authority, DefinedPort, Definition, Likeness},
    resource::{
        Kind, ObjectKey,
        protocol::{AppProtocol, Family},
        service_entry::{
            Resolution, ServiceEntry, ServiceEntrySpec, ServicePort, WorkloadEntrySpec,
        },
    },
    snapshot::{Endpoint, Upstream, code},
};

pub(super) fn define(entry: &ServiceEntry, workloads: &Workloads, answers: &Answers) -> Definition {
    let key = ObjectKey::of(Kind::ServiceEntry, &entry.metadata);
    let mut notes = Notes::new(&key);
    let spec = &entry.spec;
    let hosts: Vec<String> = spec.hosts.iter().map(|host| host.to_ascii_lowercase()).collect();
    let addresses: Vec<IpNet> =
        spec.addresses.iter().filter_map(|text| address::net(text)).collect();
    let created = annotation::created(&entry.metadata);
    let mut resolved = Resolved::new(answers);
    let targets = targets(spec, &mut resolved, &mut notes);
    let entry_ports =
        EntryPorts { entry, hosts: &hosts, addresses, targets, workloads, created, key: &key };
    let ports = spec.ports.iter().enumerate();
    let ports =
        ports.filter_map(|(index, port)| entry_ports.port(index, port, &mut notes)).collect();
    let likeness = Likeness {
        resolution: resolution_name(spec.resolution),
        labels: entry.metadata.labels.clone(),
        selector: spec.workload_selector.clone().unwrap_or_default().labels,
    };
    let exposure = exposure(&spec.export_to);
    let (authority, findings) = (Authority::Declared, notes.findings);
    let (alias, names) = (None, resolved.names);
    Definition { key, created, hosts, authority, exposure, alias, names, likeness, ports, findings }
}

/// A name, or an IP in place of one, that connections are carried to.
struct NamedTarget<'a> {
    host: &'a str,
    answer: Arc<Answer>,
    endpoint: Option<&'a WorkloadEntrySpec>,
}

/// What has to be resolved: the endpoints, else the hosts. Nothing where all of it is IPs.
fn targets<'a>(
    spec: &'a ServiceEntrySpec,
    resolved: &mut Resolved<'_>,
    notes: &mut Notes<'_>,
) -> Vec<NamedTarget<'a>> {
    let by_name = matches!(spec.resolution, Resolution::Dns | Resolution::DnsRoundRobin);
    if !by_name || are_ips(&spec.endpoints) {
        return Vec::new();
    }
    let mut look_up = |host: &'a str, field: String, endpoint| NamedTarget {
        host,
        answer: resolved.look_up(host, &field, notes),
        endpoint,
    };
    if spec.endpoints.is_empty() {
        let hosts = spec.hosts.iter().enumerate();
        return hosts.map(|(at, host)| look_up(host, format!("spec.hosts[{at}]"), None)).collect();
    }
    let endpoints = spec.endpoints.iter().enumerate();
    endpoints
        .map(|(at, one)| look_up(&one.address, format!("spec.endpoints[{at}].address"), Some(one)))
        .collect()
}

fn are_ips(endpoints: &[WorkloadEntrySpec]) -> bool {
    let is_ip = |endpoint: &WorkloadEntrySpec| endpoint.address.parse::<IpAddr>().is_ok();
    !endpoints.is_empty() && endpoints.iter().all(is_ip)
}

const fn resolution_name(resolution: Resolution) -> &'static str {
    match resolution {
        Resolution::None => "NONE",
        Resolution::Static => "STATIC",
        Resolution::Dns => "DNS",
        Resolution::DnsRoundRobin => "DNS_ROUND_ROBIN",
        Resolution::DynamicDns => "DYNAMIC_DNS",
    }
}

/// An entry, and all that its ports have in common.
struct EntryPorts<'a> {
    entry: &'a ServiceEntry,
    hosts: &'a [String],
    addresses: Vec<IpNet>,
    targets: Vec<NamedTarget<'a>>,
    workloads: &'a Workloads,
    created: u32,
    key: &'a ObjectKey,
}

impl EntryPorts<'_> {
    fn port(&self, index: usize, port: &ServicePort, notes: &mut Notes<'_>) -> Option<DefinedPort> {
        let number = port_number(port.number)?;
        let field = format!("spec.ports[{index}]");
        let host = self.hosts.first();
        let mut rules = PortRules::new(self.key, field.clone(), host, self.created, number);
        let protocol = match port.protocol.as_str() {
            "" => AppProtocol::Auto,
            named => AppProtocol::named(named)?,
        };
        let goal = self.goal(port, number, notes);
        match protocol.family() {
            Family::Datagram => self.datagrams(&mut rules, &goal, notes),
            Family::Opaque => self.opaque(&mut rules, &goal, Action::Direct),
            Family::Auto => self.opaque(&mut rules, &goal, ALLOWED),
            Family::Http => rules.tcp_everywhere(BY_NAME),
            Family::Tls => self.tls(&mut rules, &goal),
        }
        let upstream = match goal {
            Goal::Dialled => None,
            Goal::Elsewhere(upstream) | Goal::Resolved(upstream) | Goal::Requested(upstream) => {
                Some(upstream)
            }
        };
        let is_proxied = rules.rules.iter().any(|rule| rule.action != Action::Direct);
        Some(rules.defined(upstream.filter(|_| is_proxied)))
    }

    /// Plain TCP, or what may turn out to be: by address, or any address without one.
    fn opaque(&self, rules: &mut PortRules, goal: &Goal, straight: Action) {
        if self.addresses.is_empty() {
            match goal {
                Goal::Dialled => rules.tcp_everywhere(straight),
                Goal::Resolved(upstream) if self.entry.spec.endpoints.is_empty() => {
                    if straight == ALLOWED {
                        rules.tcp_everywhere(BY_NAME);
                    }
                    let action = if upstream.keeps(rules.number()) { straight } else { ALLOWED };
                    self.answers(rules, Protocol::Tcp, action);
                }
                Goal::Elsewhere(_) | Goal::Resolved(_) => rules.tcp_everywhere(ALLOWED),
                // Only protocols that carry a name have this goal.
                Goal::Requested(_) => rules.tcp_everywhere(BY_NAME),
            }
            return;
        }
        for cidr in &self.addresses {
            let action = match goal {
                Goal::Elsewhere(upstream) | Goal::Resolved(upstream)
                    if !upstream.is_just(*cidr, rules.number()) =>
                {
                    ALLOWED
                }
                _ => straight,
            };
            rules.tcp(*cidr, action);
        }
    }

    /// By name on any address. A single IP is enough by itself; a CIDR needs the name as well.
    fn tls(&self, rules: &mut PortRules, goal: &Goal) {
        rules.tcp_everywhere(BY_NAME);
        let by_host = self.addresses.is_empty() && self.entry.spec.endpoints.is_empty();
        if matches!(goal, Goal::Resolved(_)) && by_host {
            self.answers(rules, Protocol::Tcp, ALLOWED);
        }
        for cidr in &self.addresses {
            rules.tcp(*cidr, if address::is_host(*cidr) { ALLOWED } else { BY_NAME });
        }
    }

    /// What the names resolve to.
    fn answers(&self, rules: &mut PortRules, protocol: Protocol, action: Action) {
        for target in &self.targets {
            rules.answer(protocol, &target.answer, action);
        }
    }

    fn datagrams(&self, rules: &mut PortRules, goal: &Goal, notes: &mut Notes<'_>) {
        let is_resolved = matches!(goal, Goal::Resolved(_)) && self.addresses.is_empty();
        let by_host = is_resolved && self.entry.spec.endpoints.is_empty();
        if matches!(goal, Goal::Elsewhere(_) | Goal::Resolved(_)) && !by_host {
            notes.warn(code::NOT_SUPPORTED, &rules.source.field, DATAGRAMS_ARE_NOT_REDIRECTED);
        }
        if is_resolved {
            return self.answers(rules, Protocol::Udp, Action::Direct);
        }
        let everywhere = address::everywhere();
        let cidrs = if self.addresses.is_empty() { &everywhere[..] } else { &self.addresses[..] };
        for cidr in cidrs {
            rules.udp(*cidr);
        }
    }

    /// Where connections to a port go.
    fn goal(&self, port: &ServicePort, number: NonZeroU16, notes: &mut Notes<'_>) -> Goal {
        let target = port_number(port.target_port).unwrap_or(number);
        match self.entry.spec.resolution {
            Resolution::None if target == number => Goal::Dialled,
            Resolution::None => Goal::Elsewhere(Upstream::Original { port: target }),
            Resolution::Static => Goal::Elsewhere(self.endpoints(port, target, notes)),
            Resolution::Dns | Resolution::DnsRoundRobin if are_ips(&self.entry.spec.endpoints) => {
                Goal::Elsewhere(self.endpoints(port, target, notes))
            }
            Resolution::Dns => Goal::Resolved(self.names(port, target, Spread::All)),
            Resolution::DnsRoundRobin => Goal::Resolved(self.names(port, target, Spread::First)),
            Resolution::DynamicDns => Goal::Requested(Upstream::AsRequested { port: target }),
        }
    }

    fn endpoints(&self, port: &ServicePort, target: NonZeroU16, notes: &mut Notes<'_>) -> Upstream {
        let spec = &self.entry.spec;
        let mut found = Vec::new();
        for (index, endpoint) in spec.endpoints.iter().enumerate() {
            match endpoint.address.parse() {
                Ok(address) => found.push(reached(endpoint, address, port, target)),
                Err(_) => notes.warn(
                    code::NOT_SUPPORTED,
                    &format!("spec.endpoints[{index}].address"),
                    format!(
                        "{:?} is not an IP: this endpoint gets no connections",
                        endpoint.address
                    ),
                ),
            }
        }
        if let Some(selector) = &spec.workload_selector {
            let namespace = &self.key.namespace;
            let selected = self.workloads.selected(namespace, selector);
            found.extend(selected.map(|(address, own)| reached(own, address, port, target)));
        }
        found.sort_unstable();
        found.dedup();
        Upstream::Endpoints(found.into())
    }

    fn names(&self, port: &ServicePort, target: NonZeroU16, spread: Spread) -> Upstream {
        let names = self.targets.iter().map(|NamedTarget { host, answer, endpoint }| {
            let port = endpoint.map_or(target, |endpoint| endpoint_port(endpoint, port, target));
            let weight = endpoint.map_or(1, |endpoint| endpoint.weight);
            named(host, (port, weight), answer, spread)
        });
        Upstream::Named(names.collect())
    }
}

const DATAGRAMS_ARE_NOT_REDIRECTED: &str = "datagrams are never redirected: they reach the address and port that the pod dials, whatever \
     endpoints and targetPort say";

/// Where connections to a port go.
enum Goal {
    /// Where they were dialled.
    Dialled,
    /// Where this says.
    Elsewhere(Upstream),
    /// To what names resolve to.
    Resolved(Upstream),
    /// To the name in the request.
    Requested(Upstream),
}

fn port_number(number: u32) -> Option<NonZeroU16> {
    u16::try_from(number).ok().and_then(NonZeroU16::new)
}

fn endpoint_port(
    endpoint: &WorkloadEntrySpec,
    port: &ServicePort,
    target: NonZeroU16,
) -> NonZeroU16 {
    endpoint.ports.get(&port.name).and_then(|own| port_number(*own)).unwrap_or(target)
}

fn reached(
    endpoint: &WorkloadEntrySpec,
    address: IpAddr,
    port: &ServicePort,
    target: NonZeroU16,
) -> Endpoint {
    let port = endpoint_port(endpoint, port, target);
    Endpoint { address, port, weight: endpoint.weight.max(1) }
}
