//! Which request goes where: hosts with their routes, in order, the first that matches decides.

use std::{collections::BTreeSet, time::Duration};

use serde::Serialize;

use super::{
    backend::{Target, Weighted},
    change::{Answer, HeaderChanges, Redirect, Rewrite},
    host::Domain,
    text::{HeaderMatch, QueryMatch, Text},
};

/// A chance in millionths.
pub type Millionths = u32;

/// Some names and their routes. A request that none of them matches is answered with 404.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct VirtualHost {
    /// The names.
    pub domains: BTreeSet<Domain>,
    /// The first that matches decides; none stands behind one that matches everything.
    pub routes: Vec<Route>,
}

/// What happens to some requests.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Route {
    /// A name for people; may be empty.
    pub name: String,
    /// Which requests.
    pub when: Match,
    /// What happens.
    pub then: Action,
    /// What goes wrong on purpose; it comes before timeouts and retries, which do not see it.
    pub fault: Fault,
    /// Copies, whose responses are discarded.
    pub mirrors: Vec<Mirror>,
    /// What browsers may do across origins.
    pub cors: Option<Cors>,
    /// Changes of headers; those of a destination come after.
    pub headers: HeaderChanges,
}

/// What a request must be like; all of it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Match {
    /// The path without the query.
    pub path: Option<Text>,
    /// Whether the path matches in any case.
    pub any_case: bool,
    /// `http` or `https`.
    pub scheme: Option<Text>,
    /// The method.
    pub method: Option<Text>,
    /// The `Host` as it was sent, with its port.
    pub authority: Option<Text>,
    /// Headers.
    pub headers: Vec<HeaderMatch>,
    /// Parameters of the query.
    pub query: Vec<QueryMatch>,
}

impl Match {
    /// Whether no request escapes.
    pub fn is_everything(&self) -> bool {
        let by_path = match &self.path {
            None => true,
            Some(Text::Prefix(prefix)) => prefix == "/",
            Some(Text::Pattern(pattern)) => matches!(pattern.source(), ".*" | "*" | "/.*"),
            Some(_) => false,
        };
        let rest = Self { path: None, any_case: false, ..self.clone() };
        by_path && rest == Self::default()
    }
}

/// What happens to a request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub enum Action {
    /// It goes to a service.
    Forward(Forward),
    /// The client is sent elsewhere.
    Redirect(Redirect),
    /// It is answered on the spot.
    Answer(Answer),
    /// It is changed, and these routes decide; none that matches is a 404.
    Continue {
        /// What is changed first.
        rewrite: Rewrite,
        /// The routes.
        routes: Vec<Route>,
    },
}

/// The way to a service.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Forward {
    /// Where to, by shares; the shares have no common divisor.
    pub to: Vec<Weighted>,
    /// What is changed.
    pub rewrite: Rewrite,
    /// How long until the whole answer, retries included: then 504. None waits.
    pub timeout: Option<Duration>,
    /// How long nothing may be sent either way.
    pub idle: Option<Duration>,
    /// What is tried again.
    pub retries: Option<Retries>,
}

/// What is tried again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Retries {
    /// How often, besides the first try.
    pub attempts: u32,
    /// On what.
    pub on: BTreeSet<RetryOn>,
    /// On which answers.
    pub statuses: BTreeSet<u16>,
    /// How long one try may take; none is as long as all.
    pub per_try: Option<Duration>,
    /// The wait before the first retry; it grows.
    pub backoff: Duration,
    /// Whether an endpoint that was tried is left out.
    pub elsewhere: bool,
    /// Whether other places are tried too.
    pub other_localities: bool,
}

impl Retries {
    /// The default wait before the first retry.
    pub const BACKOFF: Duration = Duration::from_millis(25);

    /// What is retried by default: failures to connect, never a response.
    pub fn usual() -> Self {
        let on = [
            RetryOn::ConnectFailure,
            RetryOn::RefusedStream,
            RetryOn::GrpcUnavailable,
            RetryOn::GrpcCancelled,
        ];
        Self {
            attempts: 2,
            on: on.into(),
            statuses: BTreeSet::new(),
            per_try: None,
            backoff: Self::BACKOFF,
            elsewhere: true,
            other_localities: false,
        }
    }
}

/// What a retry answers to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[expect(missing_docs, reason = "the names are the proxies' own and say it")]
pub enum RetryOn {
    ConnectFailure,
    RefusedStream,
    Reset,
    ResetBeforeRequest,
    ServerError,
    GatewayError,
    ClientError,
    EnvoyRateLimited,
    Http3PostConnectFailure,
    GrpcCancelled,
    GrpcDeadlineExceeded,
    GrpcInternal,
    GrpcResourceExhausted,
    GrpcUnavailable,
}

/// What goes wrong on purpose: first the delay.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Fault {
    /// A wait.
    pub delay: Option<Delay>,
    /// A failure.
    pub abort: Option<Abort>,
}

/// A wait on purpose.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Delay {
    /// How long.
    pub time: Duration,
    /// How likely.
    pub chance: Millionths,
}

/// A failure on purpose.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Abort {
    /// The status of HTTP or of gRPC.
    pub status: AbortStatus,
    /// How likely.
    pub chance: Millionths,
}

/// The status of a failure on purpose.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum AbortStatus {
    /// An HTTP status.
    Http(u16),
    /// A gRPC status, by its number.
    Grpc(u8),
}

/// A copy of requests.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Mirror {
    /// Where to.
    pub to: Target,
    /// How likely.
    pub chance: Millionths,
}

/// What browsers may do across origins.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Cors {
    /// Which origins.
    pub origins: Vec<Text>,
    /// Which methods.
    pub methods: Vec<String>,
    /// Which request headers.
    pub headers: Vec<String>,
    /// Which answer headers scripts may read.
    pub expose: Vec<String>,
    /// How long a browser may remember it.
    pub max_age: Option<Duration>,
    /// Whether credentials are sent.
    pub credentials: Option<bool>,
    /// Whether preflights of other origins go to the service.
    pub forward_others: bool,
}

/// Drops what stands behind a route that matches everything.
pub(crate) fn end_at_catch_all(routes: &mut Vec<Route>) {
    if let Some(last) = routes.iter().position(|route| route.when.is_everything()) {
        routes.truncate(last + 1);
    }
}

/// Gives each name to the first host that claims it, and drops hosts without names.
pub(crate) fn each_name_once(hosts: Vec<VirtualHost>) -> Vec<VirtualHost> {
    let mut taken: BTreeSet<Domain> = BTreeSet::new();
    let mut kept = Vec::new();
    for mut host in hosts {
        host.domains.retain(|domain| taken.insert(domain.clone()));
        if !host.domains.is_empty() {
            kept.push(host);
        }
    }
    kept
}
