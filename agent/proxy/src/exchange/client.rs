//! The client's side of one request: what it is told, and whether it is still there.

use std::{
    future::poll_fn,
    io,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    task::Poll,
};

use bytes::Bytes;
use h2::server::SendResponse;
use http::{HeaderName, HeaderValue, Response, StatusCode};

use super::{
    Exchange,
    asked::AskedFor,
    failed::{Failed, Form, Local},
    flow::Sink,
    upstream::{Head, Heard},
};
use crate::{
    Drain, Failure,
    http1::{
        Refusal,
        body::Framing,
        edit::Edits,
        head::Version,
        response::Asked,
        write::{self, Delivery, Reply},
    },
    http2::{self, as_io, trailers::Trailers},
    record::Tally,
    reset_stream::ResetStream,
};

/// How an answer is passed on.
pub(super) struct Telling<'a> {
    pub(super) tally: &'a Tally,
    pub(super) asked: Asked,
    pub(super) edits: &'a Edits<'a>,
    /// Whether the client's connection is to end after this anyhow.
    pub(super) closes: bool,
    /// It also ends where that is asked for by the time that the answer begins.
    pub(super) drain: &'a Drain,
}

/// See the module.
pub(super) enum Client<'a> {
    Http1 { stream: &'a ResetStream, version: Version },
    Http2(Stream),
}

/// A stream of a client.
pub(super) struct Stream {
    respond: Mutex<SendResponse<Bytes>>,
    /// Whether the answer has begun: its body tells then when the client has left.
    has_begun: AtomicBool,
}

impl Stream {
    pub(super) const fn new(respond: SendResponse<Bytes>) -> Self {
        Self { respond: Mutex::new(respond), has_begun: AtomicBool::new(false) }
    }

    fn lock(&self) -> MutexGuard<'_, SendResponse<Bytes>> {
        self.respond.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn begin(&self, head: Response<()>, ends: bool) -> io::Result<h2::SendStream<Bytes>> {
        self.has_begun.store(true, Ordering::Relaxed);
        self.lock().send_response(head, ends).map_err(as_io)
    }

    /// Refuses the stream.
    pub(super) fn reset(&self, reason: h2::Reason) {
        self.lock().send_reset(reason);
    }
}

impl Client<'_> {
    /// Waits until it has left.
    pub(super) async fn broken(&self) -> io::Error {
        match self {
            Self::Http1 { stream, .. } => stream.broken().await,
            Self::Http2(stream) => poll_fn(|context| {
                if stream.has_begun.load(Ordering::Relaxed) {
                    return Poll::Pending;
                }
                stream.lock().poll_reset(context)
            })
            .await
            .map_or_else(as_io, |reason| io::Error::other(h2::Error::from(reason))),
        }
    }

    /// Passes on an answer that is not the last. A client of HTTP/1.0 knows none.
    pub(super) async fn interim(&self, heard: &Heard, telling: &Telling<'_>) -> Result<(), Failed> {
        match self {
            Self::Http1 { version: Version::Http10, .. } => Ok(()),
            Self::Http1 { stream, .. } => {
                let bytes = match &heard.head {
                    Head::Http1 { bytes, response } => write::interim(bytes, response),
                    Head::Http2(parts) => {
                        let (edits, to) = (telling.edits, Version::Http11);
                        let reply =
                            http2::response::Reply { edits, framing: None, to, closes: false };
                        http2::response::to_http1(parts, &reply)
                    }
                };
                let written = stream.write_all(&bytes, &telling.tally.received).await;
                written.map_err(Failed::Client)
            }
            Self::Http2(stream) => {
                let Some(interim) = heard.as_http2(telling.edits) else { return Ok(()) };
                let sent = stream.lock().send_informational(interim);
                sent.map_err(|error| Failed::Client(as_io(error)))
            }
        }
    }

    /// Begins the answer: says where its body goes, and whether the connection ends after it.
    pub(super) fn begin<'s>(
        &'s self,
        heard: &Heard,
        telling: &Telling<'s>,
    ) -> Result<(Sink<'s>, bool), Failed> {
        let carried = &telling.tally.received;
        let (stream, version) = match self {
            Self::Http1 { stream, version } => (*stream, *version),
            Self::Http2(stream) => {
                let answer = heard.as_http2(telling.edits).ok_or(Failed::Answer(Refusal::Field))?;
                let ends = heard.ends();
                let to = stream.begin(answer, ends).map_err(Failed::Client)?;
                let sink = if ends { Sink::Nowhere } else { Sink::Http2 { to, carried } };
                return Ok((sink, false));
            }
        };
        let is_last = telling.closes || telling.drain.is_requested();
        let (out, chunked, closes) = match &heard.head {
            Head::Http1 { bytes, response } => {
                let (delivery, ends) =
                    delivery(response.framing, response.status, version, telling);
                // What nothing else ends the end of the connection does.
                let closes = is_last || ends;
                let reply = Reply { edits: telling.edits, delivery, to: version, closes };
                let chunked = delivery == Delivery::Framed(Framing::Chunked);
                (write::response(bytes, response, &reply), chunked, closes)
            }
            Head::Http2(parts) => {
                let bodiless =
                    telling.asked == Asked::Head || matches!(parts.status.as_u16(), 204 | 304);
                let framing = http2::response::framing(parts, heard.ends(), bodiless, version);
                let closes = is_last || framing == Some(Framing::UntilClose);
                let reply =
                    http2::response::Reply { edits: telling.edits, framing, to: version, closes };
                let chunked = framing == Some(Framing::Chunked);
                (http2::response::to_http1(parts, &reply), chunked, closes)
            }
        };
        Ok((Sink::Http1 { to: stream, chunked, out, carried }, closes))
    }

    /// Answers a request here. Says whether another may follow: not where its body is still to come.
    pub(super) async fn tell(
        &self,
        asked: &AskedFor<'_>,
        local: &Local,
        lines: &[(&str, &str)],
        exchange: &Exchange<'_>,
    ) -> Result<bool, Failure> {
        let translated = asked.is_grpc().then(|| local.clone().in_grpc());
        let local = translated.as_ref().unwrap_or(local);
        let bodiless = asked.method() == "HEAD";
        match self {
            Self::Http1 { stream, version } => {
                let persists = asked.persists()
                    && asked.framing() == Framing::Empty
                    && !exchange.on.drain.is_requested();
                let bytes = local.bytes(lines, Form { bodiless, closes: !persists, to: *version });
                let written = stream.write_all(&bytes, &exchange.tally.received).await;
                written.map_err(Failure::Client)?;
                Ok(persists)
            }
            Self::Http2(stream) => {
                let body = if bodiless { &[][..] } else { &local.body };
                let head = head_of(local, lines);
                let to = stream.begin(head, body.is_empty()).map_err(Failure::Client)?;
                if !body.is_empty() {
                    let mut sink = Sink::Http2 { to, carried: &exchange.tally.received };
                    let sent = async {
                        sink.data(Bytes::copy_from_slice(body)).await?;
                        sink.end(Trailers::default()).await
                    };
                    // A client that left has no use for it.
                    let _ = sent.await;
                }
                Ok(true)
            }
        }
    }
}

/// The head of an answer that is made here.
fn head_of(local: &Local, lines: &[(&str, &str)]) -> Response<()> {
    let mut head = Response::new(());
    *head.status_mut() = StatusCode::from_u16(local.status).unwrap_or(StatusCode::BAD_GATEWAY);
    let own = local.headers.iter().map(|(name, value)| (*name, value.as_str()));
    let length = local.body.len().to_string();
    let more = [("server", "sekisho"), ("content-length", length.as_str())];
    for (name, value) in own.chain(lines.iter().copied()).chain(more) {
        let name = HeaderName::from_bytes(name.as_bytes());
        if let (Ok(name), Ok(value)) = (name, HeaderValue::from_bytes(value.as_bytes())) {
            head.headers_mut().append(name, value);
        }
    }
    head
}

/// How an answer's body goes on, and whether only the end of the connection ends it.
fn delivery(framing: Framing, status: u16, to: Version, telling: &Telling<'_>) -> (Delivery, bool) {
    let bodiless = telling.asked == Asked::Head || matches!(status, 204 | 304);
    match (framing, to) {
        (Framing::Empty, _) if bodiless => (Delivery::Bodiless, false),
        (Framing::Chunked | Framing::UntilClose, Version::Http10) => {
            (Delivery::Framed(Framing::UntilClose), true)
        }
        (Framing::UntilClose, Version::Http11) => (Delivery::Framed(Framing::Chunked), false),
        (Framing::Tunnel, _) => (Delivery::Framed(Framing::UntilClose), true),
        (other, _) => (Delivery::Framed(other), false),
    }
}
