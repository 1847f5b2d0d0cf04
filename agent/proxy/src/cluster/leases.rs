//! Connections of a cluster: those that wait for their next request, a place for a new one, and the
//! queue for either where the destination's limits allow no more.
//!
//! The last that was put back is the first to be taken, so that the others grow old and go. One that
//! has something to read is no use any more: its server has closed it, or speaks out of turn.

use std::{
    net::SocketAddr,
    sync::{Arc, Weak},
    time::Duration,
};

use tokio::{sync::oneshot, time::Instant};

use super::{Cluster, Overflow, State, is_reached};
use crate::{UpstreamAddr, reach::Apart, reset_stream::ResetStream};

/// How long a connection waits where nothing says; the server may say less.
pub(crate) const USUAL_IDLE: Duration = Duration::from_mins(1);

/// A connection to an upstream.
#[derive(Debug)]
pub(crate) struct Upstream {
    pub(crate) stream: ResetStream,
    /// When it was made.
    pub(crate) since: Instant,
    /// Requests that it has carried.
    pub(crate) requests: u32,
    /// What it shares with no others.
    pub(crate) apart: Apart,
    pub(crate) lease: Lease,
}

impl Upstream {
    /// Closes it in good order.
    pub(crate) fn close(self) -> std::io::Result<()> {
        self.stream.close()
    }
}

/// A connection that waits.
#[derive(Debug)]
pub(super) struct Waiting {
    upstream: Upstream,
    until: Instant,
}

/// A connection's place among those that its cluster allows. It is given back when this goes.
#[derive(Debug)]
pub(crate) struct Lease {
    // A connection that waits is in its cluster, which must not keep itself.
    cluster: Weak<Cluster>,
    at: SocketAddr,
}

/// A request that waits in the queue, for a connection that may be shared like this.
#[derive(Debug)]
pub(super) struct Queued {
    apart: Apart,
    turn: oneshot::Sender<Turn>,
}

/// What the first of the queue gets.
#[derive(Debug)]
pub(super) enum Turn {
    Use(Upstream),
    Dial(Lease),
}

/// A connection, or leave to make one.
#[derive(Debug)]
pub(crate) enum Obtained {
    /// One that waited.
    Waited(Upstream),
    /// A place for a new one; the request counts as pending until there is a connection.
    Dial(Lease, Pending),
}

/// A request that has no connection yet; it is counted until this goes.
#[derive(Debug)]
pub(crate) struct Pending(Arc<Cluster>);

impl Drop for Pending {
    fn drop(&mut self) {
        self.0.lock().pending -= 1;
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        if let Some(cluster) = self.cluster.upgrade() {
            cluster.give_back(self.at);
        }
    }
}

impl Cluster {
    /// A connection to an endpoint: one that waits, or leave to make one. Where no more are allowed
    /// it waits in the queue of that endpoint, and where that is full there is none.
    pub(crate) async fn obtain(
        self: &Arc<Self>,
        to: UpstreamAddr,
        apart: &Apart,
    ) -> Result<Obtained, Overflow> {
        while let Some(waiting) = self.pop(to.0, apart) {
            // Those that are not taken are closed by being dropped, outside of the lock.
            if Instant::now() < waiting.until && waiting.upstream.stream.is_quiet() {
                return Ok(Obtained::Waited(waiting.upstream));
            }
        }
        let (pending, turn, other) = {
            let mut state = self.lock();
            if is_reached(state.pending, self.limits().and_then(|limits| limits.pending)) {
                return Err(Overflow);
            }
            let pending = self.pending(&mut state);
            let is_full = is_reached(state.connections, self.most_connections());
            // An endpoint without any connection gets one always, or it would wait for ever.
            if !is_full || state.host(to.0).connections == 0 {
                return Ok(Obtained::Dial(self.lease(&mut state, to.0), pending));
            }
            let (sender, turn) = oneshot::channel();
            let host = state.host(to.0);
            host.queue.push_back(Queued { apart: apart.clone(), turn: sender });
            // One that waits is none for this, and makes way.
            (pending, turn, host.waiting.pop())
        };
        drop(other);
        match turn.await {
            Ok(Turn::Use(upstream)) => Ok(Obtained::Waited(upstream)),
            Ok(Turn::Dial(lease)) => Ok(Obtained::Dial(lease, pending)),
            // The queue goes with the cluster alone, and the cluster is held here.
            Err(_) => Err(Overflow),
        }
    }

    /// Has a connection wait for its next request, so long at most, or hands it to the first of the
    /// queue.
    pub(crate) fn put(&self, mut upstream: Upstream, idle: Duration) {
        let until = Instant::now() + idle;
        let mut state = self.lock();
        let host = state.host(upstream.lease.at);
        while let Some(next) = host.queue.pop_front() {
            if next.apart != upstream.apart {
                host.queue.push_front(next);
                drop(state);
                // Its place is for a connection that is.
                let _ = upstream.close();
                return;
            }
            match next.turn.send(Turn::Use(upstream)) {
                Err(Turn::Use(back)) => upstream = back,
                Ok(()) | Err(Turn::Dial(_)) => return,
            }
        }
        host.waiting.push(Waiting { upstream, until });
    }

    /// Closes what has waited too long or was closed by its server, and forgets endpoints that are
    /// gone.
    pub(crate) fn sweep(&self, now: Instant) {
        let mut old = Vec::new();
        let mut state = self.lock();
        for host in state.hosts.values_mut() {
            let is_old = |one: &mut Waiting| one.until <= now || !one.upstream.stream.is_quiet();
            old.extend(host.waiting.extract_if(.., is_old));
        }
        let remembers = self.remembers();
        let is_kept = |host: &super::Host| !host.is_idle() || (remembers && host.is_offered(now));
        state.hosts.retain(|_, host| is_kept(host));
        drop(state);
        self.sweep_streams(now);
        for one in old {
            // It carried nothing that waits for an answer.
            let _ = one.upstream.close();
        }
    }

    /// Counts a request that has no connection yet.
    pub(super) fn pending(self: &Arc<Self>, state: &mut State) -> Pending {
        state.pending += 1;
        Pending(Arc::clone(self))
    }

    /// A place for a connection to an endpoint, if there is one.
    pub(crate) fn lease_for(self: &Arc<Self>, at: SocketAddr) -> Result<Lease, Overflow> {
        let mut state = self.lock();
        let is_full = is_reached(state.connections, self.most_connections());
        if is_full && state.host(at).connections > 0 {
            return Err(Overflow);
        }
        Ok(self.lease(&mut state, at))
    }

    fn pop(&self, at: SocketAddr, apart: &Apart) -> Option<Waiting> {
        let mut state = self.lock();
        let waiting = &mut state.hosts.get_mut(&at)?.waiting;
        let last = waiting.iter().rposition(|one| one.upstream.apart == *apart)?;
        Some(waiting.remove(last))
    }

    fn most_connections(&self) -> Option<u32> {
        self.limits().and_then(|limits| limits.connections)
    }

    fn lease(self: &Arc<Self>, state: &mut State, at: SocketAddr) -> Lease {
        state.connections += 1;
        state.host(at).connections += 1;
        Lease { cluster: Arc::downgrade(self), at }
    }

    /// A connection is gone: its place is for the first that waits for one, best at that endpoint.
    fn give_back(self: &Arc<Self>, at: SocketAddr) {
        let mut state = self.lock();
        state.connections -= 1;
        state.host(at).connections -= 1;
        let is_full = is_reached(state.connections, self.most_connections());
        let waits = |host: &super::Host| {
            // As in `obtain`: an endpoint without any connection gets one always.
            (!is_full || host.connections == 0)
                && host.queue.iter().any(|one| !one.turn.is_closed())
        };
        let own = state.hosts.get(&at).is_some_and(waits).then_some(at);
        let any = || state.hosts.iter().find(|(_, host)| waits(host)).map(|(at, _)| *at);
        let Some(next) = own.or_else(any) else { return };
        let first = loop {
            match state.host(next).queue.pop_front() {
                Some(one) if one.turn.is_closed() => {}
                other => break other,
            }
        };
        let Some(first) = first else { return };
        let lease = self.lease(&mut state, next);
        drop(state);
        // One that has gone meanwhile gives its place back in turn.
        let _ = first.turn.send(Turn::Dial(lease));
    }
}
