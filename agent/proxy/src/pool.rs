//! Connections of one workload to its upstreams that wait for their next request.
//!
//! The last that was put back is the first to be taken, so that the others grow old and go. One that
//! has something to read is no use any more: its server has closed it, or speaks out of turn.

use std::{
    collections::HashMap,
    mem::MaybeUninit,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use socket2::SockRef;
use tokio::{sync::Notify, time::Instant};

use crate::{UpstreamAddr, reset_stream::ResetStream};

/// How long a connection waits where nobody says; the server may say less.
pub(crate) const USUAL_IDLE: Duration = Duration::from_mins(1);
/// How often the old ones are looked for.
const SWEEP: Duration = Duration::from_secs(1);

/// A connection to an upstream.
#[derive(Debug)]
pub(crate) struct Upstream {
    pub(crate) stream: ResetStream,
    /// When it was made.
    pub(crate) since: Instant,
    /// Requests that it has carried.
    pub(crate) requests: u32,
}

#[derive(Debug)]
struct Waiting {
    upstream: Upstream,
    until: Instant,
}

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Pool {
    waiting: Mutex<HashMap<UpstreamAddr, Vec<Waiting>>>,
    filled: Notify,
}

impl Pool {
    /// A connection that still waits.
    pub(crate) fn take(&self, to: UpstreamAddr) -> Option<Upstream> {
        let now = Instant::now();
        loop {
            let waiting = self.lock().get_mut(&to)?.pop()?;
            // Those that are not taken are closed by being dropped, outside of the lock.
            if now < waiting.until && is_quiet(&waiting.upstream.stream) {
                return Some(waiting.upstream);
            }
        }
    }

    /// Has a connection wait for its next request, so long at most.
    pub(crate) fn put(&self, to: UpstreamAddr, upstream: Upstream, idle: Duration) {
        let until = Instant::now() + idle;
        self.lock().entry(to).or_default().push(Waiting { upstream, until });
        self.filled.notify_one();
    }

    /// Closes what has waited too long or was closed by its server, for as long as it is polled.
    pub(crate) async fn sweep(&self) {
        loop {
            if self.lock().is_empty() {
                self.filled.notified().await;
            }
            tokio::time::sleep(SWEEP).await;
            self.close_old(Instant::now());
        }
    }

    fn close_old(&self, now: Instant) {
        let mut old = Vec::new();
        let mut all = self.lock();
        for waiting in all.values_mut() {
            let is_old = |one: &mut Waiting| one.until <= now || !is_quiet(&one.upstream.stream);
            old.extend(waiting.extract_if(.., is_old));
        }
        all.retain(|_, waiting| !waiting.is_empty());
        drop(all);
        old.into_iter().for_each(|one| drop(one.upstream.stream.close()));
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<UpstreamAddr, Vec<Waiting>>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether nothing has come, not even the end. Asked of the kernel: the runtime may not have heard.
fn is_quiet(stream: &ResetStream) -> bool {
    let mut byte = [MaybeUninit::uninit()];
    let peeked = SockRef::from(stream.stream()).peek(&mut byte);
    peeked.is_err_and(|error| error.kind() == std::io::ErrorKind::WouldBlock)
}
