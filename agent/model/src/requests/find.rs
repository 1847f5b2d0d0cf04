//! What becomes of one request: the slow and obvious reading of the model, which tests and tools
//! ask.

use std::net::IpAddr;

use super::{
    change::{PathRewrite, Redirect, RedirectPort},
    host::{Domain, most_specific},
    outbound::{Listener, Outbound, StreamRoute},
    route::{Action, Match, Route, VirtualHost},
};

/// A request as it arrives.
#[derive(Clone, Debug, Default)]
pub struct Request<'a> {
    /// The method.
    pub method: &'a str,
    /// `http` or `https`.
    pub scheme: &'a str,
    /// The `Host` as it was sent.
    pub authority: &'a str,
    /// The path with its query.
    pub target: &'a str,
    /// Headers in order, names in any case.
    pub headers: &'a [(&'a str, &'a str)],
}

/// What becomes of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict<'a> {
    /// No host has its name; the policy of the client decides.
    UnknownHost,
    /// No route matches: 404.
    NoRoute,
    /// A route does.
    Route(&'a Route),
}

impl Request<'_> {
    /// What becomes of the request among some hosts.
    pub fn among<'a>(&self, hosts: &'a [VirtualHost]) -> Verdict<'a> {
        let name = Domain::of_authority(self.authority);
        let named = hosts.iter().flat_map(|host| host.domains.iter().map(move |one| (one, host)));
        match most_specific(named, &name) {
            Some(host) => match host.routes.iter().find(|route| self.meets(&route.when)) {
                Some(route) => Verdict::Route(route),
                None => Verdict::NoRoute,
            },
            None => Verdict::UnknownHost,
        }
    }

    /// Whether the request is like that.
    pub fn meets(&self, when: &Match) -> bool {
        let Match { path, any_case, scheme, method, authority, headers, query } = when;
        let (own_path, own_query) = self.target.split_once('?').unwrap_or((self.target, ""));
        let by_path = path.as_ref().is_none_or(|text| match any_case {
            true => text.matches_any_case(own_path),
            false => text.matches(own_path),
        });
        by_path
            && scheme.as_ref().is_none_or(|text| text.matches(self.scheme))
            && method.as_ref().is_none_or(|text| text.matches(self.method))
            && authority.as_ref().is_none_or(|text| text.matches(self.authority))
            && headers.iter().all(|one| one.matches(self.header(&one.name).as_deref()))
            && query.iter().all(|one| {
                let value = parameter(own_query, &one.name);
                value.is_some_and(|value| one.value.as_ref().is_none_or(|text| text.matches(value)))
            })
    }

    /// The first value of a parameter of the query.
    pub fn parameter(&self, name: &str) -> Option<&str> {
        parameter(self.target.split_once('?')?.1, name)
    }

    /// A header's values, joined; names with a colon are HTTP/2's.
    pub fn header(&self, name: &str) -> Option<String> {
        match name {
            ":authority" | "host" => return Some(self.authority.to_owned()),
            ":method" => return Some(self.method.to_owned()),
            ":path" => return Some(self.target.to_owned()),
            ":scheme" => return Some(self.scheme.to_owned()),
            _ => {}
        }
        let same = |(key, _): &&(&str, &str)| key.eq_ignore_ascii_case(name);
        let values: Vec<&str> = self.headers.iter().filter(same).map(|(_, value)| *value).collect();
        (!values.is_empty()).then(|| values.join(","))
    }
}

/// The first value of a parameter of a query.
fn parameter<'a>(query: &'a str, name: &str) -> Option<&'a str> {
    let mut pairs = query.split('&').map(|pair| pair.split_once('=').unwrap_or((pair, "")));
    pairs.find(|(key, _)| *key == name && !name.is_empty()).map(|(_, value)| value)
}

/// The first bytes of a connection.
#[derive(Clone, Copy, Debug)]
pub enum Sent<'a> {
    /// A request in the clear.
    Request(&'a Request<'a>),
    /// TLS for a server name; empty where it asks for none.
    Tls(&'a str),
    /// Anything else.
    Bytes,
}

/// What becomes of a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decided<'a> {
    /// Nothing serves it: the policy of the client decides.
    NotServed,
    /// It is served request by request; this becomes of the first.
    Requests(Verdict<'a>),
    /// It goes on as it is.
    Stream(&'a StreamRoute),
}

impl Outbound {
    /// What becomes of a connection; without an address, one that is dialled by a name which no
    /// listener's address stands for.
    pub fn decide(&self, address: Option<IpAddr>, port: u16, sent: Sent<'_>) -> Decided<'_> {
        let mut listeners = match address {
            Some(address) => self.serving(address, port),
            None => self.ports.get(&port).map(|on| &on.any).into_iter().collect(),
        };
        // Envoy looks for the address first, and among what is there for the name: a name that is not
        // there is not looked for elsewhere.
        if let (Sent::Tls(_), Some(first)) = (sent, listeners.first())
            && !first.tls.is_empty()
        {
            listeners.truncate(1);
        }
        let decided = listeners.into_iter().map(|listener| listener.decide(sent));
        let mut served = decided.filter(|decided| *decided != Decided::NotServed);
        served.next().unwrap_or(Decided::NotServed)
    }

    /// The listeners that a connection is held against, the first that knows what it is decides:
    /// that of the longest prefix that covers the address, then that of any address.
    pub fn serving(&self, address: IpAddr, port: u16) -> Vec<&Listener> {
        let Some(on) = self.ports.get(&port) else { return Vec::new() };
        let covering = on.at.iter().filter(|(net, _)| net.contains(&address));
        let own = covering.max_by_key(|(net, _)| net.prefix_len()).map(|(_, own)| own);
        own.into_iter().chain([&on.any]).filter(|one| !one.is_empty()).collect()
    }
}

impl Listener {
    fn decide(&self, sent: Sent<'_>) -> Decided<'_> {
        match sent {
            Sent::Request(request) if !self.hosts.is_empty() => match request.among(&self.hosts) {
                Verdict::UnknownHost => Decided::NotServed,
                verdict => Decided::Requests(verdict),
            },
            Sent::Tls(name) => {
                let named = self.tls.iter();
                let named = named.flat_map(|route| route.names.iter().map(move |own| (own, route)));
                // Of a hello without a name no name is the right one, not even a wildcard.
                let found = most_specific(named, &Domain::new(name)).filter(|_| !name.is_empty());
                let any_name = || self.tls.iter().find(|route| route.names.is_empty());
                self.stream(found.or_else(any_name))
            }
            Sent::Request(_) | Sent::Bytes => self.stream(None),
        }
    }

    /// A route by its name, else that for what has none.
    fn stream<'a>(&'a self, named: Option<&'a StreamRoute>) -> Decided<'a> {
        named.or(self.tcp.as_ref()).map_or(Decided::NotServed, Decided::Stream)
    }
}

impl Route {
    /// The path with its query that a request leaves with.
    pub fn rewritten(&self, target: &str) -> String {
        let rewrite = match &self.then {
            Action::Forward(forward) => &forward.rewrite,
            Action::Continue { rewrite, .. } => rewrite,
            Action::Redirect(_) | Action::Answer(_) => return target.to_owned(),
        };
        rewrite.path.as_ref().map_or_else(|| target.to_owned(), |path| path.apply(target))
    }
}

impl Route {
    /// The host that a request leaves with, where it is another one.
    pub fn rewritten_authority(&self) -> Option<&str> {
        match &self.then {
            Action::Forward(forward) => forward.rewrite.authority.as_deref(),
            Action::Continue { rewrite, .. } => rewrite.authority.as_deref(),
            Action::Redirect(_) | Action::Answer(_) => None,
        }
    }
}

impl Redirect {
    /// Where a request is sent; ports that are the scheme's own are left out, the query is kept.
    pub fn location(&self, request: &Request<'_>) -> String {
        let scheme = self.scheme.as_deref().unwrap_or(request.scheme);
        let (own_host, own_port) = split_port(request.authority);
        let host = self.authority.as_deref().unwrap_or(own_host);
        let changes = self.scheme.is_some() || self.authority.is_some();
        let port = match self.port {
            RedirectPort::Fixed(port) => Some(port),
            RedirectPort::Default if changes => None,
            RedirectPort::OfRequest | RedirectPort::Default => own_port,
        };
        let own = if scheme == "https" { 443 } else { 80 };
        let port = port.filter(|port| *port != own);
        let port = port.map(|port| format!(":{port}")).unwrap_or_default();
        let as_is = || request.target.to_owned();
        let path =
            self.path.as_ref().map_or_else(as_is, |path: &PathRewrite| path.apply(request.target));
        format!("{scheme}://{host}{port}{path}")
    }
}

fn split_port(authority: &str) -> (&str, Option<u16>) {
    match authority.rsplit_once(':') {
        Some((host, port)) if !host.contains(':') || host.ends_with(']') => {
            (host, port.parse().ok())
        }
        _ => (authority, None),
    }
}
