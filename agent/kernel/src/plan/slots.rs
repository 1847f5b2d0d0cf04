//! What a map holds whose every key is there twice, once for each slot.

use std::{collections::BTreeMap, fmt::Debug};

use super::{MapWriter, keep_first};

/// One such map.
pub(super) trait Entry {
    /// The key without its slot.
    type Id: Copy + Ord + Debug;
    type Key: Copy + Debug;
    type Value: Copy + PartialEq + Debug;

    fn key(id: Self::Id, slot: usize) -> Self::Key;
    fn id(key: &Self::Key) -> (Self::Id, usize);
    fn put<M: MapWriter>(
        maps: &mut M,
        key: &Self::Key,
        value: &Self::Value,
    ) -> Result<(), M::Error>;
    fn remove<M: MapWriter>(maps: &mut M, key: &Self::Key) -> Result<(), M::Error>;
}

/// See the module.
#[derive(Debug)]
pub(super) struct Slots<E: Entry> {
    held: BTreeMap<E::Id, [Option<E::Value>; 2]>,
}

/// The writes to the idle slot.
#[derive(Debug)]
pub(super) struct SlotWrites<E: Entry> {
    /// Stale entries that the next generation does not have. They go first.
    gone: Vec<E::Key>,
    put: Vec<(E::Key, E::Value)>,
    /// How many of `put` are under new keys.
    added: usize,
}

impl<E: Entry> SlotWrites<E> {
    pub(super) fn len(&self) -> usize {
        self.gone.len() + self.put.len()
    }
}

impl<E: Entry> Slots<E> {
    pub(super) fn new(found: &[(E::Key, E::Value)]) -> Self {
        let mut slots = Self { held: BTreeMap::new() };
        for (key, value) in found {
            slots.note(key, Some(*value));
        }
        slots
    }

    /// Every entry, as it was written.
    pub(super) fn entries(&self) -> impl Iterator<Item = (E::Key, E::Value)> {
        self.held.iter().flat_map(|(id, slots)| {
            let entry = |slot: usize| Some((E::key(*id, slot), slots[slot]?));
            [0, 1].into_iter().filter_map(entry)
        })
    }

    /// The keys without their slots.
    pub(super) fn ids(&self) -> impl Iterator<Item = E::Id> {
        self.held.keys().copied()
    }

    /// The value in a slot, if there is one.
    pub(super) fn get(&self, id: E::Id, slot: usize) -> Option<E::Value> {
        self.held.get(&id)?[slot]
    }

    /// How many entries there are once the writes are done.
    pub(super) fn count_after(&self, writes: &SlotWrites<E>) -> usize {
        let held: usize = self.held.values().map(|slots| slots.iter().flatten().count()).sum();
        held + writes.added - writes.gone.len()
    }

    /// `wanted` comes in the order of its keys.
    pub(super) fn widen(
        &self,
        wanted: impl Iterator<Item = (E::Id, E::Value)>,
        idle: usize,
    ) -> SlotWrites<E> {
        let mut writes = SlotWrites { gone: Vec::new(), put: Vec::new(), added: 0 };
        let mut stale = self.held.iter().filter(|(_, slots)| slots[idle].is_some()).peekable();
        for (id, value) in wanted {
            while let Some((gone, _)) = stale.next_if(|(stale, _)| **stale < id) {
                writes.gone.push(E::key(*gone, idle));
            }
            let held = stale.next_if(|(stale, _)| **stale == id);
            let held = held.and_then(|(_, slots)| slots[idle]);
            writes.added += usize::from(held.is_none());
            if held != Some(value) {
                writes.put.push((E::key(id, idle), value));
            }
        }
        writes.gone.extend(stale.map(|(id, _)| E::key(*id, idle)));
        writes
    }

    pub(super) fn write<M: MapWriter>(
        &mut self,
        writes: &SlotWrites<E>,
        maps: &mut M,
    ) -> Result<(), M::Error> {
        for key in &writes.gone {
            E::remove(maps, key)?;
            self.note(key, None);
        }
        for (key, value) in &writes.put {
            E::put(maps, key, value)?;
            self.note(key, Some(*value));
        }
        Ok(())
    }

    /// Removes what the generation in force does not have, and has the idle slot say the same of the
    /// rest.
    pub(super) fn narrow<M: MapWriter>(
        &mut self,
        in_force: usize,
        maps: &mut M,
    ) -> Result<(), M::Error> {
        let stale = self.held.iter().filter(|(_, slots)| slots[0] != slots[1]);
        let wanted = stale.map(|(id, slots)| (E::key(*id, 1 - in_force), slots[in_force]));
        let wanted: Vec<(E::Key, Option<E::Value>)> = wanted.collect();
        let mut outcome = Ok(());
        for (key, value) in wanted {
            let done = match &value {
                Some(value) => E::put(maps, &key, value),
                None => E::remove(maps, &key),
            };
            if done.is_ok() {
                self.note(&key, value);
            }
            keep_first(&mut outcome, done);
        }
        outcome
    }

    fn note(&mut self, key: &E::Key, value: Option<E::Value>) {
        let (id, slot) = E::id(key);
        let slots = self.held.entry(id).or_default();
        slots[slot] = value;
        if *slots == [None; 2] {
            self.held.remove(&id);
        }
    }
}
