//! A snapshot as text: canonical, so that two are equal when their texts are, and readable, so that
//! a golden file can be reviewed.

use std::{collections::BTreeMap, fmt, sync::Arc};

use super::{Enrolment, PodPlan, Snapshot};
use crate::{egress::RuleSet, names::Wanted};

impl fmt::Display for Snapshot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sets = number_sets(self);
        for (id, plan) in &self.pods {
            write!(f, "pod {id}")?;
            write_plan(f, plan, &sets)?;
        }
        let mut by_number: Vec<(usize, &RuleSet)> =
            sets.values().map(|(number, set)| (*number, set.as_ref())).collect();
        by_number.sort_unstable_by_key(|(number, _)| *number);
        for (number, set) in by_number {
            writeln!(f, "rules #{number}")?;
            set.rules().iter().try_for_each(|rule| writeln!(f, "  {rule}"))?;
        }
        for (id, scope) in self.registry.scopes() {
            self.registry
                .outlived(scope)
                .iter()
                .try_for_each(|rule| writeln!(f, "open connections of {id} may keep {rule}"))?;
        }
        let Wanted { names, refresh } = &self.wanted;
        for name in names {
            writeln!(f, "resolve {name} at least every {refresh:?}")?;
        }
        for (source, upstream) in &*self.upstreams {
            writeln!(f, "upstream {source} -> {upstream}")?;
        }
        self.findings.iter().try_for_each(|finding| writeln!(f, "{finding}"))
    }
}

type Numbered<'a> = BTreeMap<*const RuleSet, (usize, &'a Arc<RuleSet>)>;

/// Sets by allocation, numbered in the order of the pods that use them: two pods with one number
/// share the memory.
fn number_sets(snapshot: &Snapshot) -> Numbered<'_> {
    let mut sets = BTreeMap::new();
    for plan in snapshot.pods.values() {
        if let Enrolment::Enrolled(policy) = &plan.enrolment {
            let next = sets.len() + 1;
            sets.entry(Arc::as_ptr(&policy.rules)).or_insert((next, &policy.rules));
        }
    }
    sets
}

fn write_plan(f: &mut fmt::Formatter<'_>, plan: &PodPlan, sets: &Numbered<'_>) -> fmt::Result {
    match &plan.enrolment {
        Enrolment::NotEnrolled(why) => write!(f, " not enrolled: {why}")?,
        Enrolment::Pending(why) => write!(f, " pending: {why}")?,
        Enrolment::Enrolled(policy) => {
            let (number, _) = sets[&Arc::as_ptr(&policy.rules)];
            write!(f, " enrolled, {}, rules #{number}", policy.default_action)?;
        }
    }
    let addresses: Vec<String> = plan.addresses.iter().map(ToString::to_string).collect();
    let netns = plan.netns.as_ref().map_or("-".into(), |path| path.to_string_lossy());
    writeln!(f, "; addresses {}; netns {netns}", addresses.join(" "))
}
