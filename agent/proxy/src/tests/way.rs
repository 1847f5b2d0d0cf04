//! A rig with one route to one upstream.

use std::{collections::BTreeMap, net::SocketAddr, sync::Arc, time::Duration};

use agent_model::{
    endpoints::{Endpoint, Endpoints},
    requests::{
        backend::{Backend, Target, Weighted},
        change::{HeaderChanges, PathRewrite, Rewrite},
        host::Domain,
        outbound::{Listener, Outbound, Port},
        policy::{Balance, ClientPolicy, ClientTls, Limits},
        route::{Action, Fault, Forward, Match, Retries, RetryOn, Route, VirtualHost},
    },
    resource::protocol::AppProtocol,
};

use super::rig::{Answers, Rig};
use crate::Tracing;

/// Retries of everything that may be tried again.
pub(super) fn eager(attempts: u32) -> Retries {
    let on = [RetryOn::ServerError, RetryOn::Reset, RetryOn::ConnectFailure];
    Retries { attempts, on: on.into(), backoff: Duration::from_millis(1), ..Retries::usual() }
}

/// A plain way.
pub(super) fn forward(to: Target) -> Forward {
    let headers = HeaderChanges::default();
    Forward {
        to: vec![Weighted { weight: 1, target: to, headers, answer_within: None }],
        retries: Some(Retries::usual()),
        // Something to do, so that requests are read.
        rewrite: Rewrite {
            authority: None,
            path: Some(PathRewrite::Prefix { matched: "/old".into(), to: "/new".into() }),
        },
        ..Forward::default()
    }
}

/// A rig that routes what the change makes of a plain way to its upstream.
pub(super) async fn routed(change: impl FnOnce(&mut Forward)) -> Rig {
    dialled(|_| {}, |route| change(way_of(route))).await
}

/// Where a route leads.
pub(super) fn way_of(route: &mut Route) -> &mut Forward {
    match &mut route.then {
        Action::Forward(way) => way,
        other => panic!("{other:?}"),
    }
}

/// A rig whose upstream is dialled as one change says, by the route that the other change makes of a
/// plain one.
pub(super) async fn dialled(
    policy: impl FnOnce(&mut ClientPolicy),
    change: impl FnOnce(&mut Route),
) -> Rig {
    answering(Answers::allow(), policy, change).await
}

/// A rig with a plain way whose requests are traced.
pub(super) async fn traced(tracing: Tracing) -> Rig {
    let answers = Answers { tracing: Some(tracing), ..Answers::allow() };
    answering(answers, |_| {}, |_| {}).await
}

async fn answering(
    answers: Answers,
    policy: impl FnOnce(&mut ClientPolicy),
    change: impl FnOnce(&mut Route),
) -> Rig {
    let slot = Arc::clone(&answers.outbound);
    let rig = Rig::new(answers).await;
    let addr = rig.upstream.local_addr().unwrap();
    let mut any = listener(forward(Target::Backend(backend(&[addr], policy))));
    change(&mut Arc::make_mut(&mut any.hosts[0]).routes[0]);
    let port = Port { at: BTreeMap::new(), any };
    let outbound = Outbound { ports: [(addr.port(), Arc::new(port))].into() };
    *slot.lock().unwrap() = Some(Arc::new(outbound));
    rig
}

/// A listener whose only route goes this way.
pub(super) fn listener(way: Forward) -> Listener {
    let route = Route {
        name: "main".into(),
        when: Match::default(),
        then: Action::Forward(way),
        fault: Fault::default(),
        mirrors: Vec::new(),
        cors: None,
        headers: HeaderChanges::default(),
    };
    let host = VirtualHost { domains: [Domain::new("reviews")].into(), routes: vec![route] };
    Listener { hosts: vec![Arc::new(host)], ..Listener::default() }
}

/// A rig whose upstream speaks this.
pub(super) async fn speaking(protocol: AppProtocol, change: impl FnOnce(&mut Route)) -> Rig {
    dialled(
        |_| {},
        |route| {
            let own = &mut way_of(route).to[0].target;
            if let Target::Backend(backend) = own {
                let Some(Endpoints::Listed(listed)) = backend.stated_endpoints() else {
                    panic!("{backend:?}")
                };
                let at = SocketAddr::new(listed[0].address, listed[0].port.get());
                *own = Target::Backend(backend_of(protocol, &[at], |_| {}));
            }
            change(route);
        },
    )
    .await
}

/// A destination of HTTP/1 with these endpoints.
pub(crate) fn backend(at: &[SocketAddr], change: impl FnOnce(&mut ClientPolicy)) -> Arc<Backend> {
    backend_of(AppProtocol::Http, at, change)
}

pub(super) fn backend_of(
    protocol: AppProtocol,
    at: &[SocketAddr],
    change: impl FnOnce(&mut ClientPolicy),
) -> Arc<Backend> {
    let endpoint = |at: &SocketAddr| Endpoint::new(at.ip(), at.port().try_into().unwrap(), 1);
    let mut policy = ClientPolicy {
        balance: Balance::LeastRequest,
        locality: None,
        warmup: None,
        limits: Limits::none(Duration::from_secs(5)),
        ejection: None,
        tls: ClientTls::Plain,
        tunnel: None,
        proxy_protocol: None,
        retry_budget: None,
    };
    change(&mut policy);
    let endpoints = Endpoints::Listed(at.iter().map(endpoint).collect());
    let named = ("reviews".to_owned(), at[0].port());
    Arc::new(Backend::stated(named, protocol, policy, endpoints))
}
