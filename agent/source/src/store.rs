//! The last good form of each object, wherever it comes from.
//!
//! A *place* (a file; an object of an API server) makes a *statement* about objects. Of the places
//! that name an object the first by name counts. Where what counts is broken, the form in force
//! stays; only when there is none does the next place count.
//!
//! Of an object that is broken, never was good and restricts, what is left of it is kept beside the
//! objects in force ([`Objects::stricter`]).
//!
//! Invariant: an object in force is named by at least one place, and was valid when it was read.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use agent_model::{
    finding::{Finding, Severity},
    resource::{Object, ObjectKey, Objects, Refused},
};
use hashbrown::{HashMap, HashSet};

use crate::{
    code,
    note::Note,
    observed::Observed,
    spots::Spots,
    statement::{Claim, Statement},
};

/// The name of a place; the order of names decides between places.
pub type Place = Arc<str>;

/// See the module. A settling looks at the objects about which something was said since the one
/// before, and at no others: a large cluster has tens of thousands.
#[derive(Debug, Default)]
pub struct Store {
    places: BTreeMap<Place, Statement>,
    /// The places that name each object.
    named: HashMap<Arc<ObjectKey>, Places>,
    /// Places with something to say that concerns no object.
    loose: BTreeSet<Place>,
    /// Objects about which something was said since the last settling.
    news: HashSet<Arc<ObjectKey>>,
    in_force: Arc<Objects>,
    /// What is worth knowing of each object, where there is anything.
    notes: BTreeMap<Arc<ObjectKey>, Vec<Arc<Note>>>,
    /// All notes as they were settled last; `None` when there are others.
    told: Option<Arc<[Arc<Note>]>>,
}

/// Of an API server each object has one place.
#[derive(Debug)]
enum Places {
    One(Place),
    Many(BTreeSet<Place>),
}

/// What the places say about each object.
type Claims<'a> = HashMap<&'a ObjectKey, Vec<(&'a Place, &'a Claim)>>;

impl Places {
    fn iter(&self) -> impl Iterator<Item = &Place> {
        let (one, many) = match self {
            Self::One(place) => (Some(place), None),
            Self::Many(places) => (None, Some(places)),
        };
        one.into_iter().chain(many.into_iter().flatten())
    }

    fn add(&mut self, place: &Place) {
        match self {
            Self::One(known) if known == place => {}
            Self::One(known) => *self = Self::Many([known.clone(), place.clone()].into()),
            Self::Many(places) => {
                places.insert(place.clone());
            }
        }
    }

    /// True when there is none left.
    fn remove(&mut self, place: &str) -> bool {
        match self {
            Self::One(known) => &**known == place,
            Self::Many(places) => {
                places.remove(place);
                places.is_empty()
            }
        }
    }
}

impl Store {
    /// Takes a place's newest statement.
    pub fn say(&mut self, place: Place, mut statement: Statement) {
        if let Some(old) = self.forget(&place) {
            take_over(old, &mut statement);
        }
        // Room for four claims is made for the first; an object of a server has one.
        statement.claims.shrink_to_fit();
        for Claim { key, .. } in &statement.claims {
            self.news.insert(Arc::clone(key));
            match self.named.get_mut(key) {
                Some(places) => places.add(&place),
                None => {
                    self.named.insert(Arc::clone(key), Places::One(place.clone()));
                }
            }
        }
        if !statement.loose.is_empty() {
            self.loose.insert(place.clone());
            self.told = None;
        }
        self.places.insert(place, statement);
    }

    /// Whether all that a place says is good.
    pub(crate) fn is_good(&self, place: &str) -> bool {
        let said = self.places.get(place);
        said.is_some_and(|said| !said.partial && said.claims.iter().all(|one| one.form.is_some()))
    }

    /// Whether a place has ever said anything.
    pub(crate) fn knows(&self, place: &str) -> bool {
        self.places.contains_key(place)
    }

    /// Forgets a place that is gone.
    pub(crate) fn retract(&mut self, place: &str) {
        self.forget(place);
    }

    fn forget(&mut self, place: &str) -> Option<Statement> {
        let old = self.places.remove(place)?;
        for Claim { key, .. } in &old.claims {
            self.news.insert(Arc::clone(key));
            if self.named.get_mut(key).is_some_and(|places| places.remove(place)) {
                self.named.remove(key);
            }
        }
        if self.loose.remove(place) {
            self.told = None;
        }
        Some(old)
    }

    /// Takes over all places of another store under a name of their own.
    pub fn adopt(&mut self, name: &str, other: Self) {
        for (place, mut statement) in other.places {
            for note in &mut statement.loose {
                note.place = note.place.as_ref().map(|place| format!("{name}/{place}"));
            }
            self.say(format!("{name}/{place}").into(), statement);
        }
    }

    /// Where each object is. Of several spots the one that counts.
    pub fn spots(&self) -> Spots {
        let spots = self.places.iter().rev().flat_map(|(place, statement)| {
            let claims = statement.claims.iter().rev();
            claims.map(move |claim| {
                (ObjectKey::clone(&claim.key), format!("{place}, {}", claim.spot))
            })
        });
        spots.collect()
    }

    /// Every object that some place names.
    pub fn named(&self) -> BTreeSet<ObjectKey> {
        self.named.keys().map(|key| ObjectKey::clone(key)).collect()
    }

    /// Settles which form of each object is in force.
    pub fn settle(&mut self) -> Observed {
        let mut news = std::mem::take(&mut self.news);
        let mut changes = Vec::new();
        {
            let mut claims = self.claims(&news);
            for key in news.drain() {
                let claims = claims.remove(&*key).unwrap_or_default();
                let mut notes = Vec::new();
                let form = in_force(self.in_force.get(&key), &claims, &mut notes);
                let refused = claims.first().and_then(|(_, claim)| claim.refused.clone());
                let refused = refused.filter(|_| form.is_none());
                changes.push((key, (form, refused), notes));
            }
        }
        self.news = news;
        for (key, (form, refused), notes) in changes {
            self.refuse(&key, refused);
            self.enforce(&key, form);
            let same = self.notes.get(&key).map_or(&[][..], Vec::as_slice) == notes;
            match (same, notes.is_empty()) {
                (true, _) => continue,
                (false, true) => self.notes.remove(&key),
                (false, false) => self.notes.insert(key, notes),
            };
            self.told = None;
        }
        let objects = Arc::clone(&self.in_force);
        Observed { objects, notes: self.tell(), spots: Arc::default(), digests: None, laps: None }
    }

    /// What the places that name these objects say about them, in the order of the places.
    fn claims(&self, news: &HashSet<Arc<ObjectKey>>) -> Claims<'_> {
        let places = news.iter().filter_map(|key| self.named.get(key)).flat_map(Places::iter);
        let places: BTreeSet<&Place> = places.collect();
        let mut found = Claims::default();
        for place in places {
            let Some((place, statement)) = self.places.get_key_value(place) else { continue };
            for claim in &statement.claims {
                if news.contains(&claim.key) {
                    found.entry(&claim.key).or_default().push((place, claim));
                }
            }
        }
        found
    }

    /// Changes nothing where nothing changes: publishing the very same objects under another
    /// address would make everything translate again.
    fn enforce(&mut self, key: &Arc<ObjectKey>, form: Option<Object>) {
        match (self.in_force.get(key), form) {
            (Some(known), Some(form)) if known.is_same(&form) => {}
            (None, None) => {}
            (_, Some(form)) => {
                Arc::make_mut(&mut self.in_force).put(Arc::clone(key), form);
            }
            (Some(_), None) => {
                Arc::make_mut(&mut self.in_force).remove(key);
            }
        }
    }

    /// The same of what is left of an object that is refused.
    fn refuse(&mut self, key: &Arc<ObjectKey>, refused: Option<Arc<Refused>>) {
        if self.in_force.refused(key) != refused.as_ref() {
            Arc::make_mut(&mut self.in_force).refuse(key, refused);
        }
    }

    /// All notes: first those about no object, by place, then those about objects.
    fn tell(&mut self) -> Arc<[Arc<Note>]> {
        if let Some(told) = &self.told {
            return Arc::clone(told);
        }
        let loose = self.loose.iter().filter_map(|place| self.places.get(place));
        let loose = loose.flat_map(|statement| &statement.loose).cloned().map(Arc::new);
        let of_objects = self.notes.values().flatten().map(Arc::clone);
        let told: Arc<[Arc<Note>]> = loose.chain(of_objects).collect();
        self.told = Some(Arc::clone(&told));
        told
    }
}

/// Carries over what a new statement leaves open, and keeps the memory of forms that did not
/// change, so that later stages see by address what is the same.
fn take_over(old: Statement, new: &mut Statement) {
    let mut old: BTreeMap<Arc<ObjectKey>, Claim> =
        old.claims.into_iter().rev().map(|claim| (claim.key.clone(), claim)).collect();
    for claim in &mut new.claims {
        let Some(Claim { key, form, .. }) = old.remove(&claim.key) else { continue };
        // One name, however often it is said.
        claim.key = key;
        if let Some(form) = form
            && claim.form.as_ref().is_some_and(|new| !new.is_same(&form) && *new == form)
        {
            claim.form = Some(form);
        }
    }
    if new.partial {
        old.retain(|_, claim| !claim.is_guess);
        // What was good here before is what cannot be told now, as far as is known.
        let is_known = |guess: &Claim| {
            old.values().any(|one| one.form.is_some() && one.key.kind == guess.key.kind)
        };
        new.claims.retain(|claim| !claim.is_guess || !is_known(claim));
        new.claims.extend(old.into_values());
    }
}

/// The form of an object that its claims put in force.
fn in_force(
    current: Option<&Object>,
    claims: &[(&Place, &Claim)],
    notes: &mut Vec<Arc<Note>>,
) -> Option<Object> {
    let (first_place, first) = claims.first()?;
    let form = match (&first.form, current) {
        (Some(form), _) => Some(form.clone()),
        (None, Some(current)) => Some(current.clone()),
        (None, None) => claims.iter().find_map(|(_, claim)| claim.form.clone()),
    };
    let effect = match &form {
        Some(_) => "the form that was in force before stays",
        None if first.refused.is_some() => {
            "the object is refused, and until it is mended what it may govern is judged by the \
             strictest that it may mean"
        }
        None => "the object is refused",
    };
    for (place, claim) in claims {
        let spot = format!("{place}, {}", claim.spot);
        notes.extend(claim.findings.iter().map(|finding| {
            let mut note = Note::new(finding, Some(spot.clone()));
            if claim.form.is_none() && finding.severity == Severity::Error {
                note.finding.message = format!("{}; {effect}", finding.message);
            }
            Arc::new(note)
        }));
    }
    let winner = format!("{first_place}, {}", first.spot);
    notes.extend(claims[1..].iter().map(|(place, claim)| {
        let message =
            format!("this object is in {winner} already, and that one counts; remove either");
        let (severity, field) = (Severity::Error, "metadata.name");
        let finding = Finding::new(severity, code::TWICE, &claim.key, field, message);
        Arc::new(Note { finding, place: Some(format!("{place}, {}", claim.spot)) })
    }));
    form
}

#[cfg(test)]
mod tests;
