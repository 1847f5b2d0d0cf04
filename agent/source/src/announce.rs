//! What a source does with a new state: it logs what is newly wrong, and publishes what changed.

use std::{collections::HashSet, sync::Arc};

use agent_model::finding::{Finding, Severity};
use tokio::sync::watch;

use crate::{note::Note, observed::Observed};

/// Logs and publishes.
pub(super) fn announce(publisher: &watch::Sender<Option<Observed>>, observed: Observed) {
    tell(publisher.borrow().as_ref(), &observed);
    publish(publisher, observed);
}

/// Logs what is newly wrong, and that all is well again.
fn tell(before: Option<&Observed>, now: &Observed) {
    if before.is_some_and(|before| Arc::ptr_eq(&before.notes, &now.notes)) {
        return;
    }
    let known = before.map(|before| &*before.notes).into_iter().flatten();
    let known: HashSet<&Arc<Note>> = known.collect();
    for note in now.notes.iter().filter(|note| !known.contains(*note)) {
        let place = note.place.as_deref().unwrap_or_default();
        let Finding { severity, field, message: why, .. } = &note.finding;
        let (object, field) = (note.object(), field.as_str());
        match severity {
            Severity::Error => {
                tracing::error!(target: "config", place, object, field, error = why, "not read");
            }
            Severity::Warning => {
                tracing::warn!(target: "config", place, object, field, why, "doubtful");
            }
            Severity::Info => tracing::debug!(target: "config", place, object, field, why, "noted"),
        }
    }
    if now.notes.is_empty() && !known.is_empty() {
        tracing::info!(target: "config", "all is read");
    }
}

fn publish(publisher: &watch::Sender<Option<Observed>>, observed: Observed) {
    publisher.send_if_modified(|current| {
        let same = current.as_ref().is_some_and(|current| {
            Arc::ptr_eq(&current.objects, &observed.objects)
                && current.notes == observed.notes
                && current.digests == observed.digests
        });
        if !same {
            *current = Some(observed);
        }
        !same
    });
}
