//! What the client dialled before it was sent here.

use std::io;

use thiserror::Error;
use tokio::net::TcpStream;

use crate::{OriginalDst, WorkloadId};

/// What is known of a connection from before it was sent to the proxy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Origin {
    /// What the client dialled.
    pub dst: OriginalDst,
    /// The number of the rule that sent it here.
    pub rule: u32,
    /// The generation that the number belongs to.
    pub generation: u64,
    /// What tells the connection from others: the cookie of the client's socket.
    pub connection: u64,
}

/// Why there is no [`Origin`].
#[derive(Debug, Error)]
pub enum OriginError {
    /// Nothing sent this connection here: the client dialled the proxy itself.
    #[error("the connection was not sent to the proxy by a rule")]
    Unknown,
    /// The table cannot be read.
    #[error("the table of original destinations cannot be read")]
    Lookup(#[source] io::Error),
}

/// Finds the origin of accepted connections. Called once for each, before anything is read.
pub trait Origins: Send + Sync {
    /// The origin of one connection.
    fn origin(&self, workload: WorkloadId, accepted: &TcpStream) -> Result<Origin, OriginError>;
}
