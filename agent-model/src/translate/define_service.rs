//! A Kubernetes Service as rules.
//!
//! - A Service with an address is reached at that address and nowhere else: its endpoints' own
//!   addresses are no part of the registry.
//! - A headless Service is reached at its endpoints' addresses, on the ports that they listen on;
//!   where a Service port's number differs from that, nothing listens on it.
//! - An `ExternalName` is a name for something outside, and names are not resolved yet: its HTTP
//!   ports go to the proxy by name, the others have no rule.

use std::{net::IpAddr, num::NonZeroU16};

use ipnet::IpNet;
use k8s_openapi::api::core::v1::{Service, ServicePort};

use super::{
    Notes, annotation,
    define_entry::exposure,
    endpoints::{Index, Subset, is_headless},
    rules::{ALLOWED, BY_NAME, PortRules},
};
use crate::{
    egress::{Action, Protocol},
    registry::{DefinedPort, Definition, Likeness, Origin},
    resource::{
        Kind, ObjectKey,
        protocol::{AppProtocol, Family},
    },
    snapshot::{NamedEndpoint, Upstream, code},
};

pub(super) fn define(service: &Service, endpoints: &Index, domain: &str) -> Definition {
    let metadata = &service.metadata;
    let key = ObjectKey {
        kind: Kind::Service,
        namespace: metadata.namespace.clone().unwrap_or_default(),
        name: metadata.name.clone().unwrap_or_default(),
    };
    let mut notes = Notes::new(&key);
    let host = format!("{}.{}.svc.{domain}", key.name, key.namespace).to_ascii_lowercase();
    let place = place(service, endpoints, &key, &mut notes);
    let created = annotation::created(metadata);
    let ports = service.spec.as_ref().and_then(|spec| spec.ports.as_deref()).unwrap_or_default();
    let ports = ports.iter().enumerate().filter_map(|(index, port)| {
        let number = u16::try_from(port.port).ok().and_then(NonZeroU16::new)?;
        let field = format!("spec.ports[{index}]");
        let rules = PortRules::new(&key, field, Some(&host), created, number);
        Some(define_port(&place, port, rules, &mut notes))
    });
    let ports = ports.collect();
    let export_to: Vec<String> = annotation::annotation(metadata, annotation::EXPORT_TO)
        .map(|value| annotation::list(value).map(str::to_owned).collect())
        .unwrap_or_default();
    Definition {
        created,
        hosts: vec![host],
        origin: Origin::Cluster,
        exposure: exposure(&export_to),
        likeness: Likeness::default(),
        ports,
        findings: notes.findings,
        key,
    }
}

/// Where a Service is reached.
enum Place<'a> {
    At(Vec<IpAddr>),
    Headless(&'a [Subset]),
    Named(String),
}

fn place<'a>(
    service: &Service,
    endpoints: &'a Index,
    key: &ObjectKey,
    notes: &mut Notes<'_>,
) -> Place<'a> {
    let spec = service.spec.clone().unwrap_or_default();
    if spec.type_.as_deref() == Some("ExternalName") {
        let message = "names are not resolved yet: only HTTP ports have a rule, by their name";
        notes.warn(code::DNS_NOT_SUPPORTED, "spec.externalName", message);
        return Place::Named(spec.external_name.unwrap_or_default());
    }
    if is_headless(service) {
        return Place::Headless(endpoints.of(&key.namespace, &key.name));
    }
    let all = spec.cluster_ips.unwrap_or_default();
    let addresses: Vec<IpAddr> =
        all.iter().chain(&spec.cluster_ip).filter_map(|text| text.parse().ok()).collect();
    if addresses.is_empty() {
        let message = "the Service has no address yet, so no rule names one";
        notes.warn(code::NO_ADDRESS, "spec.clusterIP", message);
    }
    Place::At(addresses)
}

fn define_port(
    place: &Place<'_>,
    port: &ServicePort,
    mut rules: PortRules,
    notes: &mut Notes<'_>,
) -> DefinedPort {
    let number = rules.number();
    let mut upstream = None;
    match port.protocol.as_deref().unwrap_or("TCP") {
        "TCP" => {
            let name = port.name.as_deref().unwrap_or_default();
            let protocol =
                AppProtocol::of_service_port(port.app_protocol.as_deref(), name, number.get());
            upstream = tcp(place, name, protocol.family(), &mut rules);
        }
        "UDP" => udp(place, port, &mut rules),
        other => {
            let field = rules.source.field.clone();
            let message = format!("{other} is not supported: the port has no rule");
            notes.warn(code::NOT_SUPPORTED, &format!("{field}.protocol"), message);
        }
    }
    let PortRules { source, rules, .. } = rules;
    DefinedPort { number: number.get(), source, rules, upstream }
}

fn tcp(place: &Place<'_>, name: &str, family: Family, rules: &mut PortRules) -> Option<Upstream> {
    let action = match family {
        Family::Opaque | Family::Datagram => Action::Direct,
        Family::Http | Family::Tls | Family::Auto => ALLOWED,
    };
    if family == Family::Http {
        rules.tcp_everywhere(BY_NAME);
    }
    match place {
        Place::At(addresses) => {
            for address in addresses {
                rules.tcp(IpNet::from(*address), action);
            }
            None
        }
        Place::Headless(subsets) => {
            served(subsets, name, rules.number(), |cidr, port| {
                rules.push(Protocol::Tcp, cidr, port, action);
            });
            None
        }
        Place::Named(external) if family == Family::Http => {
            let host = external.to_ascii_lowercase();
            let named = NamedEndpoint { host, port: rules.number() };
            Some(Upstream::Named([named].into()))
        }
        Place::Named(_) => None,
    }
}

fn udp(place: &Place<'_>, port: &ServicePort, rules: &mut PortRules) {
    match place {
        Place::At(addresses) => {
            for address in addresses {
                rules.udp(IpNet::from(*address));
            }
        }
        Place::Headless(subsets) => {
            let name = port.name.as_deref().unwrap_or_default();
            served(subsets, name, rules.number(), |cidr, port| {
                rules.push(Protocol::Udp, cidr, port, Action::Direct);
            });
        }
        Place::Named(_) => {}
    }
}

/// Each endpoint's address with the port that it serves a Service port on.
fn served(
    subsets: &[Subset],
    name: &str,
    number: NonZeroU16,
    mut each: impl FnMut(IpNet, NonZeroU16),
) {
    for subset in subsets {
        let Some(port) = subset.ports.get(name) else { continue };
        let port = port.and_then(NonZeroU16::new).unwrap_or(number);
        subset.addresses.iter().for_each(|address| each(IpNet::from(*address), port));
    }
}
