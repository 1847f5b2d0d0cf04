//! Which Events are due, and what they are. Pure but for the clock.
//!
//! An Event's name follows from the object and what is said of it. So the next leader finds the Event of
//! the one before and goes on with its series. What stays true is said again every [`AGAIN`], as one more
//! of the same series, since the server forgets an Event after an hour. kube's `Recorder` names Events by
//! the moment, and forgets after six minutes what it has said.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use agent_model::resource::ObjectKey;
use jiff::Timestamp;
use k8s_openapi::{
    api::{core::v1::ObjectReference, events::v1::Event},
    apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta},
};
use ring::digest::{SHA256, digest};
use tokio::time::Instant;

use super::findings::{ByObject, Told};

/// How often what stays true is said.
pub(super) const AGAIN: Duration = Duration::from_mins(30);
/// What is mended and broken again in the same way is not said again sooner.
const CALM: Duration = Duration::from_mins(1);
/// So many Events of one object; the rest is in its condition and in `sekisho analyze`.
const OF_ONE: usize = 4;
/// So many are remembered. More objects are not told of by Events.
const MOST: usize = 2_000;
/// The longest note that the server takes, in bytes.
const NOTE: usize = 1_024;
/// The part of an object's name in an Event's, which has 253 characters.
const NAME: usize = 200;

/// What tells one Event from another.
type Id = u64;

/// An Event that is due.
#[derive(Clone, Debug)]
pub(super) struct Due {
    pub(super) id: Id,
    /// The object.
    pub(super) key: ObjectKey,
    /// What is said; none that all is well now.
    pub(super) told: Option<Told>,
    /// How often it was said before, where that is known.
    pub(super) said: i32,
    /// It holds since before this agent was elected: another may have said it.
    pub(super) inherited: bool,
}

/// What was said.
#[derive(Clone, Copy, Debug)]
struct Entry {
    last: Instant,
    count: i32,
    holds: bool,
}

/// Everything that was said.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    said: BTreeMap<Id, Entry>,
    refused: BTreeSet<ObjectKey>,
    /// What comes from here on is new.
    settled: bool,
}

impl Ledger {
    /// Everything that held when this agent was elected has been looked at.
    pub(super) fn settle(&mut self) {
        self.settled = true;
    }

    /// Takes over which objects were refused by then.
    pub(super) fn remember(&mut self, refused: BTreeSet<ObjectKey>) {
        self.refused = refused;
    }

    /// What is due now. `uid` knows the objects that are there.
    pub(super) fn due(
        &mut self,
        all: &ByObject,
        uid: impl Fn(&ObjectKey) -> Option<String>,
    ) -> Vec<Due> {
        let now = Instant::now();
        let mut due = Vec::new();
        self.said.values_mut().for_each(|entry| entry.holds = false);
        for (key, told) in all {
            let Some(uid) = uid(key) else { continue };
            for told in told.iter().take(OF_ONE) {
                let id = id(&uid, Some(told));
                let room = self.said.len() + due.len() < MOST;
                match self.said.get_mut(&id) {
                    Some(entry) => {
                        entry.holds = true;
                        if now.duration_since(entry.last) < AGAIN {
                            continue;
                        }
                    }
                    None if !room => continue,
                    None => {}
                }
                let said = self.said.get(&id).map_or(0, |entry| entry.count);
                let (told, inherited) = (Some(told.clone()), !self.settled);
                due.push(Due { id, key: key.clone(), told, said, inherited });
            }
        }
        self.said.retain(|_, entry| entry.holds || now.duration_since(entry.last) < CALM);
        self.mended(all, uid, &mut due);
        due.sort_by_key(|due| due.told.as_ref().is_some_and(|told| !told.refuses));
        due
    }

    /// Objects that were refused and are not.
    fn mended(
        &mut self,
        all: &ByObject,
        uid: impl Fn(&ObjectKey) -> Option<String>,
        due: &mut Vec<Due>,
    ) {
        let is_refused = |(_, told): &(&ObjectKey, &Vec<Told>)| told.iter().any(|one| one.refuses);
        let refused: BTreeSet<ObjectKey> =
            all.iter().filter(is_refused).map(|(key, _)| key.clone()).collect();
        for key in self.refused.difference(&refused) {
            if let Some(uid) = uid(key) {
                let (id, key) = (id(&uid, None), key.clone());
                due.push(Due { id, key, told: None, said: 0, inherited: false });
            }
        }
        // What is mended stays here until it was said.
        let mended = due.iter().filter(|due| due.told.is_none()).map(|due| due.key.clone());
        self.refused = refused.into_iter().chain(mended).collect();
    }

    /// It was said, so many times now.
    pub(super) fn said(&mut self, due: &Due, count: i32, ago: Duration) {
        if due.told.is_none() {
            self.refused.remove(&due.key);
            return;
        }
        let now = Instant::now();
        let last = now.checked_sub(ago).unwrap_or(now);
        self.said.insert(due.id, Entry { last, count, holds: true });
    }
}

fn id(uid: &str, told: Option<&Told>) -> Id {
    let note = told.map(|told| &told.note.finding);
    let text = |field: Option<&str>| field.unwrap_or_default().to_owned();
    let parts = [
        uid.to_owned(),
        text(note.map(|note| note.code)),
        text(note.map(|note| &*note.field)),
        text(note.map(|note| &*note.message)),
    ];
    let hash = digest(&SHA256, parts.join("\n").as_bytes());
    Id::from_be_bytes(*hash.as_ref().first_chunk().expect("SHA-256 has 32 bytes"))
}

/// The name of an Event, and the namespace that it belongs to.
pub(super) fn place(due: &Due) -> (String, String) {
    let object: String = due.key.name.chars().take(NAME).collect();
    // Those of objects without a namespace are kept here, as by every other client.
    let namespace = if due.key.namespace.is_empty() { "default" } else { &due.key.namespace };
    (format!("{}.{:016x}", object.trim_end_matches(['.', '-']), due.id), namespace.to_owned())
}

/// The Event itself.
pub(super) fn event(due: &Due, regarding: ObjectReference, node: &str) -> Event {
    let (name, namespace) = place(due);
    let (type_, reason, action, text) = match &due.told {
        Some(told) => {
            let action = if told.refuses { "Refuse" } else { "Accept" };
            ("Warning", told.note.finding.code.to_string(), action, told.text())
        }
        None => ("Normal", "Accepted".to_owned(), "Accept", "The object is accepted".to_owned()),
    };
    Event {
        metadata: ObjectMeta {
            name: Some(name),
            namespace: Some(namespace),
            ..ObjectMeta::default()
        },
        type_: Some(type_.to_owned()),
        reason: Some(reason),
        action: Some(action.to_owned()),
        note: Some(cut(text)),
        event_time: Some(MicroTime(Timestamp::now())),
        regarding: Some(regarding),
        reporting_controller: Some("sekisho.dev/agent".to_owned()),
        reporting_instance: Some(node.chars().take(128).collect()),
        ..Event::default()
    }
}

/// As much of a text as an Event takes.
fn cut(mut text: String) -> String {
    if text.len() > NOTE {
        let end = (0..=NOTE - "…".len()).rev().find(|at| text.is_char_boundary(*at));
        text.truncate(end.unwrap_or_default());
        text.push('…');
    }
    text
}

#[cfg(test)]
mod tests;
