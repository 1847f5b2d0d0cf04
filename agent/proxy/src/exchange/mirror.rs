//! Copies of requests, whose answers are read and thrown away.

use std::{sync::Arc, time::Duration};

use agent_model::{
    endpoints::Endpoints,
    requests::{
        policy::Keepalive,
        route::{Mirror, Route},
    },
};
use bytes::Bytes;
use http::Request;
use tokio::time::{Instant, timeout};

use super::{
    Exchange,
    asked::{AskedFor, RequestHead},
    bytes::read_some,
    decide::happens,
    flow::{Sink, Source, flow},
    forward::{reachable, request_head},
    story::Story,
    upstream::{Head, next_head},
};
use crate::{
    Origin, Seams, UpstreamAddr, WorkloadId,
    cluster::{Cluster, Obtained, USUAL_IDLE, Upstream, Wanted},
    http1::{
        body::{Body, Framing},
        edit::Edits,
        response::Asked,
        write,
    },
    http2::trailers::Trailers,
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
    endpoints: Endpoints,
    connect: Duration,
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
        let edits = Edits::new([&route.headers.request]);
        let target = route.rewritten(request.target());
        let host = edits.host().or(route.rewritten_authority());
        Some(Copy {
            seams: self.on.seams.clone(),
            workload: self.on.workload,
            origin: self.on.policy.origin,
            cluster: self.on.clusters.of(backend),
            endpoints: self.on.seams.judge.endpoints(backend),
            connect: backend.policy.limits.connect_timeout,
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
            RequestHead::Http1(head) => self.by_http1(to, head).await,
            RequestHead::Http2(head) => self.by_http2(to, head).await,
        }
    }

    async fn dial(&self, to: UpstreamAddr) -> Option<ResetStream> {
        let dialled = self.seams.dial.dial(self.workload, to, self.connect).await.ok()?;
        ResetStream::dialled(dialled, Keepalive::default()).ok()
    }

    async fn by_http1(&self, to: UpstreamAddr, head: &[u8]) -> Option<()> {
        let mut upstream = match self.cluster.obtain(to).await.ok()? {
            Obtained::Waited(upstream) => upstream,
            Obtained::Dial(lease, _pending) => {
                let stream = self.dial(to).await?;
                Upstream { stream, since: Instant::now(), requests: 0, lease }
            }
        };
        let _under_way = self.cluster.begin(to).ok()?;
        let mut out = head.to_vec();
        if let Some((body, framing)) = &self.body {
            let is_chunked = *framing == Framing::Chunked;
            write::body(&mut out, body, is_chunked);
            write::end(&mut out, &[], is_chunked);
        }
        upstream.stream.write_all(&out, &Tally::default().sent).await.ok()?;
        let is_reusable = skip_answer(&upstream.stream, self.asked).await?;
        upstream.requests += 1;
        let most = backend_limit(&self.cluster);
        if is_reusable && most.is_none_or(|most| upstream.requests < most) {
            self.cluster.put(upstream, USUAL_IDLE);
        } else {
            // What was sent has been answered.
            let _ = upstream.close();
        }
        Some(())
    }

    async fn by_http2(&self, to: UpstreamAddr, head: &Request<()>) -> Option<()> {
        let dial = || async { self.dial(to).await.ok_or(()) };
        let send = self.cluster.obtain_streams(to, dial).await.ok()?;
        let _under_way = self.cluster.begin(to).ok()?;
        let mut send = send.ready().await.ok()?;
        let body = self.body.as_ref().map(|(body, _)| body.clone()).unwrap_or_default();
        let (response, stream) = send.send_request(head.clone(), body.is_empty()).ok()?;
        if !body.is_empty() {
            let tally = Tally::default();
            let mut sink = Sink::Http2 { to: stream, carried: &tally.sent };
            sink.data(body).await.ok()?;
            sink.end(Trailers::default()).await.ok()?;
        }
        let from = response.await.ok()?.into_body();
        flow(&mut Source::Http2 { from, taken: 0 }, &mut Sink::Nowhere, None).await.ok()
    }
}

fn backend_limit(cluster: &Cluster) -> Option<u32> {
    cluster.backend().and_then(|backend| backend.policy.limits.per_connection)
}

/// Reads an answer to its end. Says whether its connection may carry another request; nothing where
/// the answer broke off.
async fn skip_answer(stream: &ResetStream, asked: Asked) -> Option<bool> {
    let mut inbox = Vec::new();
    let response = loop {
        let heard = next_head(stream, &mut inbox, asked).await.ok()?;
        let Head::Http1 { response, .. } = heard.head else { return None };
        if !response.is_interim() {
            break response;
        }
    };
    if response.framing == Framing::Tunnel {
        return Some(false);
    }
    let mut body = Body::new(response.framing);
    loop {
        let piece = body.next(&inbox).ok()?;
        inbox.drain(..piece.skip + piece.data);
        if piece.is_last {
            return Some(response.persists && inbox.is_empty());
        }
        if piece.skip + piece.data == 0 && read_some(stream, &mut inbox).await.ok()? == 0 {
            return body.may_end().then_some(false);
        }
    }
}
