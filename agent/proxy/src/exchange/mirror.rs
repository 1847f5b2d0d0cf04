//! Copies of requests, whose answers are read and thrown away.

use std::{sync::Arc, time::Duration};

use agent_model::{
    endpoints::Endpoints,
    requests::{
        policy::Keepalive,
        route::{Mirror, Route},
    },
};
use tokio::time::{Instant, timeout};

use super::{
    Connection, asked::AskedFor, attempt::next_head, bytes::read_some, decide::happens,
    forward::reachable, story::Story,
};
use crate::{
    Origin, Seams, WorkloadId,
    cluster::{Cluster, Obtained, USUAL_IDLE, Upstream, Wanted},
    http1::{
        body::{Body, Framing},
        edit::Edits,
        response::Asked,
        write,
    },
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
    head: Vec<u8>,
    asked: Asked,
}

impl Connection<'_> {
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
            seams: self.seams.clone(),
            workload: self.workload,
            origin: self.policy.origin,
            cluster: self.clusters.of(backend),
            endpoints: self.seams.judge.endpoints(backend),
            connect: backend.policy.limits.connect_timeout,
            head: request.outgoing(target.as_bytes(), host.map(str::as_bytes), &edits),
            asked: request.asked(),
        })
    }
}

impl Copy {
    /// Gives it its body.
    pub(super) fn with_body(mut self, body: &[u8], framing: Framing) -> Self {
        let is_chunked = framing == Framing::Chunked;
        if framing != Framing::Empty {
            write::body(&mut self.head, body, is_chunked);
            write::end(&mut self.head, &[], is_chunked);
        }
        self
    }

    /// Sends it.
    pub(super) async fn send(self) {
        // An answer that does not come is as good as one that does.
        let _ = timeout(PATIENCE, self.carry()).await;
    }

    async fn carry(self) -> Option<()> {
        let Self { seams, workload, origin, cluster, endpoints, connect, head, asked } = self;
        let wanted = Wanted { endpoints: &endpoints, origin: &origin, tried: &[], key: None };
        let to = cluster.choose(&wanted)?;
        let mut upstream = match cluster.obtain(to).await.ok()? {
            Obtained::Waited(upstream) => upstream,
            Obtained::Dial(lease, _pending) => {
                let dialled = seams.dial.dial(workload, to, connect).await.ok()?;
                let stream = ResetStream::dialled(dialled, Keepalive::default()).ok()?;
                Upstream { stream, since: Instant::now(), requests: 0, lease }
            }
        };
        let _under_way = cluster.begin(to).ok()?;
        upstream.stream.write_all(&head, &Tally::default().sent).await.ok()?;
        let is_reusable = skip_answer(&upstream.stream, asked).await?;
        upstream.requests += 1;
        let most = backend_limit(&cluster);
        if is_reusable && most.is_none_or(|most| upstream.requests < most) {
            cluster.put(upstream, USUAL_IDLE);
        } else {
            // What was sent has been answered.
            let _ = upstream.close();
        }
        Some(())
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
        if !heard.response.is_interim() {
            break heard.response;
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
