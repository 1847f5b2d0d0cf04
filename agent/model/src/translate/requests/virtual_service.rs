//! `VirtualService`s: who sees which, by age, and which of them is for a host.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use hashbrown::HashMap;

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
    /// Whether some of them are for some clients only.
    pub(super) asks_for_clients: bool,
}

/// All of them, the oldest first, and the labels of clients that they ask for.
#[derive(Debug)]
pub(super) struct VirtualServices {
    all: Vec<Arc<Routes>>,
    labels: BTreeSet<String>,
}

impl VirtualServices {
    /// Those of some objects; `before` are those of other objects, made alike.
    pub(super) fn new(
        objects: &Objects,
        domain: &str,
        usual: &Exposure,
        before: Option<&Self>,
    ) -> Self {
        let mut all: Vec<&Arc<VirtualService>> = objects.virtual_services().collect();
        all.sort_by_key(|one| {
            let metadata = &one.metadata;
            (created(metadata), metadata.name.clone(), metadata.namespace.clone())
        });
        let with_hosts = all.into_iter().filter(|one| !one.spec.hosts.is_empty());
        let known = before.iter().flat_map(|before| &before.all);
        let known: HashMap<*const VirtualService, &Arc<Routes>> =
            known.map(|one| (Arc::as_ptr(&one.object), one)).collect();
        let routes = with_hosts.map(|object| {
            let known = known.get(&Arc::as_ptr(object)).copied();
            if let Some(known) = known.filter(|_| !delegates(object)) {
                return Arc::clone(known);
            }
            let http = delegate::resolve(objects, object, usual);
            match known.filter(|known| known.http == http) {
                Some(known) => Arc::clone(known),
                None => Arc::new(Routes::new(object, http, domain, usual)),
            }
        });
        let all: Vec<Arc<Routes>> = routes.collect();
        let labels = all.iter().flat_map(|one| one.labels()).cloned().collect();
        Self { all, labels }
    }

    /// Whether one of them asks for a label of its clients.
    pub(super) fn asks_for(&self, key: &str) -> bool {
        self.labels.contains(key)
    }

    /// All of them.
    pub(super) fn all(&self) -> &[Arc<Routes>] {
        &self.all
    }

    /// Those that are for a gateway, or for the mesh, and that a client sees.
    pub(super) fn of<'a>(&'a self, client: &Client, gateway: &str) -> Vec<&'a Arc<Routes>> {
        let seen = |one: &&Arc<Routes>| {
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

fn asks_for_clients(object: &VirtualService, http: &[Rule]) -> bool {
    let http = http.iter().flat_map(|rule| &rule.route.matches);
    let tls = object.spec.tls.iter().flat_map(|rule| &rule.matches);
    let tcp = object.spec.tcp.iter().flat_map(|rule| &rule.matches);
    let http = http.map(|one| (&one.source_labels, &one.source_namespace));
    let tls = tls.map(|one| (&one.source_labels, &one.source_namespace));
    let tcp = tcp.map(|one| (&one.source_labels, &one.source_namespace));
    let mut all = http.chain(tls).chain(tcp);
    all.any(|(labels, namespace)| !labels.is_empty() || !namespace.is_empty())
}

fn delegates(object: &VirtualService) -> bool {
    object.spec.http.iter().any(|route| route.delegate.is_some())
}

impl Routes {
    fn new(object: &Arc<VirtualService>, http: Vec<Rule>, domain: &str, usual: &Exposure) -> Self {
        let spec = &object.spec;
        let namespace = object.metadata.namespace.clone().unwrap_or_default();
        let full = |host: &String| Domain::new(&named::expand(host, &namespace, domain));
        let mut gateways: Vec<String> =
            spec.gateways.iter().map(|one| named::gateway(one, &namespace)).collect();
        if gateways.is_empty() {
            gateways.push(named::MESH.to_owned());
        }
        Self {
            hosts: spec.hosts.iter().map(full).collect(),
            gateways,
            exposure: exposure(&spec.export_to).unwrap_or_else(|| usual.clone()),
            asks_for_clients: asks_for_clients(object, &http),
            http,
            namespace,
            object: Arc::clone(object),
        }
    }

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
pub(super) struct ByHost<'a>(BTreeMap<Domain, &'a Arc<Routes>>);

impl<'a> ByHost<'a> {
    /// Of some, the oldest first.
    pub(super) fn new(all: &[&'a Arc<Routes>]) -> Self {
        let mut by_host = BTreeMap::new();
        for one in all {
            for host in &one.hosts {
                by_host.entry(host.clone()).or_insert(*one);
            }
        }
        Self(by_host)
    }

    /// The one for a host: of its most specific name.
    pub(super) fn find(&self, host: &Domain) -> Option<&'a Arc<Routes>> {
        most_specific_of(&self.0, host, |_| true).copied()
    }
}
