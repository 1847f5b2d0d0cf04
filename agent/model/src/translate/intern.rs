//! What one generation hands to the next: rules of objects that did not change, what each view shows, and
//! rule sets that came out the same. It makes a translation faster and changes nothing about its outcome:
//! a translation is a function of objects, node and answers, and `tests/incremental.rs` holds each step
//! against one from scratch.
//!
//! ```text
//! objects that are other ones ─► definitions: Delta ─► views: Step ─► rule sets
//! ```
//!
//! A set that stays the same value stays the same allocation, so that the planner can tell by a pointer
//! that there is nothing to do. Where a host has several definitions and one of them changes, or a rule for
//! a whole port does, what depends on it is made from scratch. A definition is made again only when its
//! object, or the answers of its own names, change.

mod services;
mod views;

use std::{
    collections::BTreeMap,
    hash::{BuildHasher, Hasher},
    sync::Arc,
};

use hashbrown::{DefaultHashBuilder, HashMap, HashSet};

use crate::{
    egress::{DefaultAction, EgressPolicy, Rule, RuleSet, RuleSource},
    endpoints::Endpoints,
    finding::Finding,
    names::Answers,
    pod::PodId,
    registry::{Exposure, Ports, Registry, Scope, Selected, Service},
    requests::host::Domain,
    resource::{Kind, Object, ObjectKey, Objects},
};

use super::{
    MeshTls, NodeContext,
    combine::{self, Ways},
    endpoints::Index,
    enrol,
    requests::{Inputs, Member, RequestModel, Steered},
    revisions::Revisions,
    workloads::Workloads,
};
pub(super) use services::Defined;
use services::{Delta, Services};
use views::{Step, Views};
pub(super) use views::{View, ViewKey};

/// Kept by the caller from one translation to the next.
#[derive(Debug, Default)]
pub struct Interner {
    cluster_domain: String,
    services: Services,
    delta: Delta,
    /// What only those see who list it.
    listed: HashMap<ObjectKey, (Arc<Service>, u64)>,
    views: Views,
    sets: HashMap<u64, Vec<Set>>,
    policies: Vec<Arc<EgressPolicy>>,
    findings: Findings,
    hasher: DefaultHashBuilder,
    round: u64,
    objects: Objects,
    endpoints: Arc<Index>,
    workloads: Arc<Workloads>,
    steered: Arc<Steered>,
    /// That of the translation before, where it is another.
    formerly: Option<Arc<Steered>>,
    /// Whether routes are for hosts that nothing declares.
    undeclared: bool,
    requests: Option<Arc<RequestModel>>,
}

#[derive(Debug)]
struct Set {
    selected: Arc<[Selected]>,
    exempt: Vec<Rule>,
    ways: Ways,
    rules: Arc<RuleSet>,
    round: u64,
}

/// What could not be honoured, as it was last told.
#[derive(Debug, Default)]
struct Findings {
    of_others: Vec<Finding>,
    all: Arc<[Finding]>,
}

impl Interner {
    /// Takes in the objects of a translation, for lookups of endpoints and workloads.
    pub(super) fn look_at(&mut self, objects: &Objects, revisions: &Revisions, node: &NodeContext) {
        self.endpoints = Arc::new(self.endpoints.follow(objects));
        let kinds = [Kind::Namespace, Kind::Pod, Kind::WorkloadEntry];
        if !kinds.iter().all(|kind| objects.shares(&self.objects, *kind)) {
            self.workloads = Arc::new(Workloads::new(objects));
        }
        let kinds = [Kind::VirtualService, Kind::DestinationRule, Kind::ConfigMap];
        let of_mesh = [Kind::Namespace, Kind::Pod];
        let is_on = node.mesh_tls == MeshTls::On;
        let kinds = kinds.iter().chain(of_mesh.iter().filter(|_| is_on));
        let same = kinds.into_iter().all(|kind| objects.shares(&self.objects, *kind));
        if !same || self.cluster_domain != node.cluster_domain {
            let mut steered = Steered::read(objects, revisions, &node.cluster_domain);
            if is_on {
                steered.add_mesh(enrol::namespaces(objects));
            }
            if *self.steered != steered {
                self.formerly = Some(std::mem::replace(&mut self.steered, Arc::new(steered)));
            }
        }
        self.objects = objects.clone();
    }

    /// Which ports go by the proxy for what objects say of them.
    pub(super) fn steered(&self) -> Arc<Steered> {
        Arc::clone(&self.steered)
    }

    /// The endpoints of Services.
    pub(super) fn endpoints(&self) -> Arc<Index> {
        Arc::clone(&self.endpoints)
    }

    /// All workloads.
    pub(super) fn workloads(&self) -> Arc<Workloads> {
        Arc::clone(&self.workloads)
    }

    /// The model of requests, with what is still right of the one before.
    pub(super) fn requests(
        &mut self,
        inputs: &Inputs,
        members: BTreeMap<PodId, Member>,
    ) -> Arc<RequestModel> {
        let same_services = self.delta.gone.is_empty() && self.delta.fresh.is_empty();
        let mut model = RequestModel::of(inputs, Some(members));
        if let Some(before) = &self.requests {
            model = model.follow(before, same_services);
        }
        let model = Arc::new(model);
        self.requests = Some(Arc::clone(&model));
        model
    }

    /// Starts a translation: finds the rules of each object, which are those of the generation
    /// before where it is the very same object, its own names have the same answers, and its rules
    /// follow from nothing else, or where they come out equal.
    pub(super) fn begin(
        &mut self,
        objects: &Objects,
        (cluster_domain, answers): (&str, &Answers),
        define: impl Fn(&Object) -> Option<Defined>,
    ) {
        if self.cluster_domain != cluster_domain {
            *self = Self {
                cluster_domain: cluster_domain.to_owned(),
                round: self.round,
                objects: std::mem::take(&mut self.objects),
                endpoints: std::mem::take(&mut self.endpoints),
                workloads: std::mem::take(&mut self.workloads),
                steered: std::mem::take(&mut self.steered),
                ..Self::default()
            };
        }
        self.round += 1;
        let (formerly, now) = (self.formerly.take(), Arc::clone(&self.steered));
        let is_moved = |service: &Service| {
            formerly.as_ref().is_some_and(|before| now.differs(before, service))
        };
        self.delta = self.services.update(objects, (answers, &is_moved), define);
        let same = self.delta.gone.is_empty() && self.delta.fresh.is_empty();
        if !same || formerly.is_some() {
            self.undeclared = undeclared(&self.steered, self.services.order());
        }
    }

    /// The registry of all services that may be exported.
    pub(super) fn registry(&mut self, default_exposure: Exposure) -> Registry {
        self.views.begin(&default_exposure);
        let services = &self.services;
        let contested = services.may_be_contested();
        let order = services.order().to_vec();
        Registry::in_order(order, default_exposure, (contested, services.are_outlived()))
    }

    /// All services that may be exported, in order of precedence.
    pub(super) fn services(&self) -> &[Arc<Service>] {
        self.services.order()
    }

    /// A service that only those see who list it.
    pub(super) fn listed(&mut self, fresh: Service) -> Arc<Service> {
        let round = self.round;
        if let Some((kept, seen)) = self.listed.get_mut(&fresh.key) {
            *seen = round;
            if **kept != fresh {
                *kept = Arc::new(fresh);
            }
            return Arc::clone(kept);
        }
        let fresh = Arc::new(fresh);
        self.listed.insert(fresh.key.clone(), (Arc::clone(&fresh), round));
        fresh
    }

    /// Where the proxy carries what rules send to it, by the rule's source.
    pub(super) fn upstreams(&self) -> Arc<BTreeMap<Arc<RuleSource>, Endpoints>> {
        Arc::clone(self.services.upstreams())
    }

    /// All findings, sorted, each once: those of services and those of everything else.
    pub(super) fn findings(&mut self, mut of_others: Vec<Finding>) -> Arc<[Finding]> {
        of_others.sort();
        of_others.dedup();
        let mut changed = self.delta.gone.iter().chain(&self.delta.fresh);
        if changed.any(|one| !one.findings.is_empty()) || of_others != self.findings.of_others {
            let of_services = self.services.order().iter().flat_map(|one| &one.findings);
            let mut all: Vec<&Finding> = of_services.chain(&of_others).collect();
            all.sort();
            all.dedup();
            self.findings.all = all.into_iter().cloned().collect();
            self.findings.of_others = of_others;
        }
        Arc::clone(&self.findings.all)
    }

    /// What is seen from a scope.
    pub(super) fn view(&mut self, key: ViewKey, scope: Scope, registry: &Registry) -> View {
        self.views.view(key, scope, (registry, &self.delta), self.round)
    }

    /// Ends a translation: forgets what is not used any more.
    pub(super) fn end(&mut self) {
        self.delta = Delta::default();
        self.listed.retain(|_, (_, seen)| *seen == self.round);
        self.views.end(self.round);
        for sets in self.sets.values_mut() {
            sets.retain(|set| set.round == self.round);
        }
        self.sets.retain(|_, sets| !sets.is_empty());
        self.policies.retain(|policy| Arc::strong_count(policy) > 1);
    }

    /// The rule set of what a client sees and what is exempt for it. `all` says whether all that has
    /// requests or names goes by the proxy, `by_name` whether names may decide.
    pub(super) fn set(
        &mut self,
        selected: &Arc<[Selected]>,
        exempt: &[Rule],
        (all, by_name): (bool, bool),
    ) -> Arc<RuleSet> {
        let round = self.round;
        let ways = Ways { all, by_name, undeclared: self.undeclared };
        let print = fingerprint(&self.hasher, selected, exempt);
        let same = |set: &&mut Set| {
            set.exempt == exempt
                && set.ways == ways
                && (Arc::ptr_eq(&set.selected, selected) || same_selection(&set.selected, selected))
        };
        if let Some(set) = self.sets.get_mut(&print).and_then(|sets| sets.iter_mut().find(same)) {
            set.round = round;
            return set.rules.clone();
        }
        let step = self.views.step_to(selected);
        let followed = step.and_then(|step| {
            let before = fingerprint(&self.hasher, &step.from, exempt);
            let mut sets = self.sets.get(&before)?.iter();
            let is_it = |set: &&Set| {
                set.exempt == exempt && set.ways == ways && Arc::ptr_eq(&set.selected, &step.from)
            };
            let Step { removed, added, .. } = step;
            combine::follow(&sets.find(is_it)?.rules, (removed, added), ways)
        });
        let rules = followed.unwrap_or_else(|| combine::rule_set(selected, exempt, ways));
        let rules = Arc::new(rules);
        let (selected, exempt) = (Arc::clone(selected), exempt.to_vec());
        let set = Set { selected, exempt, ways, rules: rules.clone(), round };
        self.sets.entry(print).or_default().push(set);
        rules
    }

    /// The policy of a rule set and a default.
    pub(super) fn policy(
        &mut self,
        rules: Arc<RuleSet>,
        default: DefaultAction,
        reads_all: bool,
    ) -> Arc<EgressPolicy> {
        let same = |policy: &&Arc<EgressPolicy>| {
            policy.default_action == default
                && policy.reads_all == reads_all
                && Arc::ptr_eq(&policy.rules, &rules)
        };
        if let Some(policy) = self.policies.iter().find(same) {
            return policy.clone();
        }
        let policy = Arc::new(EgressPolicy { default_action: default, reads_all, rules });
        self.policies.push(policy.clone());
        policy
    }
}

/// Whether routes for requests name a host that some client may see and no service for it.
fn undeclared(steered: &Steered, services: &[Arc<Service>]) -> bool {
    let mut routed = steered.routed().peekable();
    if routed.peek().is_none() {
        return false;
    }
    let is_for_all =
        |one: &&Arc<Service>| one.exposure.as_ref().is_none_or(|one| *one == Exposure::All);
    let hosts = services.iter().filter(is_for_all).flat_map(|one| &one.hosts);
    let declared: HashSet<Domain> = hosts.map(|host| Domain::new(host)).collect();
    routed.any(|host| {
        if host.is_wildcard() {
            !declared.iter().any(|one| host.covers(one))
        } else {
            !declared.contains(host)
        }
    })
}

/// Services are kept by the interner, so two that are the same are the same allocation.
fn same_selection(one: &[Selected], other: &[Selected]) -> bool {
    one.len() == other.len()
        && one.iter().zip(other).all(|(one, other)| {
            Arc::ptr_eq(&one.service, &other.service) && one.ports == other.ports
        })
}

fn fingerprint(hasher: &DefaultHashBuilder, selected: &[Selected], exempt: &[Rule]) -> u64 {
    let mut state = hasher.build_hasher();
    for Selected { service, ports } in selected {
        state.write_usize(Arc::as_ptr(service).addr());
        state.write_u8(u8::from(*ports == Ports::All));
    }
    for rule in exempt {
        std::hash::Hash::hash(&(rule.protocol, rule.cidr, rule.port), &mut state);
    }
    state.finish()
}
