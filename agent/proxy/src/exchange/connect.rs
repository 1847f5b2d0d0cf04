//! A connection for a try: one that is there, or a new one.

use std::{sync::Arc, time::Duration};

use tokio::time::{Instant, timeout};

use super::{
    Exchange,
    asked::RequestHead,
    failed::Failed,
    forward::{Near, Tries},
    story::Story,
};
use crate::{
    DialError, UpstreamAddr,
    cluster::{Cluster, NoStream, Obtained, Overflow, Seen, Upstream, Wanted},
    race::Race,
    reach::{Apart, Reach},
    reset_stream::ResetStream,
};

/// What all dials of a try share.
#[derive(Clone, Copy)]
struct Dials<'t> {
    cluster: &'t Arc<Cluster>,
    head: &'t RequestHead,
    apart: &'t Apart,
    end: Option<Instant>,
}

impl Exchange<'_> {
    /// A connection to the next endpoint: one that waits, or a new one. An endpoint that cannot be
    /// reached, or does not answer soon, makes way for another.
    pub(super) async fn connect(
        &self,
        tries: &mut Tries<'_>,
        story: &mut Story,
    ) -> Result<(UpstreamAddr, Near), Failed> {
        // The time counts from when the request was read; while it is not, from now.
        let end = tries.clock.end_from(Instant::now());
        let Tries { cluster, endpoints, key, apart, head, tried, .. } = tries;
        let dials = Dials { cluster, head, apart, end };
        let (origin, key) = (&self.on.policy.origin, *key);
        let first = cluster.choose(&Wanted { endpoints, origin, tried, key });
        let first = first.ok_or(Failed::NoEndpoint)?;
        tried.push(first);
        story.upstream = Some(first);
        let race = Race {
            dial: |to| self.near(to, dials, endpoints.is_mutual(to.0)),
            another: || {
                let to = dials.cluster.another(&Wanted { endpoints, origin, tried, key })?;
                tried.push(to);
                Some(to)
            },
            lost: |to| dials.cluster.report(to, Seen::NoAnswer),
        };
        let (to, near) = race.run(first, |failed| !matches!(failed, Failed::Dial(_))).await;
        story.upstream = Some(to);
        near.map(|near| (to, near))
    }

    /// A connection to an endpoint, in the version that the request's head is in.
    async fn near(&self, to: UpstreamAddr, dials: Dials<'_>, mutual: bool) -> Result<Near, Failed> {
        let Dials { cluster, head, apart, end } = dials;
        let policy = cluster.backend().map(|backend| &backend.policy);
        let apart = apart.at(to, (policy, mutual), self.on.seams).map_err(Failed::Dial)?;
        let apart = &*apart;
        if let RequestHead::Http2(_) = head {
            let dial = || self.dial(to, dials, apart);
            let obtained = cluster.obtain_streams((to, apart), dial);
            // Others may dial already, one after the other: no one waits longer for them than by itself.
            let after = self.patience(cluster);
            let obtained = self.within(end, timeout(after, obtained)).await?;
            let late = |_| Failed::Dial(DialError::TimedOut { addr: to, after });
            return obtained.map_err(late)?.map(Near::Http2).map_err(|none| match none {
                NoStream::Overflow => Failed::Overflow,
                NoStream::Dial(failed) => failed,
                NoStream::Handshake(error) => Failed::Dial(DialError::Local(Box::new(error))),
            });
        }
        let obtained = cluster.obtain(to, apart);
        let obtained = self.within(end, obtained).await?;
        let (lease, _pending) = match obtained.map_err(|Overflow| Failed::Overflow)? {
            Obtained::Waited(upstream) => return Ok(Near::Http1(upstream)),
            Obtained::Dial(lease, pending) => (lease, pending),
        };
        let stream = self.dial(to, dials, apart).await?;
        let since = Instant::now();
        Ok(Near::Http1(Upstream { stream, since, requests: 0, apart: apart.clone(), lease }))
    }

    /// How long a destination has to answer.
    fn patience(&self, cluster: &Cluster) -> Duration {
        let own = cluster.backend().map(|backend| backend.policy.limits.connect_timeout);
        own.unwrap_or(self.on.limits.connect)
    }

    async fn dial(
        &self,
        to: UpstreamAddr,
        dials: Dials<'_>,
        apart: &Apart,
    ) -> Result<ResetStream, Failed> {
        let reach = Reach {
            seams: self.on.seams,
            from: self.on.workload,
            policy: dials.cluster.backend().map(|backend| &backend.policy),
            patience: self.on.limits.connect,
            speaks: dials.head.speaks(),
            apart,
        };
        // Boxed, since most requests find a connection that waits.
        self.within(dials.end, Box::pin(reach.connect(to))).await?.map_err(Failed::Dial)
    }
}
