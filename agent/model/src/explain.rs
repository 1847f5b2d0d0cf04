//! Why a connection is allowed or not: the rule that decides, or what comes near and what in it does
//! not match, and the entry that is missing.
//!
//! Pure: it answers for a [`Snapshot`]. The caller that asks about a running node holds the answer against
//! the live maps, and a difference is a finding of its own. The answer is plain data, so it can go
//! over a socket as it is.

mod named;
mod near;
mod remedy;
#[cfg(test)]
mod tests;

use std::{fmt, net::IpAddr, num::NonZeroU16};

use serde::{Deserialize, Serialize};

pub use named::{AnswerAge, NameText, addresses};

use crate::{
    compile::{addr_of, scan},
    egress::{Class, DefaultAction, EgressPolicy, Protocol, Rule},
    pod::PodId,
    snapshot::{Enrolment, Snapshot},
};

/// The question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Query {
    /// Who connects.
    pub pod: PodId,
    /// Where to.
    pub address: IpAddr,
    /// See `address`.
    pub port: NonZeroU16,
    /// By what.
    pub protocol: Protocol,
}

/// The answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Explanation {
    /// What happens.
    pub decision: Decision,
    /// The names that the address belongs to.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub names: Vec<NameText>,
    /// Where no rule matches: what comes near, the nearest first.
    pub near: Vec<NearMiss>,
    /// Where something is missing: a manifest, ready to apply, that allows it.
    pub remedy: Option<String>,
}

/// What happens to the connection.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "by")]
pub enum Decision {
    /// The pod is not judged.
    NotEnrolled {
        /// Why.
        why: String,
    },
    /// It cannot be told yet whether the pod is to be judged.
    Held {
        /// What is missing.
        why: String,
    },
    /// The destination is the pod itself.
    Local,
    /// A rule decides.
    Rule {
        /// That rule.
        rule: RuleText,
        /// What the policy says where no rule matches.
        default: String,
        /// Why it goes by the proxy or not.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        reason: Option<String>,
    },
    /// No rule matches, and the policy decides.
    Default {
        /// `allow-any`, `registry-only` or `audit`.
        default: String,
        /// The object and field that say so, where it is not the mesh's own settings.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        source: Option<String>,
    },
}

/// A rule in words.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RuleText {
    /// `direct`, `proxy` or `proxy by name`.
    pub action: String,
    /// `tcp` or `udp`.
    pub protocol: String,
    /// The destination.
    pub cidr: String,
    /// The destination port; `None` is any.
    pub port: Option<u16>,
    /// The object and field that it comes from.
    pub source: String,
    /// The name that the object gives the destination.
    pub host: Option<String>,
    /// Whether it is exempt from the registry.
    pub exempt: bool,
}

/// A rule that would have to be a little different to match.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct NearMiss {
    /// The rule.
    pub rule: RuleText,
    /// What does not match.
    pub mismatch: Mismatch,
}

/// What in a rule does not match.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "kind")]
pub enum Mismatch {
    /// It matches, and holds for open connections alone.
    OpenAlone,
    /// It matches, and is not exported to the pod's namespace.
    NotExported,
    /// It matches, and a Sidecar leaves it out.
    Filtered {
        /// That Sidecar.
        by: String,
    },
    /// It matches, and another object holds its name.
    Overruled {
        /// That object.
        by: String,
    },
    /// It matches, and the pod may dial only what an object lists, which this is not.
    NotListed {
        /// That object.
        by: String,
        /// Where it has its list.
        field: String,
    },
    /// It is for another protocol.
    Protocol,
    /// It is for another port of this address.
    Port,
    /// It is for what its hosts resolve to on this port, and this address is none of that.
    Resolved {
        /// The host by which the object goes.
        host: String,
    },
    /// It is for other addresses on this port.
    Address,
}

impl fmt::Display for Mismatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::OpenAlone => f.write_str(
                "keeps what is open and allows nothing new: its endpoint is not ready, or its name \
                 has another address now",
            ),
            Self::NotExported => f.write_str("is not exported to the pod's namespace"),
            Self::Filtered { by } => write!(f, "is left out by {by}"),
            Self::Overruled { by } => write!(f, "gives way to {by}, which holds the same host"),
            Self::NotListed { by, field } => write!(f, "is not among the {field} of {by}"),
            Self::Protocol => f.write_str("is for another protocol"),
            Self::Port => f.write_str("is for another port"),
            Self::Resolved { host } => write!(
                f,
                "is for what {host} resolves to alone: list what else is dialled for it under \
                 spec.addresses"
            ),
            Self::Address => f.write_str("is for other addresses"),
        }
    }
}

impl From<&Rule> for RuleText {
    fn from(rule: &Rule) -> Self {
        let Rule { class, protocol, cidr, port, action, age: _, source } = rule;
        Self {
            action: action.to_string(),
            protocol: protocol.to_string(),
            cidr: cidr.to_string(),
            port: port.map(NonZeroU16::get),
            source: source.to_string(),
            host: source.host.clone(),
            exempt: *class == Class::Exempt,
        }
    }
}

/// Answers a question; `None` for a pod that this node does not have.
pub fn explain(snapshot: &Snapshot, query: &Query) -> Option<Explanation> {
    let query = Query { address: query.address.to_canonical(), ..query.clone() };
    let plan = snapshot.pods.get(&query.pod)?;
    let policy = match &plan.enrolment {
        Enrolment::NotEnrolled(why) => {
            return Some(Explanation::of(Decision::NotEnrolled { why: why.clone() }));
        }
        Enrolment::Pending(_) if addr_of(query.address).is_local() => {
            return Some(Explanation::of(Decision::Local));
        }
        Enrolment::Pending(why) => {
            return Some(Explanation::of(Decision::Held { why: why.clone() }));
        }
        Enrolment::Enrolled(policy) => policy,
    };
    // The words of `agent_abi::Addr::is_local` for the addresses that a pod is itself.
    let own = plan.addresses.iter().any(|address| address.to_canonical() == query.address);
    if own || addr_of(query.address).is_local() {
        return Some(Explanation::of(Decision::Local));
    }
    let names = named::of(snapshot, query.address);
    Some(Explanation { names, ..judged(snapshot, policy, &query) })
}

impl Explanation {
    /// A decision of which there is no more to say.
    pub fn of(decision: Decision) -> Self {
        Self { decision, names: Vec::new(), near: Vec::new(), remedy: None }
    }
}

fn judged(snapshot: &Snapshot, policy: &EgressPolicy, query: &Query) -> Explanation {
    let default = policy.default_action.to_string();
    let number = match query.protocol {
        Protocol::Tcp => agent_abi::protocol::TCP,
        Protocol::Udp => agent_abi::protocol::UDP,
    };
    let rules = policy.rules.rules();
    if let Some(rule) = scan(rules, addr_of(query.address), number, query.port.get()) {
        let reason = snapshot.registry.reason(rule).map(|reason| reason.words().to_owned());
        let decision = Decision::Rule { rule: rule.into(), default, reason };
        return Explanation::of(decision);
    }
    let missing = policy.default_action != DefaultAction::AllowAny;
    let list = snapshot.registry.scope(&query.pod).and_then(|scope| scope.list());
    let source = list.map(|list| list.otherwise.to_string());
    let near = near::misses(snapshot, policy, query);
    // What a pod with a list may dial, an entry does not change.
    let remedy = (missing && list.is_none()).then(|| remedy::entry(query));
    Explanation { decision: Decision::Default { default, source }, near, remedy, names: Vec::new() }
}
