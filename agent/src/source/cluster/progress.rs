//! How far each kind is followed, for those who ask. Written by the tasks that follow.

use std::sync::{Mutex, MutexGuard};

use agent_base::lock::lock;
use jiff::Timestamp;

use super::kinds::{self, Watched};
use crate::observe::status;

/// How far all kinds are followed.
#[derive(Debug)]
pub(crate) struct Progress {
    source: Mutex<status::Source>,
}

impl Progress {
    /// Nothing has come from this server yet.
    pub(super) fn new(server: String) -> Self {
        let kinds = kinds::ALL.iter().map(|watched| status::Followed {
            resource: watched.label(),
            state: "listing".into(),
            ..status::Followed::default()
        });
        let source = status::Source { server, saved: None, kinds: kinds.collect() };
        Self { source: Mutex::new(source) }
    }

    /// Something more is followed.
    pub(super) fn begin(&self, watched: &Watched) {
        let (resource, state) = (watched.label(), "listing".into());
        let followed = status::Followed { resource, state, ..status::Followed::default() };
        self.lock().kinds.push(followed);
    }

    /// Something is followed no longer.
    pub(super) fn end(&self, watched: &Watched) {
        let resource = watched.label();
        self.lock().kinds.retain(|kind| kind.resource != resource);
    }

    /// A copy.
    pub(crate) fn view(&self) -> status::Source {
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
            kind.state = "current".into();
            kind.synced = Some(Timestamp::now());
        });
    }

    /// The server says that there is no such kind.
    pub(super) fn absent(&self, watched: &Watched) {
        self.change(watched, |kind| {
            if kind.state != "not installed" {
                let resource = &kind.resource;
                tracing::info!(target: "config", resource, "not installed; waiting for it");
            }
            kind.state = "not installed".into();
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
            if kind.state != "listing" {
                kind.state = "behind".into();
            }
            kind.why = Some(why);
        });
    }

    fn change(&self, watched: &Watched, change: impl FnOnce(&mut status::Followed)) {
        let resource = watched.label();
        let mut source = self.lock();
        if let Some(kind) = source.kinds.iter_mut().find(|kind| kind.resource == resource) {
            change(kind);
        }
    }

    fn lock(&self) -> MutexGuard<'_, status::Source> {
        lock(&self.source)
    }
}
