//! Answers `sekisho config`: what requests of a pod are held against, as flat lists.
//!
//! ```text
//! listeners   what is served by port and address dialled
//! routes      which requests go where, in the order in which they are tried
//! clusters    what routes lead to: a service's port, or a subset of it
//! endpoints   where each cluster is
//! inbound     what the pod itself accepts
//! ```
//!
//! The names are those of `istioctl proxy-config`. Each row has what a table shows; `detail` is the
//! whole of it.

mod inbound;
mod listeners;
mod words;

use agent_model::{
    requests::{
        self, AnyRoute,
        backend::{Backend, LoadAssignment, Weighted},
        gateway::Gateway,
        outbound::Outbound,
        route::{Action, Route},
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
    /// See [`InboundRow`].
    Inbound,
}

/// Which way connections to a port go, and what is held against them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ListenerRow {
    /// `outbound`, or `gateway` for what a gateway's pod serves.
    pub(crate) direction: String,
    /// The port that is dialled; 0 is any.
    pub(crate) port: u16,
    /// The addresses that are dialled, as a CIDR; `any` for all others.
    pub(crate) address: String,
    /// `direct` or `proxy`; `none` where no rule leads to it, and empty for a gateway.
    pub(crate) path: String,
    /// Why they go that way.
    pub(crate) reason: String,
    /// What is told apart there: `http`, `tls`, `tcp`; `udp` for datagrams.
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

/// What a port of the pod accepts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct InboundRow {
    /// The port that the pod listens on; 0 is each that no other row names.
    pub(crate) port: u16,
    /// `STRICT`, `PERMISSIVE` or `DISABLE`, as `PeerAuthentication` has it; `OWN` where the listener
    /// has a certificate of its own.
    pub(crate) mode: String,
    /// Whose plaintext is taken.
    pub(crate) plaintext: String,
    /// Whether the kubelet probes it.
    #[serde(rename = "probed")]
    pub(crate) is_probed: bool,
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
    /// For [`View::Inbound`].
    Inbound(Vec<InboundRow>),
}

/// What requests of a pod are held against; nothing for one that is in no mesh.
pub(super) fn answer(answers: &dyn Answers, pod: &PodRef, view: View) -> Result<Rows, WhyError> {
    let snapshot = answers.snapshot().ok_or(WhyError::Starting)?;
    let pod = why::find(&snapshot, pod, answers)?;
    Ok(rows(&snapshot, &pod, view))
}

fn rows(snapshot: &Snapshot, pod: &agent_model::pod::PodId, view: View) -> Rows {
    let (outbound, gateway) = (snapshot.requests.outbound(pod), snapshot.requests.gateway(pod));
    let (outbound, gateway) = (outbound.as_deref(), gateway.as_deref());
    let clusters = || {
        let mut all = outbound.map(Outbound::clusters).unwrap_or_default();
        all.extend(gateway.map(Gateway::clusters).unwrap_or_default());
        let served = |one| (one, snapshot.requests.load_assignment(one));
        all.into_values().map(served)
    };
    match view {
        View::Inbound => Rows::Inbound(inbound::rows(snapshot, pod)),
        View::Listeners => Rows::Listeners(listeners::rows(snapshot, pod)),
        View::Routes => {
            let own = outbound.map(Outbound::routes).unwrap_or_default();
            let served = gateway.map(Gateway::routes).unwrap_or_default();
            let own = own.iter().filter_map(|one| http("outbound", one));
            Rows::Routes(own.chain(served.iter().filter_map(|one| http("gateway", one))).collect())
        }
        View::Clusters => {
            Rows::Clusters(clusters().map(|(one, served)| cluster(one, &served)).collect())
        }
        View::Endpoints => Rows::Endpoints(
            clusters().flat_map(|(one, served)| words::endpoints(one, &served)).collect(),
        ),
    }
}

/// A route of HTTP as a row; those of TLS and TCP stand with their listener.
fn http(direction: &str, found: &requests::RouteRow<'_>) -> Option<RouteRow> {
    let AnyRoute::Http(route) = found.route else { return None };
    let names = found.names.iter().map(|name| name.as_str().to_owned());
    let place = Place { direction, port: found.port, address: &words::address(found.at) };
    Some(row(route, &place, names.collect()))
}

/// The listener that a route belongs to.
pub(super) struct Place<'a> {
    pub(super) direction: &'a str,
    pub(super) port: u16,
    pub(super) address: &'a str,
}

/// A route as a row.
pub(super) fn row(route: &Route, place: &Place<'_>, hosts: Vec<String>) -> RouteRow {
    RouteRow {
        direction: place.direction.to_owned(),
        port: place.port,
        address: place.address.to_owned(),
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

fn cluster(backend: &Backend, served: &LoadAssignment) -> ClusterRow {
    let mut whole = detail(backend);
    if let Some(fields) = whole.as_object_mut() {
        fields.insert("load_assignment".to_owned(), detail(served));
    }
    ClusterRow {
        cluster: words::cluster(backend),
        protocol: format!("{:?}", backend.protocol).to_lowercase(),
        balance: words::balance(&backend.policy.balance),
        tls: words::tls(&backend.policy.tls).to_owned(),
        endpoints: words::found(&served.endpoints),
        detail: whole,
    }
}

#[cfg(test)]
mod tests;
