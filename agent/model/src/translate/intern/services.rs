//! The rules of each object, kept as long as nothing that they follow from changes, in order of
//! precedence, and what of them is new since the translation before.

use std::{
    collections::{BTreeMap, BTreeSet},
    hash::BuildHasher,
    sync::Arc,
};

use hashbrown::{DefaultHashBuilder, HashMap, HashSet};

use crate::{
    egress::RuleSource,
    endpoints::Endpoints,
    names::{Answer, Answers},
    registry::{Service, precedence},
    resource::{Kind, Object, ObjectKey, Objects},
};

/// The kinds whose rules are kept.
const KINDS: [Kind; 2] = [Kind::Service, Kind::ServiceEntry];

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Services {
    before: Objects,
    kept: HashMap<Arc<ObjectKey>, Kept>,
    /// Objects whose rules follow from others, or from names: looked at in each translation.
    restless: BTreeSet<Arc<ObjectKey>>,
    order: Vec<Arc<Service>>,
    hosts: Hosts,
    upstreams: Arc<BTreeMap<Arc<RuleSource>, Endpoints>>,
    /// How many have rules that only open connections go by.
    outlived: usize,
}

#[derive(Debug)]
struct Kept {
    service: Arc<Service>,
    /// Whether its rules follow from other objects.
    depends: bool,
    /// What its names resolved to when it was made.
    answers: Vec<Option<Arc<Answer>>>,
}

/// What a translation found other than the one before it.
#[derive(Debug, Default)]
pub(super) struct Delta {
    /// In no order.
    pub(super) gone: Vec<Arc<Service>>,
    /// In order of precedence.
    pub(super) fresh: Vec<Arc<Service>>,
    /// Whether one of their hosts has, or had, another service too.
    pub(super) contested: bool,
}

/// An object's rules, and whether they follow from other objects.
pub(in crate::translate) type Defined = (Service, bool);

impl Services {
    /// Takes in the objects of a translation. `is_moved` says of whose rules more has changed than the
    /// object.
    pub(super) fn update(
        &mut self,
        objects: &Objects,
        (answers, is_moved): (&Answers, &dyn Fn(&Service) -> bool),
        define: impl Fn(&Object) -> Option<Defined>,
    ) -> Delta {
        let mut due = self.restless.clone();
        for kind in KINDS {
            due.extend(objects.changes(&self.before, kind));
        }
        let moved = self.kept.iter().filter(|(_, kept)| is_moved(&kept.service));
        due.extend(moved.map(|(key, _)| Arc::clone(key)));
        let mut delta = Delta::default();
        for key in due {
            let defined = objects.get(&key).and_then(|object| {
                let changed = self.before.get(&key).is_none_or(|before| !before.is_same(object));
                let is_as_before =
                    |kept: &&Kept| !changed && !kept.depends && !is_moved(&kept.service);
                let kept = self.kept.get(&key).filter(is_as_before);
                // The same object, of which only the answers may be other ones.
                if kept.is_some_and(|kept| kept.answers == of_names(&kept.service, answers)) {
                    return None;
                }
                Some(define(object))
            });
            match defined {
                None if objects.get(&key).is_some() => {}
                Some(Some((service, depends))) => {
                    self.keep(key, (service, depends), answers, &mut delta);
                }
                None | Some(None) => self.forget(&key, &mut delta),
            }
        }
        self.before = objects.clone();
        self.apply(&mut delta);
        delta
    }

    fn keep(
        &mut self,
        key: Arc<ObjectKey>,
        (mut service, depends): Defined,
        answers: &Answers,
        delta: &mut Delta,
    ) {
        // Room for four is made for the first.
        service.ports.shrink_to_fit();
        service.findings.shrink_to_fit();
        if depends || !service.names.is_empty() {
            self.restless.insert(Arc::clone(&key));
        } else {
            self.restless.remove(&key);
        }
        let answers = of_names(&service, answers);
        if let Some(kept) = self.kept.get_mut(&key) {
            (kept.depends, kept.answers) = (depends, answers);
            if *kept.service != service {
                let fresh = Arc::new(service);
                delta.fresh.push(Arc::clone(&fresh));
                delta.gone.push(std::mem::replace(&mut kept.service, fresh));
            }
            return;
        }
        let service = Arc::new(service);
        delta.fresh.push(Arc::clone(&service));
        self.kept.insert(key, Kept { service, depends, answers });
    }

    fn forget(&mut self, key: &ObjectKey, delta: &mut Delta) {
        self.restless.remove(key);
        delta.gone.extend(self.kept.remove(key).map(|kept| kept.service));
    }

    /// Brings all that follows from the services to where they are now.
    fn apply(&mut self, delta: &mut Delta) {
        delta.fresh.sort_by(|one, other| precedence(one).cmp(&precedence(other)));
        // Addresses of services stay theirs meanwhile: the order holds the old ones.
        let gone: HashSet<*const Service> = delta.gone.iter().map(Arc::as_ptr).collect();
        if !gone.is_empty() {
            self.order.retain(|one| !gone.contains(&Arc::as_ptr(one)));
        }
        merge(&mut self.order, &delta.fresh);
        for service in &delta.gone {
            delta.contested |= self.hosts.remove(service);
            self.outlived -= usize::from(is_outlived(service));
        }
        for service in &delta.fresh {
            delta.contested |= self.hosts.add(service);
            self.outlived += usize::from(is_outlived(service));
        }
        let leads = |one: &&Arc<Service>| one.ports.iter().any(|port| port.redirect().is_some());
        if delta.gone.iter().chain(&delta.fresh).any(|one| leads(&one)) {
            let upstreams = Arc::make_mut(&mut self.upstreams);
            for port in delta.gone.iter().flat_map(|one| &one.ports) {
                upstreams.remove(&port.source);
            }
            let ports = delta.fresh.iter().flat_map(|one| &one.ports);
            upstreams.extend(
                ports.filter_map(|one| Some((one.source.clone(), one.redirect()?.clone()))),
            );
        }
    }

    /// All of them, in order of precedence.
    pub(super) fn order(&self) -> &[Arc<Service>] {
        &self.order
    }

    /// Whether a host may have several services.
    pub(super) fn may_be_contested(&self) -> bool {
        self.hosts.shared > 0
    }

    /// Whether there are rules that only open connections go by.
    pub(super) fn are_outlived(&self) -> bool {
        self.outlived > 0
    }

    /// Where the proxy carries what their rules send to it.
    pub(super) fn upstreams(&self) -> &Arc<BTreeMap<Arc<RuleSource>, Endpoints>> {
        &self.upstreams
    }
}

/// Adds sorted ones to sorted ones.
fn merge(order: &mut Vec<Arc<Service>>, fresh: &[Arc<Service>]) {
    let old = std::mem::take(order);
    order.reserve_exact(old.len() + fresh.len());
    let mut rest = &old[..];
    for one in fresh {
        let before = rest.partition_point(|other| precedence(other) <= precedence(one));
        order.extend_from_slice(&rest[..before]);
        order.push(Arc::clone(one));
        rest = &rest[before..];
    }
    order.extend_from_slice(rest);
}

fn is_outlived(service: &Service) -> bool {
    service.ports.iter().any(|port| !port.outlived.is_empty())
}

fn of_names(service: &Service, answers: &Answers) -> Vec<Option<Arc<Answer>>> {
    service.names.iter().map(|name| answers.get(name).cloned()).collect()
}

/// How many services name each host, by its hash: two hosts with one hash are taken for
/// contested, which is slower and as right.
#[derive(Debug, Default)]
struct Hosts {
    counts: HashMap<u64, u32>,
    shared: usize,
    hasher: DefaultHashBuilder,
}

impl Hosts {
    /// True when another service has one of its hosts.
    fn add(&mut self, service: &Service) -> bool {
        let mut contested = false;
        for host in &service.hosts {
            let count = self.counts.entry(self.hasher.hash_one(host)).or_default();
            *count += 1;
            self.shared += usize::from(*count == 2);
            contested |= *count > 1;
        }
        contested
    }

    /// The same, of one that goes.
    fn remove(&mut self, service: &Service) -> bool {
        let mut contested = false;
        for host in &service.hosts {
            let hash = self.hasher.hash_one(host);
            let Some(count) = self.counts.get_mut(&hash) else { continue };
            contested |= *count > 1;
            self.shared -= usize::from(*count == 2);
            *count -= 1;
            if *count == 0 {
                self.counts.remove(&hash);
            }
        }
        contested
    }
}
