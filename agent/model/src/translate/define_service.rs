//! A Kubernetes Service as the registry has it.
//!
//! An `ExternalName` whose name is declared by another object is only another name for that: clients
//! end up at its addresses, and its ports are the ones that count. Any other one is a service
//! outside: what its name resolves to is reached on the ports that it declares.

use std::num::NonZeroU16;

use ipnet::IpNet;
use k8s_openapi::api::core::v1;

use super::{
    Notes,
    aliases::{self, AliasTarget, Aliases},
    annotation,
    exposure::exposure,
    resolved::{Resolved, Spread, named},
    rules::source,
};
use crate::{
    endpoints::{Endpoints, NamedEndpoint},
    finding::code,
    names::Answers,
    registry::{Authority, Likeness, Service, ServicePort},
    resource::{self, Described as _, Kind, ObjectKey, is_domain, protocol::AppProtocol},
};

pub(super) fn define(
    service: &resource::Service,
    (aliases, answers): (&Aliases, &Answers),
    domain: &str,
) -> Service {
    let metadata = &service.metadata;
    let key = ObjectKey::of(Kind::Service, metadata);
    let mut notes = Notes::new(&key);
    let host = aliases::host(service, domain);
    let mut resolved = Resolved::new(answers);
    let reached_at = match &service.external_name {
        Some(_) => outside(service, (aliases, &host), &mut resolved, &mut notes),
        None => at_home(service, &mut notes),
    };
    let alias = match &reached_at {
        ReachedAt::Alias(of) => Some(of.clone()),
        _ => None,
    };
    // An alias's own ports say nothing, and neither do those of a Service without any address.
    let is_reached = !matches!(reached_at, ReachedAt::Alias(_) | ReachedAt::Nowhere);
    let ports = if is_reached { &*service.ports } else { &[] };
    let mut define = |(index, port): (usize, &v1::ServicePort)| {
        let number = u16::try_from(port.port).ok().and_then(NonZeroU16::new)?;
        let field = format!("spec.ports[{index}]");
        let protocol = protocol(port, number, &field, &mut notes);
        Some(ServicePort {
            number: number.get(),
            source: source(&key, &field, Some(&host)),
            protocol,
            name: port.name.as_deref().unwrap_or_default().into(),
            endpoints: reached_at.endpoints(number),
            rules: Box::default(),
            outlived: Box::default(),
        })
    };
    let ports = ports.iter().enumerate().filter_map(&mut define).collect();
    let export_to: Vec<String> = metadata
        .annotation(annotation::EXPORT_TO)
        .map(|value| annotation::list(value).map(str::to_owned).collect())
        .unwrap_or_default();
    let external = service.external_name.is_some();
    let addresses = if external { &[] } else { &*service.addresses };
    Service {
        created: annotation::created(metadata),
        hosts: vec![host],
        authority: Authority::Cluster,
        exposure: exposure(&export_to),
        alias,
        addresses: addresses.iter().copied().map(IpNet::from).collect(),
        external,
        headless: service.headless,
        resolves_hosts: false,
        certificate_names: Box::default(),
        names: resolved.names.into(),
        likeness: Likeness::default(),
        ports,
        findings: notes.findings,
        key,
    }
}

/// Where a Service is reached.
enum ReachedAt {
    /// At its endpoints, by its own addresses or theirs.
    Home,
    /// At what a name resolves to, on the port that is dialled.
    Outside(NamedEndpoint),
    /// Where another service is.
    Alias(String),
    /// Nowhere.
    Nowhere,
}

impl ReachedAt {
    fn endpoints(&self, port: NonZeroU16) -> Option<Endpoints> {
        match self {
            Self::Home | Self::Alias(_) | Self::Nowhere => None,
            Self::Outside(name) => {
                let names = [NamedEndpoint { port, ..name.clone() }].into();
                Some(Endpoints::Named { names, first_only: false, mutual: false })
            }
        }
    }
}

/// Where an `ExternalName` is reached.
fn outside(
    service: &resource::Service,
    (aliases, host): (&Aliases, &str),
    resolved: &mut Resolved<'_>,
    notes: &mut Notes<'_>,
) -> ReachedAt {
    const FIELD: &str = "spec.externalName";
    let name = match aliases.target(host) {
        Some(AliasTarget::Declared(of)) => return ReachedAt::Alias(of),
        Some(AliasTarget::Outside(name)) if is_domain(&name) => name,
        Some(AliasTarget::Loop) => {
            let message = "the name leads back to this Service: no pod reaches it";
            notes.warn(code::ALIAS_LOOP, FIELD, message);
            return ReachedAt::Nowhere;
        }
        Some(AliasTarget::Outside(_)) | None => {
            let message = "this is no DNS name, so nothing is allowed for it; for an IP, use a \
                           Service without selector and Endpoints";
            notes.warn(code::HOST, FIELD, message);
            return ReachedAt::Nowhere;
        }
    };
    if service.ports.is_empty() {
        let message = format!(
            "no ports are declared, so this allows nothing: declare the ports that clients may \
             reach {name} on"
        );
        notes.tell(code::ALIAS_WITHOUT_PORTS, "spec.ports", message);
        return ReachedAt::Nowhere;
    }
    let answer = resolved.look_up(&name, FIELD, notes);
    ReachedAt::Outside(named(&name, (NonZeroU16::MIN, 1), &answer, Spread::All))
}

fn at_home(service: &resource::Service, notes: &mut Notes<'_>) -> ReachedAt {
    if !service.headless && service.addresses.is_empty() {
        let message = "the Service has no address yet, so no rule names one";
        notes.warn(code::NO_ADDRESS, "spec.clusterIP", message);
    }
    ReachedAt::Home
}

fn protocol(
    port: &v1::ServicePort,
    number: NonZeroU16,
    field: &str,
    notes: &mut Notes<'_>,
) -> Option<AppProtocol> {
    match port.protocol.as_deref().unwrap_or("TCP") {
        "TCP" => {
            let name = port.name.as_deref().unwrap_or_default();
            Some(AppProtocol::of_service_port(port.app_protocol.as_deref(), name, number.get()))
        }
        "UDP" => Some(AppProtocol::Udp),
        other => {
            let message = format!("{other} is not supported: the port has no rule");
            notes.warn(code::NOT_SUPPORTED, &format!("{field}.protocol"), message);
            None
        }
    }
}
