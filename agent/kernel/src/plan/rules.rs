//! What the map of port rules holds: immutable sets, each stored once however many prefixes and
//! tables name it.

use std::{
    collections::HashSet,
    hash::{BuildHasher, Hash},
    sync::Arc,
};

use agent_abi::{RuleKey, RuleValue};
use agent_model::{
    compile::{PortRule, Table},
    tables::action_word,
};
use hashbrown::{DefaultHashBuilder, HashTable};

use super::{MapWriter, PlanError, aligned::Aligned, keep_first, numbering::Numbering};
use crate::rule_names::RuleNames;

/// A port of a set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Entry {
    rule: u32,
    port: u16,
    protocol: u8,
    action: u8,
}

impl Entry {
    fn key(self, set: u32) -> RuleKey {
        RuleKey { set, port: self.port, protocol: self.protocol, pad: 0 }
    }

    fn value(self) -> RuleValue {
        RuleValue { action: self.action.into(), rule: self.rule }
    }
}

/// The numbers under which the maps know a table's parts.
#[derive(Clone, Debug, Default)]
pub(super) struct Numbers {
    /// By index of the set.
    pub(super) sets: Arc<[u32]>,
    /// By index of the decision: an action of one source, so equal numbers mean equal actions.
    pub(super) rules: Arc<[u32]>,
}

/// A compiled table with its numbers.
#[derive(Clone, Debug, Default)]
pub(super) struct Numbered {
    pub(super) table: Arc<Table>,
    pub(super) numbers: Numbers,
}

/// A set that the map holds whole, or that a plan is to write.
#[derive(Clone, Debug)]
struct Set {
    hash: u64,
    number: u32,
    ports: Arc<[Entry]>,
}

/// The sets that a plan writes.
#[derive(Debug, Default)]
pub(super) struct FreshSets {
    sets: Vec<Set>,
    by_content: HashTable<usize>,
    ports: usize,
}

impl FreshSets {
    /// How many entries they are in the map.
    pub(super) fn len(&self) -> usize {
        self.ports
    }
}

/// See the module.
#[derive(Debug)]
pub(super) struct Rules {
    held: HashTable<Set>,
    hasher: DefaultHashBuilder,
    /// Entries in `held`.
    count: usize,
    /// Entries that belong to no set of `held`: of an earlier process, or waiting to be removed.
    strays: Vec<RuleKey>,
    next_set: u32,
    numbering: Numbering,
}

impl Rules {
    /// Starts from what the map holds; `highest_named` is the highest set that a prefix names.
    pub(super) fn new(found: &[(RuleKey, RuleValue)], highest_named: u32) -> Self {
        let highest_set = found.iter().map(|(key, _)| key.set).max().unwrap_or(0);
        let highest_rule = found.iter().map(|(_, value)| value.rule).max().unwrap_or(0);
        Self {
            held: HashTable::new(),
            hasher: DefaultHashBuilder::default(),
            count: 0,
            strays: found.iter().map(|(key, _)| *key).collect(),
            next_set: highest_set.max(highest_named).saturating_add(1),
            numbering: Numbering::beyond(highest_rule),
        }
    }

    pub(super) fn names(&self) -> RuleNames {
        self.numbering.names()
    }

    /// Entries in the map.
    pub(super) fn count(&self) -> usize {
        self.count + self.strays.len()
    }

    /// The numbers of a table; sets that the map does not hold are added to `fresh`. `before` is
    /// the table in force that this one replaces, if there is one.
    pub(super) fn number(
        &mut self,
        table: &Table,
        before: Option<&Numbered>,
        fresh: &mut FreshSets,
    ) -> Result<Numbers, PlanError> {
        let nothing = Numbered::default();
        let before = before.unwrap_or(&nothing);
        let rules = self.numbering.number(
            &table.decisions,
            &before.table.decisions,
            &before.numbers.rules,
        )?;
        let port = |rule: &PortRule| Entry {
            rule: rules[rule.decision as usize],
            port: rule.port,
            protocol: rule.protocol,
            action: word(action_word(table.decisions[rule.decision as usize].action)),
        };
        let same = |rule: &PortRule, old: &PortRule| {
            (rule.port, rule.protocol) == (old.port, old.protocol)
                && rules[rule.decision as usize] == before.numbers.rules[old.decision as usize]
        };
        let mut ports = Vec::new();
        let mut sets = Vec::with_capacity(table.set_count());
        let mut aligned = Aligned::new(before.table.set_count());
        for set in table.sets() {
            let known = aligned.find(|at| {
                let old = before.table.set(index(at));
                set.len() == old.len() && set.iter().zip(old).all(|(rule, old)| same(rule, old))
            });
            if let Some(at) = known {
                sets.push(before.numbers.sets[at]);
                continue;
            }
            ports.clear();
            ports.extend(set.iter().map(port));
            sets.push(self.number_set(&ports, fresh)?);
        }
        Ok(Numbers { sets: sets.into(), rules: rules.into() })
    }

    fn number_set(&mut self, ports: &[Entry], fresh: &mut FreshSets) -> Result<u32, PlanError> {
        let hash = self.hasher.hash_one(ports);
        let same = |set: &Set| set.hash == hash && *set.ports == *ports;
        if let Some(held) = self.held.find(hash, same) {
            return Ok(held.number);
        }
        let FreshSets { sets, by_content, ports: count } = fresh;
        if let Some(at) = by_content.find(hash, |at| same(&sets[*at])) {
            return Ok(sets[*at].number);
        }
        let number = self.next_set;
        self.next_set = number.checked_add(1).ok_or(PlanError::NumbersSpent)?;
        by_content.insert_unique(hash, sets.len(), |at| sets[*at].hash);
        sets.push(Set { hash, number, ports: ports.into() });
        *count += ports.len();
        Ok(number)
    }

    /// Writes sets. A set that cannot be written whole is not held; what there is of it is a stray.
    pub(super) fn write<M: MapWriter>(
        &mut self,
        fresh: &FreshSets,
        maps: &mut M,
    ) -> Result<(), M::Error> {
        for set in &fresh.sets {
            for (done, port) in set.ports.iter().enumerate() {
                if let Err(error) = maps.put_rule(&port.key(set.number), &port.value()) {
                    let written = set.ports[..done].iter();
                    self.strays.extend(written.map(|port| port.key(set.number)));
                    return Err(error);
                }
            }
            self.count += set.ports.len();
            self.held.insert_unique(set.hash, set.clone(), |set| set.hash);
        }
        Ok(())
    }

    /// Removes the sets that the slot in force does not name.
    pub(super) fn narrow<M: MapWriter>(
        &mut self,
        named: &HashSet<u32>,
        maps: &mut M,
    ) -> Result<(), M::Error> {
        let before = self.strays.len();
        for set in self.held.extract_if(|set| !named.contains(&set.number)) {
            self.count -= set.ports.len();
            self.strays.extend(set.ports.iter().map(|port| port.key(set.number)));
        }
        if self.strays.len() > before {
            let used = self.held.iter().flat_map(|set| set.ports.iter().map(|port| port.rule));
            self.numbering.keep(&used.collect());
        }
        let mut outcome = Ok(());
        self.strays.retain(|key| {
            if named.contains(&key.set) {
                return true;
            }
            let removed = maps.remove_rule(key);
            let stays = removed.is_err();
            keep_first(&mut outcome, removed);
            stays
        });
        self.strays.shrink_to_fit();
        outcome
    }
}

/// A table has fewer sets than the map of rules has room.
fn index(at: usize) -> u32 {
    u32::try_from(at).expect("fewer than 2^32 sets")
}

/// The actions are small numbers; a byte keeps a port at eight.
fn word(action: u32) -> u8 {
    u8::try_from(action).expect("an action fits a byte")
}
