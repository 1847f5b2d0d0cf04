//! The tries of one request: which endpoint, a connection to it, and what is tried again.

use std::time::Duration;

use agent_model::{
    endpoints::Endpoints,
    requests::{
        backend::{Backend, Target, Weighted},
        policy::ClientTls,
        route::{Action, Retries, Route},
    },
};
use tokio::time::Instant;

use super::{
    Connection,
    asked::AskedFor,
    attempt::{Call, Clock, Done, Upload, attempt},
    failed::Failed,
    flags::Flag,
    retry,
    story::Story,
};
use crate::{
    DialError, UpstreamAddr,
    choose::by_weight,
    http1::edit::Edits,
    pool::{USUAL_IDLE, Upstream},
    reset_stream::ResetStream,
};

/// Dials of one try that may fail before it counts as one: nothing was sent by them.
const MOST_DIALS: usize = 3;

/// Where a request goes.
enum Way<'a> {
    /// By a route of the model.
    Routed { backend: &'a Backend, endpoints: Endpoints },
    /// Where the client dialled.
    Dialled,
}

/// Everything about a request that its tries share.
struct Tries<'a> {
    way: Way<'a>,
    retries: Option<&'a Retries>,
    answer_within: Option<Duration>,
    clock: Clock,
    head: Vec<u8>,
    edits: Edits<'a>,
    tried: Vec<UpstreamAddr>,
    may_retry: bool,
}

impl Connection<'_> {
    /// Sends a request where its route says.
    pub(super) async fn forward(
        &self,
        request: &AskedFor<'_>,
        route: &Route,
        upload: Upload<'_>,
        story: &mut Story,
    ) -> Result<Done, Failed> {
        let Action::Forward(forward) = &route.then else { return Err(Failed::NoCluster) };
        let weighted = by_weight(&forward.to, fastrand::u64(..)).ok_or(Failed::NoCluster)?;
        let Weighted { target, headers, answer_within, weight: _ } = weighted;
        let Target::Backend(backend) = target else { return Err(Failed::NoCluster) };
        story.cluster = Some(super::story::cluster(backend));
        if matches!(backend.policy.tls, ClientTls::Own(_) | ClientTls::Mesh(_)) {
            return Err(Failed::NeedsTls);
        }
        let edits = Edits::new([&route.headers.request, &headers.request]);
        let target = route.rewritten(request.target());
        let host = edits.host().or(forward.rewrite.authority.as_deref());
        let head = request.outgoing(target.as_bytes(), host.map(str::as_bytes), &edits);
        let tries = Tries {
            way: Way::Routed { backend, endpoints: self.seams.judge.endpoints(backend) },
            retries: forward.retries.as_ref(),
            answer_within: *answer_within,
            clock: Clock { timeout: forward.timeout, since: None },
            head,
            edits: Edits::new([&route.headers.response, &headers.response]),
            tried: Vec::new(),
            may_retry: false,
        };
        self.tries(request, tries, upload, story).await
    }

    /// Sends a request where the client dialled.
    pub(super) async fn pass(
        &self,
        request: &AskedFor<'_>,
        upload: Upload<'_>,
        story: &mut Story,
    ) -> Result<Done, Failed> {
        let edits = Edits::default();
        let head = request.outgoing(request.target().as_bytes(), None, &edits);
        let tries = Tries {
            way: Way::Dialled,
            retries: None,
            answer_within: None,
            clock: Clock::default(),
            head,
            edits,
            tried: Vec::new(),
            may_retry: false,
        };
        self.tries(request, tries, upload, story).await
    }

    async fn tries(
        &self,
        request: &AskedFor<'_>,
        mut tries: Tries<'_>,
        mut upload: Upload<'_>,
        story: &mut Story,
    ) -> Result<Done, Failed> {
        let most = tries.retries.map_or(0, |retries| retries.attempts);
        let mut stale = false;
        let mut retry = 0;
        loop {
            story.tries += 1;
            tries.may_retry = retry < most;
            let failed = match self.once(request, &mut tries, &mut upload, story).await {
                Ok(done) => {
                    if retry == most && tries.wants_another(done.status) {
                        story.flags.add(Flag::UpstreamRetryLimit);
                    }
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
            let named = tries.retries.is_some_and(|retries| retry::names(retries, &failed));
            if !named || !can_repeat {
                return Err(failed);
            }
            if retry == most {
                story.flags.add(Flag::UpstreamRetryLimit);
                return Err(failed);
            }
            retry += 1;
            if let Some(retries) = tries.retries {
                self.wait(retry::wait(retries, retry), &tries.clock).await?;
            }
        }
    }

    /// Waits before another try, as long as the client and the time allow.
    async fn wait(&self, pause: Duration, clock: &Clock) -> Result<(), Failed> {
        let end = clock.timeout.zip(clock.since).map(|(timeout, since)| since + timeout);
        let wake = Instant::now() + pause;
        tokio::select! {
            () = tokio::time::sleep_until(end.map_or(wake, |end| end.min(wake))) => {}
            error = self.client.broken() => return Err(Failed::Client(error)),
        }
        if end.is_some_and(|end| end <= Instant::now()) {
            return Err(Failed::TimedOut { one_try: false });
        }
        Ok(())
    }

    /// One try.
    async fn once(
        &self,
        request: &AskedFor<'_>,
        tries: &mut Tries<'_>,
        upload: &mut Upload<'_>,
        story: &mut Story,
    ) -> Result<Done, Failed> {
        let (to, mut upstream) = self.connect(tries, story).await?;
        story.upstream = Some(to);
        let _under_way = self.upstreams.load.begin(to);
        let per_try = tries.retries.and_then(|retries| retries.per_try);
        let call = Call {
            client: self.client,
            tally: self.tally,
            head: &tries.head,
            asked: request.asked(),
            version: request.version(),
            edits: &tries.edits,
            closes: !request.persists() || self.drain.is_requested(),
            retries: tries.retries.filter(|_| tries.may_retry),
            one_try: [per_try, tries.answer_within].into_iter().flatten().min(),
            is_lost: upload.kept.is_none().into(),
        };
        let reused = upstream.requests > 0;
        let done = attempt(&call, upload, &mut tries.clock, &upstream.stream, reused).await?;
        upstream.requests += 1;
        if done.reusable && self.may_wait(tries, &upstream) {
            let own = match &tries.way {
                Way::Routed { backend, .. } => backend.policy.limits.http_idle,
                Way::Dialled => None,
            };
            let idle = own.unwrap_or(USUAL_IDLE).min(done.idle.unwrap_or(Duration::MAX));
            self.upstreams.pool.put(to, upstream, idle);
        } else {
            // What was sent has been answered; a failure to say goodbye is nobody's loss.
            let _ = upstream.stream.close();
        }
        Ok(done)
    }

    fn may_wait(&self, tries: &Tries<'_>, upstream: &Upstream) -> bool {
        let Way::Routed { backend, .. } = &tries.way else { return true };
        let limits = &backend.policy.limits;
        limits.per_connection.is_none_or(|most| upstream.requests < most)
            && limits.connection_age.is_none_or(|age| upstream.since.elapsed() < age)
    }

    /// A connection to the next endpoint: one that waits, or a new one. An endpoint that cannot be
    /// reached makes way for another.
    async fn connect(
        &self,
        tries: &mut Tries<'_>,
        story: &mut Story,
    ) -> Result<(UpstreamAddr, Upstream), Failed> {
        let mut dials = 0;
        loop {
            let (to, patience) = match &tries.way {
                Way::Dialled => (UpstreamAddr(self.policy.origin.dst.0), self.limits.connect),
                Way::Routed { backend, endpoints } => {
                    let of = (*backend, endpoints);
                    let to = self.upstreams.load.next(of, &self.policy.origin, &tries.tried);
                    (to.ok_or(Failed::NoEndpoint)?, backend.policy.limits.connect_timeout)
                }
            };
            let is_repeated = tries.tried.contains(&to);
            tries.tried.push(to);
            if let Some(waiting) = self.upstreams.pool.take(to) {
                return Ok((to, waiting));
            }
            story.upstream = Some(to);
            dials += 1;
            match self.dial(to, patience).await {
                Ok(stream) => {
                    return Ok((to, Upstream { stream, since: Instant::now(), requests: 0 }));
                }
                Err(Failed::Dial(_)) if !is_repeated && dials < MOST_DIALS && tries.has_more() => {}
                Err(failed) => return Err(failed),
            }
        }
    }

    async fn dial(&self, to: UpstreamAddr, patience: Duration) -> Result<ResetStream, Failed> {
        let dialled = tokio::select! {
            dialled = self.seams.dial.dial(self.workload, to, patience) => dialled,
            error = self.client.broken() => return Err(Failed::Client(error)),
        };
        let stream = dialled.map_err(Failed::Dial)?;
        let local = |error: std::io::Error| Failed::Dial(DialError::Local(error.into()));
        ResetStream::dialled(stream).map_err(local)
    }
}

impl Tries<'_> {
    /// Whether an answer would call for another try, were there one.
    fn wants_another(&self, status: u16) -> bool {
        self.retries.is_some_and(|retries| retry::names_status(retries, status))
    }

    /// Whether there is an endpoint that was not tried.
    fn has_more(&self) -> bool {
        let Way::Routed { endpoints: Endpoints::Listed(listed), .. } = &self.way else {
            return false;
        };
        listed.len() > self.tried.len()
    }
}
