//! What the map of pods holds, in both slots.

use std::collections::BTreeMap;

use agent_abi::{PodKey, PodPolicy};

use super::{MapWriter, keep_first};

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Pods {
    held: BTreeMap<u64, [Option<PodPolicy>; 2]>,
}

/// The writes to the idle slot.
#[derive(Debug, Default)]
pub(super) struct PodWrites {
    /// Stale entries of pods that the next generation does not know. They go first.
    gone: Vec<PodKey>,
    put: Vec<(PodKey, PodPolicy)>,
    /// How many of `put` are under new keys.
    added: usize,
}

impl PodWrites {
    pub(super) fn len(&self) -> usize {
        self.gone.len() + self.put.len()
    }
}

impl Pods {
    pub(super) fn new(found: &[(PodKey, PodPolicy)]) -> Self {
        let mut pods = Self::default();
        for (key, policy) in found {
            pods.note(key, Some(*policy));
        }
        pods
    }

    /// Every entry, as it was written.
    pub(super) fn entries(&self) -> impl Iterator<Item = (PodKey, PodPolicy)> {
        self.held.iter().flat_map(|(netns, slots)| {
            let entry = |slot: usize| Some((key(*netns, slot), slots[slot]?));
            [0, 1].into_iter().filter_map(entry)
        })
    }

    /// The table of a pod in a slot, if it has one there.
    pub(super) fn table(&self, netns: u64, slot: usize) -> Option<u32> {
        self.held.get(&netns)?[slot].map(|policy| policy.table).filter(|table| *table != 0)
    }

    /// The tables that a slot's pods have.
    pub(super) fn tables(&self, slot: usize) -> impl Iterator<Item = u32> {
        self.held.keys().filter_map(move |netns| self.table(*netns, slot))
    }

    /// How many entries there are once the writes are done.
    pub(super) fn count_after(&self, writes: &PodWrites) -> usize {
        let held: usize = self.held.values().map(|slots| slots.iter().flatten().count()).sum();
        held + writes.added - writes.gone.len()
    }

    pub(super) fn widen(
        &self,
        wanted: impl Iterator<Item = (u64, PodPolicy)>,
        idle: usize,
    ) -> PodWrites {
        let mut writes = PodWrites::default();
        let mut stale = self.held.iter().filter(|(_, slots)| slots[idle].is_some()).peekable();
        for (netns, policy) in wanted {
            while let Some((gone, _)) = stale.next_if(|(stale, _)| **stale < netns) {
                writes.gone.push(key(*gone, idle));
            }
            let held = stale.next_if(|(stale, _)| **stale == netns);
            let held = held.and_then(|(_, slots)| slots[idle]);
            writes.added += usize::from(held.is_none());
            if held != Some(policy) {
                writes.put.push((key(netns, idle), policy));
            }
        }
        writes.gone.extend(stale.map(|(netns, _)| key(*netns, idle)));
        writes
    }

    pub(super) fn write<M: MapWriter>(
        &mut self,
        writes: &PodWrites,
        maps: &mut M,
    ) -> Result<(), M::Error> {
        for key in &writes.gone {
            maps.remove_pod(key)?;
            self.note(key, None);
        }
        for (key, policy) in &writes.put {
            maps.put_pod(key, policy)?;
            self.note(key, Some(*policy));
        }
        Ok(())
    }

    /// Removes the pods that the generation in force does not know, and has the idle slot say the
    /// same of the others.
    pub(super) fn narrow<M: MapWriter>(
        &mut self,
        in_force: usize,
        maps: &mut M,
    ) -> Result<(), M::Error> {
        let stale = self.held.iter().filter(|(_, slots)| slots[0] != slots[1]);
        let wanted = stale.map(|(netns, slots)| (key(*netns, 1 - in_force), slots[in_force]));
        let wanted: Vec<(PodKey, Option<PodPolicy>)> = wanted.collect();
        let mut outcome = Ok(());
        for (key, policy) in wanted {
            let done = match &policy {
                Some(policy) => maps.put_pod(&key, policy),
                None => maps.remove_pod(&key),
            };
            if done.is_ok() {
                self.note(&key, policy);
            }
            keep_first(&mut outcome, done);
        }
        outcome
    }

    fn note(&mut self, key: &PodKey, policy: Option<PodPolicy>) {
        let slots = self.held.entry(key.netns).or_default();
        slots[usize::from(key.slot == 1)] = policy;
        if *slots == [None; 2] {
            self.held.remove(&key.netns);
        }
    }
}

fn key(netns: u64, slot: usize) -> PodKey {
    PodKey { netns, slot: u32::from(slot == 1), pad: 0 }
}
