//! Who hears that links have changed: one socket in each judged pod's namespace, and one in the
//! agent's own, where the other ends are.
//!
//! News is a hint that a pod is to be looked at again. It is kept until the publisher takes it, so that a
//! hundred changes of one pod are one look. What is lost (a socket that overran, one that fails) makes
//! every pod suspect that it may have been about.
//!
//! A listener costs a descriptor, three KiB of the kernel's memory and less than one of ours, and no thread.

use std::{
    collections::BTreeSet,
    future::Future,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use agent_base::{error::chain, lock::lock};
use agent_kernel::{
    netlink::{Heard, LinkListener, LinkNews, NetlinkError},
    netns::{NetNs, NetNsError, Worker},
};
use thiserror::Error;
use tokio::{
    sync::Notify,
    task::{AbortHandle, JoinSet},
    time::sleep,
};

use crate::veth::{self, HostNews};

/// How long a listener rests after it has heard something: a process that changes links all the time is
/// looked at so often and not more.
const REST: Duration = Duration::from_millis(100);
/// After an error that is none of those that are known.
const RETRY: Duration = Duration::from_secs(1);

/// Why no listener runs.
#[derive(Debug, Error)]
pub enum WatchError {
    /// The namespace cannot be entered.
    #[error("the namespace whose links are to be watched cannot be entered")]
    Namespace(#[from] NetNsError),
    /// The kernel does not tell of links.
    #[error("the kernel does not tell of changes of links")]
    Netlink(#[from] NetlinkError),
}

/// What was said of links and not looked at yet.
#[derive(Debug, Default)]
pub struct LinkChanges {
    pending: Mutex<Pending>,
    bell: Notify,
    overruns: AtomicU64,
}

#[derive(Debug, Default)]
pub(crate) struct Pending {
    /// Pods, by the cookies of their namespaces.
    pub(crate) pods: BTreeSet<u64>,
    /// Links of the agent's own namespace.
    pub(crate) host: BTreeSet<HostNews>,
    /// Any pod may have other links.
    pub(crate) all: bool,
}

impl LinkChanges {
    /// Waits until something is said.
    pub async fn arrival(&self) {
        self.bell.notified().await;
    }

    /// How often the kernel had more to say than a socket holds.
    pub fn overruns(&self) -> u64 {
        self.overruns.load(Ordering::Relaxed)
    }

    /// What was said since the last time.
    pub(crate) fn take(&self) -> Pending {
        std::mem::take(&mut lock(&self.pending))
    }

    fn add(&self, add: impl FnOnce(&mut Pending)) {
        add(&mut lock(&self.pending));
        self.bell.notify_one();
    }
}

/// The listeners.
#[derive(Debug)]
pub(crate) struct LinkWatch {
    changes: Arc<LinkChanges>,
    tasks: JoinSet<()>,
    own: Option<Listening>,
}

/// A listener; dropped, it listens no more.
#[derive(Debug)]
pub(crate) struct Listening(AbortHandle);

impl Drop for Listening {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl LinkWatch {
    /// No listener runs yet.
    pub(crate) fn new(changes: Arc<LinkChanges>) -> Self {
        Self { changes, tasks: JoinSet::new(), own: None }
    }

    /// Where news is kept.
    pub(crate) fn changes(&self) -> &Arc<LinkChanges> {
        &self.changes
    }

    /// Listens in the agent's own namespace, if no listener runs there yet.
    pub(crate) async fn listen_at_home(&mut self, worker: &Worker) -> Result<(), WatchError> {
        while self.tasks.try_join_next().is_some() {}
        if self.own.is_none() {
            let listener = open(worker, worker.own()).await?;
            self.own = Some(self.spawn(at_home(listener, Arc::clone(&self.changes))));
        }
        Ok(())
    }

    /// Listens in a pod's namespace. The pod's links are to be listed after that.
    pub(crate) async fn listen(
        &mut self,
        worker: &Worker,
        pod: &NetNs,
    ) -> Result<Listening, WatchError> {
        let listener = open(worker, pod).await?;
        Ok(self.spawn(in_pod(listener, pod.cookie(), Arc::clone(&self.changes))))
    }

    fn spawn(&mut self, task: impl Future<Output = ()> + Send + 'static) -> Listening {
        Listening(self.tasks.spawn(task))
    }
}

async fn open(worker: &Worker, namespace: &NetNs) -> Result<LinkListener, WatchError> {
    Ok(worker.run(namespace, LinkNews::open).await??.listen()?)
}

async fn in_pod(listener: LinkListener, pod: u64, changes: Arc<LinkChanges>) {
    loop {
        let rest = settle(listener.next(|_| ()).await, &changes);
        changes.add(|pending| {
            pending.pods.insert(pod);
        });
        sleep(rest).await;
    }
}

async fn at_home(listener: LinkListener, changes: Arc<LinkChanges>) {
    loop {
        let (mut news, mut is_clear) = (BTreeSet::new(), true);
        let heard = listener.next(|message| match veth::host_news(message) {
            Ok(about) => news.extend(about),
            Err(_) => is_clear = false,
        });
        let heard = heard.await;
        let all = !is_clear || !matches!(heard, Ok(Heard::Everything));
        let rest = settle(heard, &changes);
        if all || !news.is_empty() {
            changes.add(|pending| {
                pending.all |= all;
                pending.host.extend(news);
            });
        }
        sleep(rest).await;
    }
}

/// Counts what was lost; how long to rest.
fn settle(heard: Result<Heard, NetlinkError>, changes: &LinkChanges) -> Duration {
    match heard {
        Ok(Heard::Everything) => REST,
        Ok(Heard::Overrun) => {
            changes.overruns.fetch_add(1, Ordering::Relaxed);
            REST
        }
        Err(error) => {
            changes.overruns.fetch_add(1, Ordering::Relaxed);
            tracing::warn!(error = %chain(&error), "changes of links cannot be heard; they are looked for");
            RETRY
        }
    }
}

#[cfg(test)]
mod tests;
