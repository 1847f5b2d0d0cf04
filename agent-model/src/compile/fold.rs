//! The sweep: prefixes in order, each one's own rules folded into what its parent already says.

use std::{collections::HashMap, sync::Arc};

use agent_abi::{MAX_PREFIXES, MAX_RULES};

use super::{
    CompileError, Decision, PortRule, Prefix, Table,
    rank::{Standing, number, rank},
};
use crate::egress::{Action, Rule, RuleSource};

/// The set of a place that no prefix covers.
const EMPTY: u32 = 0;

pub(super) fn sweep(rules: &[Rule]) -> Result<Table, CompileError> {
    let (decisions, decision_of) = number_decisions(rules);
    let mut order: Vec<(Prefix, usize)> =
        rules.iter().enumerate().map(|(at, rule)| (Prefix::from(rule.cidr), at)).collect();
    order.sort_unstable();

    let mut sets = Sets::new();
    let mut prefixes = Vec::new();
    let mut covering: Vec<(Prefix, u32)> = Vec::new();
    let mut own = Vec::new();
    for group in order.chunk_by(|one, other| one.0 == other.0) {
        let prefix = group[0].0;
        while covering.last().is_some_and(|(outer, _)| !outer.encloses(&prefix)) {
            covering.pop();
        }
        let parent = covering.last().map_or(EMPTY, |(_, set)| *set);
        own_rules(rules, group, &decision_of, &mut own);
        let set = sets.folded(parent, &own)?;
        if set != parent {
            prefixes.push((prefix, set - 1));
        }
        covering.push((prefix, set));
    }
    if prefixes.len() > MAX_PREFIXES as usize {
        return Err(CompileError::TooManyPrefixes { found: prefixes.len() });
    }
    let (port_rules, set_ends) = sets.flatten();
    Ok(Table { prefixes, decisions, port_rules, set_ends })
}

/// Numbers what the rules say, equal sources alike: first by pointer, since a translator shares the
/// source among the addresses of one object, then by value.
fn number_decisions(rules: &[Rule]) -> (Vec<Decision>, Vec<u32>) {
    let mut decisions = Vec::new();
    let mut by_pointer: HashMap<(*const RuleSource, Action), u32> = HashMap::new();
    let mut by_value: HashMap<(&RuleSource, Action), u32> = HashMap::new();
    let decision_of = rules
        .iter()
        .map(|rule| {
            *by_pointer.entry((Arc::as_ptr(&rule.source), rule.action)).or_insert_with(|| {
                *by_value.entry((&rule.source, rule.action)).or_insert_with(|| {
                    decisions.push(Decision { source: rule.source.clone(), action: rule.action });
                    index(decisions.len() - 1)
                })
            })
        })
        .collect();
    (decisions, decision_of)
}

/// The winners among the rules of one prefix, sorted by (protocol, port).
fn own_rules(
    rules: &[Rule],
    group: &[(Prefix, usize)],
    decision_of: &[u32],
    own: &mut Vec<PortRule>,
) {
    let place = |at: usize| (number(rules[at].protocol), port(&rules[at]));
    let mut group: Vec<usize> = group.iter().map(|(_, at)| *at).collect();
    group.sort_unstable_by(|one, other| {
        let by_place = place(*one).cmp(&place(*other));
        by_place.then_with(|| rank(&rules[*other]).cmp(&rank(&rules[*one])))
    });
    group.dedup_by_key(|at| place(*at));
    own.clear();
    own.extend(group.into_iter().map(|at| PortRule {
        protocol: number(rules[at].protocol),
        port: port(&rules[at]),
        class: rules[at].class,
        decision: decision_of[at],
    }));
}

fn port(rule: &Rule) -> u16 {
    rule.port.map_or(0, std::num::NonZero::get)
}

/// Port sets, each once.
struct Sets {
    /// By number; number zero is the empty set.
    by_number: Vec<Arc<[PortRule]>>,
    numbers: HashMap<Arc<[PortRule]>, u32>,
    /// What came of folding: (parent's number, own rules' number among `owns`).
    done: HashMap<(u32, u32), u32>,
    owns: HashMap<Box<[PortRule]>, u32>,
    total: usize,
}

impl Sets {
    fn new() -> Self {
        let empty: Arc<[PortRule]> = Arc::default();
        Self {
            by_number: vec![empty.clone()],
            numbers: HashMap::from([(empty, EMPTY)]),
            done: HashMap::new(),
            owns: HashMap::new(),
            total: 0,
        }
    }

    /// The set of a prefix with rules of its own inside a prefix that has the set `parent`.
    /// Remembered, so that many prefixes with the same rules in a wide one with many ports cost
    /// one fold.
    fn folded(&mut self, parent: u32, own: &[PortRule]) -> Result<u32, CompileError> {
        let own_number = match self.owns.get(own) {
            Some(number) => *number,
            None => {
                let number = index(self.owns.len());
                self.owns.insert(own.into(), number);
                number
            }
        };
        if let Some(set) = self.done.get(&(parent, own_number)) {
            return Ok(*set);
        }
        let set = self.intern(fold(&self.by_number[parent as usize], own))?;
        self.done.insert((parent, own_number), set);
        Ok(set)
    }

    fn intern(&mut self, set: Vec<PortRule>) -> Result<u32, CompileError> {
        if let Some(number) = self.numbers.get(set.as_slice()) {
            return Ok(*number);
        }
        self.total += set.len();
        if self.total > MAX_RULES as usize {
            return Err(CompileError::TooManyPortRules);
        }
        let number = index(self.by_number.len());
        let set: Arc<[PortRule]> = set.into();
        self.by_number.push(set.clone());
        self.numbers.insert(set, number);
        Ok(number)
    }

    /// All sets but the empty one, end to end, and where each ends.
    fn flatten(self) -> (Vec<PortRule>, Vec<u32>) {
        let mut port_rules = Vec::with_capacity(self.total);
        let ends = self.by_number[1..]
            .iter()
            .map(|set| {
                port_rules.extend_from_slice(set);
                index(port_rules.len())
            })
            .collect();
        (port_rules, ends)
    }
}

/// What a prefix says that has rules of its own: at each port the winner of its own rules and its
/// parent's, for that port and for any.
///
/// A parent's prefix is always the shorter one, so against a rule of the parent only class,
/// nearness and port decide and never age or source. An exact port that says what any port says is
/// left out.
fn fold(parent: &[PortRule], own: &[PortRule]) -> Vec<PortRule> {
    let place = |rule: &PortRule| (rule.protocol, rule.port);
    let mut folded: Vec<PortRule> = Vec::with_capacity(parent.len() + own.len());
    let (mut parent, mut own) = (parent.iter().peekable(), own.iter().peekable());
    // The entries for any port come first in each protocol.
    let mut any: Option<PortRule> = None;
    let (mut parent_any, mut own_any) = (None, None);
    loop {
        let next = match (parent.peek(), own.peek()) {
            (None, None) => return folded,
            (Some(rule), None) | (None, Some(rule)) => place(rule),
            (Some(one), Some(other)) => place(one).min(place(other)),
        };
        let inherited = parent.next_if(|rule| place(rule) == next);
        let added = own.next_if(|rule| place(rule) == next);
        if any.is_none_or(|rule| rule.protocol != next.0) {
            (any, parent_any, own_any) = (None, None, None);
        }
        let winner = [(inherited, 0), (added, 1), (parent_any, 0), (own_any, 1)]
            .into_iter()
            .filter_map(|(rule, nearness): (Option<&PortRule>, u8)| {
                rule.map(|rule| (standing(rule, nearness), rule))
            })
            .max_by_key(|(standing, _)| *standing)
            .map(|(_, rule)| PortRule { protocol: next.0, port: next.1, ..*rule })
            .expect("the place comes from one of the two");
        if next.1 == 0 {
            (any, parent_any, own_any) = (Some(winner), inherited, added);
        } else if any.is_some_and(|rule| says_the_same(rule, winner)) {
            continue;
        }
        folded.push(winner);
    }
}

/// How an entry ranks in a fold, where the nearer prefix is the longer one.
fn standing(rule: &PortRule, nearness: u8) -> Standing {
    Standing { class: rule.class, prefix_len: nearness, exact_port: rule.port != 0 }
}

fn says_the_same(one: PortRule, other: PortRule) -> bool {
    one.class == other.class && one.decision == other.decision
}

/// Rules number less than 2^32: a rule is 40 bytes, and this is the memory of one node.
fn index(at: usize) -> u32 {
    u32::try_from(at).expect("fewer than 2^32 rules")
}
