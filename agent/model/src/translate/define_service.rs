//! A Kubernetes Service as rules.
//!
//! - A Service with an address is reached at that address and nowhere else: its endpoints' own
//!   addresses are no part of the registry.
//! - A headless Service is reached at its endpoints' addresses, on the ports that they listen on;
//!   where a Service port's number differs from that, nothing listens on it.
//! - An `ExternalName` whose name is declared by another object is only another name for that:
//!   clients end up at its addresses, and its rules are the ones that count. Any other one is a
//!   service outside: what its name resolves to is allowed on the ports that it declares.

use std::{net::IpAddr, num::NonZeroU16, sync::Arc};

use ipnet::IpNet;
use k8s_openapi::api::core::v1::ServicePort;

use super::{
    Notes,
    aliases::{self, AliasTarget, Aliases},
    annotation,
    endpoints::{Index, Subset},
    exposure::exposure,
    resolved::{Resolved, Spread, named},
    rules::{ALLOWED, BY_NAME, PortRules},
};
use crate::{
    egress::{Action, Protocol},
    names::{Answer, Answers},
    registry::{Authority, DefinedPort, Definition, Likeness},
    resource::{
        Described as _, Kind, ObjectKey, Service, is_domain,
        protocol::{AppProtocol, Family},
    },
    snapshot::{Upstream, code},
};

/// What a Service's rules follow from besides itself.
#[derive(Debug)]
pub(super) struct ServiceInputs<'a> {
    pub(super) endpoints: &'a Index<'a>,
    pub(super) aliases: &'a Aliases,
    pub(super) answers: &'a Answers,
}

pub(super) fn define(service: &Service, inputs: &ServiceInputs<'_>, domain: &str) -> Definition {
    let metadata = &service.metadata;
    let key = ObjectKey::of(Kind::Service, metadata);
    let mut notes = Notes::new(&key);
    let host = aliases::host(service, domain);
    let mut resolved = Resolved::new(inputs.answers);
    let reached_at = match &service.external_name {
        Some(_) => outside(service, (inputs.aliases, &host), &mut resolved, &mut notes),
        None => reached_at(service, inputs.endpoints, &key, &mut notes),
    };
    let alias = match &reached_at {
        ReachedAt::Alias(of) => Some(of.clone()),
        _ => None,
    };
    let created = annotation::created(metadata);
    // An alias's own ports say nothing.
    let ports = if alias.is_some() { &[] } else { &*service.ports };
    let ports = ports.iter().enumerate().filter_map(|(index, port)| {
        let number = u16::try_from(port.port).ok().and_then(NonZeroU16::new)?;
        let field = format!("spec.ports[{index}]");
        let rules = PortRules::new(&key, field, Some(&host), created, number);
        Some(define_port(&reached_at, port, rules, &mut notes))
    });
    let ports = ports.collect();
    let export_to: Vec<String> = metadata
        .annotation(annotation::EXPORT_TO)
        .map(|value| annotation::list(value).map(str::to_owned).collect())
        .unwrap_or_default();
    Definition {
        created,
        hosts: vec![host],
        authority: Authority::Cluster,
        exposure: exposure(&export_to),
        alias,
        names: resolved.names,
        likeness: Likeness::default(),
        ports,
        findings: notes.findings,
        key,
    }
}

/// Where a Service is reached.
enum ReachedAt {
    At(Vec<IpAddr>),
    Headless(Vec<Subset>),
    Outside(String, Arc<Answer>),
    Alias(String),
}

/// Where an `ExternalName` is reached.
fn outside(
    service: &Service,
    (aliases, host): (&Aliases, &str),
    resolved: &mut Resolved<'_>,
    notes: &mut Notes<'_>,
) -> ReachedAt {
    const FIELD: &str = "spec.externalName";
    let name = match aliases.target(host) {
        Some(AliasTarget::Declared(of)) => return ReachedAt::Alias(of),
        Some(AliasTarget::Outside(name)) if is_domain(&name) => name,
        Some(AliasTarget::Loop) => {
            let message = "the name leads back to this Service: it is reached by nobody";
            notes.warn(code::ALIAS_LOOP, FIELD, message);
            return ReachedAt::At(Vec::new());
        }
        Some(AliasTarget::Outside(_)) | None => {
            let message = "this is no DNS name, so nothing is allowed for it; for an IP, use a \
                           Service without selector and Endpoints";
            notes.warn(code::HOST, FIELD, message);
            return ReachedAt::At(Vec::new());
        }
    };
    if service.ports.is_empty() {
        let message = format!(
            "no ports are declared, so this allows nothing: declare the ports that clients may \
             reach {name} on"
        );
        notes.tell(code::ALIAS_WITHOUT_PORTS, "spec.ports", message);
        return ReachedAt::At(Vec::new());
    }
    let answer = resolved.look_up(&name, FIELD, notes);
    ReachedAt::Outside(name, answer)
}

fn reached_at(
    service: &Service,
    endpoints: &Index<'_>,
    key: &ObjectKey,
    notes: &mut Notes<'_>,
) -> ReachedAt {
    if service.headless {
        return ReachedAt::Headless(endpoints.of(&key.namespace, &key.name));
    }
    if service.addresses.is_empty() {
        let message = "the Service has no address yet, so no rule names one";
        notes.warn(code::NO_ADDRESS, "spec.clusterIP", message);
    }
    ReachedAt::At(service.addresses.to_vec())
}

fn define_port(
    reached_at: &ReachedAt,
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
            upstream = tcp(reached_at, name, protocol.family(), &mut rules);
        }
        "UDP" => udp(reached_at, port, &mut rules),
        other => {
            let field = rules.source.field.clone();
            let message = format!("{other} is not supported: the port has no rule");
            notes.warn(code::NOT_SUPPORTED, &format!("{field}.protocol"), message);
        }
    }
    rules.defined(upstream)
}

fn tcp(
    reached_at: &ReachedAt,
    name: &str,
    family: Family,
    rules: &mut PortRules,
) -> Option<Upstream> {
    let action = match family {
        Family::Opaque | Family::Datagram => Action::Direct,
        Family::Http | Family::Tls | Family::Auto => ALLOWED,
    };
    if family == Family::Http {
        rules.tcp_everywhere(BY_NAME);
    }
    match reached_at {
        ReachedAt::At(addresses) => {
            for address in addresses {
                rules.tcp(IpNet::from(*address), action);
            }
            None
        }
        ReachedAt::Headless(subsets) => {
            served(subsets, name, rules.number(), |cidr, port| {
                rules.push(Protocol::Tcp, cidr, port, action);
            });
            None
        }
        ReachedAt::Outside(name, answer) => {
            // HTTP is judged by its Host alone, wherever it is dialled.
            if family != Family::Http {
                rules.answer(Protocol::Tcp, answer, action);
            }
            let proxied = action != Action::Direct;
            let endpoint = named(name, (rules.number(), 1), answer, Spread::All);
            proxied.then(|| Upstream::Named([endpoint].into()))
        }
        ReachedAt::Alias(_) => None,
    }
}

fn udp(reached_at: &ReachedAt, port: &ServicePort, rules: &mut PortRules) {
    match reached_at {
        ReachedAt::At(addresses) => {
            for address in addresses {
                rules.udp(IpNet::from(*address));
            }
        }
        ReachedAt::Headless(subsets) => {
            let name = port.name.as_deref().unwrap_or_default();
            served(subsets, name, rules.number(), |cidr, port| {
                rules.push(Protocol::Udp, cidr, port, Action::Direct);
            });
        }
        ReachedAt::Outside(_, answer) => rules.answer(Protocol::Udp, answer, Action::Direct),
        ReachedAt::Alias(_) => {}
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
