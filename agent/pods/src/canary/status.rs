//! What canaries have shown of each pod.

use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard},
    time::Instant,
};

use agent_base::lock::lock;
use jiff::Timestamp;

/// What is known of a pod's proof.
#[derive(Clone, Debug, Default)]
pub struct CanaryStatus {
    /// When every hook refused the canary the last time, and the generation that all judged by.
    pub proved: Option<(Timestamp, u64)>,
    /// The layers that refused it at the last try.
    pub layers: Vec<u8>,
    /// What came of its frames on each link, by the number of the link's host's end.
    pub links: BTreeMap<u32, LinkProof>,
    /// What was wrong at the last try.
    pub failing: Option<String>,
    pub(super) tried: Option<Instant>,
}

/// What a canary's frames have shown of a link; the worst comes last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum LinkProof {
    /// It is down, or its other end is: no frame leaves by it.
    Down,
    /// Layer 3 refused them.
    Refused,
    /// Layer 3 did not.
    Failing,
}

/// Every pod's, by the cookie of its namespace.
#[derive(Debug, Default)]
pub struct CanaryStatuses(Mutex<BTreeMap<u64, CanaryStatus>>);

impl CanaryStatuses {
    /// What is known of the pod of a namespace.
    pub fn of(&self, netns: u64) -> Option<CanaryStatus> {
        self.lock().get(&netns).cloned()
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, BTreeMap<u64, CanaryStatus>> {
        lock(&self.0)
    }
}
