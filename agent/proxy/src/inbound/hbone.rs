//! HBONE, as ztunnel speaks it: each connection to the workload is a stream of one connection of HTTP/2,
//! begun with `CONNECT`.

use std::{net::SocketAddr, pin::pin, sync::Arc, time::Duration};

use bytes::Bytes;
use futures_util::{StreamExt as _, stream::FuturesUnordered};
use h2::{RecvStream, server::SendResponse};
use http::{Method, Request, Response, StatusCode};
use tokio::time::timeout;

use super::{Entry, Rejected};
use crate::{
    Failure, Proxy,
    carry::carry,
    connection::Accepted,
    http2::as_io,
    mesh::{
        form,
        pool::{CONNECTION_WINDOW, FRAME, STREAM_WINDOW},
    },
    reset_stream::ResetStream,
    tunnel::Tunnel,
    wire::Wire,
};

/// Streams of one connection at once.
const MOST_STREAMS: u32 = 200;
/// Bytes of a request's head.
const HEAD: u32 = 64 * 1024;
/// How long streams may take to notice that their connection is gone.
const NOTICE: Duration = Duration::from_secs(1);

impl Proxy {
    /// Serves all streams of a connection.
    pub(super) async fn tunnel(
        &self,
        client: ResetStream,
        by: &Accepted,
        entry: &mut Entry,
    ) -> Result<(), Rejected> {
        let lost = |error: h2::Error| Rejected::Carried(Failure::Client(as_io(error)));
        let handshake = h2::server::Builder::new()
            .max_concurrent_streams(MOST_STREAMS)
            .initial_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .max_frame_size(FRAME)
            .max_header_list_size(HEAD)
            .handshake::<_, Bytes>(Wire::new(client, Vec::new(), None));
        let mut connection = handshake.await.map_err(lost)?;
        // From here on each stream tells of itself.
        entry.is_told = true;
        let entry = &*entry;
        let mut open = FuturesUnordered::new();
        let mut asked_to_end = pin!(by.drain.requested());
        let mut ends = false;
        let ended = loop {
            tokio::select! {
                accepted = connection.accept() => match accepted {
                    Some(Ok((request, respond))) => {
                        open.push(self.stream(request, respond, by, entry));
                    }
                    Some(Err(error)) => break Err(lost(error)),
                    None => break Ok(()),
                },
                Some(()) = open.next() => {}
                _ = asked_to_end.as_mut(), if !ends => {
                    ends = true;
                    connection.graceful_shutdown();
                }
            }
        };
        let rest = async { while open.next().await.is_some() {} };
        // Each of them tells what became of it.
        let _ = timeout(NOTICE, rest).await;
        ended
    }

    async fn stream(
        &self,
        request: Request<RecvStream>,
        mut respond: SendResponse<Bytes>,
        by: &Accepted,
        of: &Entry,
    ) {
        let mut entry = of.another(Arc::clone(&self.seams.records));
        let outcome = self.connect(request, &mut respond, by, &mut entry).await;
        if let Err(rejected) = &outcome {
            tracing::debug!(src.addr = %by.peer, reason = rejected.cause(), "connection failed");
        }
        entry.failure = outcome.err();
    }

    async fn connect(
        &self,
        request: Request<RecvStream>,
        respond: &mut SendResponse<Bytes>,
        by: &Accepted,
        entry: &mut Entry,
    ) -> Result<(), Rejected> {
        let application = match target(&request, entry.to) {
            Ok(to) => {
                entry.to = to;
                self.application(by.workload, to).await
            }
            Err(rejected) => Err(rejected),
        };
        let lost = |error: h2::Error| Rejected::Carried(Failure::Client(as_io(error)));
        let mut answer = Response::new(());
        let application = match application {
            Ok(application) => application,
            Err(rejected) => {
                *answer.status_mut() = status(&rejected);
                // Who has gone is not told.
                let _ = respond.send_response(answer, true);
                return Err(rejected);
            }
        };
        let send = respond.send_response(answer, false).map_err(lost)?;
        let place = Arc::default();
        let client = ResetStream::tunnelled(Tunnel::new(send, request.into_body(), place));
        carry(&client, &application, &entry.tally).await?;
        application.close().map_err(Failure::Upstream)?;
        client.close().map_err(|error| Rejected::Carried(Failure::Client(error)))
    }
}

/// The address and port of the workload that a stream is for: it has to be where its agent was reached.
fn target(request: &Request<RecvStream>, at: SocketAddr) -> Result<SocketAddr, Rejected> {
    if request.method() != Method::CONNECT {
        return Err(Rejected::Method);
    }
    let authority = request.uri().authority().map(http::uri::Authority::as_str);
    let to = authority.and_then(form::authority).ok_or(Rejected::Authority)?;
    if to.ip().to_canonical() != at.ip() {
        return Err(Rejected::Authority);
    }
    Ok(SocketAddr::new(at.ip(), to.port()))
}

/// As ztunnel answers.
const fn status(rejected: &Rejected) -> StatusCode {
    match rejected {
        Rejected::Method | Rejected::Authority | Rejected::Protocol => StatusCode::BAD_REQUEST,
        _ => StatusCode::SERVICE_UNAVAILABLE,
    }
}
