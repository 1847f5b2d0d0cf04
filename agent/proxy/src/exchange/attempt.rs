//! One try: a request to one endpoint and its answer back, both at once.
//!
//! The answer may come before the request has ended; then both go on. What was written to the client
//! cannot be taken back, so a failure after that cuts the answer off.

use std::{
    pin::{Pin, pin},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use agent_model::requests::route::Retries;
use tokio::time::Instant;

use super::{
    bytes::{Broken, Kept, Pump, read_some},
    failed::Failed,
    flags::Flag,
    retry,
};
use crate::{
    carry::carry,
    cluster::{Cluster, Overflow, Retrying},
    http1::{
        body::{Body, Framing},
        edit::Edits,
        head::{Limits, Version},
        response::{self, Asked, Response},
        write::{self, Delivery, Reply},
    },
    record::Tally,
    reset_stream::ResetStream,
};

/// How often it is looked whether anything was sent, in the time that nothing may be.
const LOOKS: u32 = 8;

/// The body of a request, over all tries.
pub(super) struct Upload<'a> {
    /// What the client sent and nobody has taken.
    pub(super) inbox: &'a mut Vec<u8>,
    pub(super) body: Body,
    pub(super) framing: Framing,
    /// What was taken of the body; `None` once it is too long to be sent again.
    pub(super) kept: Option<Vec<u8>>,
}

/// How long the request may take, over all tries. It is counted from when the request was sent
/// whole.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Clock {
    timeout: Option<Duration>,
    since: Option<Instant>,
}

impl Clock {
    /// For a request whose head has been read: without a body that is all of it.
    pub(super) fn new(timeout: Option<Duration>, framing: Framing) -> Self {
        Self { timeout, since: (framing == Framing::Empty).then(Instant::now) }
    }

    /// When the time is over, once it runs.
    pub(super) fn end(&self) -> Option<Instant> {
        self.timeout.zip(self.since).map(|(timeout, since)| since + timeout)
    }

    /// When the time is over, were it to run from a moment on unless it runs already.
    pub(super) fn end_from(&self, moment: Instant) -> Option<Instant> {
        self.timeout.map(|timeout| self.since.unwrap_or(moment) + timeout)
    }
}

/// What a try has besides its upstream.
pub(super) struct Call<'a> {
    pub(super) client: &'a ResetStream,
    pub(super) tally: &'a Tally,
    /// The head, as it is to be sent.
    pub(super) head: &'a [u8],
    pub(super) asked: Asked,
    pub(super) version: Version,
    pub(super) edits: &'a Edits<'a>,
    /// Whether the client's connection is to end after this.
    pub(super) closes: bool,
    /// What calls for another try, while there is one.
    pub(super) retries: Option<&'a Retries>,
    /// Where retries are counted.
    pub(super) cluster: &'a Arc<Cluster>,
    /// How long this try may take.
    pub(super) one_try: Option<Duration>,
    /// How long nothing may be sent either way.
    pub(super) idle: Option<Duration>,
    /// Whether the body is too long to be sent again.
    pub(super) is_lost: AtomicBool,
}

impl Call<'_> {
    /// Leave for another try, where an answer calls for one; an error where there are too many.
    fn another(&self, status: u16) -> Option<Result<Retrying, Overflow>> {
        let is_named = self.retries.is_some_and(|all| retry::names_status(all, status));
        let can_repeat = !self.is_lost.load(Ordering::Relaxed);
        (is_named && can_repeat).then(|| self.cluster.begin_retry())
    }

    fn carried(&self) -> u64 {
        let Tally { sent, received } = self.tally;
        sent.load(Ordering::Relaxed) + received.load(Ordering::Relaxed)
    }

    /// Waits until nothing was sent for too long. It looks at what was carried a few times in that
    /// time, which costs less than a note of every write.
    async fn idle(&self) {
        let Some(idle) = self.idle else { return std::future::pending().await };
        let (mut before, mut quiet) = (self.carried(), 0);
        while quiet < LOOKS {
            tokio::time::sleep(idle / LOOKS).await;
            let now = self.carried();
            quiet = if now == before { quiet + 1 } else { 0 };
            before = now;
        }
    }
}

/// What a try came to.
#[derive(Clone, Copy, Debug)]
pub(super) struct Done {
    pub(super) status: u16,
    /// Whether the upstream's connection may carry another request, and how long it may wait.
    pub(super) reusable: bool,
    pub(super) idle: Option<Duration>,
    /// Whether the client's connection may.
    pub(super) persists: bool,
    /// Whether it would have been tried again, were there not too many retries.
    pub(super) is_overflow: bool,
}

/// A response's head and its bytes.
pub(super) struct Heard {
    bytes: Vec<u8>,
    pub(super) response: Response,
    is_overflow: bool,
}

/// How far the request's body is; `None` while it is on its way.
type Sent = Option<Result<(), Broken>>;

/// What becomes of the answer's head.
enum Stage {
    Tunnel(Heard),
    Done(Done),
}

/// Makes one try.
pub(super) async fn attempt(
    call: &Call<'_>,
    upload: &mut Upload<'_>,
    clock: &mut Clock,
    upstream: &ResetStream,
    reused: bool,
) -> Result<Done, Failed> {
    let mut inbox = Vec::new();
    let stage = {
        let mut uploading = pin!(send(call, upload, upstream));
        let mut sent = None;
        let began = Instant::now();
        let mut waiting = Waiting { call, clock, began, upstream, reused };
        let heard = waiting.hear(uploading.as_mut(), &mut sent, &mut inbox).await?;
        if matches!(heard.response.framing, Framing::Tunnel) && matches!(sent, Some(Ok(()))) {
            Stage::Tunnel(heard)
        } else {
            let done = waiting.relay(&heard, uploading, &mut sent, &mut inbox).await?;
            Stage::Done(done)
        }
    };
    match stage {
        Stage::Done(done) => Ok(Done { reusable: done.reusable && inbox.is_empty(), ..done }),
        Stage::Tunnel(heard) => tunnel(call, &heard, upload.inbox, upstream, &inbox).await,
    }
}

/// Sends the head and the body: first what is kept of it, then what is still to come.
async fn send(
    call: &Call<'_>,
    upload: &mut Upload<'_>,
    upstream: &ResetStream,
) -> Result<(), Broken> {
    let chunked = upload.framing == Framing::Chunked;
    let mut first = call.head.to_vec();
    if let Some(kept) = &upload.kept {
        write::body(&mut first, kept, chunked);
    }
    let pump = Pump {
        from: call.client,
        inbox: upload.inbox,
        body: &mut upload.body,
        to: upstream,
        chunked,
        first,
        kept: Some(Kept { body: &mut upload.kept, is_lost: &call.is_lost }),
        carried: &call.tally.sent,
    };
    pump.run().await
}

struct Waiting<'a> {
    call: &'a Call<'a>,
    clock: &'a mut Clock,
    began: Instant,
    upstream: &'a ResetStream,
    reused: bool,
}

impl Waiting<'_> {
    /// Waits for the head of the final answer. What comes before it is passed on.
    async fn hear<F: Future<Output = Result<(), Broken>>>(
        &mut self,
        mut uploading: Pin<&mut F>,
        sent: &mut Sent,
        inbox: &mut Vec<u8>,
    ) -> Result<Heard, Failed> {
        let call = self.call;
        let mut idle = pin!(call.idle());
        loop {
            let limit = self.limit(sent.is_some());
            tokio::select! {
                biased;
                ended = uploading.as_mut(), if sent.is_none() => self.uploaded(ended, sent)?,
                heard = next_head(self.upstream, inbox, call.asked) => {
                    let mut heard = heard.map_err(|lost| lost.unwrap_or(Failed::Reset { reused: self.reused }))?;
                    if heard.response.is_interim() {
                        self.pass_interim(&heard).await?;
                        continue;
                    }
                    let status = heard.response.status;
                    match call.another(status) {
                        Some(Ok(retrying)) => return Err(Failed::Status { status, retrying }),
                        Some(Err(Overflow)) => heard.is_overflow = true,
                        None => {}
                    }
                    return Ok(heard);
                }
                error = call.client.broken() => return Err(Failed::Client(error)),
                () = idle.as_mut() => return Err(Failed::Idle { is_sent: sent.is_some() }),
                one_try = until(limit) => return Err(Failed::TimedOut { one_try }),
            }
        }
    }

    /// A client of HTTP/1.0 knows no interim answers.
    async fn pass_interim(&self, heard: &Heard) -> Result<(), Failed> {
        if self.call.version == Version::Http10 {
            return Ok(());
        }
        let bytes = write::interim(&heard.bytes, &heard.response);
        let written = self.call.client.write_all(&bytes, &self.call.tally.received).await;
        written.map_err(Failed::Client)
    }

    /// The body has come to its end. An upstream that takes no more of it may still answer.
    fn uploaded(&mut self, ended: Result<(), Broken>, sent: &mut Sent) -> Result<(), Failed> {
        match ended {
            Err(Broken::Source(error)) => return Err(Failed::Client(error)),
            Err(Broken::Malformed(refusal)) => return Err(Failed::Body(refusal)),
            other => *sent = Some(other),
        }
        let now = Instant::now();
        self.clock.since.get_or_insert(now);
        self.began = self.began.max(now);
        Ok(())
    }

    /// When this try is over, and whether it alone is then.
    fn limit(&self, is_sent: bool) -> Option<(Instant, bool)> {
        if !is_sent {
            return None;
        }
        let whole = self.clock.end().map(|end| (end, false));
        let one = self.call.one_try.map(|time| (self.began + time, true));
        [whole, one].into_iter().flatten().min_by_key(|(at, _)| *at)
    }

    /// Passes the answer on, and what is left of the request.
    async fn relay<F: Future<Output = Result<(), Broken>>>(
        &mut self,
        heard: &Heard,
        mut uploading: Pin<&mut F>,
        sent: &mut Sent,
        inbox: &mut Vec<u8>,
    ) -> Result<Done, Failed> {
        let call = self.call;
        let response = &heard.response;
        let (delivery, ends) = delivery(response, call);
        let closes = call.closes || ends;
        let reply = Reply { edits: call.edits, delivery, to: call.version, closes };
        let mut body = Body::new(response.framing);
        let pump = Pump {
            from: self.upstream,
            inbox,
            body: &mut body,
            to: call.client,
            chunked: delivery == Delivery::Framed(Framing::Chunked),
            first: write::response(&heard.bytes, response, &reply),
            kept: None,
            carried: &call.tally.received,
        };
        let mut answering = pin!(pump.run());
        let mut idle = pin!(call.idle());
        loop {
            let limit = self.limit(sent.is_some());
            tokio::select! {
                biased;
                ended = answering.as_mut() => match ended {
                    Ok(()) => break,
                    Err(Broken::Source(_)) => {
                        return Err(Failed::Cut(Flag::UpstreamConnectionTermination));
                    }
                    Err(Broken::Malformed(_)) => return Err(Failed::Cut(Flag::UpstreamProtocolError)),
                    Err(Broken::Sink(error)) => return Err(Failed::Client(error)),
                },
                ended = uploading.as_mut(), if sent.is_none() => {
                    self.uploaded(ended, sent).map_err(cut)?;
                }
                error = call.client.broken() => return Err(Failed::Client(error)),
                () = idle.as_mut() => return Err(Failed::Cut(Flag::StreamIdleTimeout)),
                _ = until(limit) => return Err(Failed::Cut(Flag::UpstreamTimeout)),
            }
        }
        let is_sent = matches!(sent, Some(Ok(())));
        let idle = response::idle_seconds(&heard.bytes, &response.fields);
        Ok(Done {
            status: response.status,
            reusable: response.persists && is_sent,
            // A second less than the server waits itself: its end and a request may cross.
            idle: idle.map(|seconds| Duration::from_secs(seconds.saturating_sub(1))),
            persists: !closes && is_sent,
            is_overflow: heard.is_overflow,
        })
    }
}

/// A request that turns out to be malformed once its answer has begun.
fn cut(failed: Failed) -> Failed {
    match failed {
        Failed::Body(_) => Failed::Cut(Flag::DownstreamProtocolError),
        other => other,
    }
}

/// How an answer's body goes on, and whether only the end of the connection ends it.
fn delivery(response: &Response, call: &Call<'_>) -> (Delivery, bool) {
    let bodiless = matches!(call.asked, Asked::Head) || matches!(response.status, 204 | 304);
    match (response.framing, call.version) {
        (Framing::Empty, _) if bodiless => (Delivery::Bodiless, false),
        (Framing::Chunked | Framing::UntilClose, Version::Http10) => {
            (Delivery::Framed(Framing::UntilClose), true)
        }
        (Framing::UntilClose, Version::Http11) => (Delivery::Framed(Framing::Chunked), false),
        (Framing::Tunnel, _) => (Delivery::Framed(Framing::UntilClose), true),
        (other, _) => (Delivery::Framed(other), false),
    }
}

/// Waits for a moment, if there is one.
pub(super) async fn until(limit: Option<(Instant, bool)>) -> bool {
    match limit {
        Some((at, one_try)) => {
            tokio::time::sleep_until(at).await;
            one_try
        }
        None => std::future::pending().await,
    }
}

/// Takes the next head out of what the upstream sends; an error without a reason is its end. Nothing
/// is lost when it is given up.
pub(super) async fn next_head(
    upstream: &ResetStream,
    inbox: &mut Vec<u8>,
    asked: Asked,
) -> Result<Heard, Option<Failed>> {
    loop {
        if !inbox.is_empty() {
            let read = response::read(inbox, asked, &Limits::default());
            if let Some(response) = read.map_err(|refusal| Some(Failed::Answer(refusal)))? {
                let bytes = inbox.drain(..response.length).collect();
                return Ok(Heard { bytes, response, is_overflow: false });
            }
        }
        match read_some(upstream, inbox).await {
            Ok(0) | Err(_) => return Err(None),
            Ok(_) => {}
        }
    }
}

/// There are no messages any more: both ends send what they like.
async fn tunnel(
    call: &Call<'_>,
    heard: &Heard,
    of_client: &mut Vec<u8>,
    upstream: &ResetStream,
    of_upstream: &[u8],
) -> Result<Done, Failed> {
    let response = &heard.response;
    let delivery = Delivery::Framed(Framing::Tunnel);
    let reply = Reply { edits: call.edits, delivery, to: call.version, closes: false };
    let mut out = write::response(&heard.bytes, response, &reply);
    out.extend_from_slice(of_upstream);
    call.client.write_all(&out, &call.tally.received).await.map_err(Failed::Client)?;
    let early = std::mem::take(of_client);
    let cut = |flag| move |_| Failed::Cut(flag);
    let passed = upstream.write_all(&early, &call.tally.sent).await;
    passed.map_err(cut(Flag::UpstreamConnectionTermination))?;
    carry(call.client, upstream, call.tally).await.map_err(|failure| match failure {
        crate::Failure::Client(error) => Failed::Client(error),
        _ => Failed::Cut(Flag::UpstreamConnectionTermination),
    })?;
    Ok(Done {
        status: response.status,
        reusable: false,
        idle: None,
        persists: false,
        is_overflow: false,
    })
}
