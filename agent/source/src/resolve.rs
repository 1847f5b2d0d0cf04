//! What names resolve to, kept up to date.
//!
//! ```text
//! Publisher ── Wanted ──► Resolver ── Ask ──► name server
//!     ▲                     └► Cache: when to ask, what an answer means, what outlives it
//!     └──────── Answers ◄───────┴──► saved ──► <run-dir>/names.snapshot
//! ```
//!
//! One task owns the [`Cache`]. It asks for each wanted name when the answer's TTL has passed, and
//! publishes what changed. Answers that come together within 50 ms make one generation. The questions
//! leave from the agent's own namespace, which no hook judges.
//!
//! An answer has three parts:
//!
//! - *current*: in the newest answer, and allowed;
//! - *lingering*: no longer in it, and allowed until the TTL of the last answer that had it and a grace
//!   have passed, since a cache may hand it out so long, and an application dials what it was told a
//!   moment ago;
//! - *former*: not allowed any more. Connections to it that are open stay, as long as an object names
//!   what they were opened by. The sweep over open connections leaves them alone and enters their flows,
//!   so that the packet layers pass them (`OpenedBy::KEPT`).
//!
//! A question that fails changes nothing.

mod ask;
mod cache;
mod clock;
mod saved;
#[cfg(test)]
mod tests;

use std::{
    collections::HashMap,
    fmt,
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

use agent_base::{error::chain, lock::lock, sealed};
use agent_model::names::{Answers, Wanted};
pub use ask::Servers;
use cache::{Cache, Reply};
pub use cache::{Rates, Resolved, ResolvedAddress};
use futures_util::future::BoxFuture;
use tokio::{
    sync::watch,
    task::{Id, JoinError, JoinSet},
    time::{Instant, sleep_until},
};

/// Questions at a time. A cluster's name server answers tens of thousands a second.
const MOST_QUESTIONS: usize = 32;
/// Answers that come together make one change of rules.
const BATCH: Duration = Duration::from_millis(50);

/// Asks for both families of a name. Never fails as a whole: a failure is an answer, too.
pub trait Ask: Send + Sync + 'static {
    /// Asks once.
    fn ask(&self, name: Arc<str>) -> BoxFuture<'static, Reply>;
}

/// What is known of names, for commands and metrics.
#[derive(Clone, Debug)]
pub struct Known(Arc<Mutex<Cache>>);

impl Known {
    /// Each wanted name, by name.
    pub fn view(&self) -> Vec<Resolved> {
        self.lock().view(Instant::now())
    }

    fn lock(&self) -> MutexGuard<'_, Cache> {
        lock(&self.0)
    }
}

/// The publisher's ends.
#[derive(Debug)]
pub struct Ends {
    wanted: watch::Sender<Option<Wanted>>,
    /// What there is.
    pub answers: watch::Receiver<Arc<Answers>>,
}

impl Ends {
    /// Says what is wanted from now on.
    pub fn want(&self, wanted: &Wanted) {
        self.wanted.send_if_modified(|current| {
            let same = current.as_ref() == Some(wanted);
            if !same {
                *current = Some(wanted.clone());
            }
            !same
        });
    }
}

/// The task. Nothing happens until [`Resolver::run`].
pub struct Resolver {
    ask: Arc<dyn Ask>,
    known: Known,
    wanted: watch::Receiver<Option<Wanted>>,
    answers: watch::Sender<Arc<Answers>>,
    file: (PathBuf, Arc<str>),
    asking: JoinSet<Reply>,
    /// Which question is which task.
    names: HashMap<Id, Arc<str>>,
}

impl fmt::Debug for Resolver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Resolver").field("file", &self.file).finish_non_exhaustive()
    }
}

impl Resolver {
    /// A resolver that knows what an earlier process saved in the file for this node.
    pub fn new(ask: Arc<dyn Ask>, rates: Rates, path: PathBuf, node: &str) -> (Self, Ends) {
        let node: Arc<str> = node.into();
        let mut cache = Cache::new(rates);
        match saved::read(&path, &node) {
            Ok(saved) => cache.restore(saved, Instant::now()),
            Err(error) => tracing::warn!(
                target: "config", path = %path.display(), error = %chain(&error),
                "the saved addresses of names are not used; a name server is needed to start"
            ),
        }
        let (answers, reader) = watch::channel(Arc::new(cache.answers()));
        let (sender, wanted) = watch::channel(None);
        let resolver = Self {
            ask,
            known: Known(Arc::new(Mutex::new(cache))),
            wanted,
            answers,
            file: (path, node),
            asking: JoinSet::new(),
            names: HashMap::new(),
        };
        (resolver, Ends { wanted: sender, answers: reader })
    }

    /// For the status.
    pub fn known(&self) -> Known {
        self.known.clone()
    }

    /// Keeps answers until none is wanted any more.
    pub async fn run(mut self) {
        let (contents, written) = watch::channel(Vec::new());
        let mut keeper = JoinSet::new();
        let (path, node) = self.file.clone();
        keeper.spawn(sealed::keep(path, node, written, |path, node, lines: &Vec<_>| {
            saved::write(path, node, lines)
        }));
        let mut publish_at: Option<Instant> = None;
        loop {
            let now = Instant::now();
            if publish_at.is_some_and(|at| at <= now) {
                publish_at = None;
                self.publish(&contents, now);
            }
            self.start_questions(now);
            let has_room = self.asking.len() < MOST_QUESTIONS;
            let next = self.known.lock().next_event(has_room);
            let next = [next, publish_at].into_iter().flatten().min();
            let next = next.unwrap_or_else(|| now + Duration::from_hours(1));
            let changed = tokio::select! {
                changed = self.wanted.changed() => {
                    if changed.is_err() {
                        return;
                    }
                    self.want()
                }
                Some(done) = self.asking.join_next_with_id() => self.hear(done),
                () = sleep_until(next) => self.known.lock().tick(Instant::now()),
            };
            if changed {
                publish_at.get_or_insert_with(|| Instant::now() + BATCH);
            }
        }
    }

    fn want(&mut self) -> bool {
        let wanted = self.wanted.borrow_and_update().clone();
        wanted.is_some_and(|wanted| self.known.lock().want(&wanted, Instant::now()))
    }

    fn hear(&mut self, done: Result<(Id, Reply), JoinError>) -> bool {
        let (id, reply) = match done {
            Ok(done) => done,
            // Questions are never aborted while this runs.
            Err(error) => std::panic::resume_unwind(error.into_panic()),
        };
        let Some(name) = self.names.remove(&id) else { return false };
        self.known.lock().hear(&name, reply, Instant::now())
    }

    fn start_questions(&mut self, now: Instant) {
        let room = MOST_QUESTIONS.saturating_sub(self.asking.len());
        for name in self.known.lock().due(now, room) {
            let id = self.asking.spawn(self.ask.ask(Arc::clone(&name))).id();
            self.names.insert(id, name);
        }
    }

    fn publish(&self, contents: &watch::Sender<Vec<saved::Line>>, now: Instant) {
        let cache = self.known.lock();
        let answers = cache.answers();
        if **self.answers.borrow() == answers {
            return;
        }
        contents.send_replace(cache.saved(now));
        drop(cache);
        self.answers.send_replace(Arc::new(answers));
    }
}
