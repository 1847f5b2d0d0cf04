//! What was judged lately: a bounded ring of recent flows and a broadcast for those who follow.
//!
//! One writer (the reader of the kernel's events and the proxy's records call [`FlowLog::record`]),
//! any number of readers. A reader that is too slow loses the oldest flows and is told how many;
//! it never slows the writer.

use std::{
    collections::VecDeque,
    fmt,
    sync::{Arc, Mutex},
    time::Duration,
};

use agent_base::lock::lock;
use tokio::sync::{Notify, broadcast};

use super::flow_record::FlowRecord;

/// Flows kept for `sekisho flows`. About 300 bytes each, so a little over a megabyte.
pub(crate) const RING: usize = 4_096;
/// Flows that a follower may lag behind before it loses some.
pub(crate) const BACKLOG: usize = 4_096;

/// How long a question waits for the reader of the kernel's events.
const PATIENCE: Duration = Duration::from_millis(200);

/// Is told of each flow at once, in the thread that records it.
pub(crate) trait Subscriber: fmt::Debug + Send + Sync {
    /// A flow.
    fn hear(&self, record: &Arc<FlowRecord>);
}

/// Recent flows, and those to come.
#[derive(Debug)]
pub(crate) struct FlowLog {
    ring: Mutex<VecDeque<Arc<FlowRecord>>>,
    subscribers: Vec<Arc<dyn Subscriber>>,
    sender: broadcast::Sender<Arc<FlowRecord>>,
    /// A client wants what the kernel has not handed over yet.
    asked: Notify,
    /// It has been handed over.
    handed: Notify,
}

impl Default for FlowLog {
    fn default() -> Self {
        Self::new(Vec::new())
    }
}

impl FlowLog {
    /// Without any flow yet.
    pub(crate) fn new(subscribers: Vec<Arc<dyn Subscriber>>) -> Self {
        Self {
            ring: Mutex::new(VecDeque::with_capacity(RING)),
            subscribers,
            sender: broadcast::channel(BACKLOG).0,
            asked: Notify::new(),
            handed: Notify::new(),
        }
    }

    /// Waits until the flows that the kernel knows of by now are recorded, or for as long as the
    /// reader of its events may take to look by itself.
    pub(crate) async fn catch_up(&self) {
        let handed = self.handed.notified();
        self.asked.notify_one();
        // Without a reader there is nothing to wait for.
        let _ = tokio::time::timeout(PATIENCE, handed).await;
    }

    /// For the reader: waits until a client wants what it has not read yet.
    pub(crate) async fn asked(&self) {
        self.asked.notified().await;
    }

    /// For the reader: everything is recorded.
    pub(crate) fn caught_up(&self) {
        self.handed.notify_waiters();
    }

    /// Keeps a record, and hands it to the followers and subscribers.
    pub(crate) fn record(&self, record: impl Into<Arc<FlowRecord>>) {
        let record = record.into();
        {
            let mut ring = lock(&self.ring);
            if ring.len() == RING {
                ring.pop_front();
            }
            ring.push_back(Arc::clone(&record));
            // A send fails only without any follower. It happens under the lock so that a new
            // follower gets each flow once: from the ring or from the channel.
            let _ = self.sender.send(Arc::clone(&record));
        }
        self.subscribers.iter().for_each(|subscriber| subscriber.hear(&record));
    }

    /// The flows kept, oldest first, and the channel of those that follow without a gap.
    pub(crate) fn follow(&self) -> (Vec<Arc<FlowRecord>>, broadcast::Receiver<Arc<FlowRecord>>) {
        let ring = lock(&self.ring);
        (ring.iter().cloned().collect(), self.sender.subscribe())
    }
}

#[cfg(test)]
mod tests;
