//! What one generation hands to the next: rules of objects that did not change, and rule sets that
//! came out the same. A set that stays the same value stays the same allocation, so whoever fills
//! kernel maps can tell by a pointer that there is nothing to do.

use std::{
    hash::{BuildHasher, Hasher},
    sync::Arc,
};

use hashbrown::{DefaultHashBuilder, HashMap};

use crate::{
    egress::{DefaultAction, Policy, Rule, RuleSet},
    names::{Answer, Answers},
    registry::{Definition, Ports, Selected},
    resource::{Object, ObjectKey},
};

/// Kept by the caller from one translation to the next.
#[derive(Debug, Default)]
pub struct Interner {
    cluster_domain: String,
    definitions: HashMap<ObjectKey, Kept>,
    sets: HashMap<u64, Vec<Set>>,
    policies: Vec<Arc<Policy>>,
    hasher: DefaultHashBuilder,
    round: u64,
}

#[derive(Debug)]
struct Kept {
    object: Object,
    definition: Arc<Definition>,
    /// What the definition's names resolved to when it was made.
    answers: Vec<Option<Arc<Answer>>>,
    round: u64,
}

#[derive(Debug)]
struct Set {
    selected: Vec<Selected>,
    exempt: Vec<Rule>,
    rules: Arc<RuleSet>,
    round: u64,
}

impl Interner {
    /// Starts a translation.
    pub(super) fn begin(&mut self, cluster_domain: &str) {
        self.round += 1;
        if self.cluster_domain != cluster_domain {
            cluster_domain.clone_into(&mut self.cluster_domain);
            self.definitions.clear();
        }
    }

    /// Forgets definitions whose objects are gone.
    pub(super) fn end(&mut self) {
        self.definitions.retain(|_, kept| kept.round == self.round);
    }

    /// Forgets rule sets and policies that nobody uses any more.
    pub(super) fn sweep(&mut self) {
        for sets in self.sets.values_mut() {
            sets.retain(|set| set.round == self.round);
        }
        self.sets.retain(|_, sets| !sets.is_empty());
        self.policies.retain(|policy| Arc::strong_count(policy) > 1);
    }

    /// The rules of an object: those of the generation before where it is the very same object,
    /// its own names have the same answers, and its rules follow from nothing else, or where they
    /// come out equal.
    pub(super) fn definition(
        &mut self,
        object: Object,
        answers: &Answers,
        depends_on_others: bool,
        define: impl FnOnce() -> Definition,
    ) -> Arc<Definition> {
        let round = self.round;
        let key = object.key();
        if let Some(kept) = self.definitions.get_mut(&key) {
            kept.round = round;
            let moved = !kept.definition.names.is_empty()
                && kept.answers != of_names(&kept.definition, answers);
            if depends_on_others || moved || !kept.object.is_same(&object) {
                let fresh = define();
                if *kept.definition != fresh {
                    kept.definition = Arc::new(fresh);
                }
                kept.object = object;
                kept.answers = of_names(&kept.definition, answers);
            }
            return kept.definition.clone();
        }
        let definition = Arc::new(define());
        let answers = of_names(&definition, answers);
        let kept = Kept { object, definition: definition.clone(), answers, round };
        self.definitions.insert(key, kept);
        definition
    }

    /// The rule set of what a client sees and what is exempt for it.
    pub(super) fn set(&mut self, selected: &[Selected], exempt: &[Rule]) -> Arc<RuleSet> {
        let round = self.round;
        let sets = self.sets.entry(fingerprint(&self.hasher, selected, exempt)).or_default();
        let same = |set: &&mut Set| set.exempt == exempt && same_selection(&set.selected, selected);
        if let Some(set) = sets.iter_mut().find(same) {
            set.round = round;
            return set.rules.clone();
        }
        let rules = Arc::new(super::combine::rule_set(selected, exempt));
        let (selected, exempt) = (selected.to_vec(), exempt.to_vec());
        sets.push(Set { selected, exempt, rules: rules.clone(), round });
        rules
    }

    /// The policy of a rule set and a default.
    pub(super) fn policy(&mut self, rules: Arc<RuleSet>, default: DefaultAction) -> Arc<Policy> {
        let same = |policy: &&Arc<Policy>| {
            policy.default_action == default && Arc::ptr_eq(&policy.rules, &rules)
        };
        if let Some(policy) = self.policies.iter().find(same) {
            return policy.clone();
        }
        let policy = Arc::new(Policy { default_action: default, rules });
        self.policies.push(policy.clone());
        policy
    }
}

fn of_names(definition: &Definition, answers: &Answers) -> Vec<Option<Arc<Answer>>> {
    definition.names.iter().map(|name| answers.get(name).cloned()).collect()
}

/// Definitions are kept by the interner, so two that are the same are the same allocation.
fn same_selection(one: &[Selected], other: &[Selected]) -> bool {
    one.len() == other.len()
        && one.iter().zip(other).all(|(one, other)| {
            Arc::ptr_eq(&one.definition, &other.definition) && one.ports == other.ports
        })
}

fn fingerprint(hasher: &DefaultHashBuilder, selected: &[Selected], exempt: &[Rule]) -> u64 {
    let mut state = hasher.build_hasher();
    for Selected { definition, ports } in selected {
        state.write_usize(Arc::as_ptr(definition).addr());
        state.write_u8(u8::from(*ports == Ports::All));
    }
    for rule in exempt {
        std::hash::Hash::hash(&(rule.protocol, rule.cidr, rule.port), &mut state);
    }
    state.finish()
}
