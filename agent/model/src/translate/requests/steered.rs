//! Ports that are declared as TCP and go by the proxy all the same, since an object says more of their
//! connections than their address does: routes for TCP, TLS that is added.
//!
//! It is one answer for all clients, whichever of them see the object: the proxy carries the others'
//! connections to where they were dialled.

use std::collections::{BTreeMap, BTreeSet};

use super::named::{self, MESH};
use crate::{
    requests::host::Domain,
    resource::{
        Objects,
        destination_rule::{ClientTls, ClientTlsMode, DestinationRule},
        virtual_service::VirtualService,
    },
};

/// See the module; by the host that an object names.
#[derive(Debug, Default, PartialEq, Eq)]
pub(in crate::translate) struct Steered(BTreeMap<Domain, Ports>);

#[derive(Debug, PartialEq, Eq)]
enum Ports {
    All,
    Some(BTreeSet<u16>),
}

impl Steered {
    pub(in crate::translate) fn read(objects: &Objects, domain: &str) -> Self {
        let mut found = Self::default();
        for one in objects.virtual_services() {
            let namespace = one.metadata.namespace.as_deref().unwrap_or_default();
            for port in of_routes(one) {
                for host in &one.spec.hosts {
                    found.add(&named::expand(host, namespace, domain), port);
                }
            }
        }
        for rule in objects.destination_rules() {
            let namespace = rule.metadata.namespace.as_deref().unwrap_or_default();
            let host = named::expand(&rule.spec.host, namespace, domain);
            for port in of_rule(rule) {
                found.add(&host, port);
            }
        }
        found
    }

    fn add(&mut self, host: &str, port: Option<u16>) {
        let none = || Ports::Some(BTreeSet::new());
        let ports = self.0.entry(Domain::new(host)).or_insert_with(none);
        match (&mut *ports, port) {
            (Ports::All, _) => {}
            (Ports::Some(some), Some(port)) => _ = some.insert(port),
            (Ports::Some(_), None) => *ports = Ports::All,
        }
    }

    /// Whether connections to a port of some hosts go by the proxy.
    pub(in crate::translate) fn takes(&self, hosts: &[String], port: u16) -> bool {
        self.about(hosts).any(|ports| match ports {
            Ports::All => true,
            Ports::Some(some) => some.contains(&port),
        })
    }

    /// Whether it has anything to say of some hosts.
    pub(in crate::translate) fn concerns(&self, hosts: &[String]) -> bool {
        self.about(hosts).next().is_some()
    }

    fn about(&self, hosts: &[String]) -> impl Iterator<Item = &Ports> {
        // Of most clusters it says nothing.
        let hosts = hosts.iter().filter(|_| !self.0.is_empty()).map(|host| Domain::new(host));
        hosts.flat_map(|host| {
            let covers =
                move |(name, _): &(&Domain, &Ports)| name.covers(&host) || host.covers(name);
            self.0.iter().filter(covers).map(|(_, ports)| ports)
        })
    }
}

/// The ports that an object's routes for TCP are about; none of them is all.
fn of_routes(object: &VirtualService) -> BTreeSet<Option<u16>> {
    let in_mesh = |gateways: &[String]| gateways.iter().any(|one| one == MESH);
    let spec = &object.spec;
    let is_in_mesh = spec.gateways.is_empty() || in_mesh(&spec.gateways);
    let mut ports = BTreeSet::new();
    for rule in &spec.tcp {
        if rule.matches.is_empty() && is_in_mesh {
            ports.insert(None);
        }
        for one in &rule.matches {
            let concerns =
                if one.gateways.is_empty() { is_in_mesh } else { in_mesh(&one.gateways) };
            if concerns {
                ports.insert(u16::try_from(one.port).ok().filter(|port| *port != 0));
            }
        }
    }
    ports
}

/// The ports that a rule adds TLS on; none of them is all.
fn of_rule(rule: &DestinationRule) -> BTreeSet<Option<u16>> {
    let Some(policy) = &rule.spec.traffic_policy else { return BTreeSet::new() };
    let is_own = |tls: &Option<ClientTls>| {
        let mode = tls.as_ref().map(|tls| tls.mode);
        matches!(mode, Some(ClientTlsMode::Simple | ClientTlsMode::Mutual))
    };
    let whole = is_own(&policy.tls).then_some(None);
    let own = policy.port_level_settings.iter().filter(|one| is_own(&one.tls));
    let ports = own.filter_map(|one| one.port.as_ref()?.number.try_into().ok().map(Some));
    whole.into_iter().chain(ports).collect()
}
