//! Answers `sekisho why`: what the live maps say about a connection, what the configuration says,
//! and whether the two agree.

use std::net::{IpAddr, SocketAddr};

use agent_abi::{Flow, Judgement, Reason, Verdict, protocol};
use agent_model::{
    compile::addr_of,
    egress::Protocol,
    explain::{self, Decision, Explanation, Query, explain},
    pod::PodId,
    snapshot::Snapshot,
};
use serde::{Deserialize, Serialize};

use super::{
    Answers,
    question::{Destination, PodRef, Target},
};
use crate::observe::abi_names;

/// The answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct WhyAnswer {
    /// The pod, as `namespace/name`.
    pub(crate) pod: String,
    /// The destination, as `address:port/protocol`.
    pub(crate) destination: String,
    /// Whether the connection gets out, by the live maps where they know the pod.
    pub(crate) allowed: bool,
    /// What the live maps say; none when the pod's namespace is not known.
    pub(crate) live: Option<Live>,
    /// What the configuration says.
    pub(crate) explanation: Explanation,
    /// How the two differ, where they do.
    pub(crate) difference: Option<String>,
}

/// The answer about a name: one for each of its addresses.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct NamedAnswer {
    /// The name.
    pub(crate) name: String,
    /// What may be said of its addresses.
    pub(crate) answers: Vec<WhyAnswer>,
}

/// What the live maps say.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Live {
    /// What is decided.
    #[serde(with = "abi_names::verdict")]
    pub(crate) verdict: Verdict,
    /// Why.
    #[serde(with = "abi_names::reason")]
    pub(crate) reason: Reason,
    /// The generation in force.
    pub(crate) generation: u64,
}

/// Why there is no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum WhyError {
    /// Too early.
    #[error("the agent has not read its configuration yet; ask again")]
    Starting,
    /// No such pod.
    #[error("node {node} has no pod {pod}; it has {known}")]
    NoSuchPod {
        /// `--node-name`.
        node: String,
        /// What was asked for.
        pod: String,
        /// What there is.
        known: String,
    },
    /// Several pods.
    #[error("{name} is the name of several pods; say which: {known}")]
    Ambiguous {
        /// What was asked for.
        name: String,
        /// Those pods.
        known: String,
    },
    /// A name that no object names.
    #[error(
        "{name} is named by no object that this node follows; resolve it and ask for an address, \
         rules for TCP and UDP go by address"
    )]
    NameUnknown {
        /// That name.
        name: String,
    },
    /// A name without addresses.
    #[error(
        "{name} stands for no address: see NAMES in `sekisho status`, and the object's findings"
    )]
    NoAddress {
        /// That name.
        name: String,
    },
}

/// Answers a question about a name.
pub(super) fn answer_name(
    answers: &dyn Answers,
    pod: &PodRef,
    name: &str,
    port: std::num::NonZeroU16,
    protocol: Protocol,
) -> Result<NamedAnswer, WhyError> {
    let snapshot = answers.snapshot().ok_or(WhyError::Starting)?;
    let id = find(&snapshot, pod, answers)?;
    let addresses = explain::addresses(&snapshot, &id, name);
    let addresses = addresses.ok_or_else(|| WhyError::NameUnknown { name: name.to_owned() })?;
    if addresses.is_empty() {
        return Err(WhyError::NoAddress { name: name.to_owned() });
    }
    let to = |addr| Destination { addr, port, protocol };
    let told = addresses.into_iter().map(|addr| answer(answers, pod, to(addr)));
    Ok(NamedAnswer { name: name.to_owned(), answers: told.collect::<Result<_, _>>()? })
}

/// Answers a question about an address.
pub(super) fn answer(
    answers: &dyn Answers,
    pod: &PodRef,
    to: Destination,
) -> Result<WhyAnswer, WhyError> {
    let snapshot = answers.snapshot().ok_or(WhyError::Starting)?;
    let id = find(&snapshot, pod, answers)?;
    let query = Query { pod: id.clone(), address: to.addr, port: to.port, protocol: to.protocol };
    let explanation = explain(&snapshot, &query).ok_or_else(|| missing(&snapshot, pod, answers))?;
    let live = live(answers, &id, to);
    let expected = expected(&explanation.decision);
    let difference = live.as_ref().filter(|live| live.verdict != expected).map(|live| {
        format!(
            "the kernel says {} ({}) and the configuration says {}: it is not in force yet or was \
             refused, see `sekisho status`",
            live.verdict.name(),
            live.reason.name(),
            expected.name()
        )
    });
    let verdict = live.as_ref().map_or(expected, |live| live.verdict);
    Ok(WhyAnswer {
        pod: id.to_string(),
        destination: text(to),
        allowed: matches!(verdict, Verdict::Direct | Verdict::Proxy),
        live,
        explanation,
        difference,
    })
}

/// A destination as the command line takes it.
pub(crate) fn text(to: Destination) -> String {
    format!("{}/{}", SocketAddr::new(to.addr, to.port.get()), to.protocol)
}

/// The pod that a person means.
pub(super) fn find(
    snapshot: &Snapshot,
    pod: &PodRef,
    answers: &dyn Answers,
) -> Result<PodId, WhyError> {
    let wanted = |id: &&PodId| {
        id.name == pod.name
            && pod.namespace.as_ref().is_none_or(|namespace| *namespace == id.namespace)
    };
    let found: Vec<&PodId> = snapshot.pods.keys().filter(wanted).collect();
    match found.as_slice() {
        [] => Err(missing(snapshot, pod, answers)),
        [id] => Ok((*id).clone()),
        several => {
            let known = list(several.iter().copied());
            Err(WhyError::Ambiguous { name: pod.name.clone(), known })
        }
    }
}

fn missing(snapshot: &Snapshot, pod: &PodRef, answers: &dyn Answers) -> WhyError {
    let (node, known) = (answers.status().node, list(snapshot.pods.keys()));
    WhyError::NoSuchPod { node, pod: pod.to_string(), known }
}

/// As many names as a person reads.
fn list<'a>(ids: impl ExactSizeIterator<Item = &'a PodId>) -> String {
    const MOST: usize = 10;
    let more = ids.len().saturating_sub(MOST);
    let names: Vec<String> = ids.take(MOST).map(ToString::to_string).collect();
    match (names.len(), more) {
        (0, _) => "none".to_owned(),
        (_, 0) => names.join(", "),
        _ => format!("{} and {more} more", names.join(", ")),
    }
}

fn live(answers: &dyn Answers, id: &PodId, to: Destination) -> Option<Live> {
    let pods = answers.status().pods;
    let pod = pods.iter().find(|pod| pod.namespace == id.namespace && pod.name == id.name)?;
    let judgement = answers.judge(&Flow {
        netns: pod.netns?,
        dst: addr_of(to.addr),
        dst_port: to.port.get(),
        protocol: match to.protocol {
            Protocol::Tcp => protocol::TCP,
            Protocol::Udp => protocol::UDP,
        },
    });
    let Judgement { verdict, reason, generation, .. } = judgement;
    Some(Live { verdict, reason, generation })
}

/// The verdict that the configuration asks for.
fn expected(outcome: &Decision) -> Verdict {
    match outcome {
        Decision::Rule { rule, .. } if rule.action != "direct" => Verdict::Proxy,
        Decision::Default { default, .. } if default == "registry-only" => Verdict::Deny,
        Decision::Held { .. } => Verdict::Hold,
        Decision::NotEnrolled { .. }
        | Decision::Local
        | Decision::Rule { .. }
        | Decision::Default { .. } => Verdict::Direct,
    }
}

/// The question as the server gets it.
#[derive(Debug, Deserialize)]
pub(super) struct WhyQuery {
    pod: String,
    /// An address or a name.
    dst: String,
    port: std::num::NonZeroU16,
    protocol: WhyProtocol,
}

#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
enum WhyProtocol {
    Tcp,
    Udp,
}

impl WhyQuery {
    /// The words of the command line again; `None` for a pod that is none.
    pub(super) fn words(&self) -> Option<(PodRef, Target)> {
        let protocol = match self.protocol {
            WhyProtocol::Tcp => Protocol::Tcp,
            WhyProtocol::Udp => Protocol::Udp,
        };
        let port = self.port;
        let to = match self.dst.parse::<IpAddr>() {
            Ok(addr) => Target::Address(Destination { addr: addr.to_canonical(), port, protocol }),
            Err(_) => Target::Name { name: self.dst.clone(), port, protocol },
        };
        Some((self.pod.parse().ok()?, to))
    }
}

/// The request that asks it.
pub(crate) fn path(pod: &PodRef, to: &Target) -> String {
    let (dst, port, protocol) = match to {
        Target::Address(Destination { addr, port, protocol }) => (addr.to_string(), port, protocol),
        Target::Name { name, port, protocol } => (name.clone(), port, protocol),
    };
    format!("/why?pod={pod}&dst={dst}&port={port}&protocol={protocol}")
}

#[cfg(test)]
mod tests;
