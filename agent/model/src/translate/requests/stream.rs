//! Routes for TLS that is not ended here and for TCP, from Istio's words.

use std::collections::BTreeSet;

use ipnet::IpNet;

use super::{
    Client, RequestModel,
    http::weighted,
    matches::{RouteContext, concerns},
    named::MESH,
    outbound::Building,
    virtual_service::Routes,
    visible::{VisibleHost, VisiblePort},
};
use crate::{
    address,
    registry::Authority,
    requests::{
        backend::{Weighted, share_out},
        change::HeaderChanges,
        host::Domain,
        outbound::StreamRoute,
    },
    resource::virtual_service::{L4Match, RouteDestination, TlsMatch},
};

/// A route, and the addresses that it is for; none is the listener for all.
pub(super) type Bound = (Vec<IpNet>, StreamRoute);

impl Building<'_> {
    /// What rules say of a service's TLS; without one that concerns the client, the service itself:
    /// at an address of its own whatever the name, else by its name.
    pub(super) fn tls_routes(
        &self,
        seen: &VisibleHost,
        (port, own): (&VisiblePort, &[IpNet]),
        routes: Option<&Routes>,
    ) -> Vec<Bound> {
        let context = RouteContext { port: port.number(), gateway: MESH };
        let host = Domain::new(&port.host);
        let mut found = Vec::new();
        if let Some(routes) = routes {
            let about = |names: &BTreeSet<Domain>| {
                names.iter().any(|name| name.covers(&host) || host.covers(name))
            };
            let stated = self.model.tls_rules(self.client, context, routes).into_iter();
            found.extend(
                stated.filter(|(_, route)| about(&route.names)).map(|(nets, route)| {
                    (if nets.is_empty() { own.to_vec() } else { nets }, route)
                }),
            );
        }
        if !found.is_empty() {
            return found;
        }
        let to = vec![weighted(self.model.on_port(self.client, seen, port.number(), None))];
        let route = StreamRoute { names: BTreeSet::new(), to, idle: None };
        let named = StreamRoute { names: [host].into(), ..route.clone() };
        let (single, wide): (Vec<IpNet>, Vec<IpNet>) =
            own.iter().partition(|one| address::is_host(**one));
        let mut bound = vec![(single, route), (wide, named.clone())];
        bound.retain(|(nets, _)| !nets.is_empty());
        // The name is enough by itself, wherever it is dialled; of the cluster's own it is not.
        if port.service.authority == Authority::Declared {
            bound.push((Vec::new(), named));
        }
        bound
    }

    /// What rules say of a service's TCP; without one that concerns the client, the service itself.
    pub(super) fn tcp_routes(
        &self,
        seen: &VisibleHost,
        (port, nets): (&VisiblePort, &[IpNet]),
        routes: Option<&Routes>,
    ) -> Vec<Bound> {
        let context = RouteContext { port: port.number(), gateway: MESH };
        let mut found = Vec::new();
        if let Some(routes) = routes {
            let stated = self.model.tcp_rules(self.client, context, routes).into_iter();
            found.extend(
                stated
                    .map(|(own, route)| (if own.is_empty() { nets.to_vec() } else { own }, route)),
            );
        }
        if found.is_empty() {
            let to = vec![weighted(self.model.on_port(self.client, seen, port.number(), None))];
            let route = StreamRoute { names: BTreeSet::new(), to, idle: None };
            found.push((nets.to_vec(), route));
        }
        found
    }
}

impl RequestModel {
    /// The rules for TLS that concern a client, in order. A rule that leads nowhere is none.
    pub(super) fn tls_rules(
        &self,
        client: &Client,
        context: RouteContext<'_>,
        routes: &Routes,
    ) -> Vec<Bound> {
        let mut found = Vec::new();
        for rule in &routes.object.spec.tls {
            for one in &rule.matches {
                let TlsMatch {
                    sni_hosts,
                    destination_subnets,
                    port,
                    source_labels,
                    source_namespace,
                    gateways,
                } = one;
                let from = (source_labels, source_namespace.as_str());
                let owner = (&gateways[..], routes.namespace.as_str());
                let on_port = *port == 0 || *port == u32::from(context.port);
                if on_port && concerns(client, context, owner, from) {
                    let names = sni_hosts.iter().map(|name| Domain::new(name)).collect();
                    let to = self.shares(client, context, routes, &rule.route);
                    let nets = nets(destination_subnets);
                    found.extend(to.map(|to| (nets, StreamRoute { names, to, idle: None })));
                }
            }
        }
        found
    }

    /// The rules for TCP that concern a client, up to one that takes everything.
    pub(super) fn tcp_rules(
        &self,
        client: &Client,
        context: RouteContext<'_>,
        routes: &Routes,
    ) -> Vec<Bound> {
        let mut found = Vec::new();
        for rule in &routes.object.spec.tcp {
            let Some(to) = self.shares(client, context, routes, &rule.route) else { continue };
            let route = StreamRoute { names: BTreeSet::new(), to, idle: None };
            if rule.matches.is_empty() {
                found.push((Vec::new(), route));
                break;
            }
            for one in &rule.matches {
                let L4Match {
                    destination_subnets,
                    port,
                    source_labels,
                    source_subnet: _,
                    source_namespace,
                    gateways,
                } = one;
                let from = (source_labels, source_namespace.as_str());
                let owner = (&gateways[..], routes.namespace.as_str());
                let on_port = *port == 0 || *port == u32::from(context.port);
                if on_port && concerns(client, context, owner, from) {
                    found.push((nets(destination_subnets), route.clone()));
                }
            }
        }
        found
    }

    fn shares(
        &self,
        client: &Client,
        context: RouteContext<'_>,
        routes: &Routes,
        to: &[RouteDestination],
    ) -> Option<Vec<Weighted>> {
        let shares = to.iter().filter_map(|one| {
            let destination = one.destination.as_ref()?;
            let target = self.target(client, context.port, &routes.namespace, destination);
            let weight = u32::try_from(one.weight).unwrap_or(0);
            let headers = HeaderChanges::default();
            Some(Weighted { weight, target, headers, answer_within: None })
        });
        let shares = share_out(shares.collect());
        (!shares.is_empty()).then_some(shares)
    }
}

fn nets(texts: &[String]) -> Vec<IpNet> {
    texts.iter().filter_map(|text| address::net(text)).collect()
}
