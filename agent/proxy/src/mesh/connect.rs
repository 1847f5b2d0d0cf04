//! A connection to a port of a pod on another node, by the mesh's TLS.
//!
//! Both protocols are offered, and the other agent chooses: one of ours takes a TLS connection for one
//! connection, ztunnel a stream of HBONE. A peer that has chosen HBONE gets streams of the connection that
//! is there from then on.

use std::{collections::BTreeSet, io, net::SocketAddr, sync::Arc};

use agent_model::requests::policy::Keepalive;
use http::{Method, Request, StatusCode, Uri};

use super::{
    Mesh,
    form::{self, Answer},
    pool::{Key, Open},
};
use crate::{
    Dial, DialError, MeshError, TlsError, UpstreamAddr, WorkloadId, reset_stream::ResetStream,
    tls::Secured, tunnel::Tunnel,
};

/// What is to be connected.
pub(crate) struct Call<'a> {
    pub(crate) dial: &'a dyn Dial,
    /// Whose connection it is.
    pub(crate) from: WorkloadId,
    /// The pod's address and port.
    pub(crate) to: UpstreamAddr,
    /// Whom the certificate may name.
    pub(crate) expected: BTreeSet<String>,
    pub(crate) patience: std::time::Duration,
    pub(crate) probes: Keepalive,
}

impl Call<'_> {
    fn failed(&self, source: io::Error) -> DialError {
        DialError::Tls { addr: self.to, source }
    }

    fn unreachable(&self, text: &'static str) -> DialError {
        DialError::Unreachable { addr: self.to, source: io::Error::other(text) }
    }
}

fn settings(error: MeshError) -> DialError {
    DialError::Settings(TlsError::Mesh(error))
}

impl Mesh {
    /// Connects. The application has accepted the connection when this says so.
    pub(crate) async fn connect(&self, call: Call<'_>) -> Result<ResetStream, DialError> {
        let own = self.own(call.from).await.map_err(settings)?;
        let to = call.to.0;
        let expected = call.expected.clone();
        let key = Key { from: call.from, to: to.ip(), expected };
        if let Some(open) = self.tunnels.find(&key, &own.certified) {
            return self.stream(&open, &call).await;
        }
        let turn = self.tunnels.turn(&key);
        // Who dials an agent that speaks HBONE holds the turn: the others wait for the same connection.
        let _turn = match &turn {
            Some(turn) => Some(turn.lock().await),
            None => None,
        };
        if let Some(open) = self.tunnels.find(&key, &own.certified) {
            return self.stream(&open, &call).await;
        }
        let how = self.client(&own, &call.expected, to.port()).map_err(settings)?;
        let agent = UpstreamAddr(SocketAddr::new(to.ip(), form::PORT));
        let stream = self.secured(&call, agent, how).await?;
        match stream.agreed().and_then(|agreed| agreed.protocol).as_deref() {
            Some(form::DIRECT) => direct(stream, &call).await,
            Some(form::TUNNEL) => {
                let certified = Arc::clone(&own.certified);
                let open = self.tunnels.drive(key, (stream, certified)).await;
                let open = open.map_err(|error| call.failed(io::Error::other(error)))?;
                self.stream(&open, &call).await
            }
            _ => Err(call.failed(io::Error::other("the other agent has chosen no protocol"))),
        }
    }

    async fn secured(
        &self,
        call: &Call<'_>,
        agent: UpstreamAddr,
        how: Secured,
    ) -> Result<ResetStream, DialError> {
        let dialled = call.dial.dial(call.from, agent, call.patience).await?;
        let local = |error: io::Error| DialError::Local(error.into());
        let stream = ResetStream::dialled(dialled, call.probes).map_err(local)?;
        stream.secured(how).await.map_err(|error| call.failed(error))
    }

    /// A stream of HBONE.
    async fn stream(&self, open: &Open, call: &Call<'_>) -> Result<ResetStream, DialError> {
        let failed = |error: h2::Error| call.failed(io::Error::other(error));
        let authority = call.to.0.to_string();
        let uri = Uri::builder().authority(authority).build();
        let uri = uri.map_err(|error| call.failed(io::Error::other(error)))?;
        let mut request = Request::new(());
        (*request.method_mut(), *request.uri_mut()) = (Method::CONNECT, uri);
        let mut send = open.send().ready().await.map_err(failed)?;
        let (response, send) = send.send_request(request, false).map_err(failed)?;
        let answer = response.await.map_err(failed)?;
        match answer.status() {
            StatusCode::OK => {
                let tunnel = Tunnel::new(send, answer.into_body(), open.place());
                Ok(ResetStream::tunnelled(tunnel))
            }
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
                Err(DialError::Denied { addr: call.to })
            }
            // As ztunnel says it of an application that refuses.
            StatusCode::SERVICE_UNAVAILABLE => Err(DialError::Refused { addr: call.to }),
            other => {
                let text = format!("the other agent answers CONNECT with {other}");
                Err(call.failed(io::Error::other(text)))
            }
        }
    }
}

/// One connection in its own TLS connection, of which the other agent says whether the application has
/// accepted it.
async fn direct(stream: ResetStream, call: &Call<'_>) -> Result<ResetStream, DialError> {
    let mut answer = [0];
    let read = loop {
        match stream.try_read(&mut answer) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                stream.readable().await.map_err(|error| call.failed(error))?;
            }
            read => break read.map_err(|error| call.failed(error))?,
        }
    };
    match Answer::of(answer[0]).filter(|_| read == 1) {
        Some(Answer::Connected) => Ok(stream),
        Some(Answer::Refused) => Err(DialError::Refused { addr: call.to }),
        Some(Answer::Unreachable) => Err(call.unreachable("its own agent cannot reach it")),
        Some(Answer::Denied) => Err(DialError::Denied { addr: call.to }),
        None => Err(call.failed(io::ErrorKind::UnexpectedEof.into())),
    }
}
