//! A connection for a try: one that is there, or a new one.

use tokio::time::Instant;

use super::{
    Exchange,
    asked::RequestHead,
    failed::Failed,
    forward::{Near, Tries},
    story::Story,
};
use crate::{
    DialError, UpstreamAddr,
    cluster::{NoStream, Obtained, Overflow, Seen, Upstream, Wanted},
    reach::Reach,
    reset_stream::ResetStream,
};

/// Dials of one try that may fail before it counts as one: nothing was sent by them.
const MOST_DIALS: usize = 3;

impl Exchange<'_> {
    /// A connection to the next endpoint: one that waits, or a new one. An endpoint that cannot be
    /// reached makes way for another.
    pub(super) async fn connect(
        &self,
        tries: &mut Tries<'_>,
        story: &mut Story,
    ) -> Result<(UpstreamAddr, Near), Failed> {
        let mut dials = 0;
        // The time counts from when the request was read; while it is not, from now.
        let end = tries.clock.end_from(Instant::now());
        loop {
            let wanted = Wanted {
                endpoints: &tries.endpoints,
                origin: &self.on.policy.origin,
                tried: &tries.tried,
                key: tries.key,
            };
            let to = tries.cluster.choose(&wanted).ok_or(Failed::NoEndpoint)?;
            let is_repeated = tries.tried.contains(&to);
            tries.tried.push(to);
            story.upstream = Some(to);
            dials += 1;
            match self.near(to, tries, end).await {
                Ok(near) => return Ok((to, near)),
                Err(Failed::Dial(error)) => {
                    tries.cluster.report(to, Seen::NoAnswer);
                    if is_repeated || dials >= MOST_DIALS || !tries.has_more() {
                        return Err(Failed::Dial(error));
                    }
                }
                Err(failed) => return Err(failed),
            }
        }
    }

    /// A connection to an endpoint, in the version that the request's head is in.
    async fn near(
        &self,
        to: UpstreamAddr,
        tries: &Tries<'_>,
        end: Option<Instant>,
    ) -> Result<Near, Failed> {
        if let RequestHead::Http2(_) = tries.head {
            let dial = || self.dial(to, tries, end);
            let obtained = tries.cluster.obtain_streams((to, &tries.apart), dial);
            return self.within(end, obtained).await?.map(Near::Http2).map_err(|none| match none {
                NoStream::Overflow => Failed::Overflow,
                NoStream::Dial(failed) => failed,
                NoStream::Handshake(error) => Failed::Dial(DialError::Local(Box::new(error))),
            });
        }
        let obtained = tries.cluster.obtain(to, &tries.apart);
        let obtained = self.within(end, obtained).await?;
        let (lease, _pending) = match obtained.map_err(|Overflow| Failed::Overflow)? {
            Obtained::Waited(upstream) => return Ok(Near::Http1(upstream)),
            Obtained::Dial(lease, pending) => (lease, pending),
        };
        let stream = self.dial(to, tries, end).await?;
        let since = Instant::now();
        let apart = tries.apart.clone();
        Ok(Near::Http1(Upstream { stream, since, requests: 0, apart, lease }))
    }

    async fn dial(
        &self,
        to: UpstreamAddr,
        tries: &Tries<'_>,
        end: Option<Instant>,
    ) -> Result<ResetStream, Failed> {
        let reach = Reach {
            seams: self.on.seams,
            from: self.on.workload,
            policy: tries.cluster.backend().map(|backend| &backend.policy),
            patience: self.on.limits.connect,
            speaks: tries.head.speaks(),
            apart: &tries.apart,
        };
        // Boxed, since most requests find a connection that waits.
        self.within(end, Box::pin(reach.connect(to))).await?.map_err(Failed::Dial)
    }
}
