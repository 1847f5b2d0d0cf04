//! A `ServiceEntry` as rules.
//!
//! Decisions where the dialect assumes a proxy on every path and we have none on a direct one:
//!
//! - Plain TCP with addresses goes out directly where the address dialled is the address reached.
//!   A `targetPort` that differs (NONE), or endpoints that are not just that address (STATIC),
//!   change where the bytes go, so they go by the proxy and the port's [`Upstream`] says where to.
//! - Names are not resolved yet. With DNS resolution and addresses, a connection to one of the
//!   addresses goes to the address dialled, since the entry names it; without addresses there is no
//!   rule, for "any address on that port" would allow what only the resolved name should. Endpoints
//!   that are all IPs need no resolving and count as STATIC.
//! - TLS with a CIDR needs the name as well as the address; with a single IP the address will do.
//!   Both are Istio's own: a CIDR's filter chain also matches the SNI.
//! - Datagrams are never redirected, so endpoints and target ports have no effect on them.

use std::{net::IpAddr, num::NonZeroU16, sync::Arc};

use ipnet::IpNet;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use super::{
    Notes, address, annotation,
    rules::{ALLOWED, BY_NAME, PortRules},
    workloads::Workloads,
};
use crate::{
    egress::Action,
    registry::{DefinedPort, Definition, Exposure, Likeness, Origin},
    resource::{
        Kind, ObjectKey,
        protocol::{AppProtocol, Family},
        service_entry::{Resolution, ServiceEntry, ServicePort, WorkloadEntrySpec},
    },
    snapshot::{Endpoint, NamedEndpoint, Upstream, code},
};

pub(super) fn define(entry: &ServiceEntry, workloads: &Workloads) -> Definition {
    let key = key(&entry.metadata);
    let mut notes = Notes::new(&key);
    let spec = &entry.spec;
    let hosts: Vec<String> = spec.hosts.iter().map(|host| host.to_ascii_lowercase()).collect();
    let addresses: Vec<IpNet> =
        spec.addresses.iter().filter_map(|text| address::net(text)).collect();
    let created = annotation::created(&entry.metadata);
    let reach = Reach { entry, hosts: &hosts, addresses, workloads, created, key: &key };
    let ports = spec.ports.iter().enumerate();
    let ports = ports.filter_map(|(index, port)| reach.port(index, port, &mut notes)).collect();
    let likeness = Likeness {
        resolution: resolution_name(spec.resolution),
        labels: entry.metadata.labels.clone().unwrap_or_default(),
        selector: spec.workload_selector.clone().unwrap_or_default().labels,
    };
    let exposure = exposure(&spec.export_to);
    let (origin, findings) = (Origin::Declared, notes.findings);
    Definition { key, created, hosts, origin, exposure, likeness, ports, findings }
}

fn key(metadata: &ObjectMeta) -> ObjectKey {
    ObjectKey {
        kind: Kind::ServiceEntry,
        namespace: metadata.namespace.clone().unwrap_or_default(),
        name: metadata.name.clone().unwrap_or_default(),
    }
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

/// Who may see an object that says so by a list of `.`, `*`, `~` and names.
pub(super) fn exposure(export_to: &[String]) -> Option<Exposure> {
    if export_to.is_empty() {
        return None;
    }
    if export_to.iter().any(|entry| entry == "*") {
        return Some(Exposure::All);
    }
    let own = export_to.iter().any(|entry| entry == ".");
    let named = export_to.iter().filter(|entry| *entry != "." && *entry != "~");
    Some(Exposure::Only { own, named: named.cloned().collect() })
}

/// An entry, and all that its ports have in common.
struct Reach<'a> {
    entry: &'a ServiceEntry,
    hosts: &'a [String],
    addresses: Vec<IpNet>,
    workloads: &'a Workloads,
    created: u32,
    key: &'a ObjectKey,
}

impl Reach<'_> {
    fn port(&self, index: usize, port: &ServicePort, notes: &mut Notes<'_>) -> Option<DefinedPort> {
        let number = port_number(port.number)?;
        let field = format!("spec.ports[{index}]");
        let host = self.hosts.first();
        let mut rules = PortRules::new(self.key, field.clone(), host, self.created, number);
        let protocol = match port.protocol.as_str() {
            "" => AppProtocol::Auto,
            named => AppProtocol::named(named)?,
        };
        let goal = self.goal(port, number, &field, notes);
        match protocol.family() {
            Family::Datagram => self.datagrams(&mut rules, &goal, notes),
            Family::Opaque => self.opaque(&mut rules, &goal, Action::Direct, notes),
            Family::Auto => self.opaque(&mut rules, &goal, ALLOWED, notes),
            Family::Http => rules.tcp_everywhere(BY_NAME),
            Family::Tls => self.tls(&mut rules),
        }
        let upstream = match goal {
            Goal::Dialled => None,
            Goal::Elsewhere(upstream) | Goal::Unresolved(upstream) => Some(upstream),
        };
        let PortRules { source, rules, .. } = rules;
        let upstream = upstream.filter(|_| rules.iter().any(|rule| rule.action != Action::Direct));
        Some(DefinedPort { number: number.get(), source, rules, upstream })
    }

    /// Plain TCP, or what may turn out to be: by address, or any address without one.
    fn opaque(&self, rules: &mut PortRules, goal: &Goal, straight: Action, notes: &mut Notes<'_>) {
        if self.addresses.is_empty() {
            match goal {
                Goal::Dialled => rules.tcp_everywhere(straight),
                Goal::Elsewhere(_) => rules.tcp_everywhere(ALLOWED),
                Goal::Unresolved(_) if straight == ALLOWED => rules.tcp_everywhere(BY_NAME),
                Goal::Unresolved(_) => {
                    let field = &rules.source.field;
                    notes.warn(code::DNS_NOT_SUPPORTED, field, NO_RULE_WITHOUT_ADDRESSES);
                }
            }
            return;
        }
        for cidr in &self.addresses {
            let action = match goal {
                Goal::Elsewhere(upstream) if !upstream.is_just(*cidr, rules.number()) => ALLOWED,
                _ => straight,
            };
            rules.tcp(*cidr, action);
        }
    }

    /// By name on any address. A single IP is enough by itself; a CIDR needs the name as well.
    fn tls(&self, rules: &mut PortRules) {
        rules.tcp_everywhere(BY_NAME);
        for cidr in &self.addresses {
            rules.tcp(*cidr, if address::is_host(*cidr) { ALLOWED } else { BY_NAME });
        }
    }

    fn datagrams(&self, rules: &mut PortRules, goal: &Goal, notes: &mut Notes<'_>) {
        if matches!(goal, Goal::Elsewhere(_)) {
            notes.warn(code::NOT_SUPPORTED, &rules.source.field, DATAGRAMS_ARE_NOT_REDIRECTED);
        }
        let everywhere = address::everywhere();
        let cidrs = if self.addresses.is_empty() { &everywhere[..] } else { &self.addresses[..] };
        for cidr in cidrs {
            rules.udp(*cidr);
        }
    }

    /// Where connections to a port go.
    fn goal(
        &self,
        port: &ServicePort,
        number: NonZeroU16,
        field: &str,
        notes: &mut Notes<'_>,
    ) -> Goal {
        let target = port_number(port.target_port).unwrap_or(number);
        match self.entry.spec.resolution {
            Resolution::None if target == number => Goal::Dialled,
            Resolution::None => Goal::Elsewhere(Upstream::Original { port: target }),
            Resolution::Static => Goal::Elsewhere(self.endpoints(port, target, notes)),
            Resolution::Dns | Resolution::DnsRoundRobin => {
                let endpoints = &self.entry.spec.endpoints;
                let is_ip =
                    |endpoint: &WorkloadEntrySpec| endpoint.address.parse::<IpAddr>().is_ok();
                if !endpoints.is_empty() && endpoints.iter().all(is_ip) {
                    return Goal::Elsewhere(self.endpoints(port, target, notes));
                }
                if !self.addresses.is_empty() {
                    notes.warn(code::DNS_NOT_SUPPORTED, field, ADDRESSES_INSTEAD_OF_DNS);
                }
                Goal::Unresolved(self.names(port, target))
            }
            Resolution::DynamicDns => Goal::Unresolved(Upstream::AsRequested { port: target }),
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

    fn names(&self, port: &ServicePort, target: NonZeroU16) -> Upstream {
        let endpoints = &self.entry.spec.endpoints;
        let of_endpoint = |endpoint: &WorkloadEntrySpec| NamedEndpoint {
            host: endpoint.address.to_ascii_lowercase(),
            port: endpoint_port(endpoint, port, target),
        };
        let of_host = |host: &String| NamedEndpoint { host: host.clone(), port: target };
        let names: Arc<[NamedEndpoint]> = if endpoints.is_empty() {
            self.hosts.iter().map(of_host).collect()
        } else {
            endpoints.iter().map(of_endpoint).collect()
        };
        Upstream::Named(names)
    }
}

const DATAGRAMS_ARE_NOT_REDIRECTED: &str = "datagrams are never redirected: they reach the address and port that the pod dials, whatever \
     endpoints and targetPort say";
const NO_RULE_WITHOUT_ADDRESSES: &str = "names are not resolved yet, so this port has no rule: list the addresses under \
     spec.addresses, or use resolution NONE";
const ADDRESSES_INSTEAD_OF_DNS: &str = "names are not resolved yet: a connection to one of spec.addresses goes to the address that \
     the pod dials, not to what the host resolves to";

/// Where connections to a port go.
enum Goal {
    /// Where they were dialled.
    Dialled,
    /// Where this says.
    Elsewhere(Upstream),
    /// To a name, and names are not resolved yet.
    Unresolved(Upstream),
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
