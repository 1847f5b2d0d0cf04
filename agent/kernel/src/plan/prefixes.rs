//! What the trie of prefixes holds, table by table, and what to write to it.

use std::collections::{BTreeMap, HashSet};

use agent_abi::{PrefixKey, PrefixValue};
use agent_model::compile::Prefix;

use super::{MapWriter, keep_first};

/// See the module. 32 bytes a key.
#[derive(Debug, Default)]
pub(super) struct Prefixes {
    tables: BTreeMap<u32, Held>,
}

#[derive(Debug, Default)]
struct Held {
    /// Sorted.
    entries: Vec<(Prefix, [u32; 2])>,
    /// Both slots say the same.
    settled: bool,
}

/// The slot that a generation fills.
#[derive(Clone, Copy, Debug)]
pub(super) struct IdleSlot {
    pub(super) slot: usize,
    /// No pod reads the table yet.
    pub(super) is_new: bool,
}

impl Prefixes {
    pub(super) fn new(mut found: Vec<(PrefixKey, PrefixValue)>) -> Self {
        let place = |(key, _): &(PrefixKey, PrefixValue)| (key.table, prefix(key));
        found.sort_unstable_by_key(place);
        let mut prefixes = Self::default();
        prefixes.note(&found);
        prefixes
    }

    pub(super) fn count(&self) -> usize {
        self.tables.values().map(|held| held.entries.len()).sum()
    }

    /// Every key with its value.
    #[cfg(test)]
    pub(super) fn all(&self) -> impl Iterator<Item = (PrefixKey, PrefixValue)> {
        self.tables.iter().flat_map(|(table, held)| {
            let value = |(prefix, set): &(Prefix, [u32; 2])| {
                (prefix.key(*table), PrefixValue { set: *set })
            };
            held.entries.iter().map(value)
        })
    }

    /// Whether the idle slot of a table says what the slot in force does.
    pub(super) fn is_settled(&self, table: u32) -> bool {
        self.tables.get(&table).is_none_or(|held| held.settled)
    }

    /// What to write for the idle slot of a table to hold `wanted` (sorted), and how many keys that
    /// adds. Every key that is or will be in the trie needs its value, since a longest match ends
    /// there for both slots. A new table is read by no pod yet, so it gets its sets in both slots
    /// at once.
    pub(super) fn widen(
        &self,
        table: u32,
        wanted: impl Iterator<Item = (Prefix, u32)>,
        idle: IdleSlot,
        writes: &mut Vec<(PrefixKey, PrefixValue)>,
    ) -> usize {
        let IdleSlot { slot: idle, is_new } = idle;
        let held = self.tables.get(&table).map_or(&[][..], |held| &held.entries);
        let (mut held, mut wanted) = (held.iter().peekable(), wanted.peekable());
        let (mut now, mut next) = (Covering::default(), Covering::default());
        let mut added = 0;
        loop {
            let at = match (held.peek(), wanted.peek()) {
                (None, None) => return added,
                (Some((prefix, _)), None) | (None, Some((prefix, _))) => *prefix,
                (Some((one, _)), Some((other, _))) => *one.min(other),
            };
            let held = held.next_if(|(prefix, _)| *prefix == at);
            let wanted = wanted.next_if(|(prefix, _)| *prefix == at);
            let covered = next.around(&at);
            let set = wanted.map_or(covered, |(_, set)| set);
            if let Some((_, before)) = held {
                if before[idle] != set {
                    let mut value = PrefixValue { set: *before };
                    value.set[idle] = set;
                    writes.push((at.key(table), value));
                }
                now.enter(at, before[1 - idle]);
            } else if set != covered {
                let in_force = if is_new { set } else { now.around(&at) };
                let mut value = PrefixValue { set: [in_force; 2] };
                value.set[idle] = set;
                writes.push((at.key(table), value));
                added += 1;
            }
            if wanted.is_some() {
                next.enter(at, set);
            }
        }
    }

    /// Writes what [`Self::widen`] said.
    pub(super) fn write<M: MapWriter>(
        &mut self,
        writes: &[(PrefixKey, PrefixValue)],
        maps: &mut M,
    ) -> Result<(), M::Error> {
        let mut outcome = Ok(());
        let done = writes.iter().take_while(|(key, value)| {
            outcome = maps.put_prefix(key, value);
            outcome.is_ok()
        });
        let done = done.count();
        self.note(&writes[..done]);
        outcome
    }

    /// Removes the tables that no pod has and the keys that repeat what covers them in the slot in
    /// force, and has the idle slot say the same. Returns, with the outcome, the sets that are left.
    pub(super) fn narrow<M: MapWriter>(
        &mut self,
        used: &HashSet<u32>,
        in_force: usize,
        maps: &mut M,
    ) -> (Result<(), M::Error>, HashSet<u32>) {
        let mut outcome = Ok(());
        let mut sets = HashSet::new();
        for (table, held) in &mut self.tables {
            let mut around = Covering::default();
            held.settled = true;
            held.entries.retain_mut(|(prefix, value)| {
                let set = value[in_force];
                let needed = used.contains(table) && set != around.around(prefix);
                let key = prefix.key(*table);
                let done = if needed {
                    around.enter(*prefix, set);
                    sets.insert(set);
                    settle(&key, value, in_force, maps)
                } else {
                    maps.remove_prefix(&key)
                };
                let stays = needed || done.is_err();
                held.settled &= done.is_ok();
                keep_first(&mut outcome, done);
                stays
            });
        }
        self.tables.retain(|_, held| !held.entries.is_empty());
        (outcome, sets)
    }

    /// Takes in writes that were done, sorted by table and prefix.
    fn note(&mut self, writes: &[(PrefixKey, PrefixValue)]) {
        for run in writes.chunk_by(|(one, _), (other, _)| one.table == other.table) {
            let Held { entries, settled } = self.tables.entry(run[0].0.table).or_default();
            *settled = false;
            let known = entries.len();
            for (key, value) in run {
                let prefix = prefix(key);
                match entries[..known].binary_search_by(|(held, _)| held.cmp(&prefix)) {
                    Ok(at) => entries[at].1 = value.set,
                    Err(_) => entries.push((prefix, value.set)),
                }
            }
            // Two sorted runs, which the stable sort merges.
            entries.sort_by_key(|(prefix, _)| *prefix);
            entries.shrink_to_fit();
        }
    }
}

/// Has both slots of a key say what the slot in force does.
fn settle<M: MapWriter>(
    key: &PrefixKey,
    value: &mut [u32; 2],
    in_force: usize,
    maps: &mut M,
) -> Result<(), M::Error> {
    let settled = [value[in_force]; 2];
    if *value != settled {
        maps.put_prefix(key, &PrefixValue { set: settled })?;
        *value = settled;
    }
    Ok(())
}

fn prefix(key: &PrefixKey) -> Prefix {
    let len = key.bits.saturating_sub(PrefixKey::HEAD_BITS);
    Prefix { addr: key.addr, len: u8::try_from(len).expect("a prefix has at most 128 bits") }
}

/// The prefixes around a place in a sweep over sorted ones, each with its set.
#[derive(Default)]
struct Covering(Vec<(Prefix, u32)>);

impl Covering {
    /// The set of the nearest prefix around this one; zero where there is none.
    fn around(&mut self, prefix: &Prefix) -> u32 {
        while self.0.last().is_some_and(|(outer, _)| !outer.encloses(prefix)) {
            self.0.pop();
        }
        self.0.last().map_or(0, |(_, set)| *set)
    }

    /// Goes into a prefix; what does not cover it was left by [`Self::around`] or is left by the
    /// next one.
    fn enter(&mut self, prefix: Prefix, set: u32) {
        self.around(&prefix);
        self.0.push((prefix, set));
    }
}
