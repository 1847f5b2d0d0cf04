//! A table from the one before: only the prefixes whose rules changed, and what lies in them, are
//! folded again. What it decides is what [`super::compile`] would; sets and decisions that nothing
//! names any more stay in it until they outnumber those in use.

use std::collections::BTreeSet;

use hashbrown::HashMap;
use ipnet::IpNet;

use super::{CompileError, Decision, Prefix, Table, compile, prefix, sets::Sets, sweep};
use crate::egress::{Class, Protocol, Rule, RuleSet};

/// With more changed prefixes than this, all are as soon folded again.
const FEW: usize = 256;
/// So many sets and decisions may be in a table that nothing names.
const UNUSED: usize = 1_024;

/// Compiles a rule set that mostly says what another one said, whose table is given.
pub fn recompile(before: (&RuleSet, &Table), now: &RuleSet) -> Result<Table, CompileError> {
    let (rules, table) = before;
    let unused = table.set_count().saturating_sub(table.prefixes.len()) > UNUSED
        || table.decisions.len() > now.rules().len() + UNUSED;
    match changed(rules.rules(), now.rules()) {
        Some(roots) if !unused => {
            Fold::new(table).run(&roots, now.rules()).or_else(|_| compile(now))
        }
        _ => compile(now),
    }
}

/// The outermost of the prefixes that have other rules than before, in order; `None` for too many.
fn changed(before: &[Rule], now: &[Rule]) -> Option<Vec<IpNet>> {
    let mut changed = BTreeSet::new();
    let (mut before, mut now) = (before.iter().peekable(), now.iter().peekable());
    loop {
        let (old, new) = match (before.peek(), now.peek()) {
            (None, None) => break,
            (Some(_), None) => (true, false),
            (None, Some(_)) => (false, true),
            // Equal ones share their source, which an order would read letter by letter.
            (Some(one), Some(other)) if one == other => (true, true),
            (Some(one), Some(other)) => (one < other, other < one),
        };
        let old = old.then(|| before.next()).flatten();
        let new = new.then(|| now.next()).flatten();
        match (old, new) {
            (Some(rule), None) | (None, Some(rule)) => {
                changed.insert(rule.cidr);
            }
            _ => {}
        }
        if changed.len() > FEW {
            return None;
        }
    }
    let mut roots: Vec<IpNet> = Vec::new();
    for cidr in changed {
        if roots.last().is_none_or(|root| !root.contains(&cidr)) {
            roots.push(cidr);
        }
    }
    Some(roots)
}

/// A table in the making.
struct Fold<'a> {
    table: &'a Table,
    decisions: Vec<Decision>,
    sets: Sets,
    prefixes: Vec<(Prefix, u32)>,
}

impl<'a> Fold<'a> {
    fn new(table: &'a Table) -> Self {
        let prefixes = Vec::with_capacity(table.prefixes.len() + FEW);
        let sets = Sets::of(table.port_rules.clone(), table.set_ends.clone());
        Self { table, decisions: table.decisions.clone(), sets, prefixes }
    }

    fn run(mut self, roots: &[IpNet], rules: &[Rule]) -> Result<Table, CompileError> {
        let mut numbers: HashMap<_, u32> = HashMap::with_capacity(self.decisions.len());
        for (at, Decision { source, action }) in (0..).zip(&self.decisions) {
            numbers.entry((std::sync::Arc::as_ptr(source), *action)).or_insert(at);
        }
        let mut kept = &self.table.prefixes[..];
        for root in roots {
            let first = Prefix::from(*root);
            let before = kept.partition_point(|(prefix, _)| *prefix < first);
            self.prefixes.extend_from_slice(&kept[..before]);
            kept = &kept[before..];
            let inside = kept.partition_point(|(prefix, _)| first.encloses(prefix));
            kept = &kept[inside..];
            let own: Vec<&Rule> = within(rules, *root).collect();
            let decision_of = own.iter().map(|rule| {
                let next = super::sets::index(self.decisions.len());
                let by = (std::sync::Arc::as_ptr(&rule.source), rule.action);
                *numbers.entry(by).or_insert_with(|| {
                    let source = rule.source.clone();
                    self.decisions.push(Decision { source, action: rule.action });
                    next
                })
            });
            let decision_of: Vec<u32> = decision_of.collect();
            let around = prefix::around(&self.table.prefixes, &first);
            let around = around.map(|(prefix, set)| (prefix, set + 1));
            sweep::sweep_into((&own, &decision_of), around, &mut self.sets, &mut self.prefixes)?;
        }
        self.prefixes.extend_from_slice(kept);
        sweep::refuse_past_limit(&self.prefixes)?;
        let (port_rules, set_ends) = self.sets.into_parts();
        Ok(Table { prefixes: self.prefixes, decisions: self.decisions, port_rules, set_ends })
    }
}

/// The rules of a prefix and of all in it. Rules are sorted by class, transport and prefix, so they
/// are a few runs.
fn within(rules: &[Rule], root: IpNet) -> impl Iterator<Item = &Rule> {
    let places = [Class::Registered, Class::Exempt]
        .into_iter()
        .flat_map(|class| [Protocol::Tcp, Protocol::Udp].map(|protocol| (class, protocol)));
    places.flat_map(move |place| {
        let of = |rule: &Rule| (rule.class, rule.protocol);
        let start = rules.partition_point(|rule| (of(rule), rule.cidr) < (place, root));
        let rest = &rules[start..];
        let inside = |rule: &Rule| of(rule) == place && root.contains(&rule.cidr);
        rest[..rest.partition_point(inside)].iter()
    })
}
