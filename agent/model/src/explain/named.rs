//! Names: which one an address belongs to, and which addresses a name stands for.

use std::{collections::BTreeSet, net::IpAddr};

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use crate::{
    names::{Answer, canonical},
    pod::PodId,
    registry::Service,
    resource::Kind,
    snapshot::Snapshot,
};

/// A name that an address belongs to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct NameText {
    /// The name.
    pub name: String,
    /// How the address belongs to it.
    pub age: AnswerAge,
}

/// How an address belongs to a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum AnswerAge {
    /// The newest answer has it.
    Current,
    /// An answer had it lately: it is allowed for a while.
    Lingering,
    /// An answer had it once: open connections go on, new ones are not allowed by the name.
    Former,
}

/// The names that an address belongs to.
pub(super) fn of(snapshot: &Snapshot, address: IpAddr) -> Vec<NameText> {
    let text = |(name, answer): (&std::sync::Arc<str>, &std::sync::Arc<Answer>)| NameText {
        name: name.to_string(),
        age: if answer.current.contains(&address) {
            AnswerAge::Current
        } else if answer.lingering.contains(&address) {
            AnswerAge::Lingering
        } else {
            AnswerAge::Former
        },
    };
    snapshot.answers.of(address).map(text).collect()
}

/// The addresses that a name stands for as a pod sees it; `None` for a name that nothing here
/// knows. Services go by their short names too, others of their kind by what they stand for.
pub fn addresses(snapshot: &Snapshot, pod: &PodId, name: &str) -> Option<Vec<IpAddr>> {
    let name = canonical(name);
    let mut found = BTreeSet::new();
    let mut known = false;
    for service in snapshot.registry.services() {
        if !answers_to(service, &name, pod) {
            continue;
        }
        known = true;
        let concrete = service.alias.as_ref().map_or(&**service, |alias| {
            let mut all = snapshot.registry.services().iter();
            all.find(|one| one.hosts.contains(alias)).map_or(&**service, |one| one)
        });
        declared(snapshot, concrete, &mut found);
    }
    if let Some(answer) = snapshot.answers.get(&name) {
        known = true;
        found.extend(answer.allowed());
    }
    known.then(|| found.into_iter().collect())
}

fn declared(snapshot: &Snapshot, service: &Service, found: &mut BTreeSet<IpAddr>) {
    let rules = service.ports.iter().flat_map(|port| &port.rules);
    let single = |cidr: &IpNet| cidr.prefix_len() == cidr.max_prefix_len();
    found.extend(rules.map(|rule| rule.cidr).filter(single).map(|cidr| cidr.addr()));
    let answers = service.names.iter().filter_map(|name| snapshot.answers.get(name));
    // An entry's endpoints are where its connections end and not what clients dial.
    let outside = service.key.kind == Kind::Service;
    found.extend(answers.filter(|_| outside).flat_map(|answer| answer.allowed()));
}

/// A Service's names: `name` in its own namespace, `name.namespace`, `name.namespace.svc`, and the
/// whole.
fn answers_to(service: &Service, name: &str, pod: &PodId) -> bool {
    if service.hosts.iter().any(|host| host == name) {
        return true;
    }
    let key = &service.key;
    let labels: Vec<&str> = name.split('.').collect();
    key.kind == Kind::Service
        && match labels[..] {
            [service] => key.name == service && key.namespace == pod.namespace,
            [service, namespace] | [service, namespace, "svc"] => {
                key.name == service && key.namespace == namespace
            }
            _ => false,
        }
}
