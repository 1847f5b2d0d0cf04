//! What is to be said of each object: what the source found, and what `sekisho analyze` finds, so
//! that an author reads the same words wherever they look.
//!
//! Pods are left out: each node knows its own alone, and what is said must not depend on who is
//! elected.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use agent_model::{
    analyze::analyze,
    finding::{Finding, Severity, code},
    resource::{Kind, ObjectKey, Objects},
};
use agent_source::{inventory::key_of, note::Note, observed::Observed};
use tokio::{
    task::{JoinHandle, spawn_blocking},
    time::Instant,
};

/// An analysis is not begun again before this many times as long as the last one: 5% of a processor.
const REST: u32 = 20;
/// And not sooner than after this time.
const LEAST: Duration = Duration::from_secs(1);

/// One thing that is said of an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Told {
    /// What.
    pub(super) note: Arc<Note>,
    /// The object, as it is now, has no effect.
    pub(super) refuses: bool,
}

impl Told {
    /// For people.
    pub(super) fn text(&self) -> String {
        let finding = &self.note.finding;
        match finding.field.as_str() {
            "" => finding.message.clone(),
            field => format!("{field}: {}", finding.message),
        }
    }
}

/// What is said of each object, the worst first.
pub(super) type ByObject = BTreeMap<ObjectKey, Vec<Told>>;

/// All that is to be said, of what the source says and of an analysis of it.
pub(super) fn by_object(observed: &Observed, analysed: &[Finding]) -> ByObject {
    let mut all = ByObject::new();
    let mut tell = |note: Arc<Note>, refuses: bool| {
        let Some(key) = key_of(&note.finding).filter(|key| key.kind != Kind::Pod) else { return };
        let told = all.entry(key).or_default();
        let is_same = |one: &Told| {
            let (one, other) = (&one.note.finding, &note.finding);
            (one.code, &one.field, &one.message) == (other.code, &other.field, &other.message)
        };
        if note.finding.severity != Severity::Info && !told.iter().any(is_same) {
            told.push(Told { note, refuses });
        }
    };
    for note in observed.notes.iter() {
        tell(Arc::clone(note), note.is_error());
    }
    for finding in analysed {
        let note = Note::new(finding, None);
        let refuses = note.is_error() && finding.code == code::MEMBERSHIP;
        tell(Arc::new(note), refuses);
    }
    for told in all.values_mut() {
        // Of a form that is not in force any more nothing else matters.
        if told.iter().any(|one| one.refuses) {
            told.retain(|one| one.refuses);
        }
        told.sort_by_key(|one| (!one.refuses, !one.note.is_error()));
    }
    all.retain(|_, told| !told.is_empty());
    all
}

/// Analyses what is in force, beside everything else.
#[derive(Debug, Default)]
pub(super) struct Analyst {
    running: Option<(Instant, Arc<Objects>, JoinHandle<Vec<Finding>>)>,
    of: Option<Arc<Objects>>,
    rest_until: Option<Instant>,
    /// What was found last.
    pub(super) found: Arc<[Finding]>,
    /// When that was begun: it knows of everything that was there by then.
    pub(super) since: Option<Instant>,
}

impl Analyst {
    /// Begins where there is something new, takes in what has ended. True when there is news.
    pub(super) async fn look(&mut self, objects: &Arc<Objects>) -> bool {
        let mut news = false;
        if self.running.as_ref().is_some_and(|(.., handle)| handle.is_finished())
            && let Some((since, of, handle)) = self.running.take()
        {
            match handle.await {
                Ok(found) => {
                    self.found = found.into();
                    (self.of, self.since) = (Some(of), Some(since));
                    let rest = (since.elapsed() * REST).max(LEAST);
                    self.rest_until = Some(Instant::now() + rest);
                    news = true;
                }
                Err(error) => std::panic::resume_unwind(error.into_panic()),
            }
        }
        let is_known = self.of.as_ref().is_some_and(|of| Arc::ptr_eq(of, objects));
        let rests = self.rest_until.is_some_and(|until| Instant::now() < until);
        if is_known && self.running.is_none() {
            // It still knows of everything.
            self.since = Some(Instant::now());
        } else if self.running.is_none() && !rests {
            let (now, of) = (Instant::now(), Arc::clone(objects));
            let objects = Arc::clone(objects);
            self.running =
                Some((now, of, spawn_blocking(move || analyze(&without_pods(&objects)))));
        }
        news
    }
}

fn without_pods(objects: &Objects) -> Objects {
    let others = objects.iter().filter(|(key, _)| key.kind != Kind::Pod);
    others.map(|(_, object)| object.clone()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn note(severity: Severity, code: &'static str, field: &str) -> Note {
        Note { finding: Finding::new(severity, code, &key(), field, "why"), place: None }
    }

    fn key() -> ObjectKey {
        ObjectKey::new(Kind::ServiceEntry, "shop", "db")
    }

    fn finding(severity: Severity, code: &'static str) -> Finding {
        Finding::new(severity, code, &key(), "spec", "why")
    }

    fn said(notes: &[Note], analysed: &[Finding]) -> Vec<(String, bool)> {
        let observed = Observed {
            notes: notes.iter().cloned().map(Arc::new).collect(),
            ..Observed::default()
        };
        let mut all = by_object(&observed, analysed);
        let told = all.remove(&key()).unwrap_or_default();
        told.into_iter().map(|one| (one.note.finding.code.to_string(), one.refuses)).collect()
    }

    #[test]
    fn what_refuses_an_object_is_all_that_matters() {
        let found = [finding(Severity::Error, "IST0109"), finding(Severity::Info, "SK0305")];
        assert_eq!(said(&[], &found), [("IST0109".to_owned(), false)]);
        let notes =
            [note(Severity::Warning, "SK0302", "spec"), note(Severity::Info, "SK0102", "spec")];
        assert_eq!(
            said(&notes, &found),
            [("IST0109".to_owned(), false), ("SK0302".to_owned(), false)]
        );
        let broken = [notes[0].clone(), note(Severity::Error, "SK0206", "spec.ports")];
        assert_eq!(said(&broken, &found), [("SK0206".to_owned(), true)]);
        let outside = [finding(Severity::Error, code::MEMBERSHIP)];
        assert_eq!(said(&[], &outside), [(code::MEMBERSHIP.to_owned(), true)]);
    }

    #[test]
    fn what_both_find_is_said_once() {
        let found = [finding(Severity::Warning, "SK0302")];
        assert_eq!(said(&[note(Severity::Warning, "SK0302", "spec")], &found).len(), 1);
        assert!(said(&[note(Severity::Info, "SK0302", "spec")], &[]).is_empty());
    }
}
