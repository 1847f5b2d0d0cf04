//! Numbers for what rules decide.

use std::{
    collections::{HashSet, VecDeque},
    hash::BuildHasher,
};

use agent_model::compile::Decision;
use hashbrown::{DefaultHashBuilder, HashTable};

use super::{PlanError, aligned::Aligned};
use crate::rule_names::RuleNames;

/// Decisions that no rule makes any more stay readable for events still on their way and for
/// connections that outlive their rule, the latest so many.
const REMEMBERED: usize = 4_096;

/// Gives out the numbers. One is never given out twice.
#[derive(Debug)]
pub(super) struct Numbering {
    next: u32,
    /// With their hashes: a growing table would otherwise read every name again.
    known: HashTable<(u64, u32, Decision)>,
    hasher: DefaultHashBuilder,
    names: RuleNames,
    /// Gone from `known`, still in `names`, oldest first.
    retired: VecDeque<u32>,
}

impl Numbering {
    /// Starts well beyond the highest number found: connections from before a restart carry
    /// numbers of rules that the maps hold no more, which must not come to mean another rule.
    pub(super) fn beyond(highest: u32) -> Self {
        Self {
            next: if highest == 0 { 1 } else { (highest | 0xffff).saturating_add(1) },
            known: HashTable::new(),
            hasher: DefaultHashBuilder::default(),
            names: RuleNames::default(),
            retired: VecDeque::new(),
        }
    }

    pub(super) fn names(&self) -> RuleNames {
        self.names.clone()
    }

    /// The numbers of decisions, in their order. `before` are the decisions, with their numbers, of
    /// the rules that these replace: mostly the same ones.
    pub(super) fn number(
        &mut self,
        decisions: &[Decision],
        before: &[Decision],
        numbers_before: &[u32],
    ) -> Result<Vec<u32>, PlanError> {
        let mut fresh = Vec::new();
        let mut numbers = Vec::with_capacity(decisions.len());
        let mut aligned = Aligned::new(before.len());
        for decision in decisions {
            if let Some(at) = aligned.find(|at| before[at] == *decision) {
                numbers.push(numbers_before[at]);
                continue;
            }
            let hash = self.hasher.hash_one(decision);
            let same = |known: &(u64, u32, Decision)| known.0 == hash && known.2 == *decision;
            if let Some((_, number, _)) = self.known.find(hash, same) {
                numbers.push(*number);
                continue;
            }
            let number = self.next;
            self.next = number.checked_add(1).ok_or(PlanError::NumbersSpent)?;
            let entry = (hash, number, decision.clone());
            self.known.insert_unique(hash, entry, |(hash, ..)| *hash);
            fresh.push((number, decision.clone()));
            numbers.push(number);
        }
        self.names.change(|names| names.extend(fresh));
        Ok(numbers)
    }

    /// Lets go of the numbers that no set has.
    pub(super) fn keep(&mut self, used: &HashSet<u32>) {
        let gone = self.known.extract_if(|(_, number, _)| !used.contains(number));
        self.retired.extend(gone.map(|(_, number, _)| number));
        let forgotten = self.retired.len().saturating_sub(REMEMBERED);
        let forgotten: Vec<u32> = self.retired.drain(..forgotten).collect();
        self.names.change(|names| {
            for number in forgotten {
                names.remove(&number);
            }
        });
    }
}
