//! How objects about requests stand to each other: what they name that does not exist, what takes the
//! place of what.
//!
//! A few manifests by themselves name much that lives elsewhere, so what is missing is told only
//! where things of its kind are given at all.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use super::{Client, RequestModel, destination::contains, named, virtual_service::Routes};
use crate::{
    finding::{Finding, Severity, code},
    requests::host::Domain,
    resource::{
        Kind, Object, ObjectKey, Short,
        gateway::Gateway,
        traffic::Destination,
        virtual_service::{HttpRoute, VirtualService},
    },
};

impl RequestModel {
    /// All that is to be said. Objects that were refused are not among those of the model.
    pub(crate) fn findings(&self, refused: &BTreeSet<ObjectKey>) -> Vec<Finding> {
        let mut findings = Vec::new();
        // They come by namespace. What a namespace sees is large in a large cluster: one at a time.
        let mut last: Option<Client> = None;
        for object in self.objects.virtual_services().filter(|_| self.has_services()) {
            let namespace = object.metadata.namespace.as_deref().unwrap_or_default();
            let same = last.take_if(|client| client.namespace == namespace);
            let client =
                same.unwrap_or_else(|| self.client_of(namespace.to_owned(), BTreeMap::new(), None));
            let client = &*last.insert(client);
            let key = Object::VirtualService(object.clone()).key();
            for (field, to) in destinations(object) {
                findings.extend(self.missing(client, &key, &field, to));
            }
        }
        if self.registry.services().is_empty() {
            self.subsets_missing(&mut findings);
        }
        for routes in self.routes().all() {
            self.gateways_of(routes, refused, &mut findings);
        }
        self.rules_without_service(&mut findings);
        self.access_to_nobody(&mut findings);
        self.conflicts(&mut findings);
        self.gateways_alike(&mut findings);
        self.peers_superseded(&mut findings);
        findings
    }

    fn has_services(&self) -> bool {
        !self.registry.services().is_empty()
    }

    fn missing(
        &self,
        client: &Client,
        key: &ObjectKey,
        field: &str,
        to: &Destination,
    ) -> Option<Finding> {
        let host = named::expand(&to.host, &client.namespace, &self.domain);
        let warn = |code, field: String, message: String| {
            Some(Finding::new(Severity::Warning, code, key, field, message))
        };
        let Some(seen) = client.reachable.get(&host) else {
            let message = format!(
                "Referenced host not found: {:?}. Declare it, or name one that is there: requests \
                 for it fail with 503",
                to.host
            );
            let finding = Finding::new(
                Severity::Error,
                code::REFERENCE_UNKNOWN,
                key,
                format!("{field}.host"),
                message,
            );
            return Some(finding);
        };
        if to.number().is_none() && seen.ports.len() > 1 {
            let message = format!(
                "This VirtualService routes to a service {:?} that exposes multiple ports. \
                 Specify the port to disambiguate.",
                to.host
            );
            return warn(code::PORT_NEEDED, format!("{field}.port"), message);
        }
        let number = to
            .number()
            .filter(|number| seen.ports.iter().all(|port| u32::from(port.number()) != *number));
        if let Some(number) = number {
            let message = format!(
                "Referenced port not found: {number} of {:?}. Requests for it fail with 503",
                to.host
            );
            return warn(code::REFERENCE_UNKNOWN, format!("{field}.port.number"), message);
        }
        if to.subset.is_empty()
            || self.has_subset(client, &host, &seen.holder.key.namespace, &to.subset)
        {
            return None;
        }
        let message = format!(
            "Referenced host+subset in destinationrule not found: {:?}. Requests for it fail with \
             503",
            format!("{}+{}", to.host, to.subset)
        );
        let (severity, field) = (Severity::Error, format!("{field}.subset"));
        Some(Finding::new(severity, code::REFERENCE_UNKNOWN, key, field, message))
    }

    /// Clients anywhere may have a rule of their own, so one anywhere will do.
    fn has_subset(&self, client: &Client, host: &str, owner: &str, subset: &str) -> bool {
        let own = self.rules().find((&client.namespace, &client.labels), host, owner);
        let has =
            |rule: &super::destination::Merged| rule.subsets.iter().any(|one| one.name == subset);
        own.is_some_and(|rule| has(rule)) || self.rules().for_host(host).any(has)
    }

    fn gateways_of(
        &self,
        routes: &Routes,
        refused: &BTreeSet<ObjectKey>,
        findings: &mut Vec<Finding>,
    ) {
        if self.objects.gateways().next().is_none() && refused.is_empty() {
            return;
        }
        let key = Object::VirtualService(routes.object.clone()).key();
        let edges = routes.gateways.iter().enumerate().filter(|(_, one)| *one != named::MESH);
        let (mut served, mut names, mut all_found) = (Vec::new(), Vec::new(), true);
        for (index, name) in edges {
            if let Some(gateway) = self.gateway_named(name) {
                let hosts = gateway.spec.servers.iter().flat_map(|server| &server.hosts);
                let name_of = |host: &String| {
                    Domain::new(host.split_once('/').map_or(host.as_str(), |(_, name)| name))
                };
                served.extend(hosts.map(name_of));
                names.push(name.as_str());
                continue;
            }
            all_found = false;
            let is_refused = name.split_once('/').is_some_and(|(namespace, name)| {
                refused.contains(&ObjectKey::new(Kind::Gateway, namespace, name))
            });
            let message = if is_refused {
                format!("the gateway {name:?} is there and refused: see its own findings")
            } else {
                format!("Referenced gateway not found: {name:?}")
            };
            let (severity, code) = (Severity::Error, code::REFERENCE_UNKNOWN);
            let field = format!("spec.gateways[{index}]");
            findings.push(Finding::new(severity, code, &key, field, message));
        }
        // In the mesh every host is served, and what is not there may serve any.
        if !all_found || routes.gateways.iter().any(|one| one == named::MESH) {
            return;
        }
        for (index, host) in routes.hosts.iter().enumerate() {
            if !served.iter().any(|one: &Domain| one.covers(host) || host.covers(one)) {
                let message = format!(
                    "one or more host [{}] defined in VirtualService {key} not found in Gateway {}.",
                    host.as_str(),
                    names.join(", "),
                );
                let (severity, code) = (Severity::Warning, code::HOST_NOT_SERVED);
                let field = format!("spec.hosts[{index}]");
                findings.push(Finding::new(severity, code, &key, field, message));
            }
        }
    }

    fn gateway_named(&self, name: &str) -> Option<&Arc<Gateway>> {
        let (namespace, name) = name.split_once('/')?;
        match self.objects.get(&ObjectKey::new(Kind::Gateway, namespace, name))? {
            Object::Gateway(gateway) => Some(gateway),
            _ => None,
        }
    }

    /// A rule for a host that does not exist has no effect.
    fn rules_without_service(&self, findings: &mut Vec<Finding>) {
        if !self.has_services() {
            return;
        }
        let hosts: BTreeSet<Domain> = self
            .registry
            .services()
            .iter()
            .flat_map(|one| &one.hosts)
            .map(|one| Domain::new(one))
            .collect();
        for rule in self.objects.destination_rules() {
            let namespace = rule.metadata.namespace.as_deref().unwrap_or_default();
            let host = Domain::new(&named::expand(&rule.spec.host, namespace, &self.domain));
            if !hosts.iter().any(|one| host.covers(one) || one.covers(&host)) {
                let message = format!(
                    "Referenced host not found: {:?}. Declare it, or remove the rule: it has no \
                     effect",
                    rule.spec.host
                );
                let key = Object::DestinationRule(rule.clone()).key();
                let (severity, code) = (Severity::Warning, code::REFERENCE_UNKNOWN);
                findings.push(Finding::new(severity, code, &key, "spec.host", message));
            }
        }
    }

    /// In the mesh the oldest object of a host counts alone.
    fn conflicts(&self, findings: &mut Vec<Finding>) {
        let mut by_host: BTreeMap<&Domain, Vec<&Routes>> = BTreeMap::new();
        for routes in self.routes().all() {
            if routes.gateways.iter().any(|one| one == named::MESH) {
                for host in &routes.hosts {
                    by_host.entry(host).or_default().push(routes);
                }
            }
        }
        for (host, all) in by_host {
            let names: Vec<String> = all.iter().map(|one| shown(one)).collect();
            for (index, one) in all.iter().enumerate() {
                let other = all.iter().enumerate();
                let clash = other.filter(|(at, _)| *at != index);
                if !clash.clone().any(|(_, other)| one.shares_clients_with(other)) {
                    continue;
                }
                let message = format!(
                    "The VirtualServices {} associated with mesh gateway define the same host {} \
                     which can lead to undefined behavior. This can be fixed by merging the \
                     conflicting VirtualServices into a single resource: {} is the oldest and \
                     counts alone",
                    names.join(","),
                    host.as_str(),
                    names[0]
                );
                let key = Object::VirtualService(one.object.clone()).key();
                let (severity, code) = (Severity::Error, code::HOSTS_CONFLICT);
                findings.push(Finding::new(severity, code, &key, "spec.hosts", message));
            }
        }
    }

    fn gateways_alike(&self, findings: &mut Vec<Finding>) {
        let all: Vec<&Arc<Gateway>> = self.objects.gateways().collect();
        let places = |gateway: &Gateway| -> BTreeSet<(u32, String)> {
            let servers = gateway.spec.servers.iter();
            let places = servers.flat_map(|server| {
                let port = server.port.as_ref().map_or(0, |port| port.number);
                server.hosts.iter().map(move |host| (port, host.to_ascii_lowercase()))
            });
            places.collect()
        };
        for one in &all {
            for other in all.iter().filter(|other| !Arc::ptr_eq(one, other)) {
                // The narrower one's pods are the wider one's as well.
                let same_pods = contains(&one.spec.selector, &other.spec.selector)
                    || contains(&other.spec.selector, &one.spec.selector);
                let (own, theirs) = (places(one), places(other));
                let Some((port, host)) = own.intersection(&theirs).next().filter(|_| same_pods)
                else {
                    continue;
                };
                let key = Object::Gateway((*one).clone()).key();
                let other = Object::Gateway((*other).clone()).key();
                let message = format!(
                    "Conflict with gateways {other} (workload selector, port {port}, hosts {host}): \
                     tell them apart or join them"
                );
                let (severity, code) = (Severity::Error, code::GATEWAYS_CONFLICT);
                findings.push(Finding::new(severity, code, &key, "spec.servers", message));
            }
        }
    }

    /// What is said of peers twice, and what is said of ports without a listener.
    fn peers_superseded(&self, findings: &mut Vec<Finding>) {
        let root = &self.settings.root_namespace;
        let mut scopes: BTreeMap<Short, ObjectKey> = BTreeMap::new();
        for one in self.objects.peer_authentications() {
            let key = Object::PeerAuthentication(one.clone()).key();
            let selects = one
                .spec
                .selector
                .as_ref()
                .is_some_and(|selector| !selector.match_labels.is_empty());
            if !selects {
                let scope =
                    if key.namespace == *root { Short::default() } else { key.namespace.clone() };
                scopes.entry(scope).or_insert(key);
            } else if key.namespace == *root {
                let message = format!(
                    "a selector in the root namespace {root} makes the object ignored: remove it \
                     for the whole mesh, or move the object to the pods' namespace"
                );
                let (severity, code) = (Severity::Warning, code::FIELD_WITHOUT_EFFECT);
                findings.push(Finding::new(severity, code, &key, "spec.selector", message));
            }
        }
        let mesh = self.objects.mesh_policies().map(|one| Object::MeshPolicy(one.clone()).key());
        let own = self.objects.policies().filter(|one| one.spec.targets.is_empty());
        let own = own.map(|one| Object::Policy(one.clone()).key());
        for key in mesh.chain(own) {
            if let Some(by) = scopes.get(&key.namespace) {
                let message =
                    format!("{by} has the same scope and takes its place: remove this one");
                let (severity, code) = (Severity::Warning, code::SUPERSEDED);
                findings.push(Finding::new(severity, code, &key, "spec", message));
            }
        }
    }
}

fn shown(routes: &Routes) -> String {
    format!("{}/{}", routes.namespace, routes.object.metadata.name.as_deref().unwrap_or_default())
}

/// Every destination that an object names, with its field.
pub(super) fn destinations(object: &VirtualService) -> Vec<(String, &Destination)> {
    let mut found = Vec::new();
    for (index, rule) in object.spec.http.iter().enumerate() {
        let path = format!("spec.http[{index}]");
        let HttpRoute { route, mirror, mirrors, .. } = rule;
        let routes = route.iter().map(|one| one.destination.as_ref());
        listed(&mut found, &format!("{path}.route"), routes);
        found.extend(mirror.as_ref().map(|to| (format!("{path}.mirror"), to)));
        let mirrors = mirrors.iter().map(|one| one.destination.as_ref());
        listed(&mut found, &format!("{path}.mirrors"), mirrors);
    }
    for (index, rule) in object.spec.tls.iter().enumerate() {
        let routes = rule.route.iter().map(|one| one.destination.as_ref());
        listed(&mut found, &format!("spec.tls[{index}].route"), routes);
    }
    for (index, rule) in object.spec.tcp.iter().enumerate() {
        let routes = rule.route.iter().map(|one| one.destination.as_ref());
        listed(&mut found, &format!("spec.tcp[{index}].route"), routes);
    }
    found
}

fn listed<'a>(
    found: &mut Vec<(String, &'a Destination)>,
    path: &str,
    all: impl Iterator<Item = Option<&'a Destination>>,
) {
    let given = all.enumerate().filter_map(|(index, to)| Some((index, to?)));
    found.extend(given.map(|(index, to)| (format!("{path}[{index}].destination"), to)));
}
