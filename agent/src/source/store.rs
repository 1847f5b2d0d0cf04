//! The last good form of each object, wherever it comes from.
//!
//! A *place* (a file; an object of an API server) makes a *statement* about objects. Of the places
//! that name an object the first by name counts. Where what counts is broken, the form in force
//! stays; only when there is none does the next place count.
//!
//! Invariant: an object in force is named by at least one place, and was valid when it was read.

use std::{
    collections::{BTreeMap, BTreeSet, btree_map::Entry},
    sync::Arc,
};

use agent_model::{
    resource::{Object, ObjectKey, Objects},
    snapshot::{Finding, Severity},
};

use super::Observed;
use crate::observe::status::Note;

/// Codes of notes that only a store makes.
pub(crate) mod code {
    /// Two places name one object.
    pub(crate) const TWICE: &str = "SK0001";
    /// A kind of a cluster cannot be listed.
    pub(crate) const LEFT_OUT: &str = "SK0004";
    /// A place cannot be read.
    pub(crate) const UNREADABLE: &str = "SK0002";
    /// What becomes of objects cannot be told to their authors.
    pub(crate) const UNWRITTEN: &str = "SK0005";
    /// Changes of a place are not told by the kernel.
    pub(crate) const UNWATCHED: &str = "SK0003";
}

/// The name of a place; the order of names decides between places.
pub(crate) type Place = Arc<str>;

/// What a place says about one object.
#[derive(Clone, Debug)]
pub(crate) struct Claim {
    /// The object.
    pub(crate) key: ObjectKey,
    /// Where in the place, for people: `document 2 (line 14)`.
    pub(crate) spot: String,
    /// Its form; `None` when it is broken, and then a finding says how.
    pub(crate) form: Option<Object>,
    /// What is worth knowing about it.
    pub(crate) findings: Vec<Finding>,
}

/// What a place says.
#[derive(Clone, Debug, Default)]
pub(crate) struct Statement {
    /// Objects in the place's own order.
    pub(crate) claims: Vec<Claim>,
    /// What concerns no object that can be named.
    pub(crate) loose: Vec<Note>,
    /// Something in the place cannot be told: what it said before about objects that it does not
    /// name now still counts.
    pub(crate) partial: bool,
}

/// Where objects are, for people: `far.yaml, document 2 (line 14)`.
#[derive(Clone, Debug, Default)]
pub(crate) struct Spots(BTreeMap<(String, String, String), String>);

impl Spots {
    /// Where the object of a finding is.
    pub(crate) fn of(&self, finding: &Finding) -> Option<String> {
        let Finding { kind, namespace, name, .. } = finding;
        self.0.get(&(kind.clone(), namespace.clone(), name.clone())).cloned()
    }
}

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Store {
    places: BTreeMap<Place, Statement>,
    in_force: Arc<Objects>,
}

impl Store {
    /// Takes a place's newest statement.
    pub(crate) fn say(&mut self, place: Place, mut statement: Statement) {
        match self.places.entry(place) {
            Entry::Vacant(entry) => {
                entry.insert(statement);
            }
            Entry::Occupied(mut entry) => {
                take_over(std::mem::take(entry.get_mut()), &mut statement);
                entry.insert(statement);
            }
        }
    }

    /// Whether all that a place says is good.
    pub(crate) fn is_good(&self, place: &str) -> bool {
        let said = self.places.get(place);
        said.is_some_and(|said| !said.partial && said.claims.iter().all(|one| one.form.is_some()))
    }

    /// Forgets a place that is gone.
    pub(crate) fn retract(&mut self, place: &str) {
        self.places.remove(place);
    }

    /// Takes over all places of another store under a name of their own.
    pub(crate) fn adopt(&mut self, name: &str, other: Self) {
        for (place, mut statement) in other.places {
            for note in &mut statement.loose {
                note.place = note.place.as_ref().map(|place| format!("{name}/{place}"));
            }
            self.say(format!("{name}/{place}").into(), statement);
        }
    }

    /// Where each object is. Of several spots the one that counts.
    pub(crate) fn spots(&self) -> Spots {
        let spots = self.places.iter().rev().flat_map(|(place, statement)| {
            let claims = statement.claims.iter().rev();
            claims.map(move |claim| (claim.key.clone(), format!("{place}, {}", claim.spot)))
        });
        Spots(
            spots
                .map(|(ObjectKey { kind, namespace, name }, spot)| {
                    ((kind.shown().to_owned(), namespace, name), spot)
                })
                .collect(),
        )
    }

    /// Every object that some place names.
    pub(crate) fn named(&self) -> BTreeSet<ObjectKey> {
        let claims = self.places.values().flat_map(|statement| &statement.claims);
        claims.map(|claim| claim.key.clone()).collect()
    }

    /// Settles which form of each object is in force.
    pub(crate) fn settle(&mut self) -> Observed {
        let mut notes = Vec::new();
        let mut named: BTreeMap<&ObjectKey, Vec<(&Place, &Claim)>> = BTreeMap::new();
        for (place, statement) in &self.places {
            notes.extend(statement.loose.iter().cloned());
            for claim in &statement.claims {
                named.entry(&claim.key).or_default().push((place, claim));
            }
        }
        let mut objects = Objects::default();
        for (key, claims) in named {
            if let Some(object) = in_force(self.in_force.get(key), &claims, &mut notes) {
                objects.insert(object);
            }
        }
        // Publishing the very same objects again would make everything translate anew.
        if !same(&objects, &self.in_force) {
            self.in_force = Arc::new(objects);
        }
        let objects = Arc::clone(&self.in_force);
        Observed {
            objects,
            notes: notes.into(),
            spots: Arc::default(),
            sum: None,
            laps: None,
        }
    }
}

/// Carries over what a new statement leaves open, and keeps the memory of forms that did not
/// change, so that later stages see by address what is the same.
fn take_over(old: Statement, new: &mut Statement) {
    let mut old: BTreeMap<ObjectKey, Claim> =
        old.claims.into_iter().rev().map(|claim| (claim.key.clone(), claim)).collect();
    for claim in &mut new.claims {
        if let Some(Claim { form: Some(form), .. }) = old.remove(&claim.key)
            && claim.form.as_ref().is_some_and(|new| !new.is_same(&form) && *new == form)
        {
            claim.form = Some(form);
        }
    }
    if new.partial {
        new.claims.extend(old.into_values());
    }
}

/// The form of an object that its claims put in force.
fn in_force(
    current: Option<&Object>,
    claims: &[(&Place, &Claim)],
    notes: &mut Vec<Note>,
) -> Option<Object> {
    let (first_place, first) = claims.first()?;
    let form = match (&first.form, current) {
        (Some(form), _) => Some(form.clone()),
        (None, Some(current)) => Some(current.clone()),
        (None, None) => claims.iter().find_map(|(_, claim)| claim.form.clone()),
    };
    let effect = match &form {
        Some(_) => "the form that was in force before stays",
        None => "the object is refused",
    };
    for (place, claim) in claims {
        let spot = format!("{place}, {}", claim.spot);
        notes.extend(claim.findings.iter().map(|finding| {
            let mut note = Note::new(finding, Some(spot.clone()));
            if claim.form.is_none() && finding.severity == Severity::Error {
                note.message = format!("{}; {effect}", note.message);
            }
            note
        }));
    }
    let winner = format!("{first_place}, {}", first.spot);
    notes.extend(claims[1..].iter().map(|(place, claim)| Note {
        severity: Severity::Error.name().into(),
        code: code::TWICE.into(),
        kind: claim.key.kind.shown().to_owned(),
        namespace: claim.key.namespace.clone(),
        name: claim.key.name.clone(),
        field: "metadata.name".to_owned(),
        message: format!("this object is in {winner} already, and that one counts; remove either"),
        place: Some(format!("{place}, {}", claim.spot)),
    }));
    form
}

fn same(one: &Objects, other: &Objects) -> bool {
    one.len() == other.len()
        && one.iter().zip(other.iter()).all(|((_, one), (_, other))| one.is_same(other))
}

#[cfg(test)]
mod tests;
