//! Which services a client sees, and which of them holds a name that several claim.

use std::sync::Arc;

use super::{Exposure, List, Registry, Scope, Service, ServicePort};
use crate::resource::ObjectKey;

/// A service that a client sees.
#[derive(Clone, Debug)]
pub struct Selected {
    /// The service.
    pub service: Arc<Service>,
    /// Those of its ports that the client sees.
    pub ports: Ports,
}

/// Some of a service's ports.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Ports {
    /// Each.
    All,
    /// Those whose place holds `true`.
    Some(Vec<bool>),
}

impl Ports {
    /// None of a service's ports.
    pub fn none(service: &Service) -> Self {
        Self::Some(vec![false; service.ports.len()])
    }

    /// Adds the ports that a test picks.
    pub fn add(&mut self, service: &Service, pick: impl Fn(usize, &ServicePort) -> bool) {
        if let Self::Some(seen) = self {
            for (index, port) in service.ports.iter().enumerate() {
                seen[index] |= pick(index, port);
            }
            if seen.iter().all(|seen| *seen) {
                *self = Self::All;
            }
        }
    }

    /// Whether the port at a place is among them.
    pub fn contains(&self, index: usize) -> bool {
        match self {
            Self::All => true,
            Self::Some(seen) => seen.get(index).copied().unwrap_or(false),
        }
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        matches!(self, Self::Some(seen) if !seen.contains(&true))
    }

    fn union(&mut self, other: &Self) {
        match (&mut *self, other) {
            (Self::Some(seen), Self::Some(more)) => {
                for (seen, more) in seen.iter_mut().zip(more) {
                    *seen |= more;
                }
            }
            (Self::Some(_), Self::All) => *self = Self::All,
            (Self::All, _) => {}
        }
    }
}

impl Selected {
    /// The ports that the client sees.
    pub fn ports(&self) -> impl Iterator<Item = &ServicePort> {
        let ports = self.service.ports.iter().enumerate();
        ports.filter(|(index, _)| self.ports.contains(*index)).map(|(_, port)| port)
    }
}

/// A service and those of its ports that it serves a host on.
pub(crate) type Claim<'a> = (&'a Arc<Service>, Ports);

/// Why a client does not see a service's port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Hidden {
    /// It is not exported to the client's namespace.
    NotExported,
    /// The client's filter leaves it out.
    Filtered {
        /// The object that says so.
        by: ObjectKey,
    },
    /// Another service holds the name.
    Overruled {
        /// That service's object.
        by: ObjectKey,
    },
    /// The client sees only what is listed for it, and this is not.
    NotListed {
        /// The object that has the list.
        by: ObjectKey,
        /// Where it has it.
        field: &'static str,
    },
}

impl Registry {
    /// What a client sees, in order of precedence.
    ///
    /// Of several services of one host one holds it: the one in the client's own namespace, else
    /// the cluster's own, else the oldest. Services like the holder lend it the ports that it
    /// lacks, each with the lender's own addresses; all others are not seen under that host.
    pub fn select(&self, scope: &Scope) -> Vec<Selected> {
        let seen = self.seen(scope).into_iter();
        seen.map(|(service, ports)| Selected { service: service.clone(), ports }).collect()
    }

    /// As [`Registry::select`], without taking hold of the services.
    pub(crate) fn seen(&self, scope: &Scope) -> Vec<(&Arc<Service>, Ports)> {
        if let Some(list) = scope.list() {
            let listed = self.listed.iter().filter(|one| list.members.contains(&one.key));
            return listed.map(|service| (service, Ports::All)).collect();
        }
        let mut seen: Vec<Option<Ports>> = vec![None; self.services.len()];
        for (index, service) in self.services.iter().enumerate() {
            if !self.exposed(service, scope) {
                continue;
            }
            for host in service.hosts.iter().filter(|host| !self.is_contested(host)) {
                add(&mut seen[index], &offered(service, host, scope));
            }
        }
        for (host, members) in &self.contested {
            for (index, ports) in self.settle(host, members, scope) {
                add(&mut seen[index], &ports);
            }
        }
        let seen = self.services.iter().zip(seen);
        let seen = seen.filter_map(|(service, ports)| Some((service, ports?)));
        seen.filter(|(_, ports)| !ports.is_empty()).collect()
    }

    /// What a client sees of a service whose hosts no other one names.
    pub(crate) fn select_one(&self, service: &Arc<Service>, scope: &Scope) -> Option<Selected> {
        if !self.exposed(service, scope) {
            return None;
        }
        let mut seen = None;
        for host in &service.hosts {
            add(&mut seen, &offered(service, host, scope));
        }
        let ports = seen.filter(|ports| !ports.is_empty())?;
        Some(Selected { service: Arc::clone(service), ports })
    }

    /// What a client sees under each host, in order of precedence: the holder of the host first,
    /// then those that lend it ports.
    pub(crate) fn hosts(&self, scope: &Scope) -> Vec<(&str, Vec<Claim<'_>>)> {
        let mut hosts = Vec::new();
        for (index, service) in self.services.iter().enumerate() {
            for host in &service.hosts {
                let claims = match self.contested.get(host) {
                    Some(members) if members.first() == Some(&index) => {
                        self.settle(host, members, scope)
                    }
                    None if self.exposed(service, scope) => {
                        vec![(index, offered(service, host, scope))]
                    }
                    _ => continue,
                };
                let claims = claims.into_iter().filter(|(_, ports)| !ports.is_empty());
                let claims = claims.map(|(index, ports)| (&self.services[index], ports));
                let claims: Vec<_> = claims.collect();
                if !claims.is_empty() {
                    hosts.push((host.as_str(), claims));
                }
            }
        }
        hosts
    }

    /// Why a client does not see a port of a service; `None` if it does.
    pub fn hidden(&self, service: &Service, port: usize, scope: &Scope) -> Option<Hidden> {
        if let Some(List { key, field, members, .. }) = scope.list() {
            let hidden = Hidden::NotListed { by: key.clone(), field };
            return (!members.contains(&service.key)).then_some(hidden);
        }
        if !self.exposed(service, scope) {
            return Some(Hidden::NotExported);
        }
        let mut reason = None;
        for host in &service.hosts {
            if !offered(service, host, scope).contains(port) {
                let by = scope.filter()?.key.clone();
                reason.get_or_insert(Hidden::Filtered { by });
                continue;
            }
            let members = self.contested.get(host)?;
            let settled = self.settle(host, members, scope);
            let holds = |(index, ports): &&(usize, Ports)| {
                self.services[*index].key == service.key && ports.contains(port)
            };
            match settled.first() {
                Some(_) if settled.iter().any(|one| holds(&one)) => return None,
                Some((holder, _)) => {
                    let by = self.services[*holder].key.clone();
                    reason = Some(Hidden::Overruled { by });
                }
                None => {}
            }
        }
        reason
    }

    fn exposed(&self, service: &Service, scope: &Scope) -> bool {
        let unsaid = scope.unsaid.as_ref().unwrap_or(&self.default_exposure);
        let exposure: &Exposure = service.exposure.as_ref().unwrap_or(unsaid);
        exposure.includes(&scope.namespace, &service.key.namespace)
    }

    fn is_contested(&self, host: &str) -> bool {
        !self.contested.is_empty() && self.contested.contains_key(host)
    }

    /// The holder of a contested host first, then those that lend it ports.
    fn settle(&self, host: &str, members: &[usize], scope: &Scope) -> Vec<(usize, Ports)> {
        let mut claims: Vec<(usize, Ports)> = members
            .iter()
            .filter(|index| self.exposed(&self.services[**index], scope))
            .map(|index| (*index, offered(&self.services[*index], host, scope)))
            .filter(|(_, ports)| !ports.is_empty())
            .collect();
        // Members stand in order of precedence already, and the sort is stable.
        claims.sort_by_key(|(index, _)| self.services[*index].key.namespace != scope.namespace);
        let Some((holder, _)) = claims.first() else { return claims };
        let holder = self.services[*holder].clone();
        let mut taken = Vec::new();
        claims.retain_mut(|(index, ports)| {
            let service = &self.services[*index];
            if service.key != holder.key && !alike(&holder, service) {
                return false;
            }
            *ports = unclaimed(service, ports, &mut taken);
            !ports.is_empty()
        });
        claims
    }
}

fn add(seen: &mut Option<Ports>, more: &Ports) {
    match seen {
        Some(seen) => seen.union(more),
        None => *seen = Some(more.clone()),
    }
}

/// The ports that a scope's filter lets through under a host.
fn offered(service: &Service, host: &str, scope: &Scope) -> Ports {
    scope.filter().map_or(Ports::All, |filter| filter.ports(service, host))
}

/// What the cluster itself vouches for is like nothing else: its [`super::Likeness`] is empty.
fn alike(holder: &Service, other: &Service) -> bool {
    holder.key.namespace == other.key.namespace
        && holder.exposure == other.exposure
        && holder.likeness == other.likeness
}

/// Those of the ports whose numbers are not taken yet; they are taken now.
fn unclaimed(service: &Service, ports: &Ports, taken: &mut Vec<u16>) -> Ports {
    let mut free = Ports::none(service);
    free.add(service, |index, port| ports.contains(index) && !taken.contains(&port.number));
    let free_ports = service.ports.iter().enumerate().filter(|(at, _)| free.contains(*at));
    taken.extend(free_ports.map(|(_, port)| port.number));
    free
}
