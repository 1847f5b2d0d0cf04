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
    /// What was wrong at the last try.
    pub failing: Option<String>,
    pub(super) tried: Option<Instant>,
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
