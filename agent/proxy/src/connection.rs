//! The way of one connection, from accept to record.

use std::sync::Arc;

use agent_model::requests::{Reading, policy::Keepalive};
use tokio::net::TcpStream;

use crate::{
    DialError, Drain, Failure, Limits, Origin, PeerAddr, Ruling, Seams, UpstreamAddr, WorkloadId,
    carry::carry,
    clusters::Clusters,
    exchange::{Connection, Ended, Policy},
    record::{Ledger, Opened, Tally},
    reset_stream::ResetStream,
    route::{Protocol, protocol, route},
};

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
    pub(crate) async fn run(&self, accepted: TcpStream, by: Accepted) {
        let mut ledger = Ledger::open(Arc::clone(&self.seams.records), by.workload, by.peer);
        let outcome = self.attempt(accepted, &by, &mut ledger).await;
        if let Err(failure) = &outcome {
            tracing::debug!(src.addr = %by.peer, reason = failure.cause(), "connection failed");
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
        accepted: TcpStream,
        by: &Accepted,
        ledger: &mut Ledger,
    ) -> Result<(), Failure> {
        // From here on every way out that is not the last line resets the client.
        let client = ResetStream::accepted(accepted).map_err(Failure::Client)?;
        let origin = self.seams.origins.origin(by.workload, client.stream())?;
        ledger.note(|entry| entry.origin = Some(origin));
        let ruling = self.seams.judge.judge(by.workload, &origin);
        let protocol = protocol(ruling.as_ref(), self.reading(by.workload, &origin));
        ledger.note(|entry| entry.protocol = protocol);
        let mut read = Vec::new();
        if let (Protocol::Http, Some(Ruling { duty, default_action, .. })) = (protocol, &ruling) {
            let policy = Policy { origin, duty: *duty, default_action: *default_action };
            // Boxed, since connections that are carried as they are have to stay cheap.
            let requests = Box::pin(self.requests(&client, by, policy, &ledger.tally));
            match requests.await? {
                Ended::Closed => return client.close().map_err(Failure::Client),
                Ended::Other(bytes) => read = bytes,
            }
        }
        let route = route(&origin, ruling, fastrand::u64(..))?;
        ledger.note(|entry| {
            entry.protocol = Protocol::Opaque;
            entry.upstream = Some(route.to);
            entry.would_deny = route.would_deny;
        });
        let workload = by.workload;
        self.seams.records.opened(Opened { workload, origin, upstream: route.to });
        self.carry(&client, read, route.to, ledger).await?;
        client.close().map_err(Failure::Client)
    }

    /// Serves a connection's requests.
    async fn requests(
        &self,
        client: &ResetStream,
        by: &Accepted,
        policy: Policy,
        tally: &Tally,
    ) -> Result<Ended, Failure> {
        let connection = Connection {
            seams: &self.seams,
            limits: &self.limits,
            workload: by.workload,
            peer: by.peer,
            policy,
            clusters: &by.clusters,
            drain: by.drain.clone(),
        };
        connection.serve(client, tally).await
    }

    /// What requests are to a connection.
    fn reading(&self, workload: WorkloadId, origin: &Origin) -> Reading {
        let outbound = self.seams.judge.outbound(workload);
        let dst = origin.dst.0;
        outbound.map_or(Reading::Opaque, |outbound| outbound.reading(dst.ip(), dst.port()))
    }

    /// Carries bytes as they are, those first that were read already.
    async fn carry(
        &self,
        client: &ResetStream,
        read: Vec<u8>,
        to: UpstreamAddr,
        ledger: &Ledger,
    ) -> Result<(), Failure> {
        let Ledger { workload, tally, .. } = ledger;
        let dialled = tokio::select! {
            dialled = self.seams.dial.dial(*workload, to, self.limits.connect) => dialled?,
            error = client.broken() => return Err(Failure::Client(error)),
        };
        let upstream = ResetStream::dialled(dialled, Keepalive::default())
            .map_err(|error| DialError::Local(error.into()))?;
        upstream.write_all(&read, &tally.sent).await.map_err(Failure::Upstream)?;
        drop(read);
        carry(client, &upstream, tally).await?;
        upstream.close().map_err(Failure::Upstream)
    }
}

/// Who opened a connection, and what that workload has.
#[derive(Clone, Debug)]
pub(crate) struct Accepted {
    pub(crate) workload: WorkloadId,
    pub(crate) peer: PeerAddr,
    pub(crate) clusters: Arc<Clusters>,
    pub(crate) drain: Drain,
}
