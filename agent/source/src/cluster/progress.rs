//! How far each kind is followed, for those who ask. Written by the tasks that follow.

use std::sync::{Mutex, MutexGuard};

use agent_base::lock::lock;
use jiff::Timestamp;

use super::kinds::{self, Watched};

/// An API server, and how far it is followed.
#[derive(Clone, Debug)]
pub struct Source {
    /// Its address.
    pub server: String,
    /// When the objects in force were saved, while they come from the disk and not from the server.
    pub saved: Option<Timestamp>,
    /// The kinds.
    pub kinds: Vec<Followed>,
}

/// How far a kind is followed.
#[derive(Clone, Debug)]
pub struct Followed {
    /// The resource, as `kubectl` and an RBAC rule name it.
    pub resource: String,
    /// How far.
    pub state: FollowState,
    /// When the server last said something about it, if only that nothing changed.
    pub synced: Option<Timestamp>,
    /// What keeps it from being current, and what to do.
    pub why: Option<String>,
}

/// See [`Followed`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FollowState {
    /// Nothing of it has come yet.
    Listing,
    /// All that the server has.
    Current,
    /// It was current, and something is in the way.
    Behind,
    /// The server has no such kind.
    NotInstalled,
}

impl FollowState {
    /// The name that users see.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Listing => "listing",
            Self::Current => "current",
            Self::Behind => "behind",
            Self::NotInstalled => "not installed",
        }
    }
}

impl Followed {
    fn new(watched: &Watched) -> Self {
        let (resource, state) = (watched.label(), FollowState::Listing);
        Self { resource, state, synced: None, why: None }
    }
}

/// How far all kinds are followed.
#[derive(Debug)]
pub struct Progress {
    source: Mutex<Source>,
}

impl Progress {
    /// Nothing has come from this server yet.
    pub(super) fn new(server: String) -> Self {
        let kinds = kinds::ALL.iter().map(|watched| Followed::new(watched)).collect();
        let source = Source { server, saved: None, kinds };
        Self { source: Mutex::new(source) }
    }

    /// Something more is followed.
    pub(super) fn begin(&self, watched: &Watched) {
        self.lock().kinds.push(Followed::new(watched));
    }

    /// Something is followed no longer.
    pub(super) fn end(&self, watched: &Watched) {
        let resource = watched.label();
        self.lock().kinds.retain(|kind| kind.resource != resource);
    }

    /// A copy.
    pub fn view(&self) -> Source {
        self.lock().clone()
    }

    /// The objects in force come from the disk, or do so no longer.
    pub(super) fn saved(&self, saved: Option<Timestamp>) {
        self.lock().saved = saved;
    }

    /// The server says that this is all there is.
    pub(super) fn current(&self, watched: &Watched) {
        self.change(watched, |kind| {
            if kind.why.take().is_some() {
                tracing::info!(target: "config", resource = kind.resource, "followed again");
            }
            kind.state = FollowState::Current;
            kind.synced = Some(Timestamp::now());
        });
    }

    /// The server says that there is no such kind.
    pub(super) fn absent(&self, watched: &Watched) {
        self.change(watched, |kind| {
            if kind.state != FollowState::NotInstalled {
                let resource = &kind.resource;
                tracing::info!(target: "config", resource, "not installed; waiting for it");
            }
            kind.state = FollowState::NotInstalled;
            kind.why = None;
            kind.synced = Some(Timestamp::now());
        });
    }

    /// The server does not let this be read, and it is gone on without it.
    pub(super) fn left_out(&self, watched: &Watched, why: &str) {
        self.change(watched, |kind| {
            if kind.state != FollowState::NotInstalled {
                tracing::info!(target: "config", resource = kind.resource, why, "left out");
            }
            kind.state = FollowState::NotInstalled;
            kind.why = None;
            kind.synced = Some(Timestamp::now());
        });
    }

    /// Something is in the way. Said once in the log, for as long as it stays the same, and not
    /// again for each other kind.
    pub(super) fn behind(&self, watched: &Watched, why: String) {
        let known = self.lock().kinds.iter().any(|kind| kind.why.as_ref() == Some(&why));
        self.change(watched, |kind| {
            if !known {
                tracing::warn!(target: "config", resource = kind.resource, why, "not followed");
            }
            if kind.state != FollowState::Listing {
                kind.state = FollowState::Behind;
            }
            kind.why = Some(why);
        });
    }

    fn change(&self, watched: &Watched, change: impl FnOnce(&mut Followed)) {
        let resource = watched.label();
        let mut source = self.lock();
        if let Some(kind) = source.kinds.iter_mut().find(|kind| kind.resource == resource) {
            change(kind);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Source> {
        lock(&self.source)
    }
}
