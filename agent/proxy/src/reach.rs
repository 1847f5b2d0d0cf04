//! A connection to an upstream: from the socket in the workload's network to what is spoken on.

use std::{
    borrow::Cow, collections::BTreeSet, io, net::SocketAddr, sync::atomic::AtomicU64,
    time::Duration,
};

use agent_model::requests::{
    host::Domain,
    policy::{ClientPolicy, ClientTls},
};
use tokio::{
    net::TcpStream,
    time::{Instant, timeout_at},
};

use crate::{
    DialError, OriginalDst, PeerAddr, Seams, UpstreamAddr, WorkloadId, mesh::connect::Call,
    peers::MeshError, proxy_header, reset_stream::ResetStream, tls::Speaks,
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
    /// Whom the certificate may name, where the mesh's TLS is spoken.
    peer: Option<BTreeSet<String>>,
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
        Self { name, client: policy.proxy_protocol.map(|_| client), peer: None }
    }

    /// Of a destination's endpoint, where it is spoken to otherwise than the others may be. `mutual` says
    /// whether the mesh's TLS is spoken with it, where the destination leaves that to its endpoints.
    pub(crate) fn at<'a>(
        &'a self,
        to: UpstreamAddr,
        (policy, mutual): (Option<&ClientPolicy>, bool),
        seams: &Seams,
    ) -> Result<Cow<'a, Self>, DialError> {
        let peer = expected(to, (policy, mutual), seams);
        let peer = peer.map_err(|error| DialError::Settings(error.into()))?;
        if peer.is_none() {
            return Ok(Cow::Borrowed(self));
        }
        Ok(Cow::Owned(Self { peer, ..self.clone() }))
    }
}

impl Reach<'_> {
    /// Connects, and agrees on TLS where the destination asks for it. It has one time for both.
    pub(crate) async fn connect(&self, to: UpstreamAddr) -> Result<ResetStream, DialError> {
        let limits = self.policy.map(|policy| &policy.limits);
        let patience = limits.map_or(self.patience, |limits| limits.connect_timeout);
        let probes = limits.and_then(|limits| limits.keepalive).unwrap_or_default();
        let end = Instant::now() + patience;
        let late = |_| DialError::TimedOut { addr: to, after: patience };
        let lost = |source| DialError::Unreachable { addr: to, source };
        if let (Some(expected), Some(mesh)) = (&self.apart.peer, &self.seams.mesh) {
            let (dial, from, expected) = (&*self.seams.dial, self.from, expected.clone());
            let call = Call { dial, from, to, expected, patience, probes };
            let stream = timeout_at(end, mesh.connect(call)).await.map_err(late)??;
            self.introduce(&stream, to).await.map_err(lost)?;
            return Ok(stream);
        }
        // What cannot be spoken is not dialled.
        let secured = match self.policy.map(|policy| &policy.tls) {
            Some(ClientTls::Own(own)) => {
                let name = self.apart.name.as_deref().unwrap_or_default();
                Some(self.seams.tls.client(own, self.speaks, name).map_err(DialError::Settings)?)
            }
            _ => None,
        };
        let dialled = self.seams.dial.dial(self.from, to, patience).await?;
        let local = |error: io::Error| DialError::Local(error.into());
        let stream = ResetStream::dialled(dialled, probes).map_err(local)?;
        self.introduce(&stream, to).await.map_err(lost)?;
        let Some(how) = secured else { return Ok(stream) };
        let secured = timeout_at(end, stream.secured(how)).await.map_err(late)?;
        secured.map_err(|source| DialError::Tls { addr: to, source })
    }

    /// Tells the destination who dialled what, before anything else, where it asks for that. The client's
    /// socket ends here: its address is that by which the workload reaches the destination.
    async fn introduce(&self, stream: &ResetStream, to: UpstreamAddr) -> io::Result<()> {
        let version = self.policy.and_then(|policy| policy.proxy_protocol);
        let (Some(version), Some((client, dialled))) = (version, self.apart.client) else {
            return Ok(());
        };
        // A stream in a tunnel has no address of its own: the destination sees the client's there.
        let own = stream.socket().map_or(Ok(client.0), TcpStream::local_addr)?.ip();
        // A workload that dials one family may be carried by the other.
        let dialled = if own.is_ipv4() == dialled.0.is_ipv4() { dialled.0 } else { to.0 };
        let header = proxy_header::header(version, SocketAddr::new(own, client.0.port()), dialled);
        stream.write_all(&header, &AtomicU64::default()).await
    }
}

/// Whom the certificate of an endpoint may name; none where the mesh's TLS is not spoken with it. What
/// decides is what objects say, never what an endpoint does.
fn expected(
    to: UpstreamAddr,
    (policy, mutual): (Option<&ClientPolicy>, bool),
    seams: &Seams,
) -> Result<Option<BTreeSet<String>>, MeshError> {
    let (names, is_asked_for): (&[String], bool) = match policy.map(|policy| &policy.tls) {
        Some(ClientTls::Mesh(tls)) => (&tls.names, true),
        Some(ClientTls::Auto(tls)) if mutual => (&tls.names, false),
        Some(ClientTls::Plain | ClientTls::Own(_) | ClientTls::Auto(_)) => return Ok(None),
        None => (&[], false),
    };
    let Some(mesh) = &seams.mesh else {
        return if is_asked_for { Err(MeshError::Off) } else { Ok(None) };
    };
    match mesh.peer(to.0.ip()) {
        None if policy.is_none() => Ok(None),
        None => Err(MeshError::Unknown),
        Some(peer) if policy.is_none() && !peer.by_default => Ok(None),
        // Both ends are known to this agent, which is better evidence than a certificate.
        Some(peer) if peer.is_here => Ok(None),
        Some(peer) if names.is_empty() => Ok(Some([peer.identity].into())),
        Some(_) => Ok(Some(names.iter().cloned().collect())),
    }
}

/// Why a server that was connected ended a connection, where its TLS says it: with TLS 1.3 it looks at
/// a client's certificate only then.
pub(crate) fn refused(stream: &ResetStream, error: io::Error) -> Option<DialError> {
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
    let addr = UpstreamAddr(stream.secured_peer()?);
    inner.is_some().then_some(DialError::Tls { addr, source: error })
}
