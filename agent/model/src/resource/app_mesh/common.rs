//! What nodes, gateways, routers and routes have in common.

use serde::Deserialize;

schema_fields! {
    /// A port and what is spoken on it.
    PortMapping { port: i64, protocol: Option<Protocol> }
    /// A time with its unit, `s` or `ms`.
    Duration { unit: DurationUnit, value: i64 }
    /// How long a route waits.
    Timeout { per_request: Option<Duration>, idle: Option<Duration> }
    /// The same for a listener, by protocol.
    Timeouts {
        tcp: Option<Timeout>,
        http: Option<Timeout>,
        http2: Option<Timeout>,
        grpc: Option<Timeout>,
    }
}

/// What is spoken on a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum Protocol {
    /// gRPC.
    Grpc,
    /// HTTP/1.
    Http,
    /// HTTP/2.
    Http2,
    /// Anything.
    Tcp,
}

/// The unit of a time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum DurationUnit {
    /// Seconds.
    #[default]
    S,
    /// Milliseconds.
    Ms,
}
