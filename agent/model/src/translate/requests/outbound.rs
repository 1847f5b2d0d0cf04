//! What a client may dial: each service that it sees, on each of its ports, by the port's protocol.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use ipnet::IpNet;

use super::{
    Client, RequestModel,
    definition::{Definition, Last, Piece, Subject, What},
    matches::RouteContext,
    named::MESH,
    views::{Destinations, View},
    virtual_service::{ByHost, Routes},
    visible::{VisibleHost, VisiblePort},
};
use crate::{
    endpoints::Endpoints,
    registry::Authority,
    requests::{host::Domain, route::VirtualHost},
    resource::protocol::{AppProtocol, Family},
};

/// Hosts that nothing declares are served on this port.
const WEB: u16 = 80;

impl RequestModel {
    /// What a client may dial, host by host, in order of precedence.
    pub(super) fn definitions(
        &self,
        client: &Client,
        read: &Destinations,
        before: Option<&View>,
    ) -> Box<[Arc<Definition>]> {
        let last = before.filter(|before| before.read.is_same(read));
        let last = last.iter().flat_map(|before| &before.definitions);
        let last: Last<'_> = last.map(|one| (one.about(), one)).collect();
        let all = self.routes().of(client, MESH);
        let by_host = ByHost::new(&all);
        let aliases = Aliases::new(client);
        let hosts = client.seen.iter().filter(|seen| !aliases.is_alias(&seen.host));
        let hosts = hosts.map(|seen| Subject::Host {
            seen: Arc::clone(seen),
            aliases: aliases.of(&seen.host).to_vec(),
            routes: by_host.find(&Domain::new(&seen.host)).cloned(),
        });
        let subjects = hosts.chain(undeclared(client, &all));
        let make = |subject: &Subject| Building::pieces(self, client, subject);
        subjects.map(|subject| self.definition(client, subject, &last, make)).collect()
    }
}

/// Hosts that routes name and nothing declares.
fn undeclared(client: &Client, all: &[&Arc<Routes>]) -> Vec<Subject> {
    if all.is_empty() {
        return Vec::new();
    }
    let declared: BTreeSet<Domain> =
        client.seen.iter().map(|seen| Domain::new(&seen.host)).collect();
    let is_declared = |host: &Domain| {
        if host.is_wildcard() {
            declared.iter().any(|one| host.covers(one))
        } else {
            declared.contains(host)
        }
    };
    let subject = |routes: &&Arc<Routes>| {
        let names = routes.hosts.iter().filter(|host| !is_declared(host));
        let domains: BTreeSet<Domain> = names.cloned().collect();
        let routes = Arc::clone(routes);
        (!domains.is_empty()).then_some(Subject::Undeclared { routes, domains })
    };
    all.iter().filter_map(subject).collect()
}

/// What a host is to a client, in the making.
pub(super) struct Building<'a> {
    pub(super) model: &'a RequestModel,
    pub(super) client: &'a Client,
    pieces: Vec<Piece>,
}

impl<'a> Building<'a> {
    pub(super) fn pieces(
        model: &'a RequestModel,
        client: &'a Client,
        subject: &Subject,
    ) -> Vec<Piece> {
        let mut building = Self { model, client, pieces: Vec::new() };
        match subject {
            Subject::Host { seen, aliases, routes } => {
                building.service(seen, aliases, routes.as_deref());
            }
            Subject::Undeclared { routes, domains } => building.undeclared(routes, domains),
        }
        building.pieces
    }

    fn add(&mut self, port: u16, nets: Vec<IpNet>, what: What) {
        self.pieces.push(Piece { port, nets, what });
    }

    fn service(
        &mut self,
        seen: &VisibleHost,
        aliases: &[Arc<VisibleHost>],
        routes: Option<&Routes>,
    ) {
        for port in &seen.ports {
            match port.port().protocol.map(AppProtocol::family) {
                Some(Family::Http) => self.http(seen, port, aliases, routes),
                Some(Family::Auto) => self.detected(seen, port, aliases, routes),
                Some(Family::Tls) => self.tls(seen, port, routes),
                Some(Family::Opaque) => self.tcp(seen, port, routes),
                Some(Family::Datagram) | None => {}
            }
        }
    }

    /// On the web's port only.
    fn undeclared(&mut self, routes: &Routes, domains: &BTreeSet<Domain>) {
        let context = RouteContext { port: WEB, gateway: MESH };
        if let Some(stated) = self.model.routes_of(self.client, context, routes) {
            let host = VirtualHost { domains: domains.clone(), routes: stated };
            self.add(WEB, Vec::new(), What::ByHost(Arc::new(host)));
        }
    }

    /// Whatever the address: the host decides. An endpoint that is dialled itself, on a port other
    /// than the Service's, is for this service whichever host is named.
    fn http(
        &mut self,
        seen: &VisibleHost,
        port: &VisiblePort,
        aliases: &[Arc<VisibleHost>],
        routes: Option<&Routes>,
    ) {
        let mut domains = seen.domains(&port.service, &self.client.namespace);
        for alias in aliases {
            domains.extend(alias.domains(&alias.holder, &self.client.namespace));
        }
        let host = self.host(seen, port, domains, routes);
        self.add(port.number(), Vec::new(), What::ByHost(Arc::new(host)));
        let others = self.dialled(port).into_iter();
        for (number, nets) in others.filter(|(number, _)| *number != port.number()) {
            self.for_any_host(seen, port, (number, nets), routes);
        }
    }

    fn host(
        &self,
        seen: &VisibleHost,
        port: &VisiblePort,
        domains: BTreeSet<Domain>,
        routes: Option<&Routes>,
    ) -> VirtualHost {
        let context = RouteContext { port: port.number(), gateway: MESH };
        let stated = routes.and_then(|one| self.model.routes_of(self.client, context, one));
        let routes = stated.unwrap_or_else(|| {
            let target = self.model.on_port(self.client, seen, port.number(), None);
            vec![self.model.straight(target)]
        });
        VirtualHost { domains, routes }
    }

    /// At an address of its own whatever looks like HTTP is for this service, whichever host it
    /// names; else the host decides, and what is no HTTP goes to the first that takes it.
    fn detected(
        &mut self,
        seen: &VisibleHost,
        port: &VisiblePort,
        aliases: &[Arc<VisibleHost>],
        routes: Option<&Routes>,
    ) {
        let service = &port.service;
        if service.authority == Authority::Declared && service.addresses.is_empty() {
            self.http(seen, port, aliases, routes);
        } else {
            for (number, nets) in self.dialled(port) {
                self.for_any_host(seen, port, (number, nets), routes);
            }
        }
        self.tcp(seen, port, routes);
    }

    /// Where no service serves HTTP at an address yet, this one does, for any host.
    fn for_any_host(
        &mut self,
        seen: &VisibleHost,
        port: &VisiblePort,
        (number, nets): (u16, Vec<IpNet>),
        routes: Option<&Routes>,
    ) {
        if !nets.is_empty() {
            let host = self.host(seen, port, [Domain::any()].into(), routes);
            self.add(number, nets, What::AnyHost(Arc::new(host)));
        }
    }

    fn tls(&mut self, seen: &VisibleHost, port: &VisiblePort, routes: Option<&Routes>) {
        for (number, nets) in self.dialled(port) {
            for (nets, route) in self.tls_routes(seen, (port, &nets), routes) {
                self.add(number, nets, What::Tls(Arc::new(route)));
            }
        }
    }

    fn tcp(&mut self, seen: &VisibleHost, port: &VisiblePort, routes: Option<&Routes>) {
        for (number, nets) in self.dialled(port) {
            for (nets, route) in self.tcp_routes(seen, (port, &nets), routes) {
                self.add(number, nets, What::Tcp(Arc::new(route)));
            }
        }
    }

    /// What is dialled to reach a port, by the port that is dialled: the service's addresses; those
    /// of its endpoints where they are dialled themselves; what a name outside resolves to. An
    /// entry may be without, and is then reached at any address; the cluster's own never are.
    fn dialled(&self, port: &VisiblePort) -> BTreeMap<u16, Vec<IpNet>> {
        let mut dialled: BTreeMap<u16, Vec<IpNet>> = BTreeMap::new();
        let service = &port.service;
        if service.authority == Authority::Declared {
            return [(port.number(), service.addresses.to_vec())].into();
        }
        let mut add = |number: u16, net| dialled.entry(number).or_default().push(net);
        match self.model.endpoints(port) {
            Endpoints::Named { names, .. } => {
                let allowed =
                    names.iter().flat_map(|name| name.current.iter().chain(&name.lingering));
                allowed.for_each(|address| add(port.number(), IpNet::from(*address)));
            }
            Endpoints::Listed(listed) if service.headless => {
                listed.iter().for_each(|one| add(one.port.get(), IpNet::from(one.address)));
            }
            _ => service.addresses.iter().for_each(|net| add(port.number(), *net)),
        }
        dialled
    }
}

/// Services that are another word for one that the client sees, through any number of steps.
struct Aliases<'a>(BTreeMap<&'a str, Vec<Arc<VisibleHost>>>, BTreeSet<&'a str>);

impl<'a> Aliases<'a> {
    fn new(client: &'a Client) -> Self {
        let (mut of, mut are) = (BTreeMap::<&str, Vec<_>>::new(), BTreeSet::new());
        if client.seen.iter().all(|seen| seen.holder.alias.is_none()) {
            return Self(of, are);
        }
        let by_host: BTreeMap<&str, &VisibleHost> =
            client.seen.iter().map(|seen| (&*seen.host, &**seen)).collect();
        for seen in &client.seen {
            let mut steps = BTreeSet::new();
            let mut at: &VisibleHost = seen;
            let concrete = loop {
                let Some(next) = &at.holder.alias else { break Some(at) };
                match by_host.get(next.as_str()) {
                    Some(next) if steps.insert(&*next.host) => at = next,
                    // A circle leads nowhere; what leads out is a service of its own.
                    Some(_) => break None,
                    None => break Some(at),
                }
            };
            let own = &*seen.host;
            match concrete.map(|one| &*one.host) {
                Some(other) if other != own => {
                    of.entry(other).or_default().push(Arc::clone(seen));
                    are.insert(own);
                }
                Some(_) => {}
                None => _ = are.insert(own),
            }
        }
        Self(of, are)
    }

    fn of(&self, host: &str) -> &[Arc<VisibleHost>] {
        self.0.get(host).map_or(&[], Vec::as_slice)
    }

    fn is_alias(&self, host: &str) -> bool {
        self.1.contains(host)
    }
}
