//! What answers for a name: a node, or a router's routes in their order.

use std::{collections::BTreeSet, time::Duration};

use super::{
    super::{RequestModel, http::weighted, visible::VisiblePort},
    ByPort, Dialling, WEB, aws_name, key,
    matches::{order, read, read_grpc},
    names,
    node::{self, REQUEST_TIMEOUT, number, time},
    space,
};
use crate::{
    requests::{
        backend::{Missing, Target, Weighted, share_out},
        change::HeaderChanges,
        route::{Action, Fault, Forward, Match, Retries, RetryOn, Route, end_at_catch_all},
    },
    resource::{
        Kind, Object,
        app_mesh::{
            Reference, VirtualNode, VirtualRouter, VirtualService,
            common::{Protocol, Timeout},
            route::{self, RetryPolicy, RouteAction, TcpRoute},
        },
    },
};

/// What answers on a port.
#[derive(Debug)]
pub(super) enum Table {
    Http(Vec<Route>),
    Tcp { to: Vec<Weighted>, idle: Option<Duration> },
}

impl RequestModel {
    /// What answers for a name on each of its ports. A name that nothing answers for fails; it
    /// never falls through to the Service of the same name.
    pub(super) fn tables(
        &self,
        how: &Dialling<'_>,
        service: &VirtualService,
    ) -> Vec<(u16, Protocol, Table)> {
        let own = space(service.metadata.namespace.as_ref());
        let provider = service.spec.provider.as_ref();
        let node = provider.and_then(|one| one.virtual_node.as_ref());
        let node = node.and_then(|one| one.virtual_node_ref.as_ref());
        let router = provider.and_then(|one| one.virtual_router.as_ref());
        let router = router.and_then(|one| one.virtual_router_ref.as_ref());
        let found = match (
            node.and_then(|one| self.virtual_node(one, own)),
            router.and_then(|one| self.virtual_router(one, own)),
        ) {
            (Some(node), _) => node_tables(how, node),
            (None, Some(router)) => self.router_tables(how, service, router),
            (None, None) => Vec::new(),
        };
        if found.is_empty() {
            return self.nobody(how, service);
        }
        found
    }

    fn nobody(&self, how: &Dialling<'_>, service: &VirtualService) -> Vec<(u16, Protocol, Table)> {
        let ports = how.client.reachable.get(self.full_name(service).as_str());
        let mut ports: BTreeSet<u16> =
            ports.iter().flat_map(|seen| seen.ports.iter().map(VisiblePort::number)).collect();
        if ports.is_empty() {
            ports.insert(WEB);
        }
        let table = || Table::Http(vec![nobody_answers(service)]);
        ports.into_iter().map(|port| (port, Protocol::Http, table())).collect()
    }

    pub(super) fn virtual_node(&self, reference: &Reference, own: &str) -> Option<&VirtualNode> {
        let namespace = reference.namespace.as_deref().unwrap_or(own);
        match self.objects.get(&key(Kind::VirtualNode, namespace, &reference.name))? {
            Object::VirtualNode(node) => Some(node),
            _ => None,
        }
    }

    fn virtual_router(&self, reference: &Reference, own: &str) -> Option<&VirtualRouter> {
        let namespace = reference.namespace.as_deref().unwrap_or(own);
        match self.objects.get(&key(Kind::VirtualRouter, namespace, &reference.name))? {
            Object::VirtualRouter(router) => Some(router),
            _ => None,
        }
    }

    fn router_tables(
        &self,
        how: &Dialling<'_>,
        service: &VirtualService,
        router: &VirtualRouter,
    ) -> Vec<(u16, Protocol, Table)> {
        let own = space(router.metadata.namespace.as_ref());
        let mut listeners: ByPort<Protocol> = ByPort::new();
        for listener in &router.spec.listeners {
            let mapping = &listener.port_mapping;
            if let (Ok(port), Some(protocol)) = (u16::try_from(mapping.port), mapping.protocol) {
                listeners.entry(port).or_insert(protocol);
            }
        }
        let mut found = Vec::new();
        for (port, protocol) in listeners {
            let mut stated: Vec<&route::Route> = router.spec.routes.iter().collect();
            // The order of writing settles what is left.
            stated.sort_by_key(|one| order(one));
            let table = if protocol == Protocol::Tcp {
                let tcp = stated.iter().filter_map(|one| one.tcp_route.as_ref());
                let mut tcp = tcp.filter(|one| {
                    on_port(one.matches.as_ref().and_then(|matches| matches.port), port)
                });
                match tcp.next() {
                    Some(one) => self.tcp(how, own, one),
                    None => Table::Tcp { to: vec![weighted(missing(service))], idle: None },
                }
            } else {
                let read = stated.iter();
                let read = read.filter_map(|one| self.http(how, own, one, (port, protocol)));
                let mut table: Vec<Route> = read.collect();
                if table.is_empty() {
                    table.push(nobody_answers(service));
                }
                end_at_catch_all(&mut table);
                Table::Http(table)
            };
            found.push((port, protocol, table));
        }
        found
    }

    fn tcp(&self, how: &Dialling<'_>, own: &str, tcp: &TcpRoute) -> Table {
        let mut to = self.targets(how, own, &tcp.action);
        for one in &mut to {
            one.answer_within = None;
        }
        let idle = tcp.timeout.as_ref().and_then(|one| one.idle.as_ref()).and_then(time);
        Table::Tcp { to, idle }
    }

    /// A route for what a listener speaks; `None` if it is for something else.
    fn http(
        &self,
        how: &Dialling<'_>,
        own: &str,
        one: &route::Route,
        (port, protocol): (u16, Protocol),
    ) -> Option<Route> {
        let http = match protocol {
            Protocol::Http => one.http_route.as_ref(),
            Protocol::Http2 => one.http2_route.as_ref(),
            Protocol::Grpc | Protocol::Tcp => None,
        };
        let grpc = one.grpc_route.as_ref().filter(|_| protocol == Protocol::Grpc);
        let (when, listens, action, retry, timeout) = if let Some(http) = http {
            let matches = &http.matches;
            (read(matches)?, matches.port, &http.action, &http.retry_policy, &http.timeout)
        } else {
            let grpc = grpc?;
            let matches = &grpc.matches;
            (read_grpc(matches)?, matches.port, &grpc.action, &grpc.retry_policy, &grpc.timeout)
        };
        let to = self.targets(how, own, action);
        let forward = forward(to, retry.as_ref(), timeout.as_ref());
        on_port(listens, port).then(|| route(one.name.clone(), when, forward))
    }

    fn targets(&self, how: &Dialling<'_>, own: &str, action: &RouteAction) -> Vec<Weighted> {
        let all = action.weighted_targets.iter().map(|one| {
            let node = one.virtual_node_ref.as_ref();
            let name = node.map(|node| node.name.clone()).or(one.virtual_node_arn.clone());
            let port = one.port.and_then(|port| u16::try_from(port).ok());
            let (target, answer_within) = match node.and_then(|node| self.virtual_node(node, own)) {
                Some(node) => node::target(how, node, port),
                None => (Target::Missing(Missing::Provider(name.unwrap_or_default())), None),
            };
            let weight = u32::try_from(one.weight).unwrap_or(0);
            Weighted { weight, answer_within, ..weighted(target) }
        });
        share_out(all.collect())
    }
}

fn node_tables(how: &Dialling<'_>, node: &VirtualNode) -> Vec<(u16, Protocol, Table)> {
    let mut found = Vec::new();
    for listener in &node.spec.listeners {
        let Some(port) = number(listener) else { continue };
        let protocol = listener.port_mapping.protocol.unwrap_or(Protocol::Tcp);
        let (target, within) = node::target(how, node, Some(port));
        let table = if protocol == Protocol::Tcp {
            Table::Tcp { to: vec![weighted(target)], idle: None }
        } else {
            let to = vec![Weighted { answer_within: within, ..weighted(target) }];
            let forward = forward(to, None, None);
            Table::Http(vec![route(String::new(), Match::default(), forward)])
        };
        found.push((port, protocol, table));
    }
    found
}

fn on_port(wanted: Option<i64>, port: u16) -> bool {
    wanted.is_none_or(|wanted| wanted == i64::from(port))
}

fn missing(service: &VirtualService) -> Target {
    Target::Missing(Missing::Provider(aws_name(service)))
}

fn nobody_answers(service: &VirtualService) -> Route {
    let to = vec![weighted(missing(service))];
    let forward = Forward { to, ..Forward::default() };
    let (name, _) = names(service);
    route(name.to_owned(), Match::default(), forward)
}

fn route(name: String, when: Match, forward: Forward) -> Route {
    Route {
        name,
        when,
        then: Action::Forward(forward),
        fault: Fault::default(),
        mirrors: Vec::new(),
        cors: None,
        headers: HeaderChanges::default(),
    }
}

/// Unsaid, a request may take fifteen seconds; zero is as long as it likes. What a destination's
/// own listener cuts short is only worth telling where it is sooner.
fn forward(
    mut to: Vec<Weighted>,
    retry: Option<&RetryPolicy>,
    timeout: Option<&Timeout>,
) -> Forward {
    let per_request = timeout.and_then(|one| one.per_request.as_ref());
    let whole = per_request.map_or(Some(REQUEST_TIMEOUT), time);
    for one in &mut to {
        let sooner = |within: &Duration| whole.is_none_or(|whole| *within < whole);
        one.answer_within = one.answer_within.filter(sooner);
    }
    Forward {
        to,
        timeout: whole,
        idle: timeout.and_then(|one| one.idle.as_ref()).and_then(time),
        retries: retry.map_or_else(|| Some(usual_retries()), retries),
        ..Forward::default()
    }
}

fn usual_retries() -> Retries {
    let on =
        [RetryOn::ConnectFailure, RetryOn::RefusedStream, RetryOn::Reset, RetryOn::GrpcUnavailable];
    Retries {
        attempts: 2,
        on: on.into(),
        statuses: [503].into(),
        per_try: None,
        backoff: Retries::BACKOFF,
        elsewhere: true,
        other_localities: false,
    }
}

fn retries(policy: &RetryPolicy) -> Option<Retries> {
    let RetryPolicy {
        max_retries,
        per_retry_timeout,
        http_retry_events,
        tcp_retry_events,
        grpc_retry_events,
    } = policy;
    let attempts = max_retries.and_then(|count| u32::try_from(count).ok());
    let attempts = attempts.filter(|count| *count > 0)?;
    let events = [http_retry_events, tcp_retry_events, grpc_retry_events];
    let on = events.into_iter().flatten().filter_map(|event| event_word(event)).collect();
    Some(Retries {
        attempts,
        on,
        per_try: per_retry_timeout.as_ref().and_then(time),
        statuses: BTreeSet::new(),
        ..usual_retries()
    })
}

fn event_word(event: &str) -> Option<RetryOn> {
    Some(match event {
        "server-error" => RetryOn::ServerError,
        "gateway-error" => RetryOn::GatewayError,
        "client-error" => RetryOn::ClientError,
        "stream-error" => RetryOn::RefusedStream,
        "connection-error" => RetryOn::ConnectFailure,
        "cancelled" => RetryOn::GrpcCancelled,
        "deadline-exceeded" => RetryOn::GrpcDeadlineExceeded,
        "internal" => RetryOn::GrpcInternal,
        "resource-exhausted" => RetryOn::GrpcResourceExhausted,
        "unavailable" => RetryOn::GrpcUnavailable,
        _ => return None,
    })
}
