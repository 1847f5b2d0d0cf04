//! A model as rows: its listeners, routes, clusters and endpoints, under the names that people know
//! from a proxy's own configuration.

use std::{
    borrow::Borrow,
    collections::{BTreeMap, BTreeSet},
};

use ipnet::IpNet;

use super::{
    backend::{Backend, Target, Weighted},
    gateway::{Gateway, GatewayPort, Inside, TlsServer},
    host::Domain,
    outbound::{Listener, Outbound, StreamRoute},
    route::{Action, Route, VirtualHost},
};

/// A listener and what it is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ListenerRow<'a> {
    /// The port that is dialled.
    pub port: u16,
    /// What is dialled; `None` is any address.
    pub at: Option<IpNet>,
    /// What is served there.
    pub listener: &'a Listener,
}

/// A route and what it is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RouteRow<'a> {
    /// The port that is dialled, or that a gateway serves.
    pub port: u16,
    /// What is dialled; `None` is any address.
    pub at: Option<IpNet>,
    /// The names: of hosts for requests, of servers for TLS; none is any.
    pub names: &'a BTreeSet<Domain>,
    /// The route.
    pub route: AnyRoute<'a>,
}

/// A route of either kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AnyRoute<'a> {
    /// Of requests.
    Http(&'a Route),
    /// Of TLS that is not ended.
    Tls(&'a StreamRoute),
    /// Of bytes.
    Tcp(&'a StreamRoute),
}

/// What tells one cluster from another: its service, port and subset.
pub type ClusterName<'a> = (&'a str, u16, Option<&'a str>);

impl Outbound {
    /// Every listener, by port; that for any address comes last.
    pub fn listeners(&self) -> impl Iterator<Item = ListenerRow<'_>> {
        self.ports.iter().flat_map(|(port, on)| {
            let at = on.at.iter().map(|(net, listener)| (Some(*net), listener));
            let all = at.chain([(None, &on.any)]).filter(|(_, listener)| !listener.is_empty());
            all.map(|(at, listener)| ListenerRow { port: *port, at, listener })
        })
    }

    /// Every route, in the order in which they are asked.
    pub fn routes(&self) -> Vec<RouteRow<'_>> {
        let mut rows = Vec::new();
        for ListenerRow { port, at, listener } in self.listeners() {
            let row = |names, route| RouteRow { port, at, names, route };
            let Listener { hosts, tls, tcp } = listener;
            rows.extend(of_hosts(hosts).map(|(names, route)| row(names, AnyRoute::Http(route))));
            rows.extend(tls.iter().map(|one| row(&one.names, AnyRoute::Tls(one))));
            rows.extend(tcp.iter().map(|one| row(&one.names, AnyRoute::Tcp(one))));
        }
        rows
    }

    /// Every cluster that a route leads to, each once.
    pub fn clusters(&self) -> BTreeMap<ClusterName<'_>, &Backend> {
        clusters(&self.routes())
    }
}

impl Gateway {
    /// Every route, in the order in which they are asked.
    pub fn routes(&self) -> Vec<RouteRow<'_>> {
        let mut rows = Vec::new();
        for (port, served) in &self.ports {
            let row = |names, route| RouteRow { port: *port, at: None, names, route };
            match served {
                GatewayPort::Http(hosts) => {
                    let routes = of_hosts(hosts);
                    rows.extend(routes.map(|(names, route)| row(names, AnyRoute::Http(route))));
                }
                GatewayPort::Tcp(route) => {
                    rows.extend(route.iter().map(|one| row(&one.names, AnyRoute::Tcp(one))));
                }
                GatewayPort::Tls(servers) => {
                    for TlsServer { names, then, tls: _ } in servers {
                        match then {
                            Inside::Http(hosts) => rows.extend(
                                of_hosts(hosts)
                                    .map(|(names, route)| row(names, AnyRoute::Http(route))),
                            ),
                            Inside::Tcp(routes) => {
                                rows.extend(
                                    routes.iter().map(|one| row(names, AnyRoute::Tls(one))),
                                );
                            }
                        }
                    }
                }
            }
        }
        rows
    }

    /// Every cluster that a route leads to, each once.
    pub fn clusters(&self) -> BTreeMap<ClusterName<'_>, &Backend> {
        clusters(&self.routes())
    }
}

impl Backend {
    /// What tells it from others.
    pub fn name(&self) -> ClusterName<'_> {
        (&self.service, self.port, self.subset.as_deref())
    }
}

impl<'a> AnyRoute<'a> {
    /// Where it leads, copies included.
    pub fn targets(&self) -> Vec<&'a Target> {
        match self {
            Self::Http(route) => of_route(route),
            Self::Tls(route) | Self::Tcp(route) => of_shares(&route.to).collect(),
        }
    }
}

fn of_hosts(
    hosts: &[impl Borrow<VirtualHost>],
) -> impl Iterator<Item = (&BTreeSet<Domain>, &Route)> {
    let hosts = hosts.iter().map(Borrow::<VirtualHost>::borrow);
    hosts.flat_map(|host| host.routes.iter().map(|route| (&host.domains, route)))
}

fn of_shares(to: &[Weighted]) -> impl Iterator<Item = &Target> {
    to.iter().map(|one| &one.target)
}

fn of_route(route: &Route) -> Vec<&Target> {
    let mut targets: Vec<&Target> = match &route.then {
        Action::Forward(forward) => of_shares(&forward.to).collect(),
        Action::Continue { routes, .. } => routes.iter().flat_map(of_route).collect(),
        Action::Redirect(_) | Action::Answer(_) => Vec::new(),
    };
    targets.extend(route.mirrors.iter().map(|mirror| &mirror.to));
    targets
}

fn clusters<'a>(rows: &[RouteRow<'a>]) -> BTreeMap<ClusterName<'a>, &'a Backend> {
    let targets = rows.iter().flat_map(|row| row.route.targets());
    let backends = targets.filter_map(|target| match target {
        Target::Backend(backend) => Some((backend.name(), &**backend)),
        Target::Missing(_) => None,
    });
    backends.collect()
}
