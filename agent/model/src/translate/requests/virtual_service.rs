//! `VirtualService`s: who sees which, by age, and which of them is for a host.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use super::{
    super::{annotation::created, exposure::exposure},
    Client,
    delegate::{self, Rule},
    named,
};
use crate::{
    registry::Exposure,
    requests::host::{Domain, most_specific_of},
    resource::{Objects, virtual_service::VirtualService},
};

/// One object, with its names in full and what it delegates filled in.
#[derive(Debug)]
pub(super) struct Routes {
    pub(super) object: Arc<VirtualService>,
    pub(super) namespace: String,
    pub(super) hosts: Vec<Domain>,
    pub(super) gateways: Vec<String>,
    exposure: Exposure,
    pub(super) http: Vec<Rule>,
}

/// All of them, the oldest first, and the labels of clients that they ask for.
#[derive(Debug)]
pub(super) struct VirtualServices {
    all: Vec<Routes>,
    labels: BTreeSet<String>,
}

impl VirtualServices {
    pub(super) fn new(objects: &Objects, domain: &str, usual: &Exposure) -> Self {
        let mut all: Vec<&Arc<VirtualService>> = objects.virtual_services().collect();
        all.sort_by_key(|one| {
            let metadata = &one.metadata;
            (created(metadata), metadata.name.clone(), metadata.namespace.clone())
        });
        let with_hosts = all.into_iter().filter(|one| !one.spec.hosts.is_empty());
        let routes = with_hosts.map(|object| {
            let spec = &object.spec;
            let namespace = object.metadata.namespace.clone().unwrap_or_default();
            let full = |host: &String| Domain::new(&named::expand(host, &namespace, domain));
            let mut gateways: Vec<String> =
                spec.gateways.iter().map(|one| named::gateway(one, &namespace)).collect();
            if gateways.is_empty() {
                gateways.push(named::MESH.to_owned());
            }
            Routes {
                hosts: spec.hosts.iter().map(full).collect(),
                gateways,
                exposure: exposure(&spec.export_to).unwrap_or_else(|| usual.clone()),
                http: delegate::resolve(objects, object, usual),
                namespace,
                object: object.clone(),
            }
        });
        let all: Vec<Routes> = routes.collect();
        let labels = all.iter().flat_map(Routes::labels).cloned().collect();
        Self { all, labels }
    }

    /// Whether one of them asks for a label of its clients.
    pub(super) fn asks_for(&self, key: &str) -> bool {
        self.labels.contains(key)
    }

    /// All of them.
    pub(super) fn all(&self) -> &[Routes] {
        &self.all
    }

    /// Those that are for a gateway, or for the mesh, and that a client sees.
    pub(super) fn of<'a>(&'a self, client: &Client, gateway: &str) -> Vec<&'a Routes> {
        let seen = |one: &&Routes| {
            let hosts =
                || one.hosts.iter().map(|host| host.as_str().to_owned()).collect::<Vec<_>>();
            let filter = client.scope.filter();
            one.gateways.iter().any(|name| name == gateway)
                && one.exposure.includes(&client.namespace, &one.namespace)
                && filter.is_none_or(|filter| filter.lets_through(&one.namespace, &hosts()))
        };
        self.all.iter().filter(seen).collect()
    }
}

impl Routes {
    /// Whether some client may see both.
    pub(super) fn shares_clients_with(&self, other: &Self) -> bool {
        match (self.clients(), other.clients()) {
            (Some(own), Some(others)) => !own.is_disjoint(&others),
            (Some(some), None) | (None, Some(some)) => !some.is_empty(),
            (None, None) => true,
        }
    }

    fn labels(&self) -> impl Iterator<Item = &String> {
        let http = self.http.iter().flat_map(|rule| &rule.route.matches);
        let tls = self.object.spec.tls.iter().flat_map(|rule| &rule.matches);
        let tcp = self.object.spec.tcp.iter().flat_map(|rule| &rule.matches);
        let http = http.flat_map(|one| one.source_labels.keys());
        let tls = tls.flat_map(|one| one.source_labels.keys());
        http.chain(tls).chain(tcp.flat_map(|one| one.source_labels.keys()))
    }

    /// The namespaces that see it; `None` is each.
    fn clients(&self) -> Option<BTreeSet<&str>> {
        let Exposure::Only { own, named } = &self.exposure else { return None };
        let own = own.then_some(self.namespace.as_str());
        Some(named.iter().map(String::as_str).chain(own).collect())
    }
}

/// Routes by host; of those of one host the oldest.
#[derive(Debug)]
pub(super) struct ByHost<'a>(BTreeMap<Domain, &'a Routes>);

impl<'a> ByHost<'a> {
    /// Of some, the oldest first.
    pub(super) fn new(all: &[&'a Routes]) -> Self {
        let mut by_host = BTreeMap::new();
        for one in all {
            for host in &one.hosts {
                by_host.entry(host.clone()).or_insert(*one);
            }
        }
        Self(by_host)
    }

    /// The one for a host: of its most specific name.
    pub(super) fn find(&self, host: &Domain) -> Option<&'a Routes> {
        most_specific_of(&self.0, host, |_| true).copied()
    }
}
