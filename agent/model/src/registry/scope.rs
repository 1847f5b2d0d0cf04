//! A client's point of view.

use std::{collections::BTreeSet, sync::Arc};

use super::{Exposure, Ports, Service};
use crate::{egress::RuleSource, resource::ObjectKey};

/// From where a client looks at the registry. Pods with equal scopes see the same.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scope {
    /// The client's namespace.
    pub namespace: String,
    /// What of it the client sees.
    pub visibility: Visibility,
    /// Who sees services that do not say, where the client's mesh has another rule than the
    /// registry.
    pub unsaid: Option<Exposure>,
}

/// What a client sees of the registry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Visibility {
    /// All that is exported to its namespace, unless a filter leaves it out.
    Exported(Option<Filter>),
    /// What an object lists, and nothing else.
    Listed(Arc<List>),
}

impl Scope {
    /// What narrows the view of what is exported.
    pub fn filter(&self) -> Option<&Filter> {
        match &self.visibility {
            Visibility::Exported(filter) => filter.as_ref(),
            Visibility::Listed(_) => None,
        }
    }

    /// The list that stands in place of what is exported.
    pub fn list(&self) -> Option<&List> {
        match &self.visibility {
            Visibility::Exported(_) => None,
            Visibility::Listed(list) => Some(list),
        }
    }
}

/// Services that a client may dial, one by one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct List {
    /// The object that says so.
    pub key: ObjectKey,
    /// Where it says so.
    pub field: &'static str,
    /// The services' objects.
    pub members: BTreeSet<ObjectKey>,
    /// What says what becomes of all else.
    pub otherwise: RuleSource,
}

/// What narrows a view.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Filter {
    /// The object that says so.
    pub key: ObjectKey,
    /// Each lets some through; what none does is not seen.
    pub listeners: Vec<Listener>,
}

/// Hosts that are let through.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listener {
    /// The only port that is; all without it.
    pub port: Option<u16>,
    /// Any of these.
    pub hosts: Vec<HostPattern>,
}

/// `namespace/dnsName`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostPattern {
    /// Of the service.
    pub namespace: NamespacePattern,
    /// `*`, `*.suffix` or a name, in lower case.
    pub host: String,
}

/// Which namespaces.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NamespacePattern {
    /// Each.
    Any,
    /// None at all.
    None,
    /// One.
    Exactly(String),
}

impl Filter {
    /// The ports of a service that may be seen under one of its hosts.
    pub fn ports(&self, service: &Service, host: &str) -> Ports {
        let mut seen = Ports::none(service);
        for listener in &self.listeners {
            let namespace = &service.key.namespace;
            if listener.hosts.iter().any(|pattern| pattern.matches(namespace, host)) {
                let on_port = |number| listener.port.is_none_or(|port| port == number);
                seen.add(service, |_, port| on_port(port.number));
            }
        }
        seen
    }
}

impl Filter {
    /// Whether something of a namespace may be seen under any of its hosts.
    pub(crate) fn lets_through(&self, namespace: &str, hosts: &[String]) -> bool {
        let patterns = || self.listeners.iter().flat_map(|listener| &listener.hosts);
        hosts.iter().any(|host| patterns().any(|pattern| pattern.touches(namespace, host)))
    }
}

impl HostPattern {
    /// Whether both stand for one name at least.
    fn touches(&self, namespace: &str, host: &str) -> bool {
        self.matches(namespace, host) || (self.in_namespace(namespace) && covers(host, &self.host))
    }

    fn in_namespace(&self, namespace: &str) -> bool {
        match &self.namespace {
            NamespacePattern::Any => true,
            NamespacePattern::None => false,
            NamespacePattern::Exactly(name) => name == namespace,
        }
    }

    fn matches(&self, namespace: &str, host: &str) -> bool {
        self.in_namespace(namespace) && covers(&self.host, host)
    }
}

/// Whether every name that `host` stands for is one that `pattern` stands for. `*.a.b` covers
/// `x.a.b` and `*.x.a.b`, never `a.b` itself.
fn covers(pattern: &str, host: &str) -> bool {
    match pattern.strip_prefix('*') {
        Some("") => true,
        // The suffix starts with the dot, so the parent itself is too short to end with it.
        Some(suffix) => host.ends_with(suffix),
        None => pattern == host,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_covers_names_below_it_and_not_its_parent() {
        for (pattern, host, expected) in [
            ("*", "a.b", true),
            ("*", "*.b", true),
            ("*.foo.com", "a.foo.com", true),
            ("*.foo.com", "a.b.foo.com", true),
            ("*.foo.com", "foo.com", false),
            ("*.foo.com", "afoo.com", false),
            ("*.foo.com", "*.foo.com", true),
            ("*.foo.com", "*.a.foo.com", true),
            ("*.a.foo.com", "*.foo.com", false),
            ("a.foo.com", "*.foo.com", false),
            ("a.foo.com", "a.foo.com", true),
        ] {
            assert_eq!(covers(pattern, host), expected, "{pattern} {host}");
        }
    }
}
