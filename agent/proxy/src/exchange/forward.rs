//! The tries of one request: which endpoint, a connection to it, and what is tried again.

use std::{sync::Arc, time::Duration};

use agent_model::{
    endpoints::Endpoints,
    requests::{
        backend::{Backend, Target, Weighted},
        policy::{Limits, Upgrade},
        route::{Forward, Retries, Route},
    },
    resource::protocol::AppProtocol,
};
use bytes::Bytes;
use h2::client::SendRequest;
use tokio::time::Instant;

use super::{
    Exchange,
    asked::{AskedFor, RequestHead},
    attempt::{Call, Done, Upload, attempt},
    client::Telling,
    clock::{Clock, until},
    failed::Failed,
    flags::Flag,
    retry,
    sticky::Sticky,
    story::Story,
    upstream::{Far, Opening},
};
use crate::{
    UpstreamAddr,
    cluster::{Cluster, Overflow, Retrying, Seen, USUAL_IDLE, Upstream},
    http1::edit::Edits,
    reach::Apart,
    share::by_share,
};

/// A route that sends requests on.
pub(super) struct Onward<'a> {
    pub(super) route: &'a Route,
    pub(super) forward: &'a Forward,
    /// Fields that the answer has besides.
    pub(super) lines: &'a [(String, String)],
}

/// Everything about a request that its tries share.
pub(super) struct Tries<'a> {
    pub(super) cluster: Arc<Cluster>,
    pub(super) endpoints: Endpoints,
    pub(super) key: Option<u64>,
    pub(super) apart: Apart,
    retries: Option<&'a Retries>,
    answer_within: Option<Duration>,
    idle: Option<Duration>,
    pub(super) clock: Clock,
    pub(super) head: RequestHead,
    edits: Edits<'a>,
    pub(super) tried: Vec<UpstreamAddr>,
    may_retry: bool,
}

impl Exchange<'_> {
    /// Sends a request where its route says.
    pub(super) async fn forward(
        &self,
        request: &AskedFor<'_>,
        onward: &Onward<'_>,
        upload: &mut Upload<'_>,
        story: &mut Story,
    ) -> Result<Done, Failed> {
        let Onward { route, forward, lines } = *onward;
        let weighted = by_share(&forward.to, |one| one.weight.into(), fastrand::u64(..));
        let weighted = weighted.ok_or(Failed::NoCluster)?;
        let Weighted { target, headers, answer_within, weight: _ } = weighted;
        let backend = reachable(target, story)?;
        let mut edits = Edits::new([&route.headers.request, &headers.request]);
        edits.supply(&request.marks().lines);
        let target = route.rewritten(request.target());
        let host = edits.host().or(forward.rewrite.authority.as_deref());
        let head = request_head(request, Some(backend), (&target, host), &edits)?;
        let sticky = Sticky::of(request, self.on.peer.0.ip(), &backend.policy.balance);
        let mut edits = Edits::new([&route.headers.response, &headers.response]);
        edits.append(lines);
        if let Some(line) = &sticky.set_cookie {
            edits.append_line("set-cookie", line);
        }
        let cluster = self.on.clusters.of(backend);
        let tries = Tries {
            endpoints: cluster.endpoints(backend, &*self.on.seams.judge),
            cluster,
            key: sticky.key,
            apart: self.apart(backend, host.unwrap_or(request.authority())),
            retries: forward.retries.as_ref(),
            answer_within: *answer_within,
            idle: forward.idle,
            clock: Clock::new(forward.timeout, upload.framing),
            head,
            edits,
            tried: Vec::new(),
            may_retry: false,
        };
        self.tries(request, tries, upload, story).await
    }

    /// Sends a request where the client dialled.
    pub(super) async fn pass(
        &self,
        request: &AskedFor<'_>,
        mut upload: Upload<'_>,
        story: &mut Story,
    ) -> Result<Done, Failed> {
        let mut edits = Edits::default();
        edits.supply(&request.marks().lines);
        let head = request_head(request, None, (request.target(), None), &edits)?;
        let edits = Edits::default();
        let tries = Tries {
            cluster: self.on.clusters.passthrough(),
            endpoints: Endpoints::Listed([].into()),
            key: None,
            apart: Apart::default(),
            retries: None,
            answer_within: None,
            idle: None,
            clock: Clock::default(),
            head,
            edits,
            tried: Vec::new(),
            may_retry: false,
        };
        self.tries(request, tries, &mut upload, story).await
    }

    async fn tries(
        &self,
        request: &AskedFor<'_>,
        mut tries: Tries<'_>,
        upload: &mut Upload<'_>,
        story: &mut Story,
    ) -> Result<Done, Failed> {
        let most = tries.retries.map_or(0, |retries| retries.attempts);
        let mut stale = false;
        let mut retry = 0;
        // Each retry is counted until the next one, or the end.
        let mut _retrying = None;
        loop {
            story.tries += 1;
            tries.may_retry = retry < most;
            let failed = match self.once(request, &mut tries, upload, story).await {
                Ok(done) => {
                    tries.note_end(&done, retry == most, story);
                    return Ok(done);
                }
                Err(failed) => failed,
            };
            let can_repeat = upload.kept.is_some();
            // A server that closed an idle connection just then has not seen the request, most likely:
            // what may be repeated without harm is, once, on a connection of its own.
            if matches!(failed, Failed::Reset { reused: true })
                && !stale
                && can_repeat
                && request.is_idempotent()
            {
                stale = true;
                tries.tried.pop();
                continue;
            }
            let Some(retries) = tries.retries.filter(|all| retry::names(all, &failed)) else {
                return Err(failed);
            };
            if !can_repeat || retry == most {
                if most > 0 && can_repeat {
                    story.flags.add(Flag::UpstreamRetryLimit);
                }
                return Err(failed);
            }
            _retrying = Some(tries.another(failed, story)?);
            retry += 1;
            let pause = tokio::time::sleep(retry::wait(retries, retry));
            self.within(tries.clock.end(), pause).await?;
        }
    }

    /// What tells connections for a request to this host from others.
    pub(super) fn apart(&self, backend: &Backend, host: &str) -> Apart {
        Apart::of(&backend.policy, host, (self.on.peer, self.on.policy.origin.dst))
    }

    /// Waits for something, as long as the client and the time allow.
    pub(super) async fn within<T>(
        &self,
        end: Option<Instant>,
        future: impl Future<Output = T>,
    ) -> Result<T, Failed> {
        tokio::select! {
            biased;
            value = future => Ok(value),
            error = self.client.broken() => Err(Failed::Client(error)),
            _ = until(end.map(|end| (end, false))) => Err(Failed::TimedOut { one_try: false }),
        }
    }

    /// One try.
    async fn once(
        &self,
        request: &AskedFor<'_>,
        tries: &mut Tries<'_>,
        upload: &mut Upload<'_>,
        story: &mut Story,
    ) -> Result<Done, Failed> {
        let (to, mut near) = self.connect(tries, story).await?;
        story.upstream = Some(to);
        let per_try = tries.retries.and_then(|retries| retries.per_try);
        let Ok(_under_way) = tries.cluster.begin(to) else {
            if let Near::Http1(upstream) = near {
                // Nothing was sent on it.
                tries.cluster.put(upstream, USUAL_IDLE);
            }
            return Err(Failed::Overflow);
        };
        let opening = Opening {
            head: &tries.head,
            asked: request.asked(),
            framing: request.framing(),
            carried: &self.tally.sent,
        };
        let telling = Telling {
            tally: self.tally,
            asked: request.asked(),
            edits: &tries.edits,
            closes: !request.persists(),
            drain: &self.on.drain,
        };
        let call = Call {
            client: self.client,
            opening,
            telling,
            retries: tries.retries.filter(|_| tries.may_retry),
            cluster: &tries.cluster,
            one_try: [per_try, tries.answer_within].into_iter().flatten().min(),
            idle: tries.idle,
            is_lost: upload.kept.is_none().into(),
        };
        let far = match &mut near {
            Near::Http1(upstream) => {
                let reused = upstream.requests > 0;
                Far::Http1 { stream: &upstream.stream, reused }
            }
            Near::Http2(send) => Far::Http2(send.clone()),
        };
        let result = attempt(&call, upload, &mut tries.clock, far).await;
        if let Some(seen) = seen(&result) {
            tries.cluster.report(to, seen);
        }
        let done = result?;
        let Near::Http1(mut upstream) = near else { return Ok(done) };
        upstream.requests += 1;
        if done.reusable && tries.may_wait(&upstream) {
            let own = tries.limits().and_then(|limits| limits.http_idle);
            let idle = own.unwrap_or(USUAL_IDLE).min(done.idle.unwrap_or(Duration::MAX));
            tries.cluster.put(upstream, idle);
        } else {
            // What was sent has been answered; a failure to say goodbye harms nothing.
            let _ = upstream.close();
        }
        Ok(done)
    }
}

/// A connection that a try has.
pub(super) enum Near {
    Http1(Upstream),
    Http2(SendRequest<Bytes>),
}

/// A request's head in the version that its destination speaks; without one, in the client's own.
pub(super) fn request_head(
    request: &AskedFor<'_>,
    backend: Option<&Backend>,
    (target, host): (&str, Option<&str>),
    edits: &Edits<'_>,
) -> Result<RequestHead, Failed> {
    let by_http2 = backend.map_or(request.is_http2(), |backend| {
        match (backend.policy.limits.upgrade, backend.protocol) {
            (Upgrade::ToHttp2, _)
            | (
                Upgrade::AsDeclared,
                AppProtocol::Http2 | AppProtocol::Grpc | AppProtocol::GrpcWeb,
            ) => true,
            (Upgrade::AsDeclared, AppProtocol::Http) => false,
            _ => request.is_http2(),
        }
    });
    if by_http2 {
        request.to_http2(target, host, edits).ok_or(Failed::NotInHttp2)
    } else {
        Ok(request.to_http1(target, host, edits))
    }
}

/// The destination, if it is there.
pub(super) fn reachable<'t>(
    target: &'t Target,
    story: &mut Story,
) -> Result<&'t Arc<Backend>, Failed> {
    let Target::Backend(backend) = target else { return Err(Failed::NoCluster) };
    story.cluster = Some(super::story::cluster(backend));
    Ok(backend)
}

/// What a try says of its endpoint; nothing where it was cut short by something else.
fn seen(result: &Result<Done, Failed>) -> Option<Seen> {
    match result {
        Ok(done) => Some(Seen::Answer(done.status)),
        Err(Failed::Status { status, .. }) => Some(Seen::Answer(*status)),
        Err(Failed::Reset { .. } | Failed::Answer(_) | Failed::TimedOut { .. }) => {
            Some(Seen::NoAnswer)
        }
        Err(_) => None,
    }
}

impl Tries<'_> {
    /// Leave for another try after a failure, which is the end where there are too many retries.
    fn another(&self, failed: Failed, story: &mut Story) -> Result<Retrying, Failed> {
        match failed {
            // It was counted before the answer was given up.
            Failed::Status { retrying, .. } => Ok(retrying),
            failed => self.cluster.begin_retry().map_err(|Overflow| {
                story.flags.add(Flag::UpstreamOverflow);
                failed
            }),
        }
    }

    /// Notes why an answer that calls for another try was passed on.
    fn note_end(&self, done: &Done, is_last: bool, story: &mut Story) {
        let retries = self.retries.filter(|retries| retries.attempts > 0);
        if is_last && retries.is_some_and(|all| retry::names_status(all, done.status)) {
            story.flags.add(Flag::UpstreamRetryLimit);
        }
        if done.is_overflow {
            story.flags.add(Flag::UpstreamOverflow);
        }
    }

    pub(super) fn limits(&self) -> Option<&Limits> {
        self.cluster.backend().map(|backend| &backend.policy.limits)
    }

    /// Whether a connection may carry another request.
    fn may_wait(&self, upstream: &Upstream) -> bool {
        self.limits().is_none_or(|limits| {
            limits.per_connection.is_none_or(|most| upstream.requests < most)
                && limits.connection_age.is_none_or(|age| upstream.since.elapsed() < age)
        })
    }
}
