//! Connections of HTTP/2 to an upstream: one an endpoint, which all streams share.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use futures_util::FutureExt as _;
use h2::client::SendRequest;
use tokio::{sync::Mutex, time::Instant};

use super::{Cluster, Lease, Overflow, is_reached, leases::USUAL_IDLE};
use crate::{
    UpstreamAddr,
    http2::{CONNECTION_WINDOW, SEND_BUFFER, STREAM_WINDOW},
    reach::Apart,
    reset_stream::ResetStream,
    wire::Wire,
};

/// Bytes of an answer's head.
const HEAD: u32 = 60 * 1024;

/// The connection of an endpoint that may be shared, while there is one. Who dials holds it: the others wait for the
/// same connection.
pub(super) type Shared = Arc<Mutex<Option<Open>>>;

/// A connection that streams share.
#[derive(Debug)]
pub(super) struct Open {
    send: SendRequest<Bytes>,
    since: Instant,
    last: Instant,
    /// Streams that it has carried.
    carried: u32,
}

/// Why there is no connection.
#[derive(Debug)]
pub(crate) enum NoStream<E> {
    /// A limit is reached.
    Overflow,
    /// It could not be dialled.
    Dial(E),
    /// What answers speaks no HTTP/2.
    Handshake(h2::Error),
}

impl Cluster {
    /// A connection to an endpoint: the one that is there, or what `dial` makes.
    pub(crate) async fn obtain_streams<F, E>(
        self: &Arc<Self>,
        (to, apart): (UpstreamAddr, &Apart),
        dial: impl FnOnce() -> F,
    ) -> Result<SendRequest<Bytes>, NoStream<E>>
    where
        F: Future<Output = Result<ResetStream, E>>,
    {
        let (shared, _pending) = {
            let mut state = self.lock();
            if is_reached(state.pending, self.limits().and_then(|limits| limits.pending)) {
                return Err(NoStream::Overflow);
            }
            let pending = self.pending(&mut state);
            let shared = state.host(to.0).streams.entry(apart.clone()).or_default();
            (Arc::clone(shared), pending)
        };
        let mut place = shared.lock().await;
        if let Some(open) = &mut *place
            && self.may_carry(open)
        {
            open.carried += 1;
            open.last = Instant::now();
            return Ok(open.send.clone());
        }
        // Its streams go on; the connection ends with the last of them.
        *place = None;
        let lease = self.lease_for(to.0).map_err(|Overflow| NoStream::Overflow)?;
        let stream = dial().await.map_err(NoStream::Dial)?;
        let send = self.drive(stream, lease).await.map_err(NoStream::Handshake)?;
        let now = Instant::now();
        *place = Some(Open { send: send.clone(), since: now, last: now, carried: 1 });
        Ok(send)
    }

    fn may_carry(&self, open: &Open) -> bool {
        let limits = self.limits();
        let most = limits.and_then(|limits| limits.per_connection);
        let age = limits.and_then(|limits| limits.connection_age);
        // One that the upstream has closed, or asked to leave, fails at once.
        let is_open = open.send.clone().ready().now_or_never().is_none_or(|ready| ready.is_ok());
        is_open
            && most.is_none_or(|most| open.carried < most)
            && age.is_none_or(|age| open.since.elapsed() < age)
    }

    /// Speaks HTTP/2 on a connection, which has a task of its own from then on.
    async fn drive(
        &self,
        stream: ResetStream,
        lease: Lease,
    ) -> Result<SendRequest<Bytes>, h2::Error> {
        // What streams carry is counted by each of them.
        let wire = Wire::new(stream, Vec::new(), None);
        let (send, connection) = h2::client::Builder::new()
            .enable_push(false)
            .initial_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .max_header_list_size(HEAD)
            .max_send_buffer_size(SEND_BUFFER)
            .handshake::<_, Bytes>(wire)
            .await?;
        self.spawn(async move {
            let _lease = lease;
            if let Err(error) = connection.await {
                tracing::debug!(%error, "a connection of HTTP/2 to an upstream broke");
            }
        });
        Ok(send)
    }

    /// Gives up connections on which nothing has begun for too long.
    pub(super) fn sweep_streams(&self, now: Instant) {
        let idle = self.limits().and_then(|limits| limits.http_idle).unwrap_or(USUAL_IDLE);
        let all: Vec<Shared> =
            self.lock().hosts.values().flat_map(|host| host.streams.values().cloned()).collect();
        for shared in all {
            if let Ok(mut place) = shared.try_lock()
                && place.as_ref().is_some_and(|open| is_old(open, now, idle))
            {
                *place = None;
            }
        }
        // What tells them apart comes from clients: what is not used is not kept.
        for host in self.lock().hosts.values_mut() {
            host.streams.retain(|_, one| {
                Arc::strong_count(one) > 1 || one.try_lock().is_ok_and(|place| place.is_some())
            });
        }
    }
}

fn is_old(open: &Open, now: Instant, idle: Duration) -> bool {
    now.saturating_duration_since(open.last) >= idle
}
