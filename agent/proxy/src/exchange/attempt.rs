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
use bytes::Bytes;
use tokio::time::Instant;

use super::{
    bytes::{Broken, Kept},
    client::{Client, Telling},
    clock::{Clock, until},
    failed::Failed,
    flags::Flag,
    flow::{Sink, Source, flow},
    retry,
    upstream::{Far, Head, Heard, Listen, Opening},
};
use crate::{
    carry::carry,
    cluster::{Cluster, Overflow, Retrying},
    http1::{
        body::Framing,
        write::{self, Delivery, Reply},
    },
    http2::trailers::Trailers,
    record::Tally,
    reset_stream::ResetStream,
};

/// How often it is looked whether anything was sent, in the time that nothing may be.
const LOOKS: u32 = 8;

/// The body of a request, over all tries.
pub(super) struct Upload<'a> {
    pub(super) source: Source<'a>,
    pub(super) framing: Framing,
    /// What was taken of the body; `None` once it is too long to be sent again.
    pub(super) kept: Option<Vec<u8>>,
    /// What followed it, once it was taken whole.
    pub(super) end: Option<Trailers>,
}

impl<'a> Upload<'a> {
    pub(super) const fn new(source: Source<'a>, framing: Framing) -> Self {
        Self { source, framing, kept: Some(Vec::new()), end: None }
    }
}

/// What a try has besides its upstream.
pub(super) struct Call<'a> {
    pub(super) client: &'a Client<'a>,
    pub(super) opening: Opening<'a>,
    pub(super) telling: Telling<'a>,
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
    fn another(&self, heard: &Heard) -> Option<Result<Retrying, Overflow>> {
        let is_named = self.retries.is_some_and(|all| {
            retry::names_status(all, heard.status())
                || heard.grpc_status().is_some_and(|status| retry::names_grpc(all, status))
        });
        let can_repeat = !self.is_lost.load(Ordering::Relaxed);
        (is_named && can_repeat).then(|| self.cluster.begin_retry())
    }

    fn carried(&self) -> u64 {
        let Tally { sent, received } = self.telling.tally;
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

/// How far the request's body is; `None` while it is on its way.
type Sent = Option<Result<(), Broken>>;

/// Makes one try.
pub(super) async fn attempt(
    call: &Call<'_>,
    upload: &mut Upload<'_>,
    clock: &mut Clock,
    far: Far<'_>,
) -> Result<Done, Failed> {
    let is_empty = upload.framing == Framing::Empty;
    let tunnelled = match &far {
        Far::Http1 { stream, .. } => Some(*stream),
        Far::Http2(_) => None,
    };
    let (sink, mut listen) = far.open(&call.opening, is_empty).await?;
    let (heard, done) = {
        let mut uploading = pin!(send(call, upload, sink));
        let mut sent = None;
        let mut waiting = Waiting { call, clock, began: Instant::now(), is_overflow: false };
        let mut heard = waiting.hear(&mut listen, uploading.as_mut(), &mut sent).await?;
        let done = if heard.is_tunnel() && matches!(sent, Some(Ok(()))) {
            None
        } else {
            Some(waiting.relay((&mut listen, &mut heard), uploading, &mut sent).await?)
        };
        (heard, done)
    };
    let rest = listen.rest();
    match (done, tunnelled) {
        (Some(done), _) => Ok(Done { reusable: done.reusable && rest.is_empty(), ..done }),
        (None, Some(stream)) => tunnel(call, &heard, upload, (stream, &rest)).await,
        (None, None) => Err(Failed::Reset { reused: false }),
    }
}

/// Sends the body after the head: first what is kept of it, then what is still to come.
async fn send(call: &Call<'_>, upload: &mut Upload<'_>, mut sink: Sink<'_>) -> Result<(), Broken> {
    if let Some(kept) = upload.kept.as_ref().filter(|kept| !kept.is_empty()) {
        sink.data(Bytes::copy_from_slice(kept)).await?;
    }
    if let Some(end) = &upload.end {
        return sink.end(end.clone()).await;
    }
    let kept = Kept { body: &mut upload.kept, is_lost: &call.is_lost, end: &mut upload.end };
    flow(&mut upload.source, &mut sink, Some(kept)).await
}

struct Waiting<'a> {
    call: &'a Call<'a>,
    clock: &'a mut Clock,
    began: Instant,
    is_overflow: bool,
}

impl Waiting<'_> {
    /// Waits for the head of the final answer. What comes before it is passed on.
    async fn hear<F: Future<Output = Result<(), Broken>>>(
        &mut self,
        listen: &mut Listen<'_>,
        mut uploading: Pin<&mut F>,
        sent: &mut Sent,
    ) -> Result<Heard, Failed> {
        let call = self.call;
        let mut idle = pin!(call.idle());
        loop {
            let limit = self.limit(sent.is_some());
            tokio::select! {
                biased;
                ended = uploading.as_mut(), if sent.is_none() => self.uploaded(ended, sent)?,
                heard = listen.next() => {
                    let heard = heard?;
                    if heard.is_interim() {
                        call.client.interim(&heard, &call.telling).await?;
                        continue;
                    }
                    match call.another(&heard) {
                        Some(Ok(retrying)) => {
                            return Err(Failed::Status { status: heard.status(), retrying });
                        }
                        Some(Err(Overflow)) => self.is_overflow = true,
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
        (listen, heard): (&mut Listen<'_>, &mut Heard),
        mut uploading: Pin<&mut F>,
        sent: &mut Sent,
    ) -> Result<Done, Failed> {
        let call = self.call;
        let (mut sink, closes) = call.client.begin(heard, &call.telling)?;
        let mut source = listen.body(heard);
        let answered = {
            let mut answering = pin!(async {
                match &mut source {
                    Some(source) => flow(source, &mut sink, None).await,
                    None => sink.flush().await,
                }
            });
            let mut idle = pin!(call.idle());
            loop {
                let limit = self.limit(sent.is_some());
                tokio::select! {
                    biased;
                    ended = answering.as_mut() => break answered(ended),
                    ended = uploading.as_mut(), if sent.is_none() => {
                        if let Err(failed) = self.uploaded(ended, sent) {
                            break Err(cut(failed));
                        }
                    }
                    error = call.client.broken() => break Err(Failed::Client(error)),
                    () = idle.as_mut() => break Err(Failed::Cut(Flag::StreamIdleTimeout)),
                    _ = until(limit) => break Err(Failed::Cut(Flag::UpstreamTimeout)),
                }
            }
        };
        if let Err(failed) = answered {
            sink.cut(&failed);
            return Err(failed);
        }
        let is_sent = matches!(sent, Some(Ok(())));
        let (status, (idle, persists)) = (heard.status(), heard.persistence());
        Ok(Done {
            status,
            reusable: persists && is_sent,
            // A second less than the server waits itself: its end and a request may cross.
            idle: idle.map(|seconds| Duration::from_secs(seconds.saturating_sub(1))),
            persists: !closes && is_sent,
            is_overflow: self.is_overflow,
        })
    }
}

/// How an answer's body ended.
fn answered(ended: Result<(), Broken>) -> Result<(), Failed> {
    ended.map_err(|broken| match broken {
        Broken::Source(_) => Failed::Cut(Flag::UpstreamConnectionTermination),
        Broken::Malformed(_) => Failed::Cut(Flag::UpstreamProtocolError),
        Broken::Sink(error) => Failed::Client(error),
    })
}

/// A request that turns out to be malformed once its answer has begun.
fn cut(failed: Failed) -> Failed {
    match failed {
        Failed::Body(_) => Failed::Cut(Flag::DownstreamProtocolError),
        other => other,
    }
}

/// There are no messages any more: both ends send what they like.
async fn tunnel(
    call: &Call<'_>,
    heard: &Heard,
    upload: &mut Upload<'_>,
    (upstream, of_upstream): (&ResetStream, &[u8]),
) -> Result<Done, Failed> {
    let (Head::Http1 { bytes, response }, Client::Http1 { stream, version }) =
        (&heard.head, call.client)
    else {
        return Err(Failed::Reset { reused: false });
    };
    let delivery = Delivery::Framed(Framing::Tunnel);
    let reply = Reply { edits: call.telling.edits, delivery, to: *version, closes: false };
    let mut out = write::response(bytes, response, &reply);
    out.extend_from_slice(of_upstream);
    stream.write_all(&out, &call.telling.tally.received).await.map_err(Failed::Client)?;
    let early = upload.source.take_read();
    let cut = |flag| move |_| Failed::Cut(flag);
    let passed = upstream.write_all(&early, &call.telling.tally.sent).await;
    passed.map_err(cut(Flag::UpstreamConnectionTermination))?;
    carry(stream, upstream, call.telling.tally).await.map_err(|failure| match failure {
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
