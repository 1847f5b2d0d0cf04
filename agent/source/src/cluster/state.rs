//! What an API server has said, and what of it is in force: the one task's own.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use agent_model::resource::{Kind, ObjectKey};
use serde_json::Value;

use super::{
    follow::{News, Told},
    kinds::{self, Watched},
    object::{self, Item},
    saved::Texts,
};
use crate::{
    inventory::Inventory,
    statement::Statement,
    store::{Place, Store},
};

/// What the one task owns.
#[derive(Debug, Default)]
pub(super) struct State {
    pub(super) store: Store,
    /// What the server has, for the status writer.
    pub(super) inventory: Arc<Inventory>,
    /// The places of each thing that is watched, by its label.
    pub(super) places: BTreeMap<String, BTreeSet<Place>>,
    pub(super) texts: Texts,
    /// The same of what came last and is broken.
    pub(super) broken: Texts,
    /// What has been listed, by its label.
    listed: BTreeSet<String>,
    /// Whether what is in force was published.
    pub(super) published: bool,
}

impl State {
    /// Takes in news. True when there is something to publish: every kind has been listed, and
    /// not all of it is known. Most of what is known comes from a write to a status.
    pub(super) fn take(&mut self, burst: Vec<Told>) -> bool {
        let mut news_to_us = false;
        for (watched, news) in burst {
            match news {
                News::Listed(items) => self.list(&watched, items),
                News::Applied(item) if self.is_known(&item) => {
                    self.count(&item);
                    continue;
                }
                // Most of the ConfigMaps beside the mesh's settings are none.
                News::Applied(item) if self.is_nothing(&item) => continue,
                News::Applied(item) => self.apply(&watched, item),
                News::Deleted(place) => self.delete(&watched, &place),
            }
            news_to_us = true;
        }
        news_to_us && kinds::ALL.iter().all(|watched| self.listed.contains(&watched.label()))
    }

    /// Forgets the pods of other nodes but for these. True when there were any.
    pub(super) fn leave<'a>(&mut self, watched: impl Iterator<Item = &'a Arc<Watched>>) -> bool {
        let known = kinds::ALL.iter().chain(watched).map(|watched| watched.label());
        let known: BTreeSet<String> = known.collect();
        self.listed.retain(|label| known.contains(label));
        let left: Vec<_> = self.places.extract_if(.., |label, _| !known.contains(label)).collect();
        // What is followed as one of many by now is still followed.
        let is_held = |place: &Place| self.places.values().any(|held| held.contains(place));
        let places = left.into_iter().flat_map(|(_, places)| places);
        let places: Vec<Place> = places.filter(|place| !is_held(place)).collect();
        for place in &places {
            self.store.retract(place);
        }
        !places.is_empty()
    }

    /// Whether all of something has been listed.
    pub(super) fn has_listed(&self, watched: &Watched) -> bool {
        self.listed.contains(&watched.label())
    }

    /// Whether there is something to wait for before the first publication: without it, rules that
    /// an agent before has published would go, and come again.
    pub(super) fn lacks<'a>(&self, mut watched: impl Iterator<Item = &'a Arc<Watched>>) -> bool {
        !self.published && watched.any(|watched| !self.listed.contains(&watched.label()))
    }

    /// Whether an object says what it said before, word for word.
    fn is_known(&self, item: &Item) -> bool {
        let claim = item.statement.claims.first();
        let before = claim.and_then(|claim| self.texts.get(&claim.key));
        before.is_some() && before == item.text.as_ref() && self.store.is_good(&item.place)
    }

    /// Whether an object is not for us, and never was.
    fn is_nothing(&self, item: &Item) -> bool {
        let Statement { claims, loose, partial } = &item.statement;
        claims.is_empty() && loose.is_empty() && !*partial && !self.store.knows(&item.place)
    }

    fn count(&self, item: &Item) {
        if let (Some(identity), Some(claim)) = (&item.identity, item.statement.claims.first()) {
            self.inventory.apply(ObjectKey::clone(&claim.key), identity.clone());
        }
    }

    pub(super) fn list(&mut self, watched: &Watched, items: Vec<Item>) {
        let new: BTreeSet<&Place> = items.iter().map(|item| &item.place).collect();
        let known = self.places.get(&watched.label());
        let gone = known.into_iter().flatten().filter(|place| !new.contains(place));
        let gone: Vec<Place> = gone.cloned().collect();
        for place in gone {
            self.delete(watched, &place);
        }
        for item in items {
            self.apply(watched, item);
        }
        self.listed.insert(watched.label());
    }

    fn apply(&mut self, watched: &Watched, item: Item) {
        self.count(&item);
        let Item { place, statement, text, identity: _ } = item;
        if let (Some(text), Some(claim)) = (text, statement.claims.first()) {
            let is_good = claim.form.is_some();
            let texts = if is_good { &mut self.texts } else { &mut self.broken };
            Arc::make_mut(texts).insert(claim.key.clone(), text);
            if is_good && self.broken.contains_key(&claim.key) {
                Arc::make_mut(&mut self.broken).remove(&claim.key);
            }
        }
        self.places.entry(watched.label()).or_default().insert(Arc::clone(&place));
        self.store.say(place, statement);
    }

    fn delete(&mut self, watched: &Watched, place: &Place) {
        if let Some(places) = self.places.get_mut(&watched.label()) {
            places.remove(place);
        }
        self.store.retract(place);
        if let Some(key) = key(watched.kind, place) {
            self.inventory.retract(&key);
            for texts in [&mut self.texts, &mut self.broken] {
                if texts.contains_key(&key) {
                    Arc::make_mut(texts).remove(&key);
                }
            }
        }
    }

    /// Takes in an object that was saved, at the place where the server would have it.
    pub(super) fn restore(&mut self, value: Value, node: &str) {
        let kind = value["kind"].as_str().unwrap_or_default();
        let version = value["apiVersion"].as_str().unwrap_or_default();
        // An agent of another version may have saved what this one does not watch.
        let metadata = &value["metadata"];
        let text = |field: &str| metadata[field].as_str().unwrap_or_default();
        let watched = Kind::read(version, kind).and_then(|kind| kinds::of(kind, text("name")));
        let Some(watched) = watched else { return };
        let elsewhere = Watched::elsewhere(Some(&text("namespace").into()));
        let is_elsewhere = watched.kind == Kind::Pod && value["spec"]["nodeName"] != node;
        let watched = if is_elsewhere { &elsewhere } else { &**watched };
        let place = watched.place(text("namespace"), text("name")).into();
        self.apply(watched, object::read(place, "as it was saved", value, watched.keeps_text()));
    }
}

/// The object at a place.
fn key(kind: Kind, place: &str) -> Option<ObjectKey> {
    let (_, rest) = place.split_once('/')?;
    let (namespace, name) = rest.split_once('/').unwrap_or(("", rest));
    Some(ObjectKey::new(kind, namespace, name))
}

#[cfg(test)]
mod tests;
