//! Which definitions a client sees, and which of them holds a name that several claim.

use std::sync::Arc;

use super::{DefinedPort, Definition, Exposure, List, Registry, Scope};
use crate::resource::ObjectKey;

/// A definition that a client sees.
#[derive(Clone, Debug)]
pub struct Selected {
    /// The definition.
    pub definition: Arc<Definition>,
    /// Those of its ports that the client sees.
    pub ports: Ports,
}

/// Some of a definition's ports.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Ports {
    /// Each.
    All,
    /// Those whose place holds `true`.
    Some(Vec<bool>),
}

impl Ports {
    /// None of a definition's ports.
    pub fn none(definition: &Definition) -> Self {
        Self::Some(vec![false; definition.ports.len()])
    }

    /// Adds the ports that a test picks.
    pub fn add(&mut self, definition: &Definition, pick: impl Fn(usize, &DefinedPort) -> bool) {
        if let Self::Some(seen) = self {
            for (index, port) in definition.ports.iter().enumerate() {
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
    pub fn ports(&self) -> impl Iterator<Item = &DefinedPort> {
        let ports = self.definition.ports.iter().enumerate();
        ports.filter(|(index, _)| self.ports.contains(*index)).map(|(_, port)| port)
    }
}

/// A definition and those of its ports that it serves a host on.
pub(crate) type Claim<'a> = (&'a Arc<Definition>, Ports);

/// Why a client does not see a definition's port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Hidden {
    /// It is not exported to the client's namespace.
    NotExported,
    /// The client's filter leaves it out.
    Filtered {
        /// The object that says so.
        by: ObjectKey,
    },
    /// Another definition holds the name.
    Overruled {
        /// That definition's object.
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
    /// Of several definitions of one host one holds it: the one in the client's own namespace, else
    /// the cluster's own, else the oldest. Definitions like the holder lend it the ports that it
    /// lacks, each with the lender's own addresses; all others are not seen under that host.
    pub fn select(&self, scope: &Scope) -> Vec<Selected> {
        let seen = self.seen(scope).into_iter();
        seen.map(|(definition, ports)| Selected { definition: definition.clone(), ports }).collect()
    }

    /// As [`Registry::select`], without taking hold of the definitions.
    pub(crate) fn seen(&self, scope: &Scope) -> Vec<(&Arc<Definition>, Ports)> {
        if let Some(list) = scope.list() {
            let listed = self.listed.iter().filter(|one| list.members.contains(&one.key));
            return listed.map(|definition| (definition, Ports::All)).collect();
        }
        let mut seen: Vec<Option<Ports>> = vec![None; self.definitions.len()];
        for (index, definition) in self.definitions.iter().enumerate() {
            if !self.exposed(definition, scope) {
                continue;
            }
            for host in definition.hosts.iter().filter(|host| !self.is_contested(host)) {
                add(&mut seen[index], &offered(definition, host, scope));
            }
        }
        for (host, members) in &self.contested {
            for (index, ports) in self.settle(host, members, scope) {
                add(&mut seen[index], &ports);
            }
        }
        let seen = self.definitions.iter().zip(seen);
        let seen = seen.filter_map(|(definition, ports)| Some((definition, ports?)));
        seen.filter(|(_, ports)| !ports.is_empty()).collect()
    }

    /// What a client sees of a definition whose hosts no other one names.
    pub(crate) fn select_one(
        &self,
        definition: &Arc<Definition>,
        scope: &Scope,
    ) -> Option<Selected> {
        if !self.exposed(definition, scope) {
            return None;
        }
        let mut seen = None;
        for host in &definition.hosts {
            add(&mut seen, &offered(definition, host, scope));
        }
        let ports = seen.filter(|ports| !ports.is_empty())?;
        Some(Selected { definition: Arc::clone(definition), ports })
    }

    /// What a client sees under each host, in order of precedence: the holder of the host first,
    /// then those that lend it ports.
    pub(crate) fn hosts(&self, scope: &Scope) -> Vec<(&str, Vec<Claim<'_>>)> {
        let mut hosts = Vec::new();
        for (index, definition) in self.definitions.iter().enumerate() {
            for host in &definition.hosts {
                let claims = match self.contested.get(host) {
                    Some(members) if members.first() == Some(&index) => {
                        self.settle(host, members, scope)
                    }
                    None if self.exposed(definition, scope) => {
                        vec![(index, offered(definition, host, scope))]
                    }
                    _ => continue,
                };
                let claims = claims.into_iter().filter(|(_, ports)| !ports.is_empty());
                let claims = claims.map(|(index, ports)| (&self.definitions[index], ports));
                let claims: Vec<_> = claims.collect();
                if !claims.is_empty() {
                    hosts.push((host.as_str(), claims));
                }
            }
        }
        hosts
    }

    /// Why a client does not see a port of a definition; `None` if it does.
    pub fn hidden(&self, definition: &Definition, port: usize, scope: &Scope) -> Option<Hidden> {
        if let Some(List { key, field, members, .. }) = scope.list() {
            let hidden = Hidden::NotListed { by: key.clone(), field };
            return (!members.contains(&definition.key)).then_some(hidden);
        }
        if !self.exposed(definition, scope) {
            return Some(Hidden::NotExported);
        }
        let mut reason = None;
        for host in &definition.hosts {
            if !offered(definition, host, scope).contains(port) {
                let by = scope.filter()?.key.clone();
                reason.get_or_insert(Hidden::Filtered { by });
                continue;
            }
            let members = self.contested.get(host)?;
            let settled = self.settle(host, members, scope);
            let holds = |(index, ports): &&(usize, Ports)| {
                self.definitions[*index].key == definition.key && ports.contains(port)
            };
            match settled.first() {
                Some(_) if settled.iter().any(|one| holds(&one)) => return None,
                Some((holder, _)) => {
                    let by = self.definitions[*holder].key.clone();
                    reason = Some(Hidden::Overruled { by });
                }
                None => {}
            }
        }
        reason
    }

    fn exposed(&self, definition: &Definition, scope: &Scope) -> bool {
        let exposure: &Exposure = definition.exposure.as_ref().unwrap_or(&self.default_exposure);
        exposure.includes(&scope.namespace, &definition.key.namespace)
    }

    fn is_contested(&self, host: &str) -> bool {
        !self.contested.is_empty() && self.contested.contains_key(host)
    }

    /// The holder of a contested host first, then those that lend it ports.
    fn settle(&self, host: &str, members: &[usize], scope: &Scope) -> Vec<(usize, Ports)> {
        let mut claims: Vec<(usize, Ports)> = members
            .iter()
            .filter(|index| self.exposed(&self.definitions[**index], scope))
            .map(|index| (*index, offered(&self.definitions[*index], host, scope)))
            .filter(|(_, ports)| !ports.is_empty())
            .collect();
        // Members stand in order of precedence already, and the sort is stable.
        claims.sort_by_key(|(index, _)| self.definitions[*index].key.namespace != scope.namespace);
        let Some((holder, _)) = claims.first() else { return claims };
        let holder = self.definitions[*holder].clone();
        let mut taken = Vec::new();
        claims.retain_mut(|(index, ports)| {
            let definition = &self.definitions[*index];
            if definition.key != holder.key && !alike(&holder, definition) {
                return false;
            }
            *ports = unclaimed(definition, ports, &mut taken);
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
fn offered(definition: &Definition, host: &str, scope: &Scope) -> Ports {
    scope.filter().map_or(Ports::All, |filter| filter.ports(definition, host))
}

/// What the cluster itself vouches for is like nothing else: its [`super::Likeness`] is empty.
fn alike(holder: &Definition, other: &Definition) -> bool {
    holder.key.namespace == other.key.namespace
        && holder.exposure == other.exposure
        && holder.likeness == other.likeness
}

/// Those of the ports whose numbers nobody has taken yet; they are taken now.
fn unclaimed(definition: &Definition, ports: &Ports, taken: &mut Vec<u16>) -> Ports {
    let mut free = Ports::none(definition);
    free.add(definition, |index, port| ports.contains(index) && !taken.contains(&port.number));
    let free_ports = definition.ports.iter().enumerate().filter(|(at, _)| free.contains(*at));
    taken.extend(free_ports.map(|(_, port)| port.number));
    free
}
