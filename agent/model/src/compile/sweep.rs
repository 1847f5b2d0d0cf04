//! The sweep: prefixes in order, each one's own rules folded into what its parent already says.

use std::{borrow::Borrow, hash::BuildHasher, sync::Arc};

use agent_abi::MAX_PREFIXES;
use hashbrown::{DefaultHashBuilder, HashMap, HashTable};

use super::{
    CompileError, Decision, PortRule, Prefix, Table,
    rank::{number, rank},
    sets::{EMPTY, Sets, index},
};
use crate::egress::{Action, Rule, RuleSource};

pub(super) fn sweep(rules: &[Rule]) -> Result<Table, CompileError> {
    let (decisions, decision_of) = number_decisions(rules);
    let (mut sets, mut prefixes) = (Sets::default(), Vec::new());
    sweep_into((rules, &decision_of), None, &mut sets, &mut prefixes)?;
    refuse_past_limit(&prefixes)?;
    let (port_rules, set_ends) = sets.into_parts();
    Ok(Table { prefixes, decisions, port_rules, set_ends })
}

/// Adds the prefixes of rules, all of which lie in `around` where there is one: the nearest prefix
/// around them, with the number of its set.
pub(super) fn sweep_into<R: Borrow<Rule>>(
    (rules, decision_of): (&[R], &[u32]),
    around: Option<(Prefix, u32)>,
    sets: &mut Sets,
    prefixes: &mut Vec<(Prefix, u32)>,
) -> Result<(), CompileError> {
    let place = |(at, rule): (usize, &R)| (Prefix::from(rule.borrow().cidr), at);
    let mut order: Vec<(Prefix, usize)> = rules.iter().enumerate().map(place).collect();
    // Canonical rules are a few sorted runs, which the stable sort merges.
    order.sort();

    let mut covering: Vec<(Prefix, u32)> = around.into_iter().collect();
    let mut own = Vec::new();
    for group in order.chunk_by_mut(|one, other| one.0 == other.0) {
        let prefix = group[0].0;
        while covering.last().is_some_and(|(outer, _)| !outer.encloses(&prefix)) {
            covering.pop();
        }
        let parent = covering.last().map_or(EMPTY, |(_, set)| *set);
        own_rules(rules, group, decision_of, &mut own);
        let set = sets.folded(parent, &own)?;
        if set != parent {
            prefixes.push((prefix, set - 1));
        }
        covering.push((prefix, set));
    }
    Ok(())
}

pub(super) fn refuse_past_limit(prefixes: &[(Prefix, u32)]) -> Result<(), CompileError> {
    if prefixes.len() > MAX_PREFIXES as usize {
        return Err(CompileError::TooManyPrefixes { found: prefixes.len() });
    }
    Ok(())
}

/// Numbers what the rules say, equal sources alike: first by pointer, since a translator shares the
/// source among the addresses of one object, then by value.
fn number_decisions(rules: &[Rule]) -> (Vec<Decision>, Vec<u32>) {
    let mut decisions: Vec<Decision> = Vec::new();
    let mut by_pointer: HashMap<(*const RuleSource, Action), u32> = HashMap::new();
    // With their hashes: a growing table would otherwise read every source again.
    let mut by_value: HashTable<(u64, u32)> = HashTable::new();
    let hasher = DefaultHashBuilder::default();
    let mut find = |rule: &Rule| {
        let hash = hasher.hash_one((&rule.source, rule.action));
        let same = |(_, number): &(u64, u32)| {
            let decision = &decisions[*number as usize];
            decision.action == rule.action && decision.source == rule.source
        };
        if let Some((_, number)) = by_value.find(hash, same) {
            return *number;
        }
        let number = index(decisions.len());
        decisions.push(Decision { source: rule.source.clone(), action: rule.action });
        by_value.insert_unique(hash, (hash, number), |(hash, _)| *hash);
        number
    };
    let decision_of = rules
        .iter()
        .map(|rule| {
            let pointer = (Arc::as_ptr(&rule.source), rule.action);
            *by_pointer.entry(pointer).or_insert_with(|| find(rule))
        })
        .collect();
    (decisions, decision_of)
}

/// The winners among the rules of one prefix, sorted by (protocol, port).
fn own_rules<R: Borrow<Rule>>(
    rules: &[R],
    group: &mut [(Prefix, usize)],
    decision_of: &[u32],
    own: &mut Vec<PortRule>,
) {
    let rule = |at: usize| rules[at].borrow();
    let place = |at: usize| (number(rule(at).protocol), port(rule(at)));
    group.sort_unstable_by(|(_, one), (_, other)| {
        let by_place = place(*one).cmp(&place(*other));
        by_place.then_with(|| rank(rule(*other)).cmp(&rank(rule(*one))))
    });
    own.clear();
    for winners in group.chunk_by(|(_, one), (_, other)| place(*one) == place(*other)) {
        let at = winners[0].1;
        let (protocol, port) = place(at);
        own.push(PortRule { protocol, port, class: rule(at).class, decision: decision_of[at] });
    }
}

fn port(rule: &Rule) -> u16 {
    rule.port.map_or(0, std::num::NonZero::get)
}
