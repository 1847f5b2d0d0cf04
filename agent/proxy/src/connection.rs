//! The way of one connection, from accept to record.

use std::sync::{Arc, Mutex};

use agent_model::requests::Sent;
use tokio::{net::TcpStream, time::timeout};

use crate::{
    Drain, DrainTrigger, Failure, Limits, PeerAddr, Ruling, Seams, WorkloadId,
    carry::carry,
    clusters::Clusters,
    exchange::{Connection, Ended, Policy},
    first::First,
    record::{Ledger, Tally},
    reset_stream::ResetStream,
    route::{Case, Lead, Protocol},
    stream::{Reached, Streams},
};

/// The node's proxy: one for all workloads.
#[derive(Debug)]
pub struct Proxy {
    pub(crate) seams: Seams,
    pub(crate) limits: Limits,
    end: DrainTrigger,
    open: Arc<()>,
}

impl Proxy {
    /// A proxy.
    pub fn new(seams: Seams, limits: Limits) -> Arc<Self> {
        Arc::new(Self { seams, limits, end: DrainTrigger::new(), open: Arc::default() })
    }

    /// Asks for the end of what is served for all workloads.
    pub fn end(&self) -> &DrainTrigger {
        &self.end
    }

    /// What a workload's trigger reaches: it ends with everything else as well.
    pub fn drain_with(&self, trigger: &DrainTrigger) -> Drain {
        trigger.and(&self.end)
    }

    /// Connections open now, of all workloads.
    pub fn open(&self) -> usize {
        Arc::strong_count(&self.open) - 1
    }

    /// Counts a connection as open while the answer is held.
    pub(crate) fn count_one(&self) -> Arc<()> {
        Arc::clone(&self.open)
    }

    /// Whether agents of other nodes may reach this node's workloads by it.
    pub fn receives(&self) -> bool {
        self.seams.mesh.is_some()
    }

    /// Its bounds.
    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    fn streams<'a>(&'a self, by: &'a Accepted) -> Streams<'a> {
        Streams {
            seams: &self.seams,
            clusters: &by.clusters,
            workload: by.workload,
            peer: by.peer,
            patience: self.limits.connect,
        }
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
        // Boxed, since what is only carried from here on has to stay cheap.
        let ready = Box::pin(self.prepare(&client, by, ledger)).await?;
        if let Some(Ready { upstream, read }) = ready {
            upstream
                .stream
                .write_all(&read, &ledger.tally.sent)
                .await
                .map_err(Failure::Upstream)?;
            drop(read);
            carry(&client, &upstream.stream, &ledger.tally).await?;
            upstream.stream.close().map_err(Failure::Upstream)?;
        }
        client.close().map_err(Failure::Client)
    }

    /// Serves a connection's requests; or finds and makes the upstream's connection that its bytes are
    /// carried to.
    async fn prepare(
        &self,
        client: &ResetStream,
        by: &Accepted,
        ledger: &mut Ledger,
    ) -> Result<Option<Ready>, Failure> {
        let socket = client.socket().ok_or(Failure::NoOrigin)?;
        let origin = self.seams.origins.origin(by.workload, socket)?;
        ledger.note(|entry| entry.origin = Some(origin));
        let ruling = self.seams.judge.judge(by.workload, &origin);
        let outbound = self.seams.judge.outbound(by.workload);
        let case = Case { origin, ruling, outbound };
        let protocol = case.protocol();
        ledger.note(|entry| entry.protocol = protocol);
        let mut read = Vec::new();
        let mut first = First::Bytes;
        match (protocol, &case.ruling) {
            (Protocol::Http, Some(Ruling { duty, default_action, .. })) => {
                let policy = Policy { origin, duty: *duty, default_action: *default_action };
                match self.requests(client, by, policy, &ledger.tally).await? {
                    Ended::Closed => return Ok(None),
                    Ended::Other(bytes) => read = bytes,
                }
            }
            (Protocol::Tls, _) => first = self.first(client, by, &case, &mut read).await?,
            _ => {}
        }
        let upstream = self.reached(client, by, (&case, first), ledger).await?;
        Ok(Some(Ready { upstream, read }))
    }

    /// The first bytes of a connection that a server name may lead elsewhere.
    async fn first(
        &self,
        client: &ResetStream,
        by: &Accepted,
        case: &Case,
        read: &mut Vec<u8>,
    ) -> Result<First, Failure> {
        // Where it may go nowhere without a name, only the client can say one.
        let Ok(silent) = case.lead(Sent::Bytes) else {
            return First::of_client(client, read).await;
        };
        if let Some(first) = First::of_client_soon(client, read).await? {
            return Ok(first);
        }
        let streams = self.streams(by);
        let server = tokio::select! {
            reached = streams.reach(&silent, &case.origin) => reached,
            error = client.broken() => return Err(Failure::Client(error)),
        };
        match server {
            Ok(server) => First::of_both(client, read, server).await,
            // A client that is slow may still say a name that leads elsewhere.
            Err(failure) => timeout(self.limits.connect, First::of_client(client, read))
                .await
                .unwrap_or(Err(failure)),
        }
    }

    /// The upstream's connection, of which the record tells.
    async fn reached(
        &self,
        client: &ResetStream,
        by: &Accepted,
        (case, first): (&Case, First),
        ledger: &mut Ledger,
    ) -> Result<Reached, Failure> {
        let sent = match &first {
            First::Hello(name) => Sent::Tls(name),
            First::Bytes | First::Server(_) => Sent::Bytes,
        };
        let lead = case.lead(sent);
        ledger.note(|entry| {
            if let First::Hello(name) = &first {
                entry.server_name.clone_from(name);
            } else {
                entry.protocol = Protocol::Opaque;
            }
            if let Ok(Lead::Dialled(route)) = &lead {
                entry.upstream = Some(route.to);
                entry.would_deny = route.would_deny;
            }
        });
        let lead = lead?;
        if let First::Server(reached) = first {
            ledger.note(|entry| entry.upstream = Some(reached.to));
            return Ok(reached);
        }
        let streams = self.streams(by);
        let reached = tokio::select! {
            reached = streams.reach(&lead, &case.origin) => reached?,
            error = client.broken() => return Err(Failure::Client(error)),
        };
        ledger.note(|entry| entry.upstream = Some(reached.to));
        Ok(reached)
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
            outbound: Mutex::default(),
        };
        connection.serve(client, tally).await
    }
}

/// An upstream's connection, and what of the client's bytes was read already.
struct Ready {
    upstream: Reached,
    read: Vec<u8>,
}

/// Who opened a connection, and what that workload has.
#[derive(Clone, Debug)]
pub(crate) struct Accepted {
    pub(crate) workload: WorkloadId,
    pub(crate) peer: PeerAddr,
    pub(crate) clusters: Arc<Clusters>,
    pub(crate) drain: Drain,
}
