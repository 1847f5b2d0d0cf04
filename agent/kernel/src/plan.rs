//! Plans how the kernel's maps get from one generation to the next, and knows what they hold. No
//! I/O: the writes go through [`MapWriter`], so a test can stand in for the kernel and look at the
//! maps after each one.
//!
//! ```text
//! plan     what to write for generation N+1, checked against the limits    nothing is written
//! widen    new rule sets; then every prefix and pod in the idle slot       N judges as before
//! flip     the caller stores N+1                                           N+1 judges, whole
//! narrow   after a grace period: what N+1 does not need goes, idle = N+1   N+1 judges as before
//! ```
//!
//! The kernel finds the longest prefix of a table that covers an address and then reads the slot
//! in force. One trie serves both slots, so two things hold at every moment, also half-way through
//! a widening that fails:
//! * In the slot in force, each key holds what the table's rules say at that key, whether or not
//!   the rules name it: a key that only the next generation has repeats what covers it.
//! * A set that a key of the slot in force names is in the map of rules, whole.
//!
//! After a narrowing both slots say the same and nothing is left over. Widening compares the idle
//! slot with what it must hold and writes the difference, so a change of one rule among many is a
//! few writes. [`Planner::narrow`] goes by the content of the maps alone; it is also how a failed
//! widening is undone, and how what an earlier process left is cleared away.

mod aligned;
mod inbound;
mod numbering;
mod pods;
mod prefixes;
mod refusal;
mod rules;
mod slots;
mod tables;
mod writer;

use std::{
    collections::{BTreeMap, HashSet},
    sync::Arc,
};

use agent_abi::{
    InboundKey, InboundPort, MAX_INBOUND, MAX_PODS, MAX_PREFIXES, MAX_RULES, PodKey, PodPolicy,
    PrefixKey, PrefixValue, RuleKey,
};
use agent_model::tables::Pod;

use crate::rule_names::RuleNames;

pub use refusal::PlanError;
pub use writer::MapWriter;

use inbound::InboundEntry;
use pods::PodEntry;
use prefixes::{IdleSlot, Prefixes};
use rules::{FreshSets, Numbered, Rules};
use slots::{SlotWrites, Slots};
use tables::{Assigned, Compiled, Tables};

/// What a generation is to say: the pods of this node by the cookie of their namespace. Pods that
/// share an `Arc` of rules share a table at no cost; pods with equal rules share one as well.
pub type Desired = BTreeMap<u64, Pod>;

/// What the maps hold when the planner starts: nothing, or what an earlier process left.
#[derive(Debug, Default)]
pub struct Found {
    /// The generation in force; zero before the first one.
    pub generation: u64,
    pub prefixes: Vec<(PrefixKey, PrefixValue)>,
    pub rules: Vec<(RuleKey, agent_abi::RuleValue)>,
    pub pods: Vec<(PodKey, PodPolicy)>,
    pub inbound: Vec<(InboundKey, InboundPort)>,
}

/// The writes that make a generation ready. Carried out by [`Planner::widen`].
#[derive(Debug)]
pub struct Plan {
    generation: u64,
    /// The planner's edition that the differences were taken from.
    edition: u64,
    sets: FreshSets,
    prefixes: Vec<(PrefixKey, PrefixValue)>,
    pods: SlotWrites<PodEntry>,
    inbound: SlotWrites<InboundEntry>,
    /// By table number.
    tables: BTreeMap<u32, Compiled>,
}

impl Plan {
    /// The generation that this makes ready.
    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// How many entries are written before the flip.
    pub fn writes(&self) -> usize {
        self.sets.len() + self.prefixes.len() + self.pods.len() + self.inbound.len()
    }
}

/// The one writer's view of the maps.
#[derive(Debug)]
pub struct Planner {
    generation: u64,
    /// Counts what was written; a plan made before the last write is void.
    edition: u64,
    prefixes: Prefixes,
    rules: Rules,
    pods: Slots<PodEntry>,
    inbound: Slots<InboundEntry>,
    tables: Tables,
}

impl Planner {
    /// Starts from what the maps hold. Numbers of tables, sets and rules begin beyond those found.
    pub fn new(found: Found) -> Self {
        let Found { generation, prefixes, rules, pods, inbound } = found;
        let table_of = prefixes.iter().map(|(key, _)| key.table);
        let table_of = table_of.chain(pods.iter().map(|(_, policy)| policy.table));
        let sets_named = prefixes.iter().flat_map(|(_, value)| value.set).max().unwrap_or(0);
        Self {
            generation,
            edition: 0,
            tables: Tables::beyond(table_of.max().unwrap_or(0)),
            rules: Rules::new(&rules, sets_named),
            prefixes: Prefixes::new(prefixes),
            pods: Slots::new(&pods),
            inbound: Slots::new(&inbound),
        }
    }

    /// How many prefixes the maps hold.
    pub fn prefix_count(&self) -> usize {
        self.prefixes.count()
    }

    /// What PODS should hold.
    pub fn pod_entries(&self) -> impl Iterator<Item = (PodKey, PodPolicy)> {
        self.pods.entries()
    }

    /// What rule numbers stand for, to be read from any task.
    pub fn names(&self) -> RuleNames {
        self.rules.names()
    }

    /// The generation in force.
    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// Plans the next generation. Nothing is written yet.
    pub fn plan(&mut self, desired: &Desired) -> Result<Plan, PlanError> {
        let generation = self.generation + 1;
        let now = slot(self.generation);
        let assigned = self.tables.assign(desired, |netns| self.pods.table(netns, now))?;
        let mut fresh = FreshSets::default();
        let mut tables = BTreeMap::new();
        for (number, Assigned { rules, table }) in assigned.tables {
            let numbers = match self.tables.get(number) {
                Some(before) if Arc::ptr_eq(&before.held.table, &table) => {
                    before.held.numbers.clone()
                }
                before => {
                    self.rules.number(&table, before.map(|before| &before.held), &mut fresh)?
                }
            };
            tables.insert(number, Compiled { rules, held: Numbered { table, numbers } });
        }
        let mut prefixes = Vec::new();
        let mut prefix_count = self.prefixes.count();
        for (number, compiled) in &tables {
            if self.tables.holds(*number, &compiled.held.table) && self.prefixes.is_settled(*number)
            {
                continue;
            }
            let Numbered { table, numbers } = &compiled.held;
            let wanted = table.prefixes.iter();
            let wanted = wanted.map(|(prefix, set)| (*prefix, numbers.sets[*set as usize]));
            let is_new = self.tables.get(*number).is_none();
            let idle = IdleSlot { slot: slot(generation), is_new };
            prefix_count += self.prefixes.widen(*number, wanted, idle, &mut prefixes);
        }
        let word = |(netns, pod): (&u64, &Pod)| {
            (*netns, pod.word(assigned.number_of.get(netns).copied().unwrap_or(0)))
        };
        let pods = self.pods.widen(desired.iter().map(word), slot(generation));
        let ports = desired.iter().flat_map(|(netns, pod)| {
            pod.inbound.words().map(|(port, word)| ((*netns, port), word))
        });
        let inbound = self.inbound.widen(ports.clone(), slot(generation));
        let rule_count = self.rules.count() + fresh.len();
        // The narrowing after it writes the other slot, too.
        let pod_count = self.pods.count_after(&pods).max(2 * desired.len());
        let port_count = self.inbound.count_after(&inbound).max(2 * ports.count());
        refuse_past_limits(prefix_count, rule_count, (pod_count, port_count))?;
        let edition = self.edition;
        Ok(Plan { generation, edition, sets: fresh, prefixes, pods, inbound, tables })
    }

    /// Writes what a plan says. Until the flip the generation in force judges as before. If a
    /// write fails, what was written is removed again as far as the maps let us, and the plan is
    /// void.
    pub fn widen<M: MapWriter>(&mut self, plan: &Plan, maps: &mut M) -> Result<(), M::Error> {
        assert_eq!(plan.edition, self.edition, "a plan is carried out before anything else");
        self.edition += 1;
        let written = self.rules.write(&plan.sets, maps);
        let written = written.and_then(|()| self.prefixes.write(&plan.prefixes, maps));
        let written = written.and_then(|()| self.inbound.write(&plan.inbound, maps));
        let written = written.and_then(|()| self.pods.write(&plan.pods, maps));
        if written.is_err() {
            // What cannot be removed either stays in the mirror, for the next narrowing to try.
            let _ = self.narrow(maps);
        }
        written
    }

    /// The caller has stored the plan's generation: it is in force.
    pub fn flipped(&mut self, plan: Plan) {
        assert_eq!(plan.edition + 1, self.edition, "a plan is widened before it is in force");
        self.edition += 1;
        self.generation = plan.generation;
        self.tables.replace(plan.tables);
    }

    /// Removes what the generation in force does not need and fills the idle slot with what it
    /// says. After a flip this has to wait until no hook can still be reading the slot before.
    /// Tries every write; returns the first failure.
    pub fn narrow<M: MapWriter>(&mut self, maps: &mut M) -> Result<(), M::Error> {
        self.edition += 1;
        let in_force = slot(self.generation);
        let pods = self.pods.narrow(in_force, maps);
        let inbound = self.inbound.narrow(in_force, maps);
        let tables: HashSet<u32> = self.pods.tables(in_force).collect();
        let (prefixes, sets) = self.prefixes.narrow(&tables, in_force, maps);
        let rules = self.rules.narrow(&sets, maps);
        pods.and(inbound).and(prefixes).and(rules)
    }
}

fn slot(generation: u64) -> usize {
    usize::from(generation & 1 == 1)
}

/// Keeps the first failure of several writes that are tried all.
fn keep_first<E>(outcome: &mut Result<(), E>, next: Result<(), E>) {
    if outcome.is_ok() {
        *outcome = next;
    }
}

/// The moment of greatest width is the end of the widening: nothing has been removed by then but
/// pods of the idle slot, which go first.
fn refuse_past_limits(
    prefixes: usize,
    rules: usize,
    (pods, ports): (usize, usize),
) -> Result<(), PlanError> {
    if prefixes > MAX_PREFIXES as usize {
        return Err(PlanError::TooManyPrefixes { needed: prefixes });
    }
    if rules > MAX_RULES as usize {
        return Err(PlanError::TooManyRules { needed: rules });
    }
    if pods > MAX_PODS as usize {
        return Err(PlanError::TooManyPods { needed: pods });
    }
    if ports > MAX_INBOUND as usize {
        return Err(PlanError::TooManyInbound { needed: ports });
    }
    Ok(())
}

#[cfg(test)]
mod tests;
