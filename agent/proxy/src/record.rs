//! One record a connection. It is written when the [`Ledger`] goes, so a connection that is cut
//! short by a panic, an abort or the end of the runtime leaves one too.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::time::Instant;

use crate::{Exchanged, Failure, Origin, PeerAddr, Protocol, Rejected, UpstreamAddr, WorkloadId};

/// What became of a connection.
#[derive(Debug)]
pub struct Record {
    /// Who opened it.
    pub workload: WorkloadId,
    /// The client's end.
    pub client: PeerAddr,
    /// What it dialled, and by which rule it came; `None` when that is not known.
    pub origin: Option<Origin>,
    /// What the proxy dialled; `None` when it did not come to that.
    pub upstream: Option<UpstreamAddr>,
    /// How its bytes were treated.
    pub protocol: Protocol,
    /// The server name that its TLS asks for, where that was read; else empty.
    pub server_name: String,
    /// Only an audit let it pass.
    pub would_deny: bool,
    /// Bytes from the client to the far end.
    pub bytes_sent: u64,
    /// Bytes from the far end to the client.
    pub bytes_received: u64,
    /// From accept to end.
    pub duration: Duration,
    /// `None` when both ends said that they were done.
    pub failure: Option<Failure>,
}

/// A connection that is carried as it is, from its beginning on.
#[derive(Clone, Copy, Debug)]
pub struct Opened {
    /// Who opened it.
    pub workload: WorkloadId,
    /// What it dialled, and by which rule it came.
    pub origin: Origin,
    /// What the proxy dials.
    pub upstream: UpstreamAddr,
}

/// What became of a connection that another agent made to a workload of this node, by the mesh's TLS.
#[derive(Debug)]
pub struct Received {
    /// Whose it was to be.
    pub workload: WorkloadId,
    /// The other agent's end, which has the address of its client.
    pub client: PeerAddr,
    /// Who the client is, `spiffe://…`; `None` where it has not shown it.
    pub peer: Option<String>,
    /// The address and port of the workload that it asked for; that of the agent until it has asked.
    pub to: SocketAddr,
    /// Bytes from the client.
    pub bytes_sent: u64,
    /// Bytes to the client.
    pub bytes_received: u64,
    /// From accept to end.
    pub duration: Duration,
    /// `None` when both ends said that they were done.
    pub failure: Option<Rejected>,
}

/// Takes the records. Called on the connection's task: it must not wait.
pub trait Records: Send + Sync {
    /// A connection begins; one whose requests are served never does.
    fn opened(&self, opened: Opened);

    /// Takes one.
    fn record(&self, record: Record);

    /// Takes one of a connection that another agent made.
    fn received(&self, received: Received);

    /// Takes one of a request.
    fn exchanged(&self, exchanged: Exchanged);
}

/// Bytes carried so far, both ways.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    pub(crate) sent: AtomicU64,
    pub(crate) received: AtomicU64,
}

/// The record of a connection that is still open.
pub(crate) struct Ledger {
    records: Arc<dyn Records>,
    opened: Instant,
    pub(crate) tally: Tally,
    entry: Option<Record>,
    /// Whether its beginning was told of.
    is_told: bool,
}

impl Ledger {
    pub(crate) fn open(records: Arc<dyn Records>, workload: WorkloadId, client: PeerAddr) -> Self {
        let entry = Record {
            workload,
            client,
            origin: None,
            upstream: None,
            protocol: Protocol::Opaque,
            server_name: String::new(),
            would_deny: false,
            bytes_sent: 0,
            bytes_received: 0,
            duration: Duration::ZERO,
            failure: Some(Failure::Stopped),
        };
        Self {
            records,
            opened: Instant::now(),
            tally: Tally::default(),
            entry: Some(entry),
            is_told: false,
        }
    }

    /// Notes what has been learnt. A connection whose upstream is known is carried.
    pub(crate) fn note(&mut self, learn: impl FnOnce(&mut Record)) {
        let Some(entry) = &mut self.entry else { return };
        learn(entry);
        if let (Some(origin), Some(upstream), false) = (entry.origin, entry.upstream, self.is_told)
        {
            self.is_told = true;
            let workload = entry.workload;
            self.records.opened(Opened { workload, origin, upstream });
        }
    }

    /// Writes the record with what the connection came to.
    pub(crate) fn close(mut self, outcome: Result<(), Failure>) {
        self.note(|entry| entry.failure = outcome.err());
    }
}

impl Drop for Ledger {
    fn drop(&mut self) {
        if let Some(mut entry) = self.entry.take() {
            entry.duration = self.opened.elapsed();
            entry.bytes_sent = self.tally.sent.load(Ordering::Relaxed);
            entry.bytes_received = self.tally.received.load(Ordering::Relaxed);
            self.records.record(entry);
        }
    }
}
