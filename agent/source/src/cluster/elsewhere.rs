//! Pods of other nodes: followed in the namespaces where an object chooses among pods by their labels
//! ([`agent_model::translate::chosen_among`]), for as long as one does, and nowhere else. Of them only
//! what makes them endpoints is kept. The pods of this node are not among them: those are followed in
//! any case.
//!
//! Where that is so in many namespaces, one watch follows all of them: an API server serves a hundred
//! streams of one connection side by side, and each watch takes one for as long as it lives. Once it is
//! so, it stays so.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use tokio::task::{AbortHandle, JoinError, JoinSet};

use super::{
    follow::{Common, Follower},
    kinds::Watched,
};

/// How many namespaces are followed each by itself.
const MOST: usize = 8;

/// The namespaces that are followed, each by a task, or all of them by one (`None`).
pub(super) struct Elsewhere {
    common: Common,
    followed: BTreeMap<Option<Arc<str>>, (Arc<Watched>, AbortHandle)>,
    tasks: JoinSet<()>,
}

impl Elsewhere {
    pub(super) fn new(common: Common) -> Self {
        Self { common, followed: BTreeMap::new(), tasks: JoinSet::new() }
    }

    /// Follows these namespaces. Those that were followed by themselves stay until all are listed.
    pub(super) fn follow(
        &mut self,
        wanted: &BTreeSet<Arc<str>>,
        is_listed: impl Fn(&Watched) -> bool,
    ) {
        let all = self.followed.get(&None).map(|(watched, _)| watched);
        let are_all_listed = all.is_some_and(|watched| is_listed(watched));
        let takes_all = all.is_some() || wanted.len() > MOST;
        self.followed.retain(|namespace, (watched, task)| {
            let stays = match namespace {
                None => true,
                Some(namespace) => wanted.contains(namespace) && !are_all_listed,
            };
            if !stays {
                task.abort();
                self.common.progress.end(watched);
            }
            stays
        });
        let each = wanted.iter().cloned().map(Some);
        let missing: Vec<Option<Arc<str>>> = if takes_all { vec![None] } else { each.collect() };
        for namespace in missing {
            if self.followed.contains_key(&namespace) {
                continue;
            }
            let watched = Arc::new(Watched::elsewhere(namespace.as_ref()));
            self.common.progress.begin(&watched);
            // What was saved of them is none that a list must bear out.
            let follower = Follower::new(Arc::clone(&watched), self.common.clone(), false);
            let task = self.tasks.spawn(Box::pin(follower.run()));
            self.followed.insert(namespace, (watched, task));
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
