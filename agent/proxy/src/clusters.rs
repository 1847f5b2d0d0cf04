//! What one workload has towards its destinations, as if it had a proxy of its own.

use std::{
    collections::HashMap,
    hash::{Hash, Hasher},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use agent_model::requests::backend::Backend;
use tokio::{sync::Notify, task::JoinSet, time::Instant};

use crate::cluster::Cluster;

/// How often what is old is looked for.
const SWEEP: Duration = Duration::from_secs(1);

/// Copies of one workload's requests that may be on their way at once; a mirror that does not answer
/// costs no more.
const MOST_COPIES: usize = 256;

/// See the module.
#[derive(Debug)]
pub(crate) struct Clusters {
    /// Whatever is dialled without a route.
    passthrough: Arc<Cluster>,
    routed: Mutex<Routed>,
    used: Notify,
    /// Copies of requests on their way.
    copies: Mutex<JoinSet<()>>,
}

/// By name; a destination is dialled in one way at a time.
type Routed = HashMap<ByName, Arc<Cluster>>;

/// A destination, told from others by its name alone. Each request looks for one, so no text is made
/// for that.
#[derive(Debug)]
struct ByName(Arc<Backend>);

impl PartialEq for ByName {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0) || self.0.name() == other.0.name()
    }
}

impl Eq for ByName {}

impl Hash for ByName {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.name().hash(state);
    }
}

impl Default for Clusters {
    fn default() -> Self {
        Self {
            passthrough: Cluster::new(None),
            routed: Mutex::default(),
            used: Notify::new(),
            copies: Mutex::default(),
        }
    }
}

impl Clusters {
    fn lock(&self) -> MutexGuard<'_, Routed> {
        self.routed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// That of what the client dialled.
    pub(crate) fn passthrough(&self) -> Arc<Cluster> {
        self.used.notify_one();
        Arc::clone(&self.passthrough)
    }

    /// That of a destination. One that is dialled otherwise than before begins again: connections of
    /// the other way end with the requests that they carry.
    pub(crate) fn of(&self, backend: &Arc<Backend>) -> Arc<Cluster> {
        self.used.notify_one();
        let name = ByName(Arc::clone(backend));
        let mut routed = self.lock();
        if let Some(cluster) = routed.get(&name) {
            let is_same = |own: &Arc<Backend>| Arc::ptr_eq(own, backend) || own == backend;
            if cluster.backend().is_some_and(is_same) {
                return Arc::clone(cluster);
            }
        }
        let cluster = Cluster::new(Some(Arc::clone(backend)));
        // With its name, which keeps a backend.
        let former = routed.remove_entry(&name);
        routed.insert(name, Arc::clone(&cluster));
        drop(routed);
        // Its connections are closed outside of the lock.
        drop(former);
        cluster
    }

    /// Has a copy of a request go its own way, unless there are too many of them.
    pub(crate) fn copy(&self, copy: impl Future<Output = ()> + Send + 'static) {
        let mut copies = self.copies.lock().unwrap_or_else(PoisonError::into_inner);
        while copies.try_join_next().is_some() {}
        if copies.len() < MOST_COPIES {
            copies.spawn(copy);
        }
    }

    /// Closes and forgets what is old, for as long as it is polled.
    pub(crate) async fn sweep(&self) {
        loop {
            tokio::time::sleep(SWEEP).await;
            let now = Instant::now();
            let all: Vec<Arc<Cluster>> = self.lock().values().cloned().collect();
            for cluster in all.iter().chain([&self.passthrough]) {
                cluster.sweep(now);
            }
            drop(all);
            if self.forget_unused() {
                self.used.notified().await;
            }
        }
    }

    /// Forgets those of which nothing is left; says whether that is all.
    fn forget_unused(&self) -> bool {
        let mut routed = self.lock();
        // One that something else holds has a request on its way.
        routed.retain(|_, cluster| Arc::strong_count(cluster) > 1 || !cluster.is_unused());
        routed.is_empty() && self.passthrough.is_unused()
    }
}
