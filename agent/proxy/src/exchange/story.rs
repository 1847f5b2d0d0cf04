//! What became of one request.

use std::{sync::Arc, time::Duration};

use agent_model::requests::backend::Backend;

use super::{flags::Flags, marks::Span};
use crate::{DialError, Origin, PeerAddr, UpstreamAddr, WorkloadId};

/// In what a request came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RequestProtocol {
    /// HTTP/1.
    Http1,
    /// HTTP/2.
    Http2,
    /// A call of gRPC.
    Grpc,
}

/// What became of a request.
#[derive(Clone, Debug)]
pub struct Exchanged {
    /// Who sent it.
    pub workload: WorkloadId,
    /// The client's end of its connection.
    pub client: PeerAddr,
    /// What the client dialled, and by which rule it came.
    pub origin: Origin,
    /// In what it came.
    pub protocol: RequestProtocol,
    /// The method; empty where no head could be read.
    pub method: String,
    /// The host.
    pub authority: String,
    /// The path with its query.
    pub path: String,
    /// The header `x-request-id`, which is made here where it did not come.
    pub request_id: String,
    /// Its span, where it is traced.
    pub span: Option<Span>,
    /// The header `user-agent`.
    pub user_agent: Option<String>,
    /// The header `x-forwarded-for`.
    pub forwarded_for: Option<String>,
    /// The route's name, where it has one.
    pub route: String,
    /// The destination, as Istio names clusters.
    pub cluster: Option<String>,
    /// Where it was sent last.
    pub upstream: Option<UpstreamAddr>,
    /// The status that the client was told; 0 where it was told none.
    pub status: u16,
    /// What went wrong.
    pub flags: Flags,
    /// How often it was sent, or was to be.
    pub tries: u32,
    /// Bytes to the upstream, heads included.
    pub bytes_sent: u64,
    /// Bytes to the client, heads included.
    pub bytes_received: u64,
    /// From its first byte to the end of the answer.
    pub duration: Duration,
    /// Only an audit let it pass.
    pub would_deny: bool,
    /// Whether it was refused since nothing declares its host.
    pub is_denied: bool,
    /// Why no connection could be made.
    pub error: Option<Arc<DialError>>,
}

impl Exchanged {
    /// Of what was no request.
    pub(super) fn refused(
        (workload, client, origin): (WorkloadId, PeerAddr, Origin),
        protocol: RequestProtocol,
        (status, flags, bytes_received): (u16, Flags, u64),
    ) -> Self {
        Self {
            workload,
            client,
            origin,
            protocol,
            method: String::new(),
            authority: String::new(),
            path: String::new(),
            request_id: String::new(),
            span: None,
            user_agent: None,
            forwarded_for: None,
            route: String::new(),
            cluster: None,
            upstream: None,
            status,
            flags,
            tries: 0,
            bytes_sent: 0,
            bytes_received,
            duration: Duration::ZERO,
            would_deny: false,
            is_denied: false,
            error: None,
        }
    }
}

/// What is known of a request so far.
#[derive(Debug, Default)]
pub(super) struct Story {
    pub(super) route: String,
    pub(super) cluster: Option<String>,
    pub(super) upstream: Option<UpstreamAddr>,
    pub(super) flags: Flags,
    pub(super) tries: u32,
    pub(super) would_deny: bool,
    pub(super) is_denied: bool,
    pub(super) error: Option<Arc<DialError>>,
}

/// A destination's name, as Istio has it.
pub(super) fn cluster(backend: &Backend) -> String {
    let (service, port, subset) = backend.name();
    format!("outbound|{port}|{}|{service}", subset.unwrap_or_default())
}
