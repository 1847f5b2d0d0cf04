//! A connection to an upstream: from the socket in the workload's network to what is spoken on.

use std::{io, time::Duration};

use agent_model::requests::{
    host::Domain,
    policy::{ClientPolicy, ClientTls},
};
use tokio::time::{Instant, timeout_at};

use crate::{
    DialError, Seams, UpstreamAddr, WorkloadId,
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
    /// See [`server_name`].
    pub(crate) name: Option<&'a str>,
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
                let name = self.name.unwrap_or_default();
                Some(self.seams.tls.client(own, self.speaks, name).map_err(DialError::Settings)?)
            }
        };
        let end = Instant::now() + patience;
        let dialled = self.seams.dial.dial(self.from, to, patience).await?;
        let local = |error: io::Error| DialError::Local(error.into());
        let stream = ResetStream::dialled(dialled, probes).map_err(local)?;
        let Some(secured) = secured else { return Ok(stream) };
        match timeout_at(end, stream.secured(secured)).await {
            Ok(secured) => secured.map_err(|source| DialError::Tls { addr: to, source }),
            Err(_) => Err(DialError::TimedOut { addr: to, after: patience }),
        }
    }
}

/// The name that a destination's server is asked for by TLS, for a request to this host. Connections
/// with other names are other ones.
pub(crate) fn server_name(policy: &ClientPolicy, host: &str) -> Option<String> {
    let ClientTls::Own(own) = &policy.tls else { return None };
    let of_host = || Domain::of_authority(host).as_str().to_owned();
    Some(own.server_name.clone().unwrap_or_else(of_host))
}

/// Why a server that was connected ended a connection, where its TLS says it: with TLS 1.3 it looks at
/// a client's certificate only then.
pub(crate) fn refused(stream: &ResetStream, error: io::Error) -> Option<DialError> {
    let is_tls = error.get_ref().is_some_and(|inner| inner.is::<rustls::Error>());
    let addr = UpstreamAddr(stream.stream().peer_addr().ok()?);
    is_tls.then_some(DialError::Tls { addr, source: error })
}
