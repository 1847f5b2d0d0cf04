//! Egress rules and policies, in no dialect. What a pod may reach is an [`EgressPolicy`]: a set of
//! rules and a default. The set is canonical, so pods with equal rules share one.

mod display;

use std::{fmt, num::NonZeroU16, sync::Arc};

use ipnet::IpNet;

use crate::object::Short;

/// The transport that a rule is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Protocol {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
}

/// What a rule does with what it matches.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Action {
    /// Out, untouched.
    Direct,
    /// To the node's proxy.
    Proxy(ProxyDuty),
}

/// What the proxy has to decide before it may carry the bytes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ProxyDuty {
    /// The address is allowed as it is; the protocol may still refine where the bytes go.
    AddressAllowed,
    /// Only the name (Host or SNI) allows it, whatever the address.
    NameRequired,
}

/// Which rules outrank which, whatever their prefixes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Class {
    /// From the registry: Services, `ServiceEntry`s, backends.
    Registered,
    /// What is exempt from the registry: resolvers, exclusions by annotation.
    Exempt,
}

/// One rule. Of all rules that match a packet the one that decides is the greatest by class, then
/// prefix length, then an exact port before any, then age (the older one), then source.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Rule {
    /// Outranks the prefix length.
    pub class: Class,
    /// The transport.
    pub protocol: Protocol,
    /// The destination, masked.
    pub cidr: IpNet,
    /// The destination port; `None` is any.
    pub port: Option<NonZeroU16>,
    /// What to do.
    pub action: Action,
    /// When its source was created, in seconds since 1970; 0 where that is not known, and so the
    /// oldest. It does not move when other objects come and go. Sources of one age differ by
    /// `source`.
    pub age: u32,
    /// Where it comes from.
    pub source: Arc<RuleSource>,
}

/// The object and the field that a rule comes from, as `sekisho why` names them. The order settles
/// ties of age, by name and then namespace as Istio does.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RuleSource {
    /// Its name.
    pub name: Short,
    /// Its namespace.
    pub namespace: Short,
    /// The object's kind.
    pub kind: &'static str,
    /// The field, for instance `spec.ports[0]`.
    pub field: Short,
    /// The host that a user knows it by, where there is one.
    pub host: Option<String>,
}

impl fmt::Display for RuleSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, namespace, kind, field, host: _ } = self;
        let slash = if namespace.is_empty() { "" } else { "/" };
        write!(f, "{kind} {namespace}{slash}{name} {field}")
    }
}

/// The policy's answer where no rule matches.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum DefaultAction {
    /// Let through.
    AllowAny,
    /// Deny.
    RegistryOnly,
    /// Let through, and report what `RegistryOnly` would deny.
    Audit,
}

/// Rules in canonical order without duplicates: equal sets compare and hash equal.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct RuleSet(Vec<Rule>);

impl RuleSet {
    /// The canonical form of any collection of rules; their order never matters.
    pub fn new(rules: impl IntoIterator<Item = Rule>) -> Self {
        let mut rules: Vec<Rule> =
            rules.into_iter().map(|rule| Rule { cidr: fold_mapped(rule.cidr), ..rule }).collect();
        rules.sort_unstable();
        rules.dedup();
        // It is kept, and shared by all who have it.
        rules.shrink_to_fit();
        Self(rules)
    }

    /// This set without some rules and with others; what is in both is in it.
    #[must_use]
    pub fn follow(&self, removed: &Self, added: &Self) -> Self {
        let mut rules = Vec::with_capacity(self.0.len() + added.0.len());
        let mut added = added.0.iter().peekable();
        for rule in &self.0 {
            rules.extend(std::iter::from_fn(|| added.next_if(|one| *one <= rule)).cloned());
            let is_there = rules.last() == Some(rule);
            if !is_there && removed.0.binary_search(rule).is_err() {
                rules.push(rule.clone());
            }
        }
        rules.extend(added.cloned());
        rules.shrink_to_fit();
        Self(rules)
    }

    /// The rules, sorted.
    pub fn rules(&self) -> &[Rule] {
        &self.0
    }
}

/// Masks a prefix, and turns an IPv4-mapped one (`::ffff:0:0/96` or longer) into the IPv4 prefix
/// that it stands for: the kernel's judgement knows mapped addresses as IPv4 only.
fn fold_mapped(cidr: IpNet) -> IpNet {
    if let IpNet::V6(v6) = cidr
        && v6.prefix_len() >= 96
        && let Some(v4) = v6.network().to_ipv4_mapped()
        && let Ok(folded) = ipnet::Ipv4Net::new(v4, v6.prefix_len() - 96)
    {
        return IpNet::V4(folded).trunc();
    }
    cidr.trunc()
}

/// How a pod's traffic is judged.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct EgressPolicy {
    /// Where no rule matches.
    pub default_action: DefaultAction,
    /// Whether requests of its proxied connections are read even where no object has a say in them.
    pub reads_all: bool,
    /// Shared between pods whose rules are equal.
    pub rules: Arc<RuleSet>,
}
