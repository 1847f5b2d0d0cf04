//! What others take away: noted when it is put back, asked for when a canary fails.

use std::sync::{
    Mutex,
    atomic::{AtomicBool, Ordering},
};

use agent_base::lock::lock;
use jiff::Timestamp;

/// Hooks that somebody else took away.
#[derive(Clone, Debug, Default)]
pub(crate) struct Mended {
    /// How often one was put back since the agent started.
    pub(crate) count: u64,
    /// The last one.
    pub(crate) last: Option<Mend>,
}

/// A hook that was put back.
#[derive(Clone, Debug)]
pub(crate) struct Mend {
    /// The hook, or `layer 3`.
    pub(crate) hook: String,
    /// The cgroup, or the link's name.
    pub(crate) place: String,
    /// When.
    pub(crate) at: Timestamp,
}

/// What was put back, and whether somebody wants everything put in order.
#[derive(Debug, Default)]
pub(crate) struct Mending {
    asked: AtomicBool,
    done: Mutex<Mended>,
}

impl Mending {
    /// Asks that every hook be hung again, whatever the kernel says of its link.
    pub(crate) fn ask(&self) {
        self.asked.store(true, Ordering::Relaxed);
    }

    /// Whether somebody has asked.
    pub(crate) fn is_asked(&self) -> bool {
        self.asked.load(Ordering::Relaxed)
    }

    /// Takes the question away, for who answers it.
    pub(crate) fn take(&self) -> bool {
        self.asked.swap(false, Ordering::Relaxed)
    }

    /// Notes a hook that was put back.
    pub(crate) fn note(&self, hook: &str, place: &str) {
        tracing::warn!(hook, place, "a hook was taken away by somebody else, and is put back");
        let mut done = lock(&self.done);
        done.count += 1;
        let (hook, place) = (hook.to_owned(), place.to_owned());
        done.last = Some(Mend { hook, place, at: Timestamp::now() });
    }

    /// What was put back since the agent started.
    pub(crate) fn done(&self) -> Mended {
        lock(&self.done).clone()
    }
}
