//! The requests of one client connection, one after the other.
//!
//! ```text
//! exchange   head by head: what the model says of each, and whether another may follow
//! decide     what the model says of a request, and what is done then
//! asked      a request as the model asks about it
//! cors       what browsers are told about other origins
//! sticky     what leads a request to its endpoint
//! mirror     copies of requests
//! forward    the tries of one request: destination, endpoint, connection, again
//! attempt    one try: request and answer, both at once
//! retry      what is tried again
//! failed     why a try came to nothing, and the answers that are made here
//! bytes      bodies from one connection to another
//! story      what became of a request; flags: what went wrong with it
//! ```
//!
//! The model is the only one to decide where a request goes ([`agent_model::requests`]), and it is
//! asked anew for each: a route that changes holds from the next request on.

mod asked;
mod attempt;
mod bytes;
mod cors;
mod decide;
mod failed;
mod flags;
mod forward;
mod mirror;
mod retry;
mod sticky;
mod story;

use std::{io, sync::atomic::Ordering, time::Duration};

use agent_model::egress::{DefaultAction, ProxyDuty};
use tokio::time::{Instant, timeout};

use crate::{
    Drain, Failure, Origin, PeerAddr, Seams, WorkloadId,
    clusters::Clusters,
    http1::{
        Refusal,
        body::Body,
        head::{Limits as HeadLimits, Version},
        request::{self, Request},
    },
    limits::Limits,
    record::Tally,
    reset_stream::ResetStream,
};
use asked::AskedFor;
use attempt::Upload;
use bytes::read_some;
use decide::Outcome;
use failed::{Failed, Form, Local};
pub use flags::{Flag, Flags};
pub use story::Exchanged;
use story::Story;

/// How long a client may say nothing between two requests; Envoy's.
const IDLE: Duration = Duration::from_hours(1);
/// How long a head may take from its first byte.
const HEAD: Duration = Duration::from_mins(1);
/// How long, and how much, a client may go on to send what nobody waits for. A connection that is
/// closed over unread bytes ends with a reset, which takes the answer with it.
const LINGER: Duration = Duration::from_secs(1);
const MOST_LINGERING: usize = 64 * 1024;
/// One client connection.
pub(crate) struct Connection<'a> {
    pub(crate) seams: &'a Seams,
    pub(crate) limits: &'a Limits,
    pub(crate) workload: WorkloadId,
    pub(crate) peer: PeerAddr,
    pub(crate) policy: Policy,
    pub(crate) client: &'a ResetStream,
    pub(crate) tally: &'a Tally,
    pub(crate) clusters: &'a Clusters,
    pub(crate) drain: Drain,
}

/// Where a connection was dialled, and what its workload may do there.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Policy {
    pub(crate) origin: Origin,
    pub(crate) duty: ProxyDuty,
    pub(crate) default_action: DefaultAction,
}

/// How a connection's requests ended.
pub(crate) enum Ended {
    /// In good order.
    Closed,
    /// It is none of HTTP/1: what was read of it so far.
    Other(Vec<u8>),
}

/// What comes next on a connection.
enum Next {
    Head(Box<Request>),
    End,
    Other,
    Refused(Refusal),
    TooSlow,
}

impl Connection<'_> {
    /// Serves all requests.
    pub(crate) async fn serve(&self) -> Result<Ended, Failure> {
        let mut inbox = Vec::new();
        let mut is_first = true;
        loop {
            let mut drain = self.drain.clone();
            let next = tokio::select! {
                biased;
                next = self.next(&mut inbox, is_first) => next.map_err(Failure::Client)?,
                _ = drain.requested() => Next::End,
            };
            is_first = false;
            let persists = match next {
                // Boxed, since most connections are idle most of the time.
                Next::Head(request) => Box::pin(self.one(*request, &mut inbox)).await?,
                Next::End => return Ok(Ended::Closed),
                Next::Other => return Ok(Ended::Other(inbox)),
                Next::Refused(refusal) => self.refuse(Local::refused(refusal)).await?,
                Next::TooSlow => {
                    self.refuse(Local::text(408, "the request's head took too long")).await?
                }
            };
            if !persists {
                self.linger(&mut inbox).await;
                return Ok(Ended::Closed);
            }
        }
    }

    /// Waits for the next head.
    async fn next(&self, inbox: &mut Vec<u8>, is_first: bool) -> io::Result<Next> {
        let limits = HeadLimits::default();
        let mut since = None;
        loop {
            if is_first && is_other(inbox) {
                return Ok(Next::Other);
            }
            if !inbox.is_empty() {
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
            match timeout(patience, read_some(self.client, inbox)).await {
                Ok(Ok(0)) => return Ok(Next::End),
                Ok(read) => _ = read?,
                Err(_) if inbox.is_empty() => return Ok(Next::End),
                Err(_) => return Ok(Next::TooSlow),
            }
        }
    }

    /// Serves one request. Says whether another may follow.
    async fn one(&self, request: Request, inbox: &mut Vec<u8>) -> Result<bool, Failure> {
        let began = Instant::now();
        let before = self.carried();
        let head: Vec<u8> = inbox.drain(..request.length).collect();
        let asked = AskedFor::new(&head, &request);
        let mut story = Story::default();
        let upload = Upload {
            inbox,
            body: Body::new(request.framing),
            framing: request.framing,
            kept: Some(Vec::new()),
        };
        let outcome = self.serve_one(&asked, upload, &mut story).await;
        let (status, result) = self.conclude(&asked, outcome, &mut story).await;
        let after = self.carried();
        self.seams.records.exchanged(Exchanged {
            workload: self.workload,
            client: self.peer,
            origin: self.policy.origin,
            method: asked.method().to_owned(),
            authority: asked.authority().to_owned(),
            path: asked.target().to_owned(),
            route: story.route,
            cluster: story.cluster,
            upstream: story.upstream,
            status,
            flags: story.flags,
            tries: story.tries,
            bytes_sent: after.0 - before.0,
            bytes_received: after.1 - before.1,
            duration: began.elapsed(),
            would_deny: story.would_deny,
            is_denied: story.is_denied,
        });
        result
    }

    /// What the client is told in the end, and whether its connection goes on.
    async fn conclude(
        &self,
        asked: &AskedFor<'_>,
        outcome: Outcome,
        story: &mut Story,
    ) -> (u16, Result<bool, Failure>) {
        let failed = match outcome {
            Outcome::Done(done) => return (done.status, Ok(done.persists)),
            Outcome::Here(local, edits) => {
                let lines: Vec<(&str, &str)> =
                    edits.iter().map(|(name, value)| (&**name, &**value)).collect();
                return (local.status, self.answer(asked, &local, &lines).await);
            }
            Outcome::Failed(failed) => failed,
        };
        if let Some(flag) = failed.flag() {
            story.flags.add(flag);
        }
        if let Some(local) = failed.answer() {
            return (local.status, self.answer(asked, &local, &[]).await);
        }
        let failure = match failed {
            Failed::Client(error) => Failure::Client(error),
            Failed::Cut(Flag::DownstreamProtocolError) => {
                Failure::Client(io::ErrorKind::InvalidData.into())
            }
            _ => Failure::Upstream(io::ErrorKind::UnexpectedEof.into()),
        };
        (0, Err(failure))
    }

    /// Answers a request here. Says whether another may follow: not where its body is still to come.
    async fn answer(
        &self,
        asked: &AskedFor<'_>,
        local: &Local,
        lines: &[(&str, &str)],
    ) -> Result<bool, Failure> {
        let persists = asked.persists()
            && matches!(asked.framing(), crate::http1::body::Framing::Empty)
            && !self.drain.is_requested();
        let form =
            Form { bodiless: asked.method() == "HEAD", closes: !persists, to: asked.version() };
        let bytes = if asked.is_grpc() {
            local.clone().in_grpc().bytes(lines, form)
        } else {
            local.bytes(lines, form)
        };
        let written = self.client.write_all(&bytes, &self.tally.received).await;
        written.map_err(Failure::Client)?;
        Ok(persists)
    }

    /// Answers what is no request.
    async fn refuse(&self, local: Local) -> Result<bool, Failure> {
        let form = Form { bodiless: false, closes: true, to: Version::Http11 };
        let bytes = local.bytes(&[], form);
        self.client.write_all(&bytes, &self.tally.received).await.map_err(Failure::Client)?;
        let mut flags = Flags::default();
        flags.add(Flag::DownstreamProtocolError);
        self.seams.records.exchanged(Exchanged {
            workload: self.workload,
            client: self.peer,
            origin: self.policy.origin,
            method: String::new(),
            authority: String::new(),
            path: String::new(),
            route: String::new(),
            cluster: None,
            upstream: None,
            status: local.status,
            flags,
            tries: 0,
            bytes_sent: 0,
            bytes_received: bytes.len() as u64,
            duration: Duration::ZERO,
            would_deny: false,
            is_denied: false,
        });
        Ok(false)
    }

    /// Ends the connection, and takes for a moment what the client still sends.
    async fn linger(&self, inbox: &mut Vec<u8>) {
        if self.client.finish_writing().is_err() {
            return;
        }
        let rest = async {
            let mut taken = 0;
            while taken < MOST_LINGERING {
                inbox.clear();
                match read_some(self.client, inbox).await {
                    Ok(0) | Err(_) => return,
                    Ok(read) => taken += read,
                }
            }
        };
        // Whoever sends on and on is cut off, and has had its answer.
        let _ = timeout(LINGER, rest).await;
    }

    fn carried(&self) -> (u64, u64) {
        let Tally { sent, received } = self.tally;
        (sent.load(Ordering::Relaxed), received.load(Ordering::Relaxed))
    }
}

/// What begins otherwise than HTTP/1 does: HTTP/2 with prior knowledge, TLS.
fn is_other(bytes: &[u8]) -> bool {
    bytes.starts_with(b"PRI * HTTP/2") || bytes.starts_with(&[0x16, 0x03])
}
