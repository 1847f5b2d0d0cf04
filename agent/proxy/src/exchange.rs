//! The requests of one client connection.
//!
//! ```text
//! requests   HTTP/1: head by head, one after the other
//! streams    HTTP/2: streams, side by side
//! marks      what tells a request from others: its id, its trace
//! decide     what the model says of a request, and what is done then
//! asked      a request as the model asks about it, and as it is sent on
//! client     the client's side of a request
//! clock      how long a request may take
//! cors       what browsers are told about other origins
//! sticky     what leads a request to its endpoint
//! mirror     copies of requests
//! forward    the tries of one request: destination, endpoint, connection, again
//! connect    a connection for a try
//! attempt    one try: request and answer, both at once
//! upstream   the upstream's side of a try
//! retry      what is tried again
//! failed     why a try came to nothing, and the answers that are made here
//! bytes      what is kept of a body for another try
//! flow       bodies of either version
//! story      what became of a request; flags: what went wrong with it
//! ```
//!
//! The model is the only one to decide where a request goes ([`agent_model::requests`]), and it is
//! asked again for each: a route that changes holds from the next request on.

mod asked;
mod attempt;
mod bytes;
mod client;
mod clock;
mod connect;
mod cors;
mod decide;
mod failed;
mod flags;
mod flow;
mod forward;
mod marks;
mod mirror;
mod requests;
mod retry;
mod sticky;
mod story;
mod streams;
mod upstream;

use std::{
    io,
    sync::{Arc, Mutex, PoisonError, atomic::Ordering},
};

use agent_model::{
    egress::{DefaultAction, ProxyDuty},
    requests::outbound::Outbound,
};
use tokio::time::Instant;

use crate::{
    Drain, Failure, Origin, PeerAddr, Seams, WorkloadId, clusters::Clusters, limits::Limits,
    record::Tally,
};
use asked::AskedFor;
use attempt::Upload;
use client::Client;
use decide::Outcome;
use failed::{Failed, Local};
pub use flags::{Flag, Flags};
pub use marks::{Span, Tracing};
use story::Story;
pub use story::{Exchanged, RequestProtocol};

/// One client connection.
pub(crate) struct Connection<'a> {
    pub(crate) seams: &'a Seams,
    pub(crate) limits: &'a Limits,
    pub(crate) workload: WorkloadId,
    pub(crate) peer: PeerAddr,
    pub(crate) policy: Policy,
    pub(crate) clusters: &'a Clusters,
    pub(crate) drain: Drain,
    /// What the model said last, and of which version.
    pub(crate) outbound: Mutex<Option<(u64, Option<Arc<Outbound>>)>>,
}

impl Connection<'_> {
    /// What the workload may dial. Each request asks, and the answer holds for as long as the
    /// configuration stays.
    fn outbound(&self) -> Option<Arc<Outbound>> {
        let judge = &self.seams.judge;
        let version = judge.version();
        let mut last = self.outbound.lock().unwrap_or_else(PoisonError::into_inner);
        match &*last {
            Some((of, outbound)) if *of == version => outbound.clone(),
            _ => last.insert((version, judge.outbound(self.workload))).1.clone(),
        }
    }
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
    /// It is no HTTP: what was read of it so far.
    Other(Vec<u8>),
}

/// One request of a connection.
struct Exchange<'a> {
    on: &'a Connection<'a>,
    client: &'a Client<'a>,
    /// What was carried for it, and for those before it on the same connection of HTTP/1.
    tally: &'a Tally,
}

impl Exchange<'_> {
    /// Serves it and tells of it. Says whether another may follow on its connection.
    async fn run(&self, asked: &AskedFor<'_>, upload: Upload<'_>) -> Result<bool, Failure> {
        let began = Instant::now();
        let before = carried(self.tally);
        let mut story = Story::default();
        let outcome = self.serve_one(asked, upload, &mut story).await;
        let (status, result) = self.conclude(asked, outcome, &mut story).await;
        let after = carried(self.tally);
        let Connection { seams, workload, peer, policy, .. } = self.on;
        seams.records.exchanged(Exchanged {
            workload: *workload,
            client: *peer,
            origin: policy.origin,
            protocol: asked.protocol(),
            method: asked.method().to_owned(),
            authority: asked.authority().to_owned(),
            path: asked.target().to_owned(),
            request_id: asked.marks().request_id.clone(),
            span: asked.marks().span,
            user_agent: asked.first("user-agent").map(str::to_owned),
            forwarded_for: asked.first("x-forwarded-for").map(str::to_owned),
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
            error: story.error,
        });
        result
    }

    /// Answers what is no request.
    async fn refuse(&self, asked: &AskedFor<'_>, local: Local) {
        let mut flags = Flags::default();
        flags.add(Flag::DownstreamProtocolError);
        let told = self.client.tell(asked, &local, &[], self).await;
        let status = if told.is_ok() { local.status } else { 0 };
        let bytes_received = carried(self.tally).1;
        let Connection { seams, workload, peer, policy, .. } = self.on;
        seams.records.exchanged(Exchanged::refused(
            (*workload, *peer, policy.origin),
            asked.protocol(),
            (status, flags, bytes_received),
        ));
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
                let told = self.client.tell(asked, &local, &lines, self).await;
                return (local.status, told);
            }
            Outcome::Failed(failed) => failed,
        };
        if let Some(flag) = failed.flag() {
            story.flags.add(flag);
        }
        if let Some(local) = failed.answer() {
            if let Failed::Dial(error) = failed {
                story.error = Some(Arc::new(error));
            }
            return (local.status, self.client.tell(asked, &local, &[], self).await);
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
}

fn carried(tally: &Tally) -> (u64, u64) {
    let Tally { sent, received } = tally;
    (sent.load(Ordering::Relaxed), received.load(Ordering::Relaxed))
}
