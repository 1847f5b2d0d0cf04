//! HTTP/1: the requests of a connection, one after the other.

use std::{io, pin::pin, time::Duration};

use tokio::time::{Instant, timeout};

use super::{
    Connection, Ended, Exchange,
    asked::AskedFor,
    attempt::Upload,
    client::Client,
    failed::{Form, Local},
    flags::{Flag, Flags},
    flow::Source,
    story::{Exchanged, RequestProtocol},
};
use crate::{
    Failure,
    http1::{
        Refusal,
        body::Body,
        head::{Limits as HeadLimits, Version},
        request::{self, Request},
    },
    record::Tally,
    reset_stream::ResetStream,
};

/// How long a client may say nothing between two requests; Envoy's.
pub(super) const IDLE: Duration = Duration::from_hours(1);
/// How long a head may take from its first byte.
const HEAD: Duration = Duration::from_mins(1);
/// How long, and how much, a client may go on to send what is not waited for. A connection that is
/// closed over unread bytes ends with a reset, which takes the answer with it.
const LINGER: Duration = Duration::from_secs(1);
const MOST_LINGERING: usize = 64 * 1024;
/// What a client of HTTP/2 with prior knowledge says first.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// What comes next on a connection.
enum Next {
    Head(Box<Request>),
    End,
    /// HTTP/2.
    Streams,
    Other,
    Refused(Refusal),
    TooSlow,
}

impl Connection<'_> {
    /// Serves all requests.
    pub(crate) async fn serve(
        &self,
        client: &ResetStream,
        tally: &Tally,
    ) -> Result<Ended, Failure> {
        let mut inbox = Vec::new();
        let mut is_first = true;
        let mut last_request = pin!(self.drain.clone().last_request());
        loop {
            if self.drain.is_requested() {
                last_request.set(self.drain.clone().last_request());
            }
            let next = tokio::select! {
                biased;
                next = next(client, &mut inbox, is_first) => next.map_err(Failure::Client)?,
                () = &mut last_request, if inbox.is_empty() => {
                    // A request that has begun is waited for.
                    if !inbox.is_empty() {
                        continue;
                    }
                    Next::End
                }
            };
            is_first = false;
            let persists = match next {
                // Boxed, since most connections are idle most of the time.
                Next::Head(request) => {
                    let one = self.one((client, tally), *request, &mut inbox);
                    Box::pin(one).await?
                }
                Next::Streams => {
                    let streams = self.serve_streams(client, inbox, tally);
                    Box::pin(streams).await?;
                    return Ok(Ended::Closed);
                }
                Next::End => return Ok(Ended::Closed),
                Next::Other => return Ok(Ended::Other(inbox)),
                Next::Refused(refusal) => {
                    self.refuse((client, tally), Local::refused(refusal)).await?
                }
                Next::TooSlow => {
                    self.refuse(
                        (client, tally),
                        Local::text(408, "the request's head took too long"),
                    )
                    .await?
                }
            };
            if !persists {
                linger(client, &mut inbox).await;
                return Ok(Ended::Closed);
            }
        }
    }

    /// Serves one request. Says whether another may follow.
    async fn one(
        &self,
        (client, tally): (&ResetStream, &Tally),
        request: Request,
        inbox: &mut Vec<u8>,
    ) -> Result<bool, Failure> {
        let head: Vec<u8> = inbox.drain(..request.length).collect();
        let asked = AskedFor::of_http1(&head, &request, self.seams.tracing);
        let source = Source::Http1 { from: client, inbox, body: Body::new(request.framing) };
        let upload = Upload::new(source, request.framing);
        let client = Client::Http1 { stream: client, version: request.version };
        Exchange { on: self, client: &client, tally }.run(&asked, upload).await
    }

    /// Answers what is no request.
    async fn refuse(
        &self,
        (client, tally): (&ResetStream, &Tally),
        local: Local,
    ) -> Result<bool, Failure> {
        let form = Form { bodiless: false, closes: true, to: Version::Http11 };
        let bytes = local.bytes(&[], form);
        client.write_all(&bytes, &tally.received).await.map_err(Failure::Client)?;
        let mut flags = Flags::default();
        flags.add(Flag::DownstreamProtocolError);
        self.seams.records.exchanged(Exchanged::refused(
            (self.workload, self.peer, self.policy.origin),
            RequestProtocol::Http1,
            (local.status, flags, bytes.len() as u64),
        ));
        Ok(false)
    }
}

/// Waits for the next head.
async fn next(client: &ResetStream, inbox: &mut Vec<u8>, is_first: bool) -> io::Result<Next> {
    let limits = HeadLimits::default();
    let mut since = None;
    loop {
        if is_first && is_tls(inbox) {
            return Ok(Next::Other);
        }
        if is_first && inbox.starts_with(PREFACE) {
            return Ok(Next::Streams);
        }
        // Of what may become the preface, no line is read as one of HTTP/1.
        let may_be_preface = is_first && PREFACE.starts_with(inbox);
        if !inbox.is_empty() && !may_be_preface {
            match request::read(inbox, &limits) {
                Ok(Some(request)) => return Ok(Next::Head(Box::new(request))),
                Ok(None) => {}
                Err(refusal) => return Ok(Next::Refused(refusal)),
            }
        }
        let patience = match (inbox.is_empty(), since) {
            (true, _) => IDLE,
            (false, None) => {
                since = Some(Instant::now());
                HEAD
            }
            (false, Some(since)) => HEAD.saturating_sub(Instant::now() - since),
        };
        match timeout(patience, client.read_some(inbox)).await {
            Ok(Ok(0)) => return Ok(Next::End),
            Ok(read) => _ = read?,
            Err(_) if inbox.is_empty() => return Ok(Next::End),
            Err(_) => return Ok(Next::TooSlow),
        }
    }
}

/// Ends the connection, and takes for a moment what the client still sends.
async fn linger(client: &ResetStream, inbox: &mut Vec<u8>) {
    if client.finish_writing().await.is_err() {
        return;
    }
    let rest = async {
        let mut taken = 0;
        while taken < MOST_LINGERING {
            inbox.clear();
            match client.read_some(inbox).await {
                Ok(0) | Err(_) => return,
                Ok(read) => taken += read,
            }
        }
    };
    // A client that sends on and on is cut off, and has had its answer.
    let _ = timeout(LINGER, rest).await;
}

/// What begins as TLS does.
fn is_tls(bytes: &[u8]) -> bool {
    bytes.starts_with(&[0x16, 0x03])
}
