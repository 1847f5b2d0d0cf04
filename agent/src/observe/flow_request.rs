//! A request that the proxy carried, as a part of its flow.

use std::fmt;

use agent_proxy::{Exchanged, RequestProtocol, Span};
use serde::{Deserialize, Serialize};

use super::status::Text;

/// See the module.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct FlowRequest {
    /// In what it came: `http`, `http2` or `grpc`.
    #[serde(default)]
    pub(crate) protocol: Text,
    /// The method; empty where no head could be read.
    pub(crate) method: String,
    /// The host.
    pub(crate) host: String,
    /// The path with its query.
    pub(crate) path: String,
    /// What tells it from others, by its header `x-request-id`.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub(crate) request_id: String,
    /// Its headers `user-agent` and `x-forwarded-for`: for the access log alone.
    #[serde(skip)]
    pub(crate) user_agent: Option<String>,
    #[serde(skip)]
    pub(crate) forwarded_for: Option<String>,
    /// Its span, where it is traced.
    #[serde(skip)]
    pub(crate) span: Option<Span>,
    /// The route's name, where it has one.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub(crate) route: String,
    /// The destination, as Istio names clusters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) cluster: Option<String>,
    /// The status that the client was told; 0 where it was told none.
    pub(crate) status: u16,
    /// What went wrong, in Envoy's words; `-` for nothing.
    pub(crate) flags: Text,
    /// How often it was sent.
    pub(crate) tries: u32,
}

/// The name that users see.
const fn name(protocol: RequestProtocol) -> &'static str {
    match protocol {
        RequestProtocol::Http1 => "http",
        RequestProtocol::Http2 => "http2",
        RequestProtocol::Grpc => "grpc",
    }
}

impl From<Exchanged> for FlowRequest {
    fn from(exchanged: Exchanged) -> Self {
        let Exchanged { protocol, method, authority, path, route, .. } = exchanged;
        let Exchanged { cluster, status, flags, tries, .. } = exchanged;
        let Exchanged { request_id, user_agent, forwarded_for, span, .. } = exchanged;
        Self {
            protocol: name(protocol).into(),
            method,
            host: authority,
            path,
            request_id,
            user_agent,
            forwarded_for,
            span,
            route,
            cluster,
            status,
            // Most have none, and none needs no text of its own.
            flags: if flags.is_empty() { "-".into() } else { flags.to_string().into() },
            tries,
        }
    }
}

impl FlowRequest {
    /// Whether something went wrong: it has such a status, or none, or one of Envoy's flags.
    pub(crate) fn is_error(&self) -> bool {
        matches!(self.status, 0 | 400..) || self.flags != "-"
    }
}

impl fmt::Display for FlowRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { method, host, path, route, status, flags, tries, .. } = self;
        write!(f, "{method} {host}{path} {status} {flags}")?;
        if !route.is_empty() {
            write!(f, ", route {route}")?;
        }
        if *tries > 1 { write!(f, ", {tries} tries") } else { Ok(()) }
    }
}
