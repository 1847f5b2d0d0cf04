//! Connecting on a workload's behalf.

use std::{io, pin::Pin, time::Duration};

use thiserror::Error;
use tokio::net::TcpStream;

use crate::{TlsError, UpstreamAddr, WorkloadId};

/// Why the far end could not be reached.
#[derive(Debug, Error)]
pub enum DialError {
    /// It answered with a reset.
    #[error("{addr} refused the connection")]
    Refused {
        /// The far end.
        addr: UpstreamAddr,
    },
    /// It cannot be reached from the workload's network.
    #[error("{addr} cannot be reached from the workload's network")]
    Unreachable {
        /// The far end.
        addr: UpstreamAddr,
        /// Why.
        source: io::Error,
    },
    /// It did not answer.
    #[error("no answer from {addr} within {after:?}")]
    TimedOut {
        /// The far end.
        addr: UpstreamAddr,
        /// The time that it had.
        after: Duration,
    },
    /// A policy on its side forbids it.
    #[error("{addr}: the destination's policy forbids the connection")]
    Denied {
        /// The far end.
        addr: UpstreamAddr,
    },
    /// No TLS could be agreed on: its certificate is not the right one, or it refused ours.
    #[error("no TLS with {addr}")]
    Tls {
        /// The far end.
        addr: UpstreamAddr,
        /// Why.
        source: io::Error,
    },
    /// TLS cannot be spoken as the destination asks for it.
    #[error("the TLS that the destination asks for cannot be spoken")]
    Settings(#[source] TlsError),
    /// The agent could not make the socket: its own trouble.
    #[error("no socket could be had in the workload's network")]
    Local(#[source] Box<dyn std::error::Error + Send + Sync>),
}

/// An attempt under way.
pub type Dialling<'a> = Pin<Box<dyn Future<Output = Result<TcpStream, DialError>> + Send + 'a>>;

/// Connects from inside a workload's network.
pub trait Dial: Send + Sync {
    /// Connects to an address, and gives up after `patience`.
    fn dial(&self, from: WorkloadId, to: UpstreamAddr, patience: Duration) -> Dialling<'_>;
}
