//! Connections that other agents make to a workload of this node: the mesh's TLS ends here, and what is
//! inside goes on to the application, on the workload's own address.
//!
//! The application is dialled before the other agent is told that it is connected: a port without a
//! listener is refused there as it would be without a mesh.

mod hbone;

use std::{
    io,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use agent_identity::bundle::identity_of;
use thiserror::Error;
use tokio::{
    net::TcpStream,
    time::{Instant, timeout},
};

use crate::{
    DialError, Failure, MeshError, PeerAddr, Proxy, Received, Records, UpstreamAddr, WorkloadId,
    carry::carry,
    connection::Accepted,
    failure::no_certificate,
    mesh::form::{self, Answer},
    record::Tally,
    reset_stream::ResetStream,
};

/// How long a peer may take to agree on TLS.
const HANDSHAKE: Duration = Duration::from_secs(10);

/// Why a connection of another agent came to nothing, or broke.
#[derive(Debug, Error)]
pub enum Rejected {
    /// This side has nothing to show.
    #[error("refused: {0}")]
    Mesh(#[from] MeshError),
    /// No TLS could be agreed on.
    #[error(
        "no TLS of the mesh with the client: it has shown no certificate of the mesh, or no other"
    )]
    Tls(#[source] io::Error),
    /// It took too long.
    #[error("the client has not agreed on TLS within {after:?}")]
    Slow {
        /// The time that it had.
        after: Duration,
    },
    /// What is spoken inside is not known here.
    #[error("the client speaks no protocol that is known here")]
    Protocol,
    /// It is no `CONNECT`.
    #[error("the client's request is no CONNECT")]
    Method,
    /// It names another workload, or nothing that is known here.
    #[error("the client's CONNECT is not for an address and port of this workload")]
    Authority,
    /// It asks for a port that nothing may be carried to.
    #[error("the client asks for port {port}, which is the agent's own")]
    Port {
        /// The port.
        port: u16,
    },
    /// The application could not be reached.
    #[error("the application cannot be reached")]
    Dial(#[from] DialError),
    /// It broke off.
    #[error(transparent)]
    Carried(#[from] Failure),
}

impl Rejected {
    /// The name that users and metrics see.
    pub const fn cause(&self) -> &'static str {
        match self {
            Self::Mesh(MeshError::Certificate(none)) => no_certificate(*none),
            Self::Mesh(_) => "no-identity",
            Self::Tls(_) => "mesh-tls",
            Self::Slow { .. } => "mesh-tls-timeout",
            Self::Protocol => "mesh-protocol",
            Self::Method => "hbone-method",
            Self::Authority => "hbone-authority",
            Self::Port { .. } => "agent-port",
            Self::Dial(DialError::Refused { .. }) => "application-refused",
            Self::Dial(_) => "application-unreachable",
            // The application is the upstream here.
            Self::Carried(failure) => failure.cause(),
        }
    }
}

/// The record of one, which is written when this goes.
struct Entry {
    records: Arc<dyn Records>,
    since: Instant,
    tally: Tally,
    workload: WorkloadId,
    client: PeerAddr,
    peer: Option<String>,
    to: SocketAddr,
    failure: Option<Rejected>,
    /// Whether it is told of otherwise.
    is_told: bool,
}

impl Entry {
    /// That of a stream of the same connection.
    fn another(&self, records: Arc<dyn Records>) -> Self {
        Self {
            records,
            since: Instant::now(),
            tally: Tally::default(),
            workload: self.workload,
            client: self.client,
            peer: self.peer.clone(),
            to: self.to,
            failure: Some(Rejected::Carried(Failure::Stopped)),
            is_told: false,
        }
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        if self.is_told {
            return;
        }
        self.records.received(Received {
            workload: self.workload,
            client: self.client,
            peer: self.peer.take(),
            to: self.to,
            bytes_sent: self.tally.sent.load(Ordering::Relaxed),
            bytes_received: self.tally.received.load(Ordering::Relaxed),
            duration: self.since.elapsed(),
            failure: self.failure.take(),
        });
    }
}

impl Proxy {
    /// Carries a connection that another agent made to its end.
    pub(crate) async fn receive(&self, accepted: TcpStream, by: Accepted) {
        let at = accepted.local_addr().unwrap_or(by.peer.0);
        let mut entry = Entry {
            records: Arc::clone(&self.seams.records),
            since: Instant::now(),
            tally: Tally::default(),
            workload: by.workload,
            client: by.peer,
            peer: None,
            to: SocketAddr::new(at.ip().to_canonical(), at.port()),
            // Of one that is cut short by the agent's end.
            failure: Some(Rejected::Carried(Failure::Stopped)),
            is_told: false,
        };
        let outcome = self.take_in(accepted, &by, &mut entry).await;
        if let Err(rejected) = &outcome {
            tracing::debug!(src.addr = %by.peer, reason = rejected.cause(), "connection failed");
        }
        entry.failure = outcome.err();
    }

    async fn take_in(
        &self,
        accepted: TcpStream,
        by: &Accepted,
        entry: &mut Entry,
    ) -> Result<(), Rejected> {
        // From here on every way out that is not the last line resets the client.
        let client = ResetStream::accepted(accepted).map_err(Rejected::Tls)?;
        let mesh = self.seams.mesh.as_ref().ok_or(MeshError::Off)?;
        let how = mesh.server(by.workload).await?;
        let late = |_| Rejected::Slow { after: HANDSHAKE };
        let client = timeout(HANDSHAKE, client.secured(how)).await.map_err(late)?;
        let client = client.map_err(Rejected::Tls)?;
        let agreed = client.agreed().ok_or(Rejected::Protocol)?;
        entry.peer = identity_of(&agreed.peer).ok().map(|peer| peer.to_string());
        match agreed.protocol.as_deref() {
            Some(form::DIRECT) => {}
            Some(form::TUNNEL) => return self.tunnel(client, by, entry).await,
            _ => return Err(Rejected::Protocol),
        }
        let port = agreed.asked.as_deref().and_then(form::port).ok_or(Rejected::Protocol)?;
        entry.to.set_port(port);
        self.direct(client, by, entry).await
    }

    /// One connection in one TLS connection.
    async fn direct(
        &self,
        client: ResetStream,
        by: &Accepted,
        entry: &Entry,
    ) -> Result<(), Rejected> {
        let application = match self.application(by.workload, entry.to).await {
            Ok(application) => application,
            Err(rejected) => {
                let answer = match rejected {
                    Rejected::Dial(DialError::Refused { .. }) => Answer::Refused,
                    _ => Answer::Unreachable,
                };
                // It is told why, and has gone if that cannot be written.
                if client.write_all(&[answer.byte()], &AtomicU64::default()).await.is_ok() {
                    let _ = client.close();
                }
                return Err(rejected);
            }
        };
        let connected = client.write_all(&[Answer::Connected.byte()], &AtomicU64::default()).await;
        connected.map_err(|error| Rejected::Carried(Failure::Client(error)))?;
        carry(&client, &application, &entry.tally).await?;
        application.close().map_err(Failure::Upstream)?;
        client.close().map_err(|error| Rejected::Carried(Failure::Client(error)))
    }

    /// The application on a port of the workload's own address.
    pub(crate) async fn application(
        &self,
        workload: WorkloadId,
        to: SocketAddr,
    ) -> Result<ResetStream, Rejected> {
        if form::is_own(to.port()) {
            return Err(Rejected::Port { port: to.port() });
        }
        let dial = self.seams.dial.dial(workload, UpstreamAddr(to), self.limits.connect);
        let local = |error: io::Error| DialError::Local(error.into());
        Ok(ResetStream::accepted(dial.await?).map_err(local)?)
    }
}
