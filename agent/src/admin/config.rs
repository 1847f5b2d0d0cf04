//! Answers `sekisho config`: what requests of a pod are held against, as four flat lists.
//!
//! ```text
//! listeners   what is served by port and address dialled
//! routes      which requests go where, in the order in which they are tried
//! clusters    what routes lead to: a service's port, or a subset of it
//! endpoints   where each cluster is
//! ```
//!
//! The names are those of `istioctl proxy-config`. Each row has what a table shows; `detail` is the
//! whole of it.

mod words;

use std::collections::BTreeMap;

use agent_model::{
    requests::{
        backend::{Backend, Target, Weighted},
        gateway::{Gateway, GatewayPort, Inside},
        outbound::{Listener, Outbound, StreamRoute},
        route::{Action, Route, VirtualHost},
    },
    snapshot::Snapshot,
};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{
    Answers,
    question::PodRef,
    why::{self, WhyError},
};

/// What is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum View {
    /// See [`ListenerRow`].
    Listeners,
    /// See [`RouteRow`].
    Routes,
    /// See [`ClusterRow`].
    Clusters,
    /// See [`EndpointRow`].
    Endpoints,
}

/// What is held against connections to a port.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ListenerRow {
    /// `outbound`, or `gateway` for what a gateway's pod serves.
    pub(crate) direction: String,
    /// The port that is dialled.
    pub(crate) port: u16,
    /// The addresses that are dialled, as a CIDR; `any` for all others.
    pub(crate) address: String,
    /// What is told apart there: `http`, `tls`, `tcp`.
    pub(crate) protocols: Vec<String>,
    /// How many virtual hosts HTTP has there.
    pub(crate) hosts: usize,
    /// Where TLS and TCP lead.
    pub(crate) streams: Vec<StreamRow>,
}

/// Where connections go as they are.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct StreamRow {
    /// The server names that TLS asks for; none is any.
    pub(crate) server_names: Vec<String>,
    /// Where to.
    pub(crate) destinations: Vec<Share>,
}

/// A route of HTTP.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct RouteRow {
    /// As in [`ListenerRow`].
    pub(crate) direction: String,
    /// As in [`ListenerRow`].
    pub(crate) port: u16,
    /// As in [`ListenerRow`].
    pub(crate) address: String,
    /// The hosts that it is for.
    pub(crate) hosts: Vec<String>,
    /// Its name, where it has one.
    pub(crate) name: String,
    /// Which requests it takes.
    pub(crate) matches: String,
    /// What it does with them.
    pub(crate) action: String,
    /// Where it leads.
    pub(crate) destinations: Vec<Share>,
    /// Everything that is known of it.
    pub(crate) detail: Value,
}

/// A destination's share.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Share {
    /// The cluster, or why there is none.
    pub(crate) cluster: String,
    /// Its share of all weights.
    pub(crate) weight: u32,
}

/// What routes lead to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ClusterRow {
    /// `outbound|PORT|SUBSET|HOST`, as Istio names clusters.
    pub(crate) cluster: String,
    /// What is spoken there.
    pub(crate) protocol: String,
    /// Which endpoint is next.
    pub(crate) balance: String,
    /// What TLS is spoken.
    pub(crate) tls: String,
    /// How endpoints are found.
    pub(crate) endpoints: String,
    /// Everything that is known of it.
    pub(crate) detail: Value,
}

/// Where a cluster is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct EndpointRow {
    /// As in [`ClusterRow`].
    pub(crate) cluster: String,
    /// An address and port, or a name and port with what it resolves to now.
    pub(crate) endpoint: String,
    /// Its share of the load.
    pub(crate) weight: u32,
    /// `region/zone/subzone`, where it is known.
    pub(crate) locality: String,
    /// Whether mutual TLS is spoken with it.
    pub(crate) mutual_tls: bool,
}

/// The answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub(crate) enum Rows {
    /// For [`View::Listeners`].
    Listeners(Vec<ListenerRow>),
    /// For [`View::Routes`].
    Routes(Vec<RouteRow>),
    /// For [`View::Clusters`].
    Clusters(Vec<ClusterRow>),
    /// For [`View::Endpoints`].
    Endpoints(Vec<EndpointRow>),
}

/// What requests of a pod are held against; nothing for one that is in no mesh.
pub(super) fn answer(answers: &dyn Answers, pod: &PodRef, view: View) -> Result<Rows, WhyError> {
    let snapshot = answers.snapshot().ok_or(WhyError::Starting)?;
    let pod = why::find(&snapshot, pod, answers)?;
    Ok(rows(&snapshot, &pod, view))
}

fn rows(snapshot: &Snapshot, pod: &agent_model::snapshot::PodId, view: View) -> Rows {
    let (outbound, gateway) = (snapshot.requests.outbound(pod), snapshot.requests.gateway(pod));
    let mut all = Vec::new();
    all.extend(outbound.as_deref().into_iter().flat_map(of_outbound));
    all.extend(gateway.as_deref().into_iter().flat_map(of_gateway));
    match view {
        View::Listeners => Rows::Listeners(all.iter().map(Served::listener).collect()),
        View::Routes => Rows::Routes(all.iter().flat_map(Served::routes).collect()),
        View::Clusters => Rows::Clusters(clusters(&all).map(cluster).collect()),
        View::Endpoints => Rows::Endpoints(clusters(&all).flat_map(words::endpoints).collect()),
    }
}

/// What is served somewhere, by a workload's own listeners or a gateway's.
struct Served<'a> {
    direction: &'static str,
    port: u16,
    address: String,
    hosts: &'a [VirtualHost],
    tls: Vec<&'a StreamRoute>,
    tcp: Option<&'a StreamRoute>,
}

fn of_outbound(outbound: &Outbound) -> Vec<Served<'_>> {
    let mut all = Vec::new();
    for (port, on) in &outbound.ports {
        let at = on.at.iter().map(|(net, listener)| (net.to_string(), listener));
        for (address, listener) in at.chain([("any".to_owned(), &on.any)]) {
            if !listener.is_empty() {
                let Listener { hosts, tls, tcp } = listener;
                let (tls, tcp) = (tls.iter().collect(), tcp.as_ref());
                all.push(Served { direction: "outbound", port: *port, address, hosts, tls, tcp });
            }
        }
    }
    all
}

fn of_gateway(gateway: &Gateway) -> Vec<Served<'_>> {
    let mut all = Vec::new();
    for (port, on) in &gateway.ports {
        let mut add = |hosts, tls, tcp| {
            let address = "any".to_owned();
            all.push(Served { direction: "gateway", port: *port, address, hosts, tls, tcp });
        };
        match on {
            GatewayPort::Http(hosts) => add(&hosts[..], Vec::new(), None),
            GatewayPort::Tcp(stream) => add(&[], Vec::new(), stream.as_ref()),
            GatewayPort::Tls(servers) => {
                for server in servers {
                    match &server.then {
                        Inside::Http(hosts) => add(&hosts[..], Vec::new(), None),
                        Inside::Tcp(streams) => add(&[], streams.iter().collect(), None),
                    }
                }
            }
        }
    }
    all
}

impl Served<'_> {
    fn listener(&self) -> ListenerRow {
        let kinds = [
            ("http", !self.hosts.is_empty()),
            ("tls", !self.tls.is_empty()),
            ("tcp", self.tcp.is_some()),
        ];
        let there = kinds.iter().filter(|(_, is_there)| *is_there);
        let stream = |stream: &&StreamRoute| StreamRow {
            server_names: stream.names.iter().map(|name| name.as_str().to_owned()).collect(),
            destinations: shares(&stream.to),
        };
        ListenerRow {
            direction: self.direction.to_owned(),
            port: self.port,
            address: self.address.clone(),
            protocols: there.map(|(name, _)| (*name).to_owned()).collect(),
            hosts: self.hosts.len(),
            streams: self.tls.iter().chain(&self.tcp).map(stream).collect(),
        }
    }

    fn routes(&self) -> Vec<RouteRow> {
        let of_host = |host: &VirtualHost| -> Vec<RouteRow> {
            let hosts: Vec<String> =
                host.domains.iter().map(|domain| domain.as_str().to_owned()).collect();
            let place = (self.direction, self.port, self.address.as_str());
            host.routes.iter().map(|route| row(route, place, hosts.clone())).collect()
        };
        self.hosts.iter().flat_map(of_host).collect()
    }
}

/// A route as a row; `place` is direction, port and address of its listener.
pub(super) fn row(route: &Route, place: (&str, u16, &str), hosts: Vec<String>) -> RouteRow {
    let (direction, port, address) = place;
    RouteRow {
        direction: direction.to_owned(),
        port,
        address: address.to_owned(),
        hosts,
        name: route.name.clone(),
        matches: words::matches(&route.when),
        action: words::action(route),
        destinations: match &route.then {
            Action::Forward(forward) => shares(&forward.to),
            Action::Redirect(_) | Action::Answer(_) | Action::Continue { .. } => Vec::new(),
        },
        detail: detail(route),
    }
}

fn shares(all: &[Weighted]) -> Vec<Share> {
    let share = |one: &Weighted| Share { cluster: words::target(&one.target), weight: one.weight };
    all.iter().map(share).collect()
}

/// The model holds nothing that JSON has no form for.
fn detail<T: Serialize>(value: &T) -> Value {
    serde_json::to_value(value).unwrap_or_default()
}

/// All that routes lead to, each once, by name.
fn clusters<'a>(all: &'a [Served<'a>]) -> impl Iterator<Item = &'a Backend> {
    let mut found: BTreeMap<String, &Backend> = BTreeMap::new();
    let mut add = |target: &'a Target| {
        if let Target::Backend(backend) = target {
            found.entry(words::cluster(backend)).or_insert(backend);
        }
    };
    for served in all {
        let streams = served.tls.iter().chain(&served.tcp);
        streams.flat_map(|stream| &stream.to).for_each(|one| add(&one.target));
        served.hosts.iter().for_each(|host| targets(&host.routes, &mut add));
    }
    found.into_values()
}

fn targets<'a>(routes: &'a [Route], add: &mut impl FnMut(&'a Target)) {
    for route in routes {
        route.mirrors.iter().for_each(|mirror| add(&mirror.to));
        match &route.then {
            Action::Forward(forward) => forward.to.iter().for_each(|one| add(&one.target)),
            Action::Continue { routes, .. } => targets(routes, add),
            Action::Redirect(_) | Action::Answer(_) => {}
        }
    }
}

fn cluster(backend: &Backend) -> ClusterRow {
    ClusterRow {
        cluster: words::cluster(backend),
        protocol: format!("{:?}", backend.protocol).to_lowercase(),
        balance: words::balance(&backend.policy.balance),
        tls: words::tls(&backend.policy.tls).to_owned(),
        endpoints: words::found(&backend.endpoints),
        detail: detail(backend),
    }
}

#[cfg(test)]
mod tests;
