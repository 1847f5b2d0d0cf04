//! What an `ExternalName` Service stands for: another service that is declared, or a name outside.
//!
//! Istio of today takes every `ExternalName` for an alias, Istio before 1.22 for a service of its
//! own that DNS resolves. Both are right about something: where the name is declared, its own rules
//! know better than the alias's ports; where it is not, an alias of nothing would be reachable by
//! no pod under `REGISTRY_ONLY`.

use std::collections::{BTreeMap, BTreeSet};

use crate::{
    names::canonical,
    resource::{Objects, Service},
};

/// Every name that is declared, as far as `ExternalName`s may lead to it.
#[derive(Debug, Default)]
pub(super) struct Aliases {
    declared: BTreeSet<String>,
    /// Where each `ExternalName` points, by its own name.
    targets: BTreeMap<String, String>,
}

/// Where an `ExternalName` leads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum AliasTarget {
    /// To a service that is declared under this name.
    Declared(String),
    /// To a name that only DNS knows.
    Outside(String),
    /// Back to itself.
    Loop,
}

impl Aliases {
    /// Without an `ExternalName` it is never asked, and then nothing is collected.
    pub(super) fn new(objects: &Objects, domain: &str) -> Self {
        let mut found = Self::default();
        for service in objects.services() {
            if let Some(external) = &service.external_name {
                found.targets.insert(host(service, domain), canonical(external));
            }
        }
        if found.targets.is_empty() {
            return found;
        }
        found.declared.extend(objects.services().map(|service| host(service, domain)));
        for entry in objects.service_entries() {
            found.declared.extend(entry.spec.hosts.iter().map(|host| canonical(host)));
        }
        found
    }

    /// Where the `ExternalName` of this name leads, through others of its kind.
    pub(super) fn target(&self, host: &str) -> Option<AliasTarget> {
        let mut target = self.targets.get(host)?;
        let mut seen = BTreeSet::from([host]);
        if !self.declared.contains(target) {
            return Some(AliasTarget::Outside(target.clone()));
        }
        while seen.insert(target) {
            match self.targets.get(target) {
                Some(next) if self.declared.contains(next) => target = next,
                _ => return Some(AliasTarget::Declared(target.clone())),
            }
        }
        Some(AliasTarget::Loop)
    }
}

/// The name of a Service in the cluster.
pub(super) fn host(service: &Service, domain: &str) -> String {
    let part = |part: &Option<String>| part.clone().unwrap_or_default();
    let metadata = &service.metadata;
    let host = format!("{}.{}.svc.{domain}", part(&metadata.name), part(&metadata.namespace));
    host.to_ascii_lowercase()
}
