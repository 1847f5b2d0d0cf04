//! Answers which route a request of a pod would take: the part of `sekisho why` above sockets.

use std::net::IpAddr;

use agent_model::{
    explain,
    pod::PodId,
    requests::{Decided, Request, Sent, Verdict},
    snapshot::Snapshot,
};
use serde::{Deserialize, Serialize};

use super::{
    Answers,
    config::{self, Place, RouteRow},
    question::PodRef,
    why::{self, WhyError},
};

/// A request that a pod would send, as a person describes it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct RequestQuery {
    /// The pod, as `NAMESPACE/NAME` or `NAME`.
    pub(crate) pod: String,
    /// The address or name that is dialled.
    pub(crate) host: String,
    /// The port that is dialled.
    pub(crate) port: u16,
    /// The method.
    pub(crate) method: String,
    /// The path with its query.
    pub(crate) path: String,
    /// Headers in order; a `Host` takes the place of the name that is dialled.
    pub(crate) headers: Vec<(String, String)>,
}

/// What becomes of the request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "outcome")]
pub(crate) enum RequestAnswer {
    /// Nothing routes requests for this host at this port and address: the rules for sockets decide.
    NotRouted,
    /// A virtual host has its name, and none of its routes takes the request: 404.
    NoRoute {
        /// The name.
        host: String,
    },
    /// A route does.
    Route {
        /// The route.
        route: Box<RouteRow>,
        /// The path with its query that the request leaves with.
        path: String,
    },
}

/// Answers a question about a request.
pub(super) fn answer(
    answers: &dyn Answers,
    query: &RequestQuery,
    pod: &PodRef,
) -> Result<RequestAnswer, WhyError> {
    let snapshot = answers.snapshot().ok_or(WhyError::Starting)?;
    let pod = why::find(&snapshot, pod, answers)?;
    Ok(route(&snapshot, &pod, query))
}

fn route(snapshot: &Snapshot, pod: &PodId, query: &RequestQuery) -> RequestAnswer {
    let Some(outbound) = snapshot.requests.outbound(pod) else { return RequestAnswer::NotRouted };
    let headers: Vec<(&str, &str)> =
        query.headers.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    let stated = headers.iter().find(|(name, _)| name.eq_ignore_ascii_case("host"));
    let dialled = format!("{}:{}", bracketed(&query.host), query.port);
    let authority = stated.map_or(dialled.as_str(), |(_, value)| *value);
    let request = Request {
        method: &query.method,
        scheme: "http",
        authority,
        target: &query.path,
        headers: &headers,
    };
    let address = address(snapshot, pod, &query.host);
    let host = authority.to_owned();
    match outbound.decide(address, query.port, Sent::Request(&request)) {
        Decided::NotServed | Decided::Stream(_) | Decided::Requests(Verdict::UnknownHost) => {
            RequestAnswer::NotRouted
        }
        Decided::Requests(Verdict::NoRoute) => RequestAnswer::NoRoute { host },
        Decided::Requests(Verdict::Route(route)) => {
            let address = address.map_or_else(|| "any".to_owned(), |one| one.to_string());
            let place = Place { direction: "outbound", port: query.port, address: &address };
            let path = route.rewritten(&query.path);
            RequestAnswer::Route { route: Box::new(config::row(route, &place, vec![host])), path }
        }
    }
}

/// The address that is dialled: that of a name is the first that objects give it, and listeners are
/// told apart by that of a Service, of which there is one a family.
fn address(snapshot: &Snapshot, pod: &PodId, host: &str) -> Option<IpAddr> {
    let given = host.parse().ok();
    given.or_else(|| explain::addresses(snapshot, pod, host)?.into_iter().next())
}

fn bracketed(host: &str) -> String {
    if host.contains(':') { format!("[{host}]") } else { host.to_owned() }
}

#[cfg(test)]
mod tests;
