//! Which table holds which rules. Pods with equal rules share a table, and rules that replace others
//! take their table over, so that the difference is small.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    sync::Arc,
};

use agent_model::{
    compile::{Table, compile, recompile},
    egress::RuleSet,
};

use super::{Desired, PlanError, rules::Numbered};

/// A rule set in the form that the maps hold.
#[derive(Clone, Debug)]
pub(super) struct Compiled {
    pub(super) rules: Arc<RuleSet>,
    pub(super) held: Numbered,
}

/// The tables of the generation in force by number; none of an earlier process's.
#[derive(Debug)]
pub(super) struct Tables {
    in_force: BTreeMap<u32, Compiled>,
    next: u32,
}

/// The rules of a table of the next generation, compiled.
pub(super) struct Assigned {
    pub(super) rules: Arc<RuleSet>,
    pub(super) table: Arc<Table>,
}

/// The tables of the next generation by number, and the number of each pod's.
#[derive(Default)]
pub(super) struct Assignment {
    pub(super) tables: BTreeMap<u32, Assigned>,
    pub(super) number_of: HashMap<u64, u32>,
}

/// A rule set of a generation, the pods that have it, and the table that holds it already.
struct Distinct<'a> {
    rules: &'a Arc<RuleSet>,
    pods: Vec<u64>,
    held: Option<u32>,
}

impl Tables {
    /// Numbers begin after the highest one found.
    pub(super) fn beyond(highest: u32) -> Self {
        Self { in_force: BTreeMap::new(), next: highest.saturating_add(1) }
    }

    /// A table that pods in force have.
    pub(super) fn get(&self, number: u32) -> Option<&Compiled> {
        self.in_force.get(&number)
    }

    /// Whether a table in force is this very one.
    pub(super) fn holds(&self, number: u32, table: &Arc<Table>) -> bool {
        self.get(number).is_some_and(|compiled| Arc::ptr_eq(&compiled.held.table, table))
    }

    /// Another generation is in force.
    pub(super) fn replace(&mut self, tables: BTreeMap<u32, Compiled>) {
        self.in_force = tables;
    }

    #[cfg(test)]
    pub(super) fn in_force(&self) -> &BTreeMap<u32, Compiled> {
        &self.in_force
    }

    /// Gives each distinct rule set the table that holds it, else the one of the rules that it
    /// replaces, else a new one; compiles what no table holds. `table_now` is a pod's table.
    pub(super) fn assign(
        &mut self,
        desired: &Desired,
        table_now: impl Fn(u64) -> Option<u32>,
    ) -> Result<Assignment, PlanError> {
        let distinct = self.distinct(desired);
        let mut taken: HashSet<u32> = distinct.iter().filter_map(|one| one.held).collect();
        let mut assignment = Assignment::default();
        for Distinct { rules, pods, held } in distinct {
            let (number, table) = if let Some(number) = held {
                (number, self.in_force[&number].held.table.clone())
            } else {
                let mut now = pods.iter().filter_map(|netns| table_now(*netns));
                let free = |now: &u32| self.in_force.contains_key(now) && !taken.contains(now);
                let number = match now.find(free) {
                    Some(number) => number,
                    None => self.new_number()?,
                };
                taken.insert(number);
                let table = match self.in_force.get(&number) {
                    Some(before) => recompile((&before.rules, &before.held.table), rules),
                    None => compile(rules),
                };
                let table =
                    table.map_err(|source| PlanError::Compile { netns: pods[0], source })?;
                (number, Arc::new(table))
            };
            assignment.tables.insert(number, Assigned { rules: rules.clone(), table });
            assignment.number_of.extend(pods.into_iter().map(|netns| (netns, number)));
        }
        Ok(assignment)
    }

    fn distinct<'a>(&self, desired: &'a Desired) -> Vec<Distinct<'a>> {
        let mut distinct: Vec<Distinct<'a>> = Vec::new();
        let mut by_pointer: HashMap<*const RuleSet, usize> = HashMap::new();
        for (netns, pod) in desired {
            let Some(policy) = &pod.policy else { continue };
            let rules = &policy.rules;
            let at = *by_pointer.entry(Arc::as_ptr(rules)).or_insert_with(|| {
                let equal = distinct.iter().position(|one| same(one.rules, rules));
                equal.unwrap_or_else(|| {
                    distinct.push(Distinct { rules, pods: Vec::new(), held: self.holder(rules) });
                    distinct.len() - 1
                })
            });
            distinct[at].pods.push(*netns);
        }
        distinct
    }

    /// The table in force that has these rules.
    fn holder(&self, rules: &Arc<RuleSet>) -> Option<u32> {
        let mut in_force = self.in_force.iter();
        in_force.find(|(_, held)| same(&held.rules, rules)).map(|(number, _)| *number)
    }

    fn new_number(&mut self) -> Result<u32, PlanError> {
        let number = self.next;
        self.next = number.checked_add(1).ok_or(PlanError::NumbersSpent)?;
        Ok(number)
    }
}

/// The pointer first: a snapshot shares what has not changed.
fn same(one: &Arc<RuleSet>, other: &Arc<RuleSet>) -> bool {
    Arc::ptr_eq(one, other) || one == other
}
