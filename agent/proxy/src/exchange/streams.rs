//! HTTP/2 with prior knowledge: the streams of a connection, side by side.
//!
//! All of them are served by the task of their connection, on one core. What floods are made of is
//! bounded by `h2`: resets before an answer, frames that carry nothing, heads without an end.

use std::{pin::pin, time::Duration};

use bytes::Bytes;
use futures_util::{StreamExt as _, stream::FuturesUnordered};
use h2::{Reason, RecvStream, server::SendResponse};
use http::Request;
use tokio::time::timeout;

use super::{
    Connection, Exchange,
    asked::AskedFor,
    attempt::Upload,
    client::{Client, Stream},
    failed::Local,
    flow::Source,
    requests::IDLE,
};
use crate::{
    Failure,
    http1::{body::Framing, head::Limits},
    http2::{
        CONNECTION_WINDOW, SEND_BUFFER, STREAM_WINDOW, as_io,
        request::{Checked, check},
    },
    record::Tally,
    reset_stream::ResetStream,
    wire::Wire,
};

/// Streams of one connection at once.
const MOST_STREAMS: u32 = 256;
/// How long streams may take to notice that their connection is gone.
const NOTICE: Duration = Duration::from_secs(1);

impl Connection<'_> {
    /// Serves all streams of a connection, of which some bytes were read already.
    pub(super) async fn serve_streams(
        &self,
        client: &ResetStream,
        first: Vec<u8>,
        tally: &Tally,
    ) -> Result<(), Failure> {
        let wire = Wire::new(client, first, Some(tally));
        let head = u32::try_from(Limits::default().bytes).unwrap_or(u32::MAX);
        let handshake = h2::server::Builder::new()
            .max_concurrent_streams(MOST_STREAMS)
            .initial_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .max_header_list_size(head)
            .max_send_buffer_size(SEND_BUFFER)
            .handshake::<_, Bytes>(wire);
        let lost = |error: h2::Error| Failure::Client(as_io(error));
        let mut connection = handshake.await.map_err(lost)?;
        let mut open = FuturesUnordered::new();
        let mut asked_to_end = pin!(self.drain.requested());
        let mut ends = false;
        let ended = loop {
            tokio::select! {
                accepted = connection.accept() => match accepted {
                    Some(Ok((request, respond))) => open.push(self.stream(request, respond)),
                    Some(Err(error)) => break Err(lost(error)),
                    None => break Ok(()),
                },
                Some(()) = open.next() => {}
                _ = asked_to_end.as_mut(), if !ends => {
                    ends = true;
                    connection.graceful_shutdown();
                }
                () = tokio::time::sleep(IDLE), if open.is_empty() && !ends => {
                    ends = true;
                    connection.graceful_shutdown();
                }
            }
        };
        // Each of them tells what became of it.
        let rest = async { while open.next().await.is_some() {} };
        let _ = timeout(NOTICE, rest).await;
        ended
    }

    /// Serves a stream.
    async fn stream(&self, request: Request<RecvStream>, respond: SendResponse<Bytes>) {
        let (parts, body) = request.into_parts();
        let stream = Stream::new(respond);
        let checked = match check(&parts, body.is_end_stream()) {
            Ok(checked) => checked,
            Err(refusal) => {
                let none = Checked {
                    authority: String::new(),
                    target: String::new(),
                    framing: Framing::Empty,
                };
                let client = Client::Http2(stream);
                let tally = Tally::default();
                let exchange = Exchange { on: self, client: &client, tally: &tally };
                let asked = AskedFor::of_http2(&parts, &none, None);
                exchange.refuse(&asked, Local::refused(refusal)).await;
                return;
            }
        };
        let asked = AskedFor::of_http2(&parts, &checked, self.seams.tracing);
        let source = Source::Http2 { from: body, taken: 0 };
        let upload = Upload::new(source, checked.framing);
        let (client, tally) = (Client::Http2(stream), Tally::default());
        let exchange = Exchange { on: self, client: &client, tally: &tally };
        if Box::pin(exchange.run(&asked, upload)).await.is_err()
            && let Client::Http2(stream) = &client
        {
            stream.reset(Reason::INTERNAL_ERROR);
        }
    }
}
