//! Ports whose connections an object gives the proxy something to do for: routes, TLS that is added, a
//! policy that says more than the defaults; and where this node speaks the mesh's TLS, all of services
//! whose pods may be in the mesh. All others go straight out in the kernel.
//!
//! It is one answer for all clients, whichever of them see the object: the proxy carries the others'
//! connections to where they were dialled.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    named::{self, MESH},
    policy::{is_usual, is_usual_on_port},
};
use crate::{
    registry::Service,
    requests::{
        host::{Domain, covering},
        route::Retries,
    },
    resource::{
        Objects, destination_rule::DestinationRule, protocol::Family,
        virtual_service::VirtualService,
    },
    translate::revisions::Revisions,
};

/// See the module.
#[derive(Debug, Default, PartialEq, Eq)]
pub(in crate::translate) struct Steered {
    /// By the host that objects name.
    by_host: BTreeMap<Domain, Said>,
    /// Whether the mesh's own retries are others than those that a client has anyway.
    retries: bool,
    /// Namespaces with pods in the mesh, where its TLS is spoken.
    mesh: BTreeSet<String>,
}

/// What objects say of a host's connections.
#[derive(Debug, Default, PartialEq, Eq)]
struct Said {
    /// Routes for requests.
    http: bool,
    /// Routes by server name.
    tls: bool,
    /// Routes for TCP.
    tcp: Ports,
    /// A policy.
    policy: Ports,
}

#[derive(Debug, PartialEq, Eq)]
enum Ports {
    All,
    Some(BTreeSet<u16>),
}

impl Default for Ports {
    fn default() -> Self {
        Self::Some(BTreeSet::new())
    }
}

impl Ports {
    /// None is all.
    fn add(&mut self, port: Option<u16>) {
        match (&mut *self, port) {
            (Self::All, _) => {}
            (Self::Some(some), Some(port)) => _ = some.insert(port),
            (Self::Some(_), None) => *self = Self::All,
        }
    }

    fn has(&self, port: u16) -> bool {
        match self {
            Self::All => true,
            Self::Some(some) => some.contains(&port),
        }
    }
}

impl Said {
    fn steers(&self, port: u16, family: Family) -> bool {
        let Self { http, tls, tcp, policy } = self;
        let routes = match family {
            Family::Http => *http,
            Family::Tls => *tls || tcp.has(port),
            Family::Opaque => tcp.has(port),
            Family::Auto => *http || *tls || tcp.has(port),
            Family::Datagram => return false,
        };
        routes || policy.has(port)
    }
}

impl Steered {
    pub(in crate::translate) fn read(
        objects: &Objects,
        revisions: &Revisions,
        domain: &str,
    ) -> Self {
        let usual = Some(Retries::usual());
        let retries = revisions.all().iter().any(|settings| settings.retries != usual);
        let mut by_host: BTreeMap<Domain, Said> = BTreeMap::new();
        for one in objects.virtual_services() {
            let namespace = one.metadata.namespace.as_deref().unwrap_or_default();
            for host in &one.spec.hosts {
                let host = Domain::new(&named::expand(host, namespace, domain));
                of_routes(one, by_host.entry(host).or_default());
            }
        }
        for rule in objects.destination_rules() {
            let namespace = rule.metadata.namespace.as_deref().unwrap_or_default();
            let host = Domain::new(&named::expand(&rule.spec.host, namespace, domain));
            of_rule(rule, &mut by_host.entry(host).or_default().policy);
        }
        by_host.retain(|_, said| *said != Said::default());
        Self { by_host, retries, mesh: BTreeSet::new() }
    }

    /// Namespaces where the mesh's TLS is spoken with pods.
    pub(in crate::translate) fn add_mesh(&mut self, namespaces: BTreeSet<String>) {
        self.mesh = namespaces;
    }

    /// Whether connections to a port of a service go by the proxy.
    pub(in crate::translate) fn takes(
        &self,
        service: &Service,
        (port, family): (u16, Family),
    ) -> bool {
        let said = |host: &String| self.about(host).any(|said| said.steers(port, family));
        (self.retries && matches!(family, Family::Http | Family::Auto))
            || (family != Family::Datagram && self.is_secured(service))
            || names(service).any(said)
    }

    /// Whether something about a service is another here than there.
    pub(in crate::translate) fn differs(&self, other: &Self, service: &Service) -> bool {
        self.retries != other.retries
            || self.is_secured(service) != other.is_secured(service)
            || names(service).any(|host| self.about(host).ne(other.about(host)))
    }

    /// Whether a service's pods may be in the mesh, whose TLS is spoken with them.
    fn is_secured(&self, service: &Service) -> bool {
        !service.external && self.is_in_mesh(&service.key.namespace)
    }

    /// Whether a namespace may have pods with whom the mesh's TLS is spoken.
    pub(super) fn is_in_mesh(&self, namespace: &str) -> bool {
        self.mesh.contains(namespace)
    }

    /// Hosts that routes for requests name.
    pub(in crate::translate) fn routed(&self) -> impl Iterator<Item = &Domain> {
        self.by_host.iter().filter(|(_, said)| said.http).map(|(host, _)| host)
    }

    fn about(&self, host: &str) -> impl Iterator<Item = &Said> {
        covering(&self.by_host, Domain::new(host))
    }
}

fn names(service: &Service) -> impl Iterator<Item = &String> {
    service.hosts.iter().chain(&service.alias)
}

fn of_routes(object: &VirtualService, said: &mut Said) {
    let in_mesh = |gateways: &[String]| gateways.iter().any(|one| one == MESH);
    let spec = &object.spec;
    let is_in_mesh = spec.gateways.is_empty() || in_mesh(&spec.gateways);
    // A match may name gateways of its own.
    said.http |= is_in_mesh && !spec.http.is_empty();
    said.tls |= is_in_mesh && !spec.tls.is_empty();
    for rule in &spec.tcp {
        if rule.matches.is_empty() && is_in_mesh {
            said.tcp.add(None);
        }
        for one in &rule.matches {
            let concerns =
                if one.gateways.is_empty() { is_in_mesh } else { in_mesh(&one.gateways) };
            if concerns {
                said.tcp.add(u16::try_from(one.port).ok().filter(|port| *port != 0));
            }
        }
    }
}

/// The ports that a rule says more of than the defaults.
fn of_rule(rule: &DestinationRule, ports: &mut Ports) {
    let Some(policy) = &rule.spec.traffic_policy else { return };
    if !is_usual(policy) {
        ports.add(None);
    }
    for own in policy.port_level_settings.iter().filter(|own| !is_usual_on_port(own)) {
        let number = own.port.as_ref().map(|port| port.number);
        ports.add(number.and_then(|number| u16::try_from(number).ok()));
    }
}
