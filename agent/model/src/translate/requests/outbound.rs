//! What a client may dial: each service that it sees, on each of its ports, by the port's protocol.

use std::collections::{BTreeMap, BTreeSet};

use ipnet::IpNet;

use super::{
    Client, RequestModel,
    matches::RouteContext,
    named::MESH,
    virtual_service::{ByHost, Routes},
    visible::{VisibleHost, VisiblePort},
};
use crate::{
    endpoints::Endpoints,
    registry::Authority,
    requests::{
        host::Domain,
        outbound::{Listener, Outbound},
        route::{VirtualHost, each_name_once},
    },
    resource::protocol::{AppProtocol, Family, is_server_first},
};

/// Hosts that nothing declares are served on this port.
const WEB: u16 = 80;

impl RequestModel {
    /// What a client may dial.
    pub(super) fn outbound_of(&self, client: &Client) -> Outbound {
        let all = self.routes().of(client, MESH);
        let aliases = Aliases::new(client);
        let found = Outbound::default();
        let by_host = ByHost::new(&all);
        let mut building = Building { model: self, client, all: &all, by_host, found };
        for seen in &client.seen {
            if !aliases.is_alias(&seen.host) {
                building.service(seen, aliases.of(&seen.host));
            }
        }
        building.undeclared();
        let mut found = building.found;
        for port in found.ports.values_mut() {
            let listeners = port.at.values_mut().chain([&mut port.any]);
            listeners.for_each(|one| one.hosts = each_name_once(std::mem::take(&mut one.hosts)));
        }
        found.ports.retain(|_, port| {
            port.at.retain(|_, listener| !listener.is_empty());
            !port.at.is_empty() || !port.any.is_empty()
        });
        found
    }
}

pub(super) struct Building<'a> {
    pub(super) model: &'a RequestModel,
    pub(super) client: &'a Client,
    all: &'a [&'a Routes],
    by_host: ByHost<'a>,
    found: Outbound,
}

impl Building<'_> {
    fn service(&mut self, seen: &VisibleHost, aliases: &[&VisibleHost]) {
        let routes = self.by_host.find(&Domain::new(&seen.host));
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

    /// Whatever the address: the host decides. An endpoint that is dialled itself, on a port other
    /// than the Service's, is for this service whichever host is named.
    fn http(
        &mut self,
        seen: &VisibleHost,
        port: &VisiblePort,
        aliases: &[&VisibleHost],
        routes: Option<&Routes>,
    ) {
        let mut domains = seen.domains(&port.service, &self.client.namespace);
        for alias in aliases {
            domains.extend(alias.domains(&alias.holder, &self.client.namespace));
        }
        let host = self.host(seen, port, domains, routes);
        let any = &mut self.found.ports.entry(port.number()).or_default().any;
        if may_join(any, port.number(), Listener::is_by_host) {
            any.hosts.push(host);
        }
        let others = self.dialled(port).into_iter();
        for (number, nets) in others.filter(|(number, _)| *number != port.number()) {
            self.for_any_host(seen, port, (number, &nets), routes);
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
        aliases: &[&VisibleHost],
        routes: Option<&Routes>,
    ) {
        let service = &port.service;
        if service.authority == Authority::Declared && service.addresses.is_empty() {
            self.http(seen, port, aliases, routes);
        } else {
            for (number, nets) in self.dialled(port) {
                self.for_any_host(seen, port, (number, &nets), routes);
            }
        }
        self.tcp(seen, port, routes);
    }

    /// Where no service serves HTTP at an address yet, this one does, for any host.
    fn for_any_host(
        &mut self,
        seen: &VisibleHost,
        port: &VisiblePort,
        (number, nets): (u16, &[IpNet]),
        routes: Option<&Routes>,
    ) {
        for net in nets {
            let host = self.host(seen, port, [Domain::any()].into(), routes);
            let listener = self.at(number, *net);
            if listener.is_empty() {
                listener.hosts.push(host);
            }
        }
    }

    fn tls(&mut self, seen: &VisibleHost, port: &VisiblePort, routes: Option<&Routes>) {
        for (number, nets) in self.dialled(port) {
            for (nets, route) in self.tls_routes(seen, (port, &nets), routes) {
                self.at_each(number, &nets, |listener| {
                    if route.names.is_empty() {
                        listener.tcp.get_or_insert_with(|| route.clone());
                    } else {
                        listener.tls.push(route.clone());
                    }
                });
            }
        }
    }

    fn tcp(&mut self, seen: &VisibleHost, port: &VisiblePort, routes: Option<&Routes>) {
        for (number, nets) in self.dialled(port) {
            for (nets, route) in self.tcp_routes(seen, (port, &nets), routes) {
                self.at_each(number, &nets, |listener| {
                    let free = listener.tcp.is_none();
                    if free && may_join(listener, number, Listener::is_by_bytes) {
                        listener.tcp = Some(route.clone());
                    }
                });
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

    /// Does something to the listeners at some addresses; without addresses to the one for all.
    fn at_each(&mut self, port: u16, nets: &[IpNet], mut change: impl FnMut(&mut Listener)) {
        let port = self.found.ports.entry(port).or_default();
        if nets.is_empty() {
            return change(&mut port.any);
        }
        for net in nets {
            change(port.at.entry(*net).or_default());
        }
    }

    fn at(&mut self, port: u16, net: IpNet) -> &mut Listener {
        self.found.ports.entry(port).or_default().at.entry(net).or_default()
    }

    /// Hosts that routes name and nothing declares: on the web's port only.
    fn undeclared(&mut self) {
        let context = RouteContext { port: WEB, gateway: MESH };
        let declared: BTreeSet<Domain> =
            self.client.seen.iter().map(|seen| Domain::new(&seen.host)).collect();
        for routes in self.all {
            let names = routes.hosts.iter().filter(|host| {
                if host.is_wildcard() {
                    !declared.iter().any(|one| host.covers(one))
                } else {
                    !declared.contains(host)
                }
            });
            let domains: BTreeSet<Domain> = names.cloned().collect();
            let stated = self.model.routes_of(self.client, context, routes);
            if let (Some(stated), false) = (stated, domains.is_empty()) {
                let any = &mut self.found.ports.entry(WEB).or_default().any;
                any.hosts.push(VirtualHost { domains, routes: stated });
            }
        }
    }
}

impl Listener {
    fn is_by_host(&self) -> bool {
        self.tcp.is_none() && self.tls.is_empty()
    }

    fn is_by_bytes(&self) -> bool {
        self.hosts.is_empty()
    }
}

/// Where waiting for the client's first bytes would hang, the first to come has the port.
fn may_join(listener: &Listener, port: u16, alike: fn(&Listener) -> bool) -> bool {
    !is_server_first(port) || alike(listener)
}

/// Services that are another word for one that the client sees, through any number of steps.
struct Aliases<'a>(BTreeMap<&'a str, Vec<&'a VisibleHost>>, BTreeSet<&'a str>);

impl<'a> Aliases<'a> {
    fn new(client: &'a Client) -> Self {
        let by_host: BTreeMap<&str, &VisibleHost> =
            client.seen.iter().map(|seen| (seen.host.as_str(), seen)).collect();
        let (mut of, mut are) = (BTreeMap::<&str, Vec<&VisibleHost>>::new(), BTreeSet::new());
        for seen in &client.seen {
            let mut steps = BTreeSet::new();
            let mut at = seen;
            let concrete = loop {
                let Some(next) = &at.holder.alias else { break Some(at) };
                match by_host.get(next.as_str()) {
                    Some(next) if steps.insert(next.host.as_str()) => at = next,
                    // A circle leads nowhere; what leads out is a service of its own.
                    Some(_) => break None,
                    None => break Some(at),
                }
            };
            let own = seen.host.as_str();
            match concrete.map(|one| one.host.as_str()) {
                Some(other) if other != own => {
                    of.entry(other).or_default().push(seen);
                    are.insert(own);
                }
                Some(_) => {}
                None => _ = are.insert(own),
            }
        }
        Self(of, are)
    }

    fn of(&self, host: &str) -> &[&'a VisibleHost] {
        self.0.get(host).map_or(&[], Vec::as_slice)
    }

    fn is_alias(&self, host: &str) -> bool {
        self.1.contains(host)
    }
}
