//! What the map of pods holds, in both slots.

use agent_abi::{PodKey, PodPolicy};

use super::{
    MapWriter,
    slots::{Entry, Slots},
};

/// An entry of PODS.
#[derive(Debug)]
pub(super) struct PodEntry;

impl Entry for PodEntry {
    type Id = u64;
    type Key = PodKey;
    type Value = PodPolicy;

    fn key(netns: u64, slot: usize) -> PodKey {
        PodKey { netns, slot: u32::from(slot == 1), pad: 0 }
    }

    fn id(key: &PodKey) -> (u64, usize) {
        (key.netns, usize::from(key.slot == 1))
    }

    fn put<M: MapWriter>(maps: &mut M, key: &PodKey, value: &PodPolicy) -> Result<(), M::Error> {
        maps.put_pod(key, value)
    }

    fn remove<M: MapWriter>(maps: &mut M, key: &PodKey) -> Result<(), M::Error> {
        maps.remove_pod(key)
    }
}

impl Slots<PodEntry> {
    /// The table of a pod in a slot, if it has one there.
    pub(super) fn table(&self, netns: u64, slot: usize) -> Option<u32> {
        self.get(netns, slot).map(|policy| policy.table).filter(|table| *table != 0)
    }

    /// The tables that a slot's pods have.
    pub(super) fn tables(&self, slot: usize) -> impl Iterator<Item = u32> {
        self.ids().filter_map(move |netns| self.table(netns, slot))
    }
}
