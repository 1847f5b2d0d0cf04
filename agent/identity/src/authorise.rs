//! Whether a node's agent gets a certificate for an identity: only if a pod of it is on that node.
//!
//! This one rule bounds what a node that was taken over can pretend to be. So the node is never taken
//! from the request: it is that of the pod whose token the agent shows, as the API server knows it.

use std::fmt;

use jiff::{SignedDuration, Timestamp};

use crate::spiffe::{SpiffeId, TrustDomain};

/// How long after its deletion a pod may still ask: it ends in good order with its connections.
const PARTING: SignedDuration = SignedDuration::from_secs(30);

/// What the API server says of a token (`TokenReview`).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Review {
    /// `status.authenticated`.
    pub authenticated: bool,
    /// `status.audiences`.
    pub audiences: Vec<String>,
    /// `status.user.username`.
    pub user: String,
    /// `authentication.kubernetes.io/pod-name` of `status.user.extra`.
    pub pod_name: Option<String>,
    /// `authentication.kubernetes.io/pod-uid`.
    pub pod_uid: Option<String>,
    /// `authentication.kubernetes.io/node-name`, from Kubernetes 1.32 on.
    pub node_name: Option<String>,
}

/// A pod, as far as this asks of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pod {
    /// `metadata.namespace`.
    pub namespace: String,
    /// `metadata.name`.
    pub name: String,
    /// `metadata.uid`.
    pub uid: String,
    /// `spec.serviceAccountName`.
    pub service_account: String,
    /// `spec.nodeName`; empty before it is scheduled.
    pub node: String,
    /// `spec.hostNetwork`: it shares the node's namespace, so no connection is told to be its own.
    pub host_network: bool,
    /// `status.phase`.
    pub phase: Phase,
    /// `metadata.deletionTimestamp`.
    pub deleted: Option<Timestamp>,
}

/// `status.phase`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Phase {
    /// It is being made.
    #[default]
    Pending,
    /// It runs.
    Running,
    /// It has ended, or its state is not known.
    Other,
}

/// The pods of a cluster.
pub trait Pods {
    /// Whether all of them are known.
    fn are_listed(&self) -> bool;

    /// A pod by its name.
    fn named(&self, namespace: &str, name: &str) -> Option<Pod>;

    /// Whether some pod of a `ServiceAccount` on a node is as asked.
    fn any(&self, node: &str, namespace: &str, account: &str, is: &dyn Fn(&Pod) -> bool) -> bool;
}

/// For whom certificates are made, and who may ask.
#[derive(Clone, Debug)]
pub struct Rules {
    /// The audience of the tokens.
    pub audience: String,
    /// The mesh's own trust domain.
    pub trust_domain: TrustDomain,
    /// The agents, each `NAMESPACE/SERVICE-ACCOUNT`.
    pub agents: Vec<(String, String)>,
}

/// Why there is no certificate.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Denied {
    /// Not all pods are known: ask again.
    #[error("the CA does not know all pods yet")]
    NotListed,
    /// The agent's own pod is not known: ask again.
    #[error("the CA does not know the agent's pod {0} yet")]
    UnknownAgent(PodName),
    /// The token is none of this cluster's for this audience.
    #[error("the token is not valid for the audience {0}")]
    Token(String),
    /// It is a token of another `ServiceAccount` than the agents'.
    #[error("{0} is no agent: its ServiceAccount is not among --trusted-agents")]
    NoAgent(String),
    /// It is not bound to a pod.
    #[error("the token is bound to no pod: use a projected volume")]
    Unbound,
    /// The agent's pod is another one than the token's.
    #[error("the token is of an earlier pod {0}")]
    OtherPod(PodName),
    /// The agent's pod is on another node than its token says.
    #[error("the agent's pod is on node {pod}, its token is of node {token}")]
    OtherNode {
        /// `spec.nodeName`.
        pod: String,
        /// As the token says.
        token: String,
    },
    /// The identity is another mesh's.
    #[error("{0} is of another trust domain than the CA's")]
    Foreign(SpiffeId),
    /// No pod of it is there.
    #[error("no pod of {id} is on node {node}")]
    NoPod {
        /// What was asked for.
        id: SpiffeId,
        /// Where the agent is.
        node: String,
    },
}

impl Denied {
    /// Whether the answer may be another one soon, without a change of anything but what the CA knows.
    pub fn may_pass(&self) -> bool {
        matches!(self, Self::NotListed | Self::UnknownAgent(_))
    }

    /// Whether the caller has not shown who it is.
    pub fn is_stranger(&self) -> bool {
        matches!(self, Self::Token(_))
    }
}

/// `NAMESPACE/NAME`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PodName {
    /// The namespace.
    pub namespace: String,
    /// The name.
    pub name: String,
}

impl fmt::Display for PodName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

/// The node of the agent that shows a token, if it may have a certificate for an identity.
pub fn authorise(
    rules: &Rules,
    review: &Review,
    id: &SpiffeId,
    pods: &dyn Pods,
    now: Timestamp,
) -> Result<String, Denied> {
    let node = node_of(rules, review, pods)?;
    if *id.trust_domain() != rules.trust_domain {
        return Err(Denied::Foreign(id.clone()));
    }
    let is_there = |pod: &Pod| {
        let is_gone = pod.deleted.is_some_and(|at| now.duration_since(at) > PARTING);
        !pod.host_network && pod.phase != Phase::Other && !is_gone
    };
    if !pods.any(&node, id.namespace(), id.service_account(), &is_there) {
        return Err(Denied::NoPod { id: id.clone(), node });
    }
    Ok(node)
}

/// Where the agent is that shows a token.
fn node_of(rules: &Rules, review: &Review, pods: &dyn Pods) -> Result<String, Denied> {
    if !review.authenticated || !review.audiences.contains(&rules.audience) {
        return Err(Denied::Token(rules.audience.clone()));
    }
    let account = review.user.strip_prefix("system:serviceaccount:");
    let account = account.and_then(|account| account.split_once(':'));
    let is_agent = |(namespace, name): &(&str, &str)| {
        rules.agents.iter().any(|agent| agent.0 == *namespace && agent.1 == *name)
    };
    let account = account.filter(is_agent).ok_or_else(|| Denied::NoAgent(review.user.clone()))?;
    let (Some(name), Some(uid)) = (&review.pod_name, &review.pod_uid) else {
        return Err(Denied::Unbound);
    };
    if name.is_empty() || uid.is_empty() {
        return Err(Denied::Unbound);
    }
    if !pods.are_listed() {
        return Err(Denied::NotListed);
    }
    let shown = PodName { namespace: account.0.to_owned(), name: name.clone() };
    let Some(pod) = pods.named(account.0, name).filter(|pod| !pod.node.is_empty()) else {
        return Err(Denied::UnknownAgent(shown));
    };
    if pod.uid != *uid || pod.service_account != account.1 {
        return Err(Denied::OtherPod(shown));
    }
    match &review.node_name {
        Some(token) if *token != pod.node => {
            Err(Denied::OtherNode { pod: pod.node, token: token.clone() })
        }
        _ => Ok(pod.node),
    }
}

#[cfg(test)]
mod tests;
