//! Which `DestinationRule` a client has for a service: merging, and the order of namespaces.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use super::{
    super::workloads::Labels,
    super::{annotation::created, exposure::exposure},
    named,
};
use crate::{
    registry::Exposure,
    requests::host::{Domain, most_specific_of},
    resource::{
        Objects,
        destination_rule::{DestinationRule, Subset, TrafficPolicy},
    },
};

/// Rules that count as one: of one host, namespace, exposure and selector.
#[derive(Clone, Debug)]
pub(super) struct Merged {
    pub(super) namespace: String,
    exposure: Exposure,
    pub(super) selector: Option<Labels>,
    pub(super) policy: Option<Box<TrafficPolicy>>,
    pub(super) subsets: Vec<Subset>,
}

/// The rules of a namespace by host.
type ByHost = BTreeMap<Domain, Vec<Arc<Merged>>>;

#[derive(Debug, Default)]
pub(super) struct DestinationRules {
    by_namespace: BTreeMap<String, ByHost>,
    root: String,
    /// The labels of clients that some of them ask for.
    labels: BTreeSet<String>,
}

impl DestinationRules {
    pub(super) fn new(objects: &Objects, domain: &str, usual: &Exposure, root: &str) -> Self {
        let mut all: Vec<&Arc<DestinationRule>> = objects.destination_rules().collect();
        all.sort_by_key(|rule| (created(&rule.metadata), rule.metadata.name.clone()));
        let mut by_namespace: BTreeMap<String, ByHost> = BTreeMap::new();
        for rule in all {
            let namespace = rule.metadata.namespace.clone().unwrap_or_default();
            let host = Domain::new(&named::expand(&rule.spec.host, &namespace, domain));
            let rules = by_namespace.entry(namespace.clone()).or_default();
            merge(rules.entry(host).or_default(), incoming(rule, namespace, usual));
        }
        let selectors = by_namespace.values().flat_map(BTreeMap::values).flatten();
        let selectors = selectors.filter_map(|rule: &Arc<Merged>| rule.selector.as_ref());
        let labels = selectors.flat_map(|selector| selector.keys().cloned()).collect();
        Self { by_namespace, root: root.to_owned(), labels }
    }

    /// Whether one of them asks for a label of its clients.
    pub(super) fn asks_for(&self, key: &str) -> bool {
        self.labels.contains(key)
    }

    /// The rule of a client for a service: of the client's own namespace, else of the service's,
    /// else of the root namespace. In the first of them that has a key for the host, that key
    /// decides: there is no way on to a less specific one.
    pub(super) fn find(
        &self,
        client: (&str, &Labels),
        host: &str,
        service_namespace: &str,
    ) -> Option<&Arc<Merged>> {
        let (namespace, labels) = client;
        let host = Domain::new(host);
        let own = |rule: &Merged| {
            let seen = rule.exposure.includes(namespace, namespace);
            // The root namespace's public rules are everybody's last resort, its own clients' too.
            seen && (namespace != self.root || (only_own(rule)))
        };
        if let Some(rules) = self.key(namespace, &host, own) {
            return pick(&rules, labels);
        }
        for of in [service_namespace, &self.root] {
            let Some(by_host) = self.by_namespace.get(of) else { continue };
            let Some(rules) = most_specific_of(by_host, &host, |_| true) else { continue };
            let exported = rules.iter().filter(|rule| rule.exposure.includes(namespace, of));
            // The root namespace's own clients have seen its private rules by now.
            let exported = exported.filter(|rule| namespace != of || !only_own(rule));
            let exported: Vec<&Arc<Merged>> = exported.collect();
            if !exported.is_empty() {
                return pick(&exported, labels);
            }
        }
        None
    }

    /// Every rule that may be for a host, whatever its `exportTo`.
    pub(super) fn for_host(&self, host: &str) -> impl Iterator<Item = &Merged> {
        let host = Domain::new(host);
        let all = self.by_namespace.values().flatten();
        let covering = all.filter(move |(domain, _)| domain.covers(&host));
        covering.flat_map(|(_, rules)| rules.iter().map(AsRef::as_ref))
    }

    fn key(
        &self,
        namespace: &str,
        host: &Domain,
        fits: impl Fn(&Merged) -> bool,
    ) -> Option<Vec<&Arc<Merged>>> {
        let by_host = self.by_namespace.get(namespace)?;
        let any_fits = |rules: &Vec<Arc<Merged>>| rules.iter().any(|rule| fits(rule));
        let rules = most_specific_of(by_host, host, any_fits)?;
        Some(rules.iter().filter(|rule| fits(rule)).collect())
    }
}

/// Whether only its own namespace sees it.
fn only_own(rule: &Merged) -> bool {
    match &rule.exposure {
        Exposure::All => false,
        Exposure::Only { named, .. } => named.iter().all(|one| *one == rule.namespace),
    }
}

fn incoming(rule: &DestinationRule, namespace: String, usual: &Exposure) -> Merged {
    let selector = rule.spec.workload_selector.as_ref().map(|one| one.match_labels.clone());
    let stated = exposure(&rule.spec.export_to).unwrap_or_else(|| usual.clone());
    // A rule for some clients is for those of its own namespace only.
    let exposure = match selector {
        Some(_) => Exposure::Only { own: true, named: [].into() },
        None => stated,
    };
    let (policy, subsets) = (rule.spec.traffic_policy.clone(), rule.spec.subsets.clone());
    Merged { namespace, exposure, selector, policy, subsets }
}

/// Takes a newer rule in. The older one keeps its policy, and its subsets where names clash.
fn merge(rules: &mut Vec<Arc<Merged>>, rule: Merged) {
    let mut stands_alone = true;
    for known in rules.iter_mut().filter(|known| known.selector == rule.selector) {
        let same = known.exposure == rule.exposure;
        if !same && !covers(&rule.exposure, &known.exposure) {
            continue;
        }
        stands_alone &= !same;
        let known = Arc::make_mut(known);
        for subset in &rule.subsets {
            if known.subsets.iter().all(|one| one.name != subset.name) {
                known.subsets.push(subset.clone());
            }
        }
        if known.policy.is_none() {
            known.policy.clone_from(&rule.policy);
        }
    }
    if stands_alone {
        rules.push(Arc::new(rule));
    }
}

/// Whether every namespace of the narrow exposure is one of the wide one, too.
fn covers(wide: &Exposure, narrow: &Exposure) -> bool {
    match (wide, narrow) {
        (Exposure::All, _) => true,
        (Exposure::Only { .. }, Exposure::All) => false,
        (Exposure::Only { own, named }, Exposure::Only { own: least_own, named: least }) => {
            (*own || !least_own) && named.is_superset(least)
        }
    }
}

/// The first that selects the client, else the last that is for all; maybe none.
fn pick<'a>(rules: &[&'a Arc<Merged>], labels: &Labels) -> Option<&'a Arc<Merged>> {
    let selects = |rule: &&&Arc<Merged>| {
        let selector = rule.selector.as_ref();
        selector.is_some_and(|wanted| contains(labels, wanted))
    };
    let for_all = |rule: &&&Arc<Merged>| rule.selector.is_none();
    let found = rules.iter().find(selects).or_else(|| rules.iter().rev().find(for_all));
    found.copied()
}

/// Whether labels have all that are wanted.
pub(super) fn contains(labels: &Labels, wanted: &Labels) -> bool {
    wanted.iter().all(|(key, value)| labels.get(key) == Some(value))
}
