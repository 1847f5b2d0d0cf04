//! Which flows a question is about.

use std::{fmt, net::IpAddr, ops::RangeInclusive, str::FromStr};

use agent_abi::Verdict;
use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::{flow_record::FlowRecord, flow_request::FlowRequest};

/// Why a word was not understood.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub(crate) enum FilterError {
    /// `--pod`.
    #[error("a pod is NAMESPACE/NAME, NAME, or NAMESPACE/ for all of a namespace")]
    Pod,
    /// `--to`.
    #[error(
        "a destination is a host, an address or a CIDR, with :PORT behind a host or an address; an IPv6 address with a port is in brackets"
    )]
    To,
    /// `--status`.
    #[error("a status is 503, 5xx or 400-499")]
    Status,
    /// `--verdict`.
    #[error("a verdict is direct, proxy, deny or hold")]
    Verdict,
    /// `--protocol`.
    #[error("a protocol is tcp, udp, icmp, icmpv6, http (all requests), http2 or grpc")]
    Protocol,
}

/// See the module. What is not said is not asked about.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct FlowFilter {
    /// Those to come, too.
    pub(crate) follow: bool,
    /// Of those that are kept only so many of the newest.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) last: Option<usize>,
    /// Only what was refused, or would be.
    pub(crate) denied: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) pod: Option<OfPod>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) to: Option<To>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) status: Option<OfStatus>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) verdict: Option<OfVerdict>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) protocol: Option<OfProtocol>,
}

impl FlowFilter {
    /// As the query of a request.
    pub(crate) fn query(&self) -> String {
        // Words and numbers have a form in every query.
        serde_urlencoded::to_string(self).unwrap_or_default()
    }

    /// Whether a flow is asked about.
    pub(crate) fn wants(&self, record: &FlowRecord) -> bool {
        let Self { follow: _, last: _, denied, pod, to, status, verdict, protocol } = self;
        let request = record.request.as_deref();
        (!denied || record.is_denied())
            && pod.as_ref().is_none_or(|pod| pod.has(record))
            && to.as_ref().is_none_or(|to| to.has(record))
            && verdict.as_ref().is_none_or(|verdict| verdict.0 == record.verdict)
            && protocol.as_ref().is_none_or(|protocol| protocol.has(record, request))
            && status
                .as_ref()
                .is_none_or(|all| request.is_some_and(|one| all.0.contains(&one.status)))
    }
}

/// A word of the command line that is read by both ends of the socket.
macro_rules! words {
    ($($name:ident),+) => {$(
        impl TryFrom<String> for $name {
            type Error = FilterError;

            fn try_from(text: String) -> Result<Self, FilterError> {
                text.parse()
            }
        }

        impl From<$name> for String {
            fn from(word: $name) -> Self {
                word.to_string()
            }
        }
    )+};
}

words!(OfPod, To, OfStatus, OfVerdict, OfProtocol);

/// `--pod`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub(crate) struct OfPod {
    namespace: Option<String>,
    name: Option<String>,
}

impl OfPod {
    fn has(&self, record: &FlowRecord) -> bool {
        let is =
            |wanted: &Option<String>, own: &str| wanted.as_ref().is_none_or(|wanted| wanted == own);
        record
            .pod
            .as_ref()
            .is_some_and(|pod| is(&self.namespace, &pod.namespace) && is(&self.name, &pod.name))
    }
}

impl FromStr for OfPod {
    type Err = FilterError;

    fn from_str(text: &str) -> Result<Self, FilterError> {
        let (namespace, name) = match text.split_once('/') {
            Some((namespace, name)) => (Some(namespace), Some(name).filter(|it| !it.is_empty())),
            None => (None, Some(text)),
        };
        let is_name = |name: &str| !name.is_empty() && !name.contains('/');
        if !namespace.into_iter().chain(name).all(is_name) {
            return Err(FilterError::Pod);
        }
        let [namespace, name] = [namespace, name].map(|part| part.map(str::to_owned));
        Ok(Self { namespace, name })
    }
}

impl fmt::Display for OfPod {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = self.name.as_deref().unwrap_or_default();
        match &self.namespace {
            Some(namespace) => write!(f, "{namespace}/{name}"),
            None => f.write_str(name),
        }
    }
}

/// `--to`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub(crate) struct To {
    text: String,
    place: Place,
    port: Option<u16>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Place {
    Net(IpNet),
    Host(String),
}

impl To {
    fn has(&self, record: &FlowRecord) -> bool {
        let ports = [record.destination.port, record.upstream.map(|upstream| upstream.port())];
        let is_port = self.port.is_none_or(|port| ports.contains(&Some(port)));
        is_port
            && match &self.place {
                Place::Net(net) => {
                    let upstream = record.upstream.map(|upstream| upstream.ip());
                    net.contains(&record.destination.address)
                        || upstream.is_some_and(|upstream| net.contains(&upstream))
                }
                Place::Host(host) => hosts(record).any(|own| is_of(own, host)),
            }
    }
}

/// The hosts that something was for: the rule's, TLS's server name, and the request's by its own word
/// and its cluster's.
fn hosts(record: &FlowRecord) -> impl Iterator<Item = &str> {
    let request = record.request.as_ref();
    let said = request.map(|request| without_port(&request.host));
    let cluster = request.and_then(|request| request.cluster.as_ref()?.rsplit('|').next());
    record.service().into_iter().chain(record.server_name.as_deref()).chain(said).chain(cluster)
}

fn without_port(host: &str) -> &str {
    let (name, port) = host.rsplit_once(':').unwrap_or((host, ""));
    if !port.is_empty() && port.bytes().all(|c| c.is_ascii_digit()) { name } else { host }
}

/// Whether a host is this one, or this one is the beginning of it: `reviews` is
/// `reviews.shop.svc.cluster.local` as well.
fn is_of(own: &str, wanted: &str) -> bool {
    let (own, wanted) = (own.to_ascii_lowercase(), wanted.to_ascii_lowercase());
    own.strip_prefix(&wanted).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
}

impl FromStr for To {
    type Err = FilterError;

    fn from_str(text: &str) -> Result<Self, FilterError> {
        let (place, port) = place(text).ok_or(FilterError::To)?;
        Ok(Self { text: text.to_owned(), place, port })
    }
}

fn place(text: &str) -> Option<(Place, Option<u16>)> {
    let of = |address: IpAddr| Place::Net(address.into());
    if let Ok(address) = text.parse::<IpAddr>() {
        return Some((of(address), None));
    }
    if let Ok(net) = text.parse::<IpNet>() {
        return Some((Place::Net(net), None));
    }
    if let Ok(socket) = text.parse::<std::net::SocketAddr>() {
        return Some((of(socket.ip()), Some(socket.port())));
    }
    let (host, port) = match text.split_once(':') {
        Some((host, port)) => (host, Some(port.parse().ok()?)),
        None => (text, None),
    };
    let is_name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_' | '*');
    let fits = !host.is_empty() && host.chars().all(is_name);
    fits.then(|| (Place::Host(host.to_owned()), port))
}

impl fmt::Display for To {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// `--status`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub(crate) struct OfStatus(RangeInclusive<u16>);

impl FromStr for OfStatus {
    type Err = FilterError;

    fn from_str(text: &str) -> Result<Self, FilterError> {
        let number = |text: &str| {
            let is_number = text.len() <= 3 && text.bytes().all(|c| c.is_ascii_digit());
            text.parse::<u16>().ok().filter(|_| is_number).ok_or(FilterError::Status)
        };
        if let Some(class) = text.strip_suffix("xx") {
            let first = number(class).ok().filter(|class| (1..=5).contains(class));
            let first = first.ok_or(FilterError::Status)? * 100;
            return Ok(Self(first..=first + 99));
        }
        let (first, last) = text.split_once('-').unwrap_or((text, text));
        let (first, last) = (number(first)?, number(last)?);
        if first > last { Err(FilterError::Status) } else { Ok(Self(first..=last)) }
    }
}

impl fmt::Display for OfStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.0.start(), self.0.end())
    }
}

/// `--verdict`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub(crate) struct OfVerdict(Verdict);

impl FromStr for OfVerdict {
    type Err = FilterError;

    fn from_str(text: &str) -> Result<Self, FilterError> {
        let all = [Verdict::Direct, Verdict::Proxy, Verdict::Deny, Verdict::Hold];
        let found = all.into_iter().find(|verdict| verdict.name() == text);
        found.map(Self).ok_or(FilterError::Verdict)
    }
}

impl fmt::Display for OfVerdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.name())
    }
}

/// `--protocol`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub(crate) struct OfProtocol(String);

impl OfProtocol {
    fn has(&self, record: &FlowRecord, request: Option<&FlowRequest>) -> bool {
        match (self.0.as_str(), request) {
            ("http", request) => request.is_some(),
            ("http2", Some(request)) => request.protocol == "http2" || request.protocol == "grpc",
            (wanted, Some(request)) => request.protocol == wanted,
            (wanted, None) => record.protocol.to_string() == wanted,
        }
    }
}

impl FromStr for OfProtocol {
    type Err = FilterError;

    fn from_str(text: &str) -> Result<Self, FilterError> {
        let all = ["tcp", "udp", "icmp", "icmpv6", "http", "http2", "grpc"];
        let found = all.into_iter().find(|one| *one == text);
        found.map(|one| Self(one.to_owned())).ok_or(FilterError::Protocol)
    }
}

impl fmt::Display for OfProtocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests;
