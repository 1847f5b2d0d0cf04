//! A connection to an upstream: from the socket in the workload's network to what is spoken on.

use std::{io, net::SocketAddr, sync::atomic::AtomicU64, time::Duration};

use agent_model::requests::{
    host::Domain,
    policy::{ClientPolicy, ClientTls},
};
use tokio::time::{Instant, timeout_at};

use crate::{
    DialError, OriginalDst, PeerAddr, Seams, UpstreamAddr, WorkloadId, proxy_header,
    reset_stream::ResetStream,
    tls::{Speaks, TlsError},
};

/// How an upstream is reached.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Reach<'a> {
    pub(crate) seams: &'a Seams,
    /// Whose connection it is.
    pub(crate) from: WorkloadId,
    /// What its destination asks for; `None` where it is whatever the client dialled.
    pub(crate) policy: Option<&'a ClientPolicy>,
    /// How long dialling may take where the destination does not say.
    pub(crate) patience: Duration,
    /// What is to be spoken.
    pub(crate) speaks: Speaks,
    /// What it shares with no other connections.
    pub(crate) apart: &'a Apart,
}

/// What tells connections to an endpoint apart: those that differ in it are never used for each other.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Apart {
    /// The name that the server is asked for by TLS.
    name: Option<String>,
    /// Who dialled what, where the destination is told by the PROXY protocol.
    client: Option<(PeerAddr, OriginalDst)>,
}

impl Apart {
    /// Of a destination, for a request to this host of this client.
    pub(crate) fn of(policy: &ClientPolicy, host: &str, client: (PeerAddr, OriginalDst)) -> Self {
        let name = match &policy.tls {
            ClientTls::Own(own) => {
                let of_host = || Domain::of_authority(host).as_str().to_owned();
                Some(own.server_name.clone().unwrap_or_else(of_host))
            }
            ClientTls::Plain | ClientTls::Mesh(_) | ClientTls::Auto(_) => None,
        };
        Self { name, client: policy.proxy_protocol.map(|_| client) }
    }
}

impl Reach<'_> {
    /// Connects, and agrees on TLS where the destination asks for it. It has one time for both.
    pub(crate) async fn connect(&self, to: UpstreamAddr) -> Result<ResetStream, DialError> {
        let limits = self.policy.map(|policy| &policy.limits);
        let patience = limits.map_or(self.patience, |limits| limits.connect_timeout);
        let probes = limits.and_then(|limits| limits.keepalive).unwrap_or_default();
        // What cannot be spoken is not dialled.
        let secured = match self.policy.map(|policy| &policy.tls) {
            None | Some(ClientTls::Plain | ClientTls::Auto(_)) => None,
            Some(ClientTls::Mesh(_)) => return Err(DialError::Settings(TlsError::Mesh)),
            Some(ClientTls::Own(own)) => {
                let name = self.apart.name.as_deref().unwrap_or_default();
                Some(self.seams.tls.client(own, self.speaks, name).map_err(DialError::Settings)?)
            }
        };
        let end = Instant::now() + patience;
        let dialled = self.seams.dial.dial(self.from, to, patience).await?;
        let local = |error: io::Error| DialError::Local(error.into());
        let stream = ResetStream::dialled(dialled, probes).map_err(local)?;
        let lost = |source| DialError::Unreachable { addr: to, source };
        self.introduce(&stream, to).await.map_err(lost)?;
        let Some(secured) = secured else { return Ok(stream) };
        match timeout_at(end, stream.secured(secured)).await {
            Ok(secured) => secured.map_err(|source| DialError::Tls { addr: to, source }),
            Err(_) => Err(DialError::TimedOut { addr: to, after: patience }),
        }
    }

    /// Tells the destination who dialled what, before anything else, where it asks for that. The client's
    /// socket ends here: its address is that by which the workload reaches the destination.
    async fn introduce(&self, stream: &ResetStream, to: UpstreamAddr) -> io::Result<()> {
        let version = self.policy.and_then(|policy| policy.proxy_protocol);
        let (Some(version), Some((client, dialled))) = (version, self.apart.client) else {
            return Ok(());
        };
        let own = stream.stream().local_addr()?.ip();
        // A workload that dials one family may be carried by the other.
        let dialled = if own.is_ipv4() == dialled.0.is_ipv4() { dialled.0 } else { to.0 };
        let header = proxy_header::header(version, SocketAddr::new(own, client.0.port()), dialled);
        stream.write_all(&header, &AtomicU64::default()).await
    }
}

/// Why a server that was connected ended a connection, where its TLS says it: with TLS 1.3 it looks at
/// a client's certificate only then.
pub(crate) fn refused(stream: &ResetStream, error: io::Error) -> Option<DialError> {
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
    let addr = UpstreamAddr(stream.secured_peer()?);
    inner.is_some().then_some(DialError::Tls { addr, source: error })
}
