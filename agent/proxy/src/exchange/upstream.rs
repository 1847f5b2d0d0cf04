//! The upstream's side of a try: what is sent to it, and the heads that come back.

use std::{
    future::{Future as _, poll_fn},
    pin::Pin,
    sync::atomic::AtomicU64,
    task::Poll,
};

use bytes::Bytes;
use h2::{
    Reason, RecvStream,
    client::{ResponseFuture, SendRequest},
};
use http::{Response, response::Parts};

use super::{
    asked::RequestHead,
    failed::Failed,
    flow::{Sink, Source},
};
use crate::{
    http1::{
        Refusal,
        body::{Body, Framing},
        edit::Edits,
        head::Limits,
        response::{self, Asked, Response as Http1Response},
    },
    http2,
    reach::refused,
    reset_stream::ResetStream,
};

/// A connection that a try has.
pub(super) enum Far<'u> {
    Http1 {
        stream: &'u ResetStream,
        /// Whether it had carried requests before.
        reused: bool,
    },
    Http2(SendRequest<Bytes>),
}

/// What is sent.
pub(super) struct Opening<'a> {
    pub(super) head: &'a RequestHead,
    pub(super) asked: Asked,
    /// How the request's body is delimited.
    pub(super) framing: Framing,
    pub(super) carried: &'a AtomicU64,
}

/// What is heard of an upstream.
pub(super) enum Listen<'u> {
    Http1 { stream: &'u ResetStream, inbox: Vec<u8>, asked: Asked, reused: bool },
    Http2 { response: ResponseFuture },
}

/// An answer's head.
pub(super) struct Heard {
    pub(super) head: Head,
    /// The body, of HTTP/2.
    body: Option<RecvStream>,
}

/// The head in its own version.
pub(super) enum Head {
    Http1 { bytes: Vec<u8>, response: Http1Response },
    Http2(Parts),
}

impl<'u> Far<'u> {
    /// Says where the request goes, and where its answer is heard. HTTP/2's head is sent at once.
    pub(super) async fn open(
        self,
        opening: &Opening<'u>,
        ends: bool,
    ) -> Result<(Sink<'u>, Listen<'u>), Failed> {
        let carried = opening.carried;
        match (self, opening.head) {
            (Self::Http1 { stream, reused }, RequestHead::Http1(head)) => {
                let chunked = opening.framing == Framing::Chunked;
                let sink = Sink::Http1 { to: stream, chunked, out: head.clone(), carried };
                let (inbox, asked) = (Vec::new(), opening.asked);
                Ok((sink, Listen::Http1 { stream, inbox, asked, reused }))
            }
            (Self::Http2(send), RequestHead::Http2(head)) => {
                let mut send = send.ready().await.map_err(|error| failed(&error))?;
                let (response, to) =
                    send.send_request(head.clone(), ends).map_err(|error| failed(&error))?;
                let sink = if ends { Sink::Nowhere } else { Sink::Http2 { to, carried } };
                Ok((sink, Listen::Http2 { response }))
            }
            // A head is made for the connection that it goes to.
            _ => Err(Failed::NoCluster),
        }
    }
}

impl Listen<'_> {
    /// The next head. Nothing is lost when it is given up.
    pub(super) async fn next(&mut self) -> Result<Heard, Failed> {
        match self {
            Self::Http1 { stream, inbox, asked, reused } => {
                let reused = *reused;
                let heard = next_head(stream, inbox, *asked).await;
                heard.map_err(|lost| lost.unwrap_or(Failed::Reset { reused }))
            }
            Self::Http2 { response } => {
                poll_fn(|context| {
                    if let Poll::Ready(Some(interim)) = response.poll_informational(context) {
                        let head =
                            interim.map(|interim| Heard::of_http2(interim.into_parts().0, None));
                        return Poll::Ready(head.map_err(|error| failed(&error)));
                    }
                    Pin::new(&mut *response).poll(context).map(|answer| {
                        let (parts, body) = answer.map_err(|error| failed(&error))?.into_parts();
                        Ok(Heard::of_http2(parts, Some(body)))
                    })
                })
                .await
            }
        }
    }

    /// Where an answer's body comes from.
    pub(super) fn body<'s>(&'s mut self, heard: &mut Heard) -> Option<Source<'s>> {
        match (self, &heard.head) {
            (Self::Http1 { stream, inbox, .. }, Head::Http1 { response, .. }) => {
                Some(Source::Http1 { from: stream, inbox, body: Body::new(response.framing) })
            }
            (Self::Http2 { .. }, _) => {
                heard.body.take().map(|from| Source::Http2 { from, taken: 0 })
            }
            (Self::Http1 { .. }, Head::Http2(_)) => None,
        }
    }

    /// What was read and belongs to no answer.
    pub(super) fn rest(self) -> Vec<u8> {
        match self {
            Self::Http1 { inbox, .. } => inbox,
            Self::Http2 { .. } => Vec::new(),
        }
    }
}

impl Heard {
    const fn of_http2(parts: Parts, body: Option<RecvStream>) -> Self {
        Self { head: Head::Http2(parts), body }
    }

    pub(super) fn status(&self) -> u16 {
        match &self.head {
            Head::Http1 { response, .. } => response.status,
            Head::Http2(parts) => parts.status.as_u16(),
        }
    }

    /// Whether the final answer is still to come.
    pub(super) fn is_interim(&self) -> bool {
        match &self.head {
            Head::Http1 { response, .. } => response.is_interim(),
            Head::Http2(parts) => parts.status.is_informational(),
        }
    }

    /// Whether what follows is no message any more.
    pub(super) fn is_tunnel(&self) -> bool {
        matches!(&self.head, Head::Http1 { response, .. } if response.framing == Framing::Tunnel)
    }

    /// Whether no body follows.
    pub(super) fn ends(&self) -> bool {
        match (&self.head, &self.body) {
            (Head::Http1 { response, .. }, _) => response.framing == Framing::Empty,
            (Head::Http2(_), body) => body.as_ref().is_none_or(RecvStream::is_end_stream),
        }
    }

    /// The seconds that its connection may wait, where it says so, and whether it may at all.
    pub(super) fn persistence(&self) -> (Option<u64>, bool) {
        match &self.head {
            Head::Http1 { bytes, response } => {
                (response::idle_seconds(bytes, &response.fields), response.persists)
            }
            // It carries other streams beside this one.
            Head::Http2(_) => (None, true),
        }
    }

    /// The status of a call that was answered without a body (gRPC's "trailers only").
    pub(super) fn grpc_status(&self) -> Option<u8> {
        let Head::Http2(parts) = &self.head else { return None };
        parts.headers.get("grpc-status")?.to_str().ok()?.parse().ok()
    }

    /// The head for a client of HTTP/2; nothing where HTTP/2 cannot say it.
    pub(super) fn as_http2(&self, edits: &Edits<'_>) -> Option<Response<()>> {
        match &self.head {
            Head::Http1 { bytes, response } => http2::response::from_http1(bytes, response, edits),
            Head::Http2(parts) => Some(http2::response::onward(parts, edits)),
        }
    }
}

/// Why a stream came to nothing.
fn failed(error: &h2::Error) -> Failed {
    match error.reason() {
        // None of it was looked at (RFC 9113, sections 6.8 and 8.7).
        Some(Reason::REFUSED_STREAM) => Failed::RefusedStream,
        Some(Reason::NO_ERROR) if error.is_go_away() => Failed::RefusedStream,
        Some(Reason::PROTOCOL_ERROR) if error.is_library() => Failed::Answer(Refusal::Field),
        _ => Failed::Reset { reused: false },
    }
}

/// Takes the next head out of what the upstream sends; an error without a reason is its end. Nothing
/// is lost when it is given up.
async fn next_head(
    upstream: &ResetStream,
    inbox: &mut Vec<u8>,
    asked: Asked,
) -> Result<Heard, Option<Failed>> {
    loop {
        if !inbox.is_empty() {
            let read = response::read(inbox, asked, &Limits::default());
            if let Some(response) = read.map_err(|refusal| Some(Failed::Answer(refusal)))? {
                let bytes = inbox.drain(..response.length).collect();
                return Ok(Heard { head: Head::Http1 { bytes, response }, body: None });
            }
        }
        match upstream.read_some(inbox).await {
            Ok(0) => return Err(None),
            Ok(_) => {}
            Err(error) => return Err(refused(upstream, error).map(Failed::Dial)),
        }
    }
}
