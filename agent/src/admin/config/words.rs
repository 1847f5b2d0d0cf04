//! The model of requests in short words, for tables.

use agent_model::{
    endpoints::{Endpoint, Endpoints, NamedEndpoint},
    requests::{
        backend::{Backend, LoadAssignment, Missing, Target},
        policy::{Balance, ClientTls, HashKey},
        route::{Action, Match, Route},
        text::{HeaderMatch, QueryMatch, Text, ValueMatch},
    },
};

use ipnet::IpNet;

use super::EndpointRow;

/// `outbound|PORT|SUBSET|HOST`, as Istio names clusters.
pub(super) fn cluster(backend: &Backend) -> String {
    let subset = backend.subset.as_deref().unwrap_or_default();
    format!("outbound|{}|{subset}|{}", backend.port, backend.service)
}

pub(super) fn target(target: &Target) -> String {
    match target {
        Target::Backend(backend) => cluster(backend),
        Target::Missing(Missing::Service(host)) => format!("no service {host}"),
        Target::Missing(Missing::Port(host, port)) => format!("no port {port} of {host}"),
        Target::Missing(Missing::Subset(host, subset)) => format!("no subset {subset} of {host}"),
        Target::Missing(Missing::Provider(name)) => format!("nothing answers for {name}"),
    }
}

/// The addresses that a listener is for.
pub(super) fn address(at: Option<IpNet>) -> String {
    at.map_or_else(|| "any".to_owned(), |net| net.to_string())
}

/// What a request must be like, all of it.
pub(super) fn matches(when: &Match) -> String {
    let Match { path, any_case, scheme, method, authority, headers, query } = when;
    let case = if *any_case { " in any case" } else { "" };
    let mut parts: Vec<String> =
        path.iter().map(|path| format!("path {}{case}", text(path))).collect();
    for (name, of) in [("method", method), ("scheme", scheme), ("authority", authority)] {
        parts.extend(of.iter().map(|of| format!("{name} {}", text(of))));
    }
    parts.extend(headers.iter().map(header));
    parts.extend(query.iter().map(parameter));
    if parts.is_empty() { "everything".to_owned() } else { parts.join(", ") }
}

fn text(text: &Text) -> String {
    match text {
        Text::Exact(text) => format!("={text}"),
        Text::Prefix(text) => format!("{text}*"),
        Text::Suffix(text) => format!("*{text}"),
        Text::Pattern(pattern) => format!("~{}", pattern.source()),
    }
}

fn header(of: &HeaderMatch) -> String {
    let value = match &of.value {
        ValueMatch::Present => "present".to_owned(),
        ValueMatch::Text(of) => text(of),
        ValueMatch::Range(start, end) => format!("from {start} to {}", end.saturating_sub(1)),
    };
    let not = if of.invert { "not " } else { "" };
    format!("header {} {not}{value}", of.name)
}

fn parameter(of: &QueryMatch) -> String {
    let value = of.value.as_ref().map_or_else(|| "present".to_owned(), text);
    format!("query {} {value}", of.name)
}

/// What happens to a request, but for where it goes.
pub(super) fn action(route: &Route) -> String {
    let mut parts = Vec::new();
    match &route.then {
        Action::Forward(forward) => {
            parts.push("forward".to_owned());
            parts.extend(forward.timeout.map(|time| format!("timeout {time:?}")));
            parts.extend(forward.retries.as_ref().map(|all| format!("retries {}", all.attempts)));
        }
        Action::Redirect(redirect) => parts.push(format!("redirect {}", redirect.status)),
        Action::Answer(answer) => parts.push(format!("answer {}", answer.status)),
        Action::Continue { routes, .. } => parts.push(format!("{} routes within", routes.len())),
    }
    for (name, is_there) in [
        ("delay", route.fault.delay.is_some()),
        ("abort", route.fault.abort.is_some()),
        ("mirror", !route.mirrors.is_empty()),
        ("cors", route.cors.is_some()),
    ] {
        parts.extend(is_there.then(|| name.to_owned()));
    }
    parts.join(", ")
}

pub(super) fn balance(balance: &Balance) -> String {
    match balance {
        Balance::LeastRequest => "least request".to_owned(),
        Balance::RoundRobin => "round robin".to_owned(),
        Balance::Random => "random".to_owned(),
        Balance::Dialled => "address dialled".to_owned(),
        Balance::Hash { key, .. } => match key {
            HashKey::Header(name) => format!("hash of header {name}"),
            HashKey::Cookie { name, .. } => format!("hash of cookie {name}"),
            HashKey::SourceAddress => "hash of the client's address".to_owned(),
            HashKey::Query(name) => format!("hash of query {name}"),
        },
    }
}

pub(super) const fn tls(tls: &ClientTls) -> &'static str {
    match tls {
        ClientTls::Plain => "none",
        ClientTls::Own(own) if own.certificate.is_some() => "mutual",
        ClientTls::Own(_) => "simple",
        ClientTls::Mesh(_) => "mesh mutual",
        ClientTls::Auto(_) => "mesh mutual where spoken",
    }
}

/// How a cluster's endpoints are found.
pub(super) fn found(endpoints: &Endpoints) -> String {
    match endpoints {
        Endpoints::Listed(listed) => format!("{} listed", listed.len()),
        Endpoints::Dialled { port, .. } => format!("address dialled, port {port}"),
        Endpoints::Named { names, .. } => format!("{} by name", names.len()),
        Endpoints::AsRequested { port } => format!("name requested, port {port}"),
    }
}

pub(super) fn endpoints(backend: &Backend, served: &LoadAssignment) -> Vec<EndpointRow> {
    let row = |endpoint: String, weight: u32, locality: &str, mutual_tls: bool| EndpointRow {
        cluster: cluster(backend),
        endpoint,
        weight,
        locality: locality.to_owned(),
        mutual_tls,
    };
    match &served.endpoints {
        Endpoints::Listed(listed) => {
            let listed = listed.iter().map(|one: &Endpoint| {
                let at = std::net::SocketAddr::new(one.address, one.port.get());
                row(at.to_string(), one.weight, &one.locality, one.mutual)
            });
            listed.collect()
        }
        Endpoints::Named { names, mutual, .. } => {
            let named = names.iter().map(|one: &NamedEndpoint| {
                let now: Vec<String> = one.current.iter().map(ToString::to_string).collect();
                let at = format!("{}:{} ({})", one.host, one.port, now.join(" "));
                row(at, one.weight, "", *mutual)
            });
            named.collect()
        }
        Endpoints::Dialled { mutual, .. } => vec![row(found(&served.endpoints), 1, "", *mutual)],
        Endpoints::AsRequested { .. } => vec![row(found(&served.endpoints), 1, "", false)],
    }
}
