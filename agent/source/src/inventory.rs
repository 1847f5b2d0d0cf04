//! Which objects an API server has, in which generation, valid or not: what a node can say that it has
//! in force, and against what the leader reads it.
//!
//! ```text
//! watch of a kind ─► KindHistory: objects, and after each change the digest of all of them
//! node A: "of ServiceEntries I enforce the set d3…"   node B: "…the set d4…"
//! KindHistory: d1 d2 d3 d4   ─► A has every change up to the third one, B all of them
//! ```
//!
//! A digest is the sum of the hashes of (UID, generation) of all objects. It does not depend on the
//! order in which they came, so nodes that have the same objects report the same, whenever they started.
//! The digests after each of the newest 4,096 changes of a kind are kept.
//!
//! Resource versions are not compared. A status that is written changes them and means nothing: they
//! would have to be reported again, and a new leader could not compare them.

mod conditions;

use std::{
    collections::{BTreeMap, VecDeque},
    fmt,
    sync::{Arc, Mutex, MutexGuard},
};

use agent_base::lock::lock;
use agent_model::{
    finding::Finding,
    resource::{Described, Kind, Object, ObjectKey, Objects},
};
use ring::digest::{SHA256, digest};
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

pub use self::conditions::{Condition, Conditions, said};
use crate::note::Note;

/// How many changes of a kind are remembered: of 100 a second those of 40 seconds.
const PAST: usize = 4096;
/// How many objects that are stale a node names; what is broken is broken on every node.
const STALE: usize = 200;

/// What tells a set of objects in their generations from another.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct Digest(u128);

impl Digest {
    fn of(uid: &str, generation: i64) -> Self {
        let hash = digest(&SHA256, format!("{uid}/{generation}").as_bytes());
        let first = hash.as_ref().first_chunk().expect("SHA-256 has 32 bytes");
        Self(u128::from_be_bytes(*first))
    }

    const fn with(self, other: Self) -> Self {
        Self(self.0.wrapping_add(other.0))
    }

    const fn without(self, other: Self) -> Self {
        Self(self.0.wrapping_sub(other.0))
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl From<Digest> for String {
    fn from(digest: Digest) -> Self {
        digest.to_string()
    }
}

impl TryFrom<String> for Digest {
    type Error = std::num::ParseIntError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        u128::from_str_radix(&text, 16).map(Self)
    }
}

/// What the server says of an object beside what the object says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Identity {
    /// Its UID.
    pub uid: Box<str>,
    /// Its `metadata.generation`.
    pub generation: i64,
    /// Its `metadata.resourceVersion`.
    pub version: Box<str>,
    /// The version of its group in which it came.
    pub api: &'static str,
    /// What its `status.conditions` are.
    pub conditions: Conditions,
}

/// An object that is there.
#[derive(Clone, Debug)]
pub struct Known {
    /// What it is.
    pub identity: Identity,
    /// The change of its kind that made it what it is.
    pub position: u64,
    /// When that was seen.
    pub since: Instant,
}

/// The objects of one kind.
#[derive(Debug, Default)]
struct KindHistory {
    objects: BTreeMap<ObjectKey, Known>,
    now: Digest,
    /// How many changes there were.
    position: u64,
    /// The digests after the newest changes but the last, the oldest first.
    past: VecDeque<Digest>,
}

impl KindHistory {
    fn change(&mut self, to: Digest) {
        if self.past.len() == PAST {
            self.past.pop_front();
        }
        self.past.push_back(self.now);
        self.now = to;
        self.position += 1;
    }

    fn apply(&mut self, key: ObjectKey, identity: Identity) {
        let (mut to, own) = (self.now, Digest::of(&identity.uid, identity.generation));
        if let Some(known) = self.objects.get_mut(&key) {
            let before = Digest::of(&known.identity.uid, known.identity.generation);
            if before == own {
                known.identity = identity;
                return;
            }
            to = to.without(before);
        }
        self.change(to.with(own));
        let known = Known { identity, position: self.position, since: Instant::now() };
        self.objects.insert(key, known);
    }

    fn retract(&mut self, key: &ObjectKey) {
        if let Some(Known { identity, .. }) = self.objects.remove(key) {
            self.change(self.now.without(Digest::of(&identity.uid, identity.generation)));
        }
    }

    fn position_of(&self, digest: Digest) -> Option<u64> {
        if digest == self.now {
            return Some(self.position);
        }
        let back = self.past.iter().rev().position(|past| *past == digest)?;
        self.position.checked_sub(back as u64 + 1)
    }
}

/// What one node has of all objects.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Digests {
    /// The objects of each kind that has any, by the resource's name.
    pub kinds: BTreeMap<String, Digest>,
    /// Objects, by UID, of which another generation is in force than the one that is there, or none.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub stale: BTreeMap<String, Option<i64>>,
}

/// See the module. One task writes, others look.
#[derive(Debug, Default)]
pub struct Inventory {
    histories: Mutex<BTreeMap<Kind, KindHistory>>,
}

impl Inventory {
    /// An object is there, or there in a new form.
    pub fn apply(&self, key: ObjectKey, identity: Identity) {
        self.lock().entry(key.kind).or_default().apply(key, identity);
    }

    /// An object is gone.
    pub(crate) fn retract(&self, key: &ObjectKey) {
        if let Some(history) = self.lock().get_mut(&key.kind) {
            history.retract(key);
        }
    }

    /// What is there now, of which `objects` are in force, and `notes` say what is wrong.
    pub fn digests(&self, objects: &Objects, notes: &[Arc<Note>]) -> Arc<Digests> {
        let histories = self.lock();
        let full = histories.iter().filter(|(_, history)| !history.objects.is_empty());
        let kinds = full.map(|(kind, history)| (resource(*kind), history.now)).collect();
        let broken = notes.iter().filter(|note| note.is_error());
        let stale = broken.filter_map(|note| {
            let key = key_of(&note.finding)?;
            let there = &histories.get(&key.kind)?.objects.get(&key)?.identity;
            let in_force = objects.get(&key).map(Object::metadata);
            let in_force = in_force.filter(|form| form.uid() == Some(&*there.uid));
            let generation = in_force.and_then(Described::generation);
            (generation != Some(there.generation)).then(|| (there.uid.to_string(), generation))
        });
        Arc::new(Digests { kinds, stale: stale.take(STALE).collect() })
    }

    /// Up to which change of a kind a node is that says this of it.
    pub fn position(&self, kind: Kind, digest: Digest) -> Option<u64> {
        match self.lock().get(&kind) {
            Some(history) => history.position_of(digest),
            None => (digest == Digest::default()).then_some(0),
        }
    }

    /// An object.
    pub fn get(&self, key: &ObjectKey) -> Option<Known> {
        self.lock().get(&key.kind)?.objects.get(key).cloned()
    }

    /// Looks at every object.
    pub fn each(&self, mut look: impl FnMut(&ObjectKey, &Known)) {
        for history in self.lock().values() {
            history.objects.iter().for_each(|(key, known)| look(key, known));
        }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<Kind, KindHistory>> {
        lock(&self.histories)
    }
}

/// The object that a finding is about.
pub fn key_of(finding: &Finding) -> Option<ObjectKey> {
    let kind = *Kind::ALL.iter().find(|kind| kind.shown() == finding.kind)?;
    Some(ObjectKey::new(kind, finding.namespace.clone(), finding.name.clone()))
}

/// The name of a kind's resource, as `kubectl` and an RBAC rule have it.
pub fn resource(kind: Kind) -> String {
    match kind.group() {
        "" => kind.plural().to_owned(),
        group => format!("{}.{group}", kind.plural()),
    }
}

#[cfg(test)]
mod tests;
