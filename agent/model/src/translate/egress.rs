//! The rules of a service, folded from what is read of it.
//!
//! A Kubernetes Service:
//!
//! - One with an address is reached at that address and nowhere else: its endpoints' own addresses
//!   are no part of the registry.
//! - A headless one is reached at its endpoints' addresses, on the ports that they listen on; where
//!   a Service port's number differs from that, nothing listens on it.
//! - One for a name outside is reached at what the name resolves to.
//!
//! A `ServiceEntry`, where the dialect assumes a proxy on every path and we have none on a direct
//! one:
//!
//! - Plain TCP with addresses goes out directly where the address dialled is the address reached.
//!   A `targetPort` that differs (NONE), or endpoints that are not just that address (STATIC),
//!   change where the bytes go, so they go by the proxy and the port's [`Endpoints`] say where to.
//!   So does what an object routes or adds TLS to ([`super::requests::Steered`]).
//! - With DNS resolution and no addresses, plain TCP is allowed to what the hosts resolve to, and
//!   goes there directly: "any address on that port" would take the connections to every other
//!   service on the port. With addresses, those are what clients dial and the proxy carries them to
//!   what the names resolve to. Endpoints that are listed are the entry's own word on where its port
//!   leads, so without addresses the port is taken whole, as with STATIC.
//! - TLS with a CIDR needs the name as well as the address; with a single IP the address will do.
//!   Both are Istio's own: a CIDR's filter chain also matches the SNI.
//! - Datagrams are never redirected, so endpoints and target ports have no effect on them.

use std::{net::IpAddr, num::NonZeroU16, sync::Arc};

use ipnet::IpNet;

use super::{
    Notes,
    endpoints::Index,
    requests::Steered,
    rules::{ALLOWED, BY_NAME, PortRules},
};
use crate::{
    address,
    egress::{Action, Protocol},
    endpoints::Endpoints,
    finding::code,
    names::{Answer, Answers, canonical},
    registry::{Service, ServicePort},
    resource::{
        Kind,
        protocol::{AppProtocol, Family},
    },
};

/// What rules follow from besides the service itself.
#[derive(Clone, Copy, Debug)]
pub(super) struct Inputs<'a> {
    pub(super) endpoints: &'a Index,
    pub(super) answers: &'a Answers,
    pub(super) steered: &'a Steered,
}

/// Gives each port of a service its rules.
pub(super) fn fold(service: &mut Service, inputs: &Inputs<'_>) {
    let key = service.key.clone();
    let mut notes = Notes::new(&key);
    let mut ports = std::mem::take(&mut service.ports);
    for port in &mut ports {
        port.steered = is_steered(service, port, inputs.steered);
        let mut rules = PortRules::new(Arc::clone(&port.source), service.created, port.dialled());
        let fold = Fold { service, port, inputs };
        match service.key.kind {
            Kind::Service => fold.cluster(&mut rules),
            _ => fold.entry(&mut rules, &mut notes),
        }
        (port.rules, port.outlived) = rules.finish();
    }
    service.ports = ports;
    service.findings.append(&mut notes.findings);
}

fn is_steered(service: &Service, port: &ServicePort, steered: &Steered) -> bool {
    let Some(family) = port.protocol.map(AppProtocol::family) else { return false };
    steered.takes(service, (port.number, family))
        || (family == Family::Http && service.leads_elsewhere(port))
}

struct Fold<'a> {
    service: &'a Service,
    port: &'a ServicePort,
    inputs: &'a Inputs<'a>,
}

impl Fold<'_> {
    fn family(&self) -> Option<Family> {
        self.port.protocol.map(AppProtocol::family)
    }

    /// The way of plain TCP.
    fn straight(&self) -> Action {
        if self.port.steered { ALLOWED } else { Action::Direct }
    }

    fn cluster(&self, rules: &mut PortRules) {
        let (protocol, action) = match self.family() {
            None => return,
            Some(Family::Datagram) => (Protocol::Udp, Action::Direct),
            Some(Family::Opaque) => (Protocol::Tcp, self.straight()),
            Some(Family::Http | Family::Tls | Family::Auto) => (Protocol::Tcp, ALLOWED),
        };
        let by_host = self.family() == Some(Family::Http);
        if by_host {
            rules.tcp_everywhere(BY_NAME);
        }
        match &self.port.endpoints {
            // HTTP is judged by its Host alone, wherever it is dialled.
            Some(Endpoints::Named { .. }) if by_host => {}
            Some(Endpoints::Named { .. }) => self.answers(rules, protocol, action),
            _ if self.service.headless => {
                let number = rules.number();
                let served = self.inputs.endpoints.served(&self.service.key, self.port);
                for (address, port) in served.ready {
                    rules.push(protocol, IpNet::from(address), port.unwrap_or(number), action);
                }
                for (address, port) in served.unready {
                    rules.keep(protocol, IpNet::from(address), port.unwrap_or(number), action);
                }
            }
            _ => {
                let number = rules.number();
                for cidr in &self.service.addresses {
                    rules.push(protocol, *cidr, number, action);
                }
            }
        }
    }

    fn entry(&self, rules: &mut PortRules, notes: &mut Notes<'_>) {
        match self.family() {
            None => {}
            Some(Family::Datagram) => self.datagrams(rules, notes),
            Some(Family::Opaque) => self.opaque(rules, self.straight(), notes),
            Some(Family::Auto) => self.opaque(rules, ALLOWED, notes),
            Some(Family::Http) => rules.tcp_everywhere(BY_NAME),
            Some(Family::Tls) => self.tls(rules),
        }
    }

    /// Whether connections go where they were dialled.
    fn stays(&self) -> bool {
        match &self.port.endpoints {
            None => true,
            Some(Endpoints::Dialled { port, .. }) => *port == self.port.dialled(),
            Some(_) => false,
        }
    }

    /// Plain TCP, or what may turn out to be: by address, or any address without one.
    fn opaque(&self, rules: &mut PortRules, straight: Action, notes: &mut Notes<'_>) {
        let number = rules.number();
        if self.service.addresses.is_empty() {
            match &self.port.endpoints {
                _ if self.stays() => rules.tcp_everywhere(straight),
                // Istio's sidecar takes whatever is dialled on the port to the name.
                Some(named @ Endpoints::Named { .. }) if self.service.resolves_hosts => {
                    notes.tell(code::RESOLVED_ALONE, "spec.addresses", resolved_alone(number));
                    if self.family() == Some(Family::Auto) {
                        rules.tcp_everywhere(BY_NAME);
                    }
                    let action = if named.keeps(number) { straight } else { ALLOWED };
                    self.answers(rules, Protocol::Tcp, action);
                }
                // Only protocols that carry a name are resolved by it.
                Some(Endpoints::AsRequested { .. }) => rules.tcp_everywhere(BY_NAME),
                _ => rules.tcp_everywhere(ALLOWED),
            }
            return;
        }
        for cidr in &self.service.addresses {
            let action = match &self.port.endpoints {
                Some(Endpoints::AsRequested { .. }) => straight,
                Some(elsewhere) if !self.stays() && !elsewhere.is_just(*cidr, number) => ALLOWED,
                _ => straight,
            };
            rules.tcp(*cidr, action);
        }
    }

    /// By name on any address. A single IP is enough by itself; a CIDR needs the name as well.
    fn tls(&self, rules: &mut PortRules) {
        rules.tcp_everywhere(BY_NAME);
        if self.service.resolves_hosts && self.service.addresses.is_empty() {
            self.answers(rules, Protocol::Tcp, ALLOWED);
        }
        for cidr in &self.service.addresses {
            rules.tcp(*cidr, if address::is_host(*cidr) { ALLOWED } else { BY_NAME });
        }
    }

    fn datagrams(&self, rules: &mut PortRules, notes: &mut Notes<'_>) {
        let is_named = matches!(self.port.endpoints, Some(Endpoints::Named { .. }));
        let is_requested = matches!(self.port.endpoints, Some(Endpoints::AsRequested { .. }));
        let by_name = is_named && self.service.addresses.is_empty();
        let as_dialled = self.stays() || is_requested || (by_name && self.service.resolves_hosts);
        if !as_dialled {
            notes.warn(code::NOT_SUPPORTED, &rules.source.field, DATAGRAMS_ARE_NOT_REDIRECTED);
        }
        if by_name {
            return self.answers(rules, Protocol::Udp, Action::Direct);
        }
        let everywhere = address::everywhere();
        let own = &self.service.addresses[..];
        for cidr in if own.is_empty() { &everywhere[..] } else { own } {
            rules.udp(*cidr);
        }
    }

    /// What the names resolve to.
    fn answers(&self, rules: &mut PortRules, protocol: Protocol, action: Action) {
        let Some(Endpoints::Named { names, .. }) = &self.port.endpoints else { return };
        for name in names.iter() {
            if let Ok(address) = name.host.parse::<IpAddr>() {
                let current = vec![address.to_canonical()];
                rules.answer(protocol, &Answer { current, ..Answer::default() }, action);
            } else if let Some(answer) = self.inputs.answers.get(&canonical(&name.host)) {
                rules.answer(protocol, answer, action);
            }
        }
    }
}

fn resolved_alone(port: NonZeroU16) -> String {
    format!(
        "on port {port} this is for the addresses that its hosts resolve to, and for no other; Istio \
         sends every address that is dialled on the port to the name. Where clients dial other \
         addresses, list those here: they are carried to what the hosts resolve to"
    )
}

const DATAGRAMS_ARE_NOT_REDIRECTED: &str = "datagrams are never redirected: they reach the address and port that the pod dials, whatever \
     endpoints and targetPort say";
