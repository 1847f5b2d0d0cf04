//! What others take away: noted when it is put back, asked for when a canary fails.
//!
//! Any privileged process may detach a link or replace what it runs. Once a second the agent looks whether every hook,
//! of the cgroup and of the links, is still attached with its program, and puts it back. It does the same
//! with pins that were removed. What is missing in PODS it writes again when a canary fails.

use std::sync::{
    Mutex,
    atomic::{AtomicBool, Ordering},
};

use agent_base::lock::lock;
use jiff::Timestamp;

/// Hooks that another program took away.
#[derive(Clone, Debug, Default)]
pub struct Mended {
    /// How often one was put back since the agent started.
    pub count: u64,
    /// The last one.
    pub last: Option<Mend>,
}

/// A hook that was put back.
#[derive(Clone, Debug)]
pub struct Mend {
    /// The hook, or `layer 3`.
    pub hook: String,
    /// The cgroup, or the link's name.
    pub place: String,
    /// When.
    pub at: Timestamp,
}

/// What was put back, and whether a caller wants everything put in order.
#[derive(Debug, Default)]
pub struct Mending {
    asked: AtomicBool,
    done: Mutex<Mended>,
}

impl Mending {
    /// Asks that every hook be attached again, whatever the kernel says of its link.
    pub fn ask(&self) {
        self.asked.store(true, Ordering::Relaxed);
    }

    /// Whether a caller has asked.
    pub(crate) fn is_asked(&self) -> bool {
        self.asked.load(Ordering::Relaxed)
    }

    /// Takes the question away, for who answers it.
    pub fn take(&self) -> bool {
        self.asked.swap(false, Ordering::Relaxed)
    }

    /// Notes a hook that was put back.
    pub fn note(&self, hook: &str, place: &str) {
        tracing::warn!(hook, place, "a hook was taken away by another program, and is put back");
        let mut done = lock(&self.done);
        done.count += 1;
        let (hook, place) = (hook.to_owned(), place.to_owned());
        done.last = Some(Mend { hook, place, at: Timestamp::now() });
    }

    /// What was put back since the agent started.
    pub fn done(&self) -> Mended {
        lock(&self.done).clone()
    }
}
