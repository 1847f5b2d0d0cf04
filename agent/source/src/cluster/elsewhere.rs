//! Pods of other nodes: followed in the namespaces where an object chooses among pods by their labels
//! ([`agent_model::translate::chosen_among`]), for as long as one does, and nowhere else. Of them only
//! what makes them endpoints is kept. The pods of this node are not among them: those are followed in
//! any case.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use tokio::task::{AbortHandle, JoinError, JoinSet};

use super::{
    follow::{Common, Follower},
    kinds::Watched,
};

/// The namespaces that are followed, each by a task.
pub(super) struct Elsewhere {
    common: Common,
    followed: BTreeMap<Arc<str>, (Arc<Watched>, AbortHandle)>,
    tasks: JoinSet<()>,
}

impl Elsewhere {
    pub(super) fn new(common: Common) -> Self {
        Self { common, followed: BTreeMap::new(), tasks: JoinSet::new() }
    }

    /// Follows these namespaces and no others.
    pub(super) fn follow(&mut self, wanted: &BTreeSet<Arc<str>>) {
        self.followed.retain(|namespace, (watched, task)| {
            let stays = wanted.contains(namespace);
            if !stays {
                task.abort();
                self.common.progress.end(watched);
            }
            stays
        });
        for namespace in wanted {
            if self.followed.contains_key(namespace) {
                continue;
            }
            let watched = Arc::new(Watched::elsewhere(namespace));
            self.common.progress.begin(&watched);
            // What was saved of them is none that a list must bear out.
            let follower = Follower::new(Arc::clone(&watched), self.common.clone(), false);
            let task = self.tasks.spawn(Box::pin(follower.run()));
            self.followed.insert(Arc::clone(namespace), (watched, task));
        }
    }

    /// All that is followed.
    pub(super) fn watched(&self) -> impl Iterator<Item = &Arc<Watched>> {
        self.followed.values().map(|(watched, _)| watched)
    }

    /// The panic of a task, as none of them ends by itself.
    pub(super) async fn failed(&mut self) -> JoinError {
        loop {
            match self.tasks.join_next().await {
                Some(Err(error)) if error.is_panic() => return error,
                Some(_) => {}
                None => std::future::pending().await,
            }
        }
    }
}
