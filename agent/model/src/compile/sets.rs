//! Port sets, each stored once, end to end.

use std::hash::BuildHasher;

use agent_abi::MAX_RULES;
use hashbrown::{DefaultHashBuilder, HashMap, HashTable};

use super::{CompileError, PortRule, fold::fold};

/// The set of a place that no prefix covers.
pub(super) const EMPTY: u32 = 0;

/// A fold into a parent with more ports than this is remembered: many prefixes with the same rules
/// inside a wide one with thousands of ports then cost one fold. Below, folding is as cheap.
const WORTH_REMEMBERING: usize = 4;

/// The sets of one table by number, from 1; zero is the empty set.
#[derive(Default)]
pub(super) struct Sets {
    port_rules: Vec<PortRule>,
    ends: Vec<u32>,
    numbers: HashTable<u32>,
    hasher: DefaultHashBuilder,
    /// The outcome of folding own rules (by their number in `owns`) into a parent.
    done: HashMap<(u32, u32), u32>,
    owns: HashMap<Vec<PortRule>, u32>,
    scratch: Vec<PortRule>,
}

impl Sets {
    /// Those of a table, to which others are added.
    pub(super) fn of(port_rules: Vec<PortRule>, ends: Vec<u32>) -> Self {
        Self { port_rules, ends, ..Self::default() }
    }

    /// The set of a prefix with rules of its own inside a prefix that has the set `parent`.
    pub(super) fn folded(&mut self, parent: u32, own: &[PortRule]) -> Result<u32, CompileError> {
        if slice(&self.port_rules, &self.ends, parent).len() <= WORTH_REMEMBERING {
            return self.fold(parent, own);
        }
        let next = index(self.owns.len());
        let own_number = *self.owns.entry_ref(own).or_insert(next);
        if let Some(set) = self.done.get(&(parent, own_number)) {
            return Ok(*set);
        }
        let set = self.fold(parent, own)?;
        self.done.insert((parent, own_number), set);
        Ok(set)
    }

    fn fold(&mut self, parent: u32, own: &[PortRule]) -> Result<u32, CompileError> {
        let Self { port_rules, ends, numbers, hasher, scratch, .. } = self;
        let inherited = slice(port_rules, ends, parent);
        fold(inherited, own, scratch);
        if scratch == inherited {
            return Ok(parent);
        }
        let hash = hasher.hash_one(scratch.as_slice());
        if let Some(number) =
            numbers.find(hash, |number| slice(port_rules, ends, *number) == scratch.as_slice())
        {
            return Ok(*number);
        }
        if port_rules.len() + scratch.len() > MAX_RULES as usize {
            return Err(CompileError::TooManyPortRules);
        }
        port_rules.extend_from_slice(scratch);
        ends.push(index(port_rules.len()));
        let number = index(ends.len());
        numbers.insert_unique(hash, number, |number| {
            hasher.hash_one(slice(port_rules, ends, *number))
        });
        Ok(number)
    }

    /// All sets but the empty one, end to end, and where each ends.
    pub(super) fn into_parts(self) -> (Vec<PortRule>, Vec<u32>) {
        let (mut port_rules, mut ends) = (self.port_rules, self.ends);
        port_rules.shrink_to_fit();
        ends.shrink_to_fit();
        (port_rules, ends)
    }
}

fn slice<'a>(port_rules: &'a [PortRule], ends: &[u32], number: u32) -> &'a [PortRule] {
    let end = |number: u32| if number == EMPTY { 0 } else { ends[number as usize - 1] as usize };
    &port_rules[end(number.saturating_sub(1))..end(number)]
}

/// Rules number less than 2^32: one is 40 bytes, and this is the memory of one node.
pub(super) fn index(at: usize) -> u32 {
    u32::try_from(at).expect("fewer than 2^32 rules")
}
