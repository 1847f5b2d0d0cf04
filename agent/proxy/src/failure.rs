//! Why a connection did not run its course. Each failure answers three questions: what it is
//! called, whose it is, and whether it is worth another try.

use std::io;

use agent_identity::life::NoCertificate;
use thiserror::Error;

use crate::{DialError, MeshError, OriginError, TlsError};

/// Why a connection was refused or cut short.
#[derive(Debug, Error)]
pub enum Failure {
    /// The client dialled the proxy itself.
    #[error("refused: nothing sent this connection to the proxy; it dialled the proxy's own port")]
    NoOrigin,
    /// The original destination cannot be looked up.
    #[error("refused: the original destination is unknown, and guessing it could open a way out")]
    OriginLookup(#[source] io::Error),
    /// The rule or the workload has gone since the connection was opened.
    #[error("refused: the rule that sent this connection to the proxy is gone")]
    UnknownRule,
    /// Only a Host or a server name could allow it, and it has neither.
    #[error(
        "refused: no rule allows this address, and the connection says no host: it is no TLS with a \
         server name; add a ServiceEntry with this address and a TCP port"
    )]
    NeedsHostRouting,
    /// Only a server name could allow it, and nothing declares the one that it has.
    #[error(
        "refused: nothing that the workload sees declares the server name {name:?} on this port; add a \
         ServiceEntry for TLS with this host, or mend the client's"
    )]
    UnknownServerName {
        /// The name.
        name: String,
    },
    /// The route leads to what is not there.
    #[error("refused: the route leads to a service, port or subset that is not there")]
    NoCluster,
    /// The destination allows no more connections.
    #[error("refused: the destination's connectionPool allows this workload no more connections")]
    Overflow,
    /// The rule sends the connection to endpoints, and there are none.
    #[error(
        "refused: the service has no endpoints; give its ServiceEntry endpoints, or label pods"
    )]
    NoEndpoints,
    /// The workload has as many connections open as it may.
    #[error("refused: the workload has {limit} connections through the proxy, the most it may")]
    TooManyConnections {
        /// How many that is.
        limit: usize,
    },
    /// The far end could not be reached.
    #[error("the far end cannot be reached")]
    Dial(#[from] DialError),
    /// The client's side broke.
    #[error("the client's connection broke")]
    Client(#[source] io::Error),
    /// The far end's side broke.
    #[error("the far end's connection broke")]
    Upstream(#[source] io::Error),
    /// The agent stopped, or its time to drain was over.
    #[error("the agent stopped while the connection was open")]
    Stopped,
}

/// Whose a failure is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Blame {
    /// The workload that opened the connection.
    Client,
    /// What the workload dialled.
    Upstream,
    /// The configuration, as it was meant.
    Policy,
    /// The agent.
    Us,
}

impl Blame {
    /// The name that users see.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Client => "client",
            Self::Upstream => "upstream",
            Self::Policy => "policy",
            Self::Us => "agent",
        }
    }
}

impl Failure {
    /// The name that users and metrics see.
    pub const fn cause(&self) -> &'static str {
        match self {
            Self::NoOrigin => "no-origin",
            Self::OriginLookup(_) => "origin-lookup",
            Self::UnknownRule => "unknown-rule",
            Self::NeedsHostRouting => "needs-host-routing",
            Self::UnknownServerName { .. } => "unknown-server-name",
            Self::NoCluster => "no-cluster",
            Self::Overflow => "upstream-overflow",
            Self::NoEndpoints => "no-endpoints",
            Self::TooManyConnections { .. } => "too-many-connections",
            Self::Dial(DialError::Refused { .. }) => "upstream-refused",
            Self::Dial(DialError::Unreachable { .. }) => "upstream-unreachable",
            Self::Dial(DialError::TimedOut { .. }) => "upstream-timed-out",
            Self::Dial(DialError::Denied { .. }) => "upstream-denied",
            Self::Dial(DialError::Tls { .. }) => "upstream-tls",
            Self::Dial(DialError::Settings(TlsError::Mesh(MeshError::Off))) => "needs-tls",
            Self::Dial(DialError::Settings(TlsError::Mesh(MeshError::Unknown))) => {
                "identity-unknown"
            }
            Self::Dial(DialError::Settings(TlsError::Mesh(MeshError::Certificate(none)))) => {
                no_certificate(*none)
            }
            Self::Dial(DialError::Settings(_)) => "tls-settings",
            Self::Dial(DialError::Local(_)) => "no-socket",
            Self::Client(_) => "client-reset",
            Self::Upstream(_) => "upstream-reset",
            Self::Stopped => "agent-stopped",
        }
    }

    /// Whose it is.
    pub const fn blame(&self) -> Blame {
        match self {
            Self::NoOrigin | Self::TooManyConnections { .. } | Self::Client(_) => Blame::Client,
            Self::UnknownRule
            | Self::NeedsHostRouting
            | Self::UnknownServerName { .. }
            | Self::NoCluster => Blame::Policy,
            Self::Dial(DialError::Local(_) | DialError::Settings(_))
            | Self::OriginLookup(_)
            | Self::Stopped => Blame::Us,
            Self::Dial(_) | Self::Upstream(_) | Self::NoEndpoints | Self::Overflow => {
                Blame::Upstream
            }
        }
    }

    /// True where the same connection may succeed when it is opened once more.
    pub const fn retry(&self) -> bool {
        match self {
            Self::NoOrigin | Self::NeedsHostRouting | Self::UnknownServerName { .. } => false,
            Self::OriginLookup(_)
            | Self::UnknownRule
            | Self::NoEndpoints
            | Self::NoCluster
            | Self::Overflow
            | Self::TooManyConnections { .. }
            | Self::Dial(_)
            | Self::Client(_)
            | Self::Upstream(_)
            | Self::Stopped => true,
        }
    }
}

/// Why a workload has no certificate, as users and metrics see it.
pub(crate) const fn no_certificate(none: NoCertificate) -> &'static str {
    match none {
        NoCertificate::Missing => "no-certificate",
        NoCertificate::Expired => "certificate-expired",
        NoCertificate::Unknown => "no-such-identity",
    }
}

impl From<OriginError> for Failure {
    fn from(error: OriginError) -> Self {
        match error {
            OriginError::Unknown => Self::NoOrigin,
            OriginError::Lookup(source) => Self::OriginLookup(source),
        }
    }
}
