//! What left the registry although it was not revoked: an endpoint that is gone, an address that moved, a
//! Service that is not there for a moment. New connections are refused at once, and open ones go on for
//! a grace.
//!
//! - *The cluster's own services* (Services with their endpoints): all that leaves.
//! - *What only those see who list it*: the addresses behind a name, as long as the name is listed.
//! - *What people declare* (entries, names outside): nothing. Its author takes it back on purpose.
//!
//! Who may see a service decides here too, by what is said now: narrowing it, or the client's own view,
//! ends the grace. An endpoint that is there and not ready has not left ([`ServicePort::outlived`]), and
//! neither has an address that a name has moved away from.
//!
//! Pure: the caller has the clock.

use std::{cmp::Ordering, collections::BTreeMap, sync::Arc, time::Duration};

use hashbrown::HashSet;
use ipnet::IpNet;

use super::{Authority, Registry, Scope, Service, ServicePort, precedence};
use crate::{
    egress::{Protocol, Rule},
    resource::ObjectKey,
};

/// How many rules are kept, of a hundred bytes each; the oldest make room.
pub const MAX_DEPARTED: usize = 8_192;

/// See the module.
#[derive(Debug)]
pub struct Departed {
    grace: Duration,
    /// The oldest first.
    left: Vec<Left>,
    /// The same of what is exempt, the cluster's resolver.
    exempt: Vec<(Rule, Duration)>,
}

/// What left of a service at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Left {
    /// The service as it was, with those rules alone, as ones for open connections.
    pub service: Arc<Service>,
    /// Whether only those see it who list it.
    pub listed: bool,
    /// When the grace ends.
    pub until: Duration,
}

impl Left {
    fn rules(&self) -> usize {
        self.service.ports.iter().map(|port| port.outlived.len()).sum()
    }

    /// Goes by what is said of the service now: who may see it, and what is back.
    fn follow(&mut self, fresh: &Service) {
        let back = Held::of(fresh);
        let service = Arc::make_mut(&mut self.service);
        service.exposure.clone_from(&fresh.exposure);
        service.hosts.clone_from(&fresh.hosts);
        let listed = self.listed;
        service.ports.retain_mut(|port| {
            let rules = port.outlived.iter().filter(|rule| !back.has(rule)).cloned();
            port.outlived = rules.collect();
            !port.outlived.is_empty() && (!listed || declares(fresh, port))
        });
    }
}

impl Departed {
    /// Nothing has left yet.
    pub fn new(grace: Duration) -> Self {
        Self { grace, left: Vec::new(), exempt: Vec::new() }
    }

    /// Takes in what an earlier process knew. What it knew for longer than a grace is of another
    /// clock.
    pub fn restore(&mut self, left: Vec<Left>, now: Duration) {
        let most = now + self.grace;
        self.left =
            left.into_iter().map(|one| Left { until: one.until.min(most), ..one }).collect();
        self.left.sort_by_key(|one| one.until);
    }

    /// What has left and is in its grace, the oldest first.
    pub fn left(&self) -> &[Left] {
        &self.left
    }

    /// Whether the grace of something has ended.
    pub fn is_due(&self, now: Duration) -> bool {
        let exempt = self.exempt.iter().map(|(_, until)| *until);
        self.left.iter().map(|one| one.until).chain(exempt).any(|until| until <= now)
    }

    /// Forgets what has ended its grace.
    pub fn expire(&mut self, now: Duration) {
        self.left.retain(|one| one.until > now);
        self.exempt.retain(|(_, until)| *until > now);
    }

    /// Takes in the step from one registry to the next.
    pub fn follow(&mut self, before: &Registry, after: &Registry, now: Duration) {
        self.expire(now);
        let until = now + self.grace;
        let sides =
            [(false, &before.services, &after.services), (true, &before.listed, &after.listed)];
        for (listed, before, after) in sides {
            let (gone, fresh) = difference(before, after);
            let fresh: BTreeMap<&ObjectKey, &Arc<Service>> =
                fresh.into_iter().map(|one| (&one.key, one)).collect();
            for left in self.left.iter_mut().filter(|left| left.listed == listed) {
                match fresh.get(&left.service.key) {
                    Some(fresh) => left.follow(fresh),
                    None if listed && gone.iter().any(|gone| gone.key == left.service.key) => {
                        Arc::make_mut(&mut left.service).ports.clear();
                    }
                    None => {}
                }
            }
            let leave = |gone: &&Arc<Service>| {
                let fresh = fresh.get(&gone.key).map(|fresh| &***fresh);
                let service = Arc::new(what_left(gone, fresh, listed)?);
                Some(Left { service, listed, until })
            };
            self.left.extend(gone.iter().filter_map(leave));
        }
        let stays = |rule: &Rule| after.exempt.contains(rule);
        self.exempt.retain(|(rule, _)| !stays(rule));
        let gone = before.exempt.iter().filter(|rule| !stays(rule));
        self.exempt.extend(gone.map(|rule| (rule.clone(), until)));
        self.bound();
    }

    /// What a client's open connections may go by, as the registry shows it now.
    pub fn rules(&self, registry: &Registry, scope: &Scope) -> Vec<Rule> {
        let seen = self.left.iter().filter(|left| left.listed == scope.list().is_some());
        let seen = seen.flat_map(|left| registry.kept(&left.service, scope));
        let exempt = self.exempt.iter().map(|(rule, _)| rule);
        seen.chain(exempt).cloned().collect()
    }

    fn bound(&mut self) {
        self.left.retain(|left| left.rules() > 0);
        let mut room = MAX_DEPARTED;
        let newest = self.left.iter().rev().take_while(|left| {
            let fits = left.rules() <= room;
            room = room.saturating_sub(left.rules());
            fits
        });
        let crowded_out = self.left.len() - newest.count();
        self.left.drain(..crowded_out);
        let exempt = self.exempt.len().saturating_sub(MAX_DEPARTED);
        self.exempt.drain(..exempt);
    }
}

/// The services that are in one list alone, of two in order of precedence: those that are gone, and
/// those that are fresh. One that changed is in both.
fn difference<'a>(
    mut before: &'a [Arc<Service>],
    mut after: &'a [Arc<Service>],
) -> (Vec<&'a Arc<Service>>, Vec<&'a Arc<Service>>) {
    let (mut gone, mut fresh) = (Vec::new(), Vec::new());
    loop {
        let order = match (before.first(), after.first()) {
            (Some(one), Some(other)) if Arc::ptr_eq(one, other) => None,
            (Some(one), Some(other)) => Some(precedence(one).cmp(&precedence(other))),
            (Some(_), None) => Some(Ordering::Less),
            (None, Some(_)) => Some(Ordering::Greater),
            (None, None) => return (gone, fresh),
        };
        if order.is_none_or(Ordering::is_le) {
            gone.extend(order.and_then(|_| before.first()));
            before = &before[1..];
        }
        if order.is_none_or(Ordering::is_ge) {
            fresh.extend(order.and_then(|_| after.first()));
            after = &after[1..];
        }
    }
}

/// What a service had and its next form has not; `None` where nothing left, or its author took it back.
fn what_left(gone: &Service, fresh: Option<&Service>, listed: bool) -> Option<Service> {
    let is_clusters = gone.authority == Authority::Cluster && !gone.external;
    if !listed && !is_clusters || listed && fresh.is_none() {
        return None;
    }
    let held = fresh.map(Held::of).unwrap_or_default();
    let ports =
        gone.ports.iter().filter(|port| !listed || fresh.is_some_and(|it| declares(it, port)));
    let ports = ports.filter_map(|port| {
        let rules = port.rules.iter().chain(&port.outlived);
        // What goes by a name holds for every address: no address has left.
        let rules = rules.filter(|rule| rule.cidr.prefix_len() > 0 && !held.has(rule));
        let outlived: Box<[Rule]> = rules.cloned().collect();
        if outlived.is_empty() {
            return None;
        }
        Some(ServicePort { rules: Box::default(), outlived, ..port.clone() })
    });
    let ports: Vec<ServicePort> = ports.collect();
    let now = fresh.unwrap_or(gone);
    let (exposure, hosts) = (now.exposure.clone(), now.hosts.clone());
    let (names, findings) = (Box::default(), Vec::new());
    (!ports.is_empty()).then(|| Service { hosts, exposure, names, ports, findings, ..gone.clone() })
}

/// Whether a service still has a port for the same name.
fn declares(service: &Service, port: &ServicePort) -> bool {
    service.ports.iter().any(|own| own.number == port.number && own.source == port.source)
}

/// What a service allows or keeps, whatever the proxy does with it.
#[derive(Debug, Default)]
struct Held(HashSet<(Protocol, IpNet, Option<std::num::NonZeroU16>)>);

impl Held {
    fn of(service: &Service) -> Self {
        let ports = service.ports.iter();
        let rules = ports.flat_map(|port| port.rules.iter().chain(&port.outlived));
        Self(rules.map(|rule| (rule.protocol, rule.cidr, rule.port)).collect())
    }

    fn has(&self, rule: &Rule) -> bool {
        self.0.contains(&(rule.protocol, rule.cidr, rule.port))
    }
}
