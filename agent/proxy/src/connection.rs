//! The way of one connection, from accept to record.

use std::{fmt, sync::Arc, time::Duration};

use tokio::net::TcpStream;

use crate::{
    Dial, DialError, Failure, Judge, Origins, PeerAddr, Records, WorkloadId,
    carry::carry,
    record::Ledger,
    reset_stream::ResetStream,
    route::{Protocol, route},
};

/// What the program lends to the proxy.
#[derive(Clone)]
pub struct Seams {
    /// Original destinations.
    pub origins: Arc<dyn Origins>,
    /// The configuration.
    pub judge: Arc<dyn Judge>,
    /// Upstream sockets.
    pub dial: Arc<dyn Dial>,
    /// What became of connections.
    pub records: Arc<dyn Records>,
}

impl fmt::Debug for Seams {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Seams").finish_non_exhaustive()
    }
}

/// Bounds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Connections that one workload may have open through the proxy.
    pub connections_per_workload: usize,
    /// How long an upstream has to answer.
    pub connect: Duration,
}

impl Default for Limits {
    /// 8,192 connections are 16,384 descriptors: what a workload can do to the node stays bounded.
    /// Ten seconds are three lost SYNs and their repetitions (at 1, 3 and 7 s).
    fn default() -> Self {
        Self { connections_per_workload: 8_192, connect: Duration::from_secs(10) }
    }
}

/// The node's proxy: one for all workloads.
#[derive(Debug)]
pub struct Proxy {
    seams: Seams,
    limits: Limits,
}

impl Proxy {
    /// A proxy.
    pub fn new(seams: Seams, limits: Limits) -> Arc<Self> {
        Arc::new(Self { seams, limits })
    }

    /// Its bounds.
    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    /// Carries an accepted connection to its end.
    pub(crate) async fn run(&self, workload: WorkloadId, accepted: TcpStream, peer: PeerAddr) {
        let mut ledger = Ledger::open(Arc::clone(&self.seams.records), workload, peer);
        let outcome = self.attempt(workload, accepted, &mut ledger).await;
        if let Err(failure) = &outcome {
            tracing::debug!(src.addr = %peer, reason = failure.cause(), "connection failed");
        }
        ledger.close(outcome);
    }

    /// Refuses an accepted connection.
    pub(crate) fn refuse(
        &self,
        workload: WorkloadId,
        accepted: TcpStream,
        peer: PeerAddr,
        failure: Failure,
    ) {
        let ledger = Ledger::open(Arc::clone(&self.seams.records), workload, peer);
        // Dropped as it is, the stream resets.
        let outcome = ResetStream::accepted(accepted).map_err(Failure::Client);
        ledger.close(outcome.and(Err(failure)));
    }

    async fn attempt(
        &self,
        workload: WorkloadId,
        accepted: TcpStream,
        ledger: &mut Ledger,
    ) -> Result<(), Failure> {
        // From here on every way out that is not the last line resets the client.
        let client = ResetStream::accepted(accepted).map_err(Failure::Client)?;
        let origin = self.seams.origins.origin(workload, client.stream())?;
        ledger.note(|entry| entry.origin = Some(origin));
        let ruling = self.seams.judge.judge(workload, &origin);
        let route = route(&origin, ruling, fastrand::u64(..))?;
        ledger.note(|entry| {
            entry.upstream = Some(route.to);
            entry.protocol = route.protocol;
            entry.would_deny = route.would_deny;
        });
        let dialled = tokio::select! {
            dialled = self.seams.dial.dial(workload, route.to, self.limits.connect) => dialled?,
            error = client.broken() => return Err(Failure::Client(error)),
        };
        let upstream =
            ResetStream::dialled(dialled).map_err(|error| DialError::Local(error.into()))?;
        match route.protocol {
            Protocol::Opaque => carry(&client, &upstream, &ledger.tally).await?,
        }
        upstream.close().map_err(Failure::Upstream)?;
        client.close().map_err(Failure::Client)
    }
}
