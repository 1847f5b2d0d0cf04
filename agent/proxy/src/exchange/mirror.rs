//! Copies of requests, whose answers are read and thrown away.

use std::{borrow::Cow, sync::Arc, time::Duration};

use agent_model::{
    endpoints::Endpoints,
    requests::route::{Mirror, Route},
};
use bytes::Bytes;
use tokio::time::{Instant, timeout};

use super::{
    Exchange,
    asked::{AskedFor, RequestHead},
    decide::happens,
    flow::{Sink, flow},
    forward::{reachable, request_head},
    story::Story,
    upstream::{Far, Opening},
};
use crate::{
    Origin, Seams, UpstreamAddr, WorkloadId,
    cluster::{Cluster, Obtained, USUAL_IDLE, Upstream, Wanted},
    http1::{body::Framing, edit::Edits, response::Asked},
    http2::trailers::Trailers,
    reach::{Apart, Reach},
    record::Tally,
    reset_stream::ResetStream,
};

/// A copy is given up after this, its answer included.
const PATIENCE: Duration = Duration::from_secs(15);

/// A copy on its way. It shares nothing with the request that it is of: it may outlive it.
pub(super) struct Copy {
    seams: Seams,
    workload: WorkloadId,
    origin: Origin,
    cluster: Arc<Cluster>,
    apart: Apart,
    endpoints: Endpoints,
    head: RequestHead,
    /// The body, once it is known, and how it is delimited.
    body: Option<(Bytes, Framing)>,
    asked: Asked,
}

impl Exchange<'_> {
    /// The copies that a request's route asks for, by chance.
    pub(super) fn copies(&self, request: &AskedFor<'_>, route: &Route) -> Vec<Copy> {
        let asked = route.mirrors.iter().filter(|mirror| happens(mirror.chance));
        asked.filter_map(|mirror| self.copy(request, route, mirror)).collect()
    }

    fn copy(&self, request: &AskedFor<'_>, route: &Route, mirror: &Mirror) -> Option<Copy> {
        let backend = reachable(&mirror.to, &mut Story::default()).ok()?;
        let mut edits = Edits::new([&route.headers.request]);
        edits.supply(&request.marks().lines);
        let target = route.rewritten(request.target());
        let host = edits.host().or(route.rewritten_authority());
        let cluster = self.on.clusters.of(backend);
        Some(Copy {
            seams: self.on.seams.clone(),
            workload: self.on.workload,
            origin: self.on.policy.origin,
            endpoints: cluster.endpoints(backend, &*self.on.seams.judge),
            cluster,
            apart: self.apart(backend, host.unwrap_or(request.authority())),
            head: request_head(request, Some(backend), (&target, host), &edits).ok()?,
            body: None,
            asked: request.asked(),
        })
    }
}

impl Copy {
    /// Gives it its body.
    pub(super) fn with_body(mut self, body: &[u8], framing: Framing) -> Self {
        self.body = Some((Bytes::copy_from_slice(body), framing));
        self
    }

    /// Sends it.
    pub(super) async fn send(self) {
        // An answer that does not come is as good as one that does.
        let _ = timeout(PATIENCE, self.carry()).await;
    }

    async fn carry(self) -> Option<()> {
        let Self { cluster, endpoints, origin, .. } = &self;
        let wanted = Wanted { endpoints, origin, tried: &[], key: None };
        let to = cluster.choose(&wanted)?;
        match &self.head {
            RequestHead::Http1(_) => self.by_http1(to).await,
            RequestHead::Http2(_) => self.by_http2(to).await,
        }
    }

    /// What tells connections to an endpoint from others.
    fn apart(&self, to: UpstreamAddr) -> Option<Cow<'_, Apart>> {
        let policy = self.cluster.backend().map(|backend| &backend.policy);
        self.apart.at(to, (policy, self.endpoints.is_mutual(to.0)), &self.seams).ok()
    }

    async fn dial(&self, to: UpstreamAddr, apart: &Apart) -> Option<ResetStream> {
        let backend = self.cluster.backend()?;
        let reach = Reach {
            seams: &self.seams,
            from: self.workload,
            policy: Some(&backend.policy),
            patience: PATIENCE,
            speaks: self.head.speaks(),
            apart,
        };
        reach.connect(to).await.ok()
    }

    /// Sends it on a connection, and reads its answer to the end. Says whether the connection may carry
    /// another request; nothing where either broke off.
    async fn exchange(&self, far: Far<'_>) -> Option<bool> {
        let (body, framing) = self.body.clone().unwrap_or((Bytes::new(), Framing::Empty));
        let tally = Tally::default();
        let opening =
            Opening { head: &self.head, asked: self.asked, framing, carried: &tally.sent };
        let (mut sink, mut listen) = far.open(&opening, framing == Framing::Empty).await.ok()?;
        if !body.is_empty() {
            sink.data(body).await.ok()?;
        }
        sink.end(Trailers::default()).await.ok()?;
        let mut heard = loop {
            let heard = listen.next().await.ok()?;
            if !heard.is_interim() {
                break heard;
            }
        };
        if heard.is_tunnel() {
            return Some(false);
        }
        let mut answer = listen.body(&mut heard)?;
        flow(&mut answer, &mut Sink::Nowhere, None).await.ok()?;
        drop(answer);
        Some(heard.persistence().1 && listen.rest().is_empty())
    }

    async fn by_http1(&self, to: UpstreamAddr) -> Option<()> {
        let apart = self.apart(to)?;
        let mut upstream = match self.cluster.obtain(to, &apart).await.ok()? {
            Obtained::Waited(upstream) => upstream,
            Obtained::Dial(lease, _pending) => {
                let stream = self.dial(to, &apart).await?;
                let (since, apart) = (Instant::now(), apart.into_owned());
                Upstream { stream, since, requests: 0, apart, lease }
            }
        };
        let _under_way = self.cluster.begin(to).ok()?;
        let far = Far::Http1 { stream: &upstream.stream, reused: upstream.requests > 0 };
        let is_reusable = self.exchange(far).await?;
        upstream.requests += 1;
        let backend = self.cluster.backend();
        let most = backend.and_then(|backend| backend.policy.limits.per_connection);
        if is_reusable && most.is_none_or(|most| upstream.requests < most) {
            self.cluster.put(upstream, USUAL_IDLE);
        } else {
            // What was sent has been answered.
            let _ = upstream.close();
        }
        Some(())
    }

    async fn by_http2(&self, to: UpstreamAddr) -> Option<()> {
        let apart = self.apart(to)?;
        let dial = || async { self.dial(to, &apart).await.ok_or(()) };
        let send = self.cluster.obtain_streams((to, &apart), dial).await.ok()?;
        let _under_way = self.cluster.begin(to).ok()?;
        self.exchange(Far::Http2(send)).await.map(drop)
    }
}
