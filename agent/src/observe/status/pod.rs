//! A pod as people and other programs read it.

use std::net::IpAddr;

use agent_model::egress::DefaultAction;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{Hook, Text};

/// What a canary from inside a pod has shown: that the live hooks judge it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Canary {
    /// When every hook refused it the last time; none before the first time.
    pub(crate) proved: Option<Timestamp>,
    /// The generation that the hooks judged by then.
    pub(crate) generation: Option<u64>,
    /// The layers whose hooks all refused the last one.
    pub(crate) layers: Vec<u8>,
    /// What was wrong with the last one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) failing: Option<String>,
}

/// A pod of this node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Pod {
    /// The Kubernetes namespace.
    pub(crate) namespace: String,
    /// The pod's name.
    pub(crate) name: String,
    /// Judged, not enrolled, or on the way.
    #[serde(flatten)]
    pub(crate) enrolment: Enrolment,
    /// Its addresses.
    pub(crate) addresses: Vec<IpAddr>,
    /// The cookie of its network namespace, once that was entered.
    pub(crate) netns: Option<u64>,
    /// What happens where no rule matches: `allow-any`, `registry-only` or `audit`.
    pub(crate) default_action: Option<Text>,
    /// Rules of its policy.
    pub(crate) rules: u64,
    /// Those of them that send connections to the proxy; `sekisho config listeners` says why.
    #[serde(default)]
    pub(crate) proxied: u64,
    /// The port of the proxy's listeners in the pod's namespace.
    pub(crate) proxy_port: Option<u16>,
    /// Its links, loopback aside, and what judges the frames that leave by each.
    #[serde(default)]
    pub(crate) links: Vec<Link>,
    /// The hooks on its links.
    pub(crate) hooks: Vec<Hook>,
    /// The proof that it is judged; none while it is not to be.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) canary: Option<Canary>,
}

/// A link of a pod's.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Link {
    /// Its name inside the pod.
    pub(crate) name: String,
    /// Its number there.
    pub(crate) ifindex: u32,
    /// What judges its frames.
    #[serde(flatten)]
    pub(crate) coverage: Coverage,
    /// What the last canary showed; none where none was sent by this link.
    pub(crate) proof: Option<Proof>,
}

/// What judges the frames that leave by a link.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "coverage", rename_all = "kebab-case")]
pub(crate) enum Coverage {
    /// Layer 3 on its other end, which is on the node.
    #[serde(rename = "layer-3")]
    Layer3 {
        /// The other end's name.
        host_end: String,
    },
    /// What judges those of the link that it is stacked on.
    Below {
        /// That link's name.
        below: String,
    },
    /// They stay in the pod, or leave it by its routes and so by other links.
    Inside,
    /// Nothing of ours: the pod is failing.
    Nothing {
        /// Why.
        why: String,
    },
}

/// What a canary's frames have shown of a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Proof {
    /// Layer 3 refused them.
    Refused,
    /// Layer 3 did not.
    Failing,
    /// An end of it is down, so no frame leaves by it.
    Down,
}

impl Coverage {
    /// For a metric.
    pub(crate) const fn name(&self) -> &'static str {
        match self {
            Self::Layer3 { .. } => "layer-3",
            Self::Below { .. } => "below",
            Self::Inside => "inside",
            Self::Nothing { .. } => "nothing",
        }
    }
}

/// Whether a pod is judged.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "enrolment", rename_all = "kebab-case")]
pub(crate) enum Enrolment {
    /// Judged by a policy in every layer.
    Enrolled,
    /// Not in the mesh, as configured.
    NotEnrolled {
        /// Which label, annotation or field says so.
        why: String,
    },
    /// It is being made.
    Pending {
        /// What it waits for.
        why: String,
    },
    /// Should be judged, and cannot be by its nature.
    Unenrollable {
        /// What of it.
        why: String,
    },
    /// Should be judged, and something is missing.
    Failing {
        /// What, and what to do.
        why: String,
    },
}

impl Enrolment {
    /// For a table.
    pub(crate) const fn name(&self) -> &'static str {
        match self {
            Self::Enrolled => "enrolled",
            Self::NotEnrolled { .. } => "not enrolled",
            Self::Pending { .. } => "pending",
            Self::Unenrollable { .. } => "unenrollable",
            Self::Failing { .. } => "failing",
        }
    }

    /// The reason, where the word alone does not say it.
    pub(crate) fn why(&self) -> Option<&str> {
        match self {
            Self::Enrolled => None,
            Self::NotEnrolled { why }
            | Self::Pending { why }
            | Self::Unenrollable { why }
            | Self::Failing { why } => Some(why),
        }
    }
}

/// The name that users see of a default.
pub(crate) const fn default_action(action: DefaultAction) -> &'static str {
    match action {
        DefaultAction::AllowAny => "allow-any",
        DefaultAction::RegistryOnly => "registry-only",
        DefaultAction::Audit => "audit",
    }
}
