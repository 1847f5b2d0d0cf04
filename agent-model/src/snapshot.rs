//! What one generation says about this node.

use std::{collections::BTreeMap, net::IpAddr, path::PathBuf, sync::Arc};

use crate::egress::Policy;

/// A pod by its namespace and name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PodId {
    /// The Kubernetes namespace.
    pub namespace: String,
    /// The pod's name.
    pub name: String,
}

/// A pod of this node, and what is to be done about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PodPlan {
    /// The pod's UID; empty on a directory that gives none.
    pub uid: String,
    /// `status.podIPs`.
    pub addresses: Vec<IpAddr>,
    /// The annotation `sekisho.dev/netns`.
    pub netns: Option<PathBuf>,
    /// Judged or let be.
    pub enrolment: Enrolment,
}

/// Whether a pod is in the mesh.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Enrolment {
    /// Judged by a policy.
    Enrolled(Arc<Policy>),
    /// Let be, and why.
    Outside(String),
}

/// Everything that the kernel and the proxy need to know of one generation.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Snapshot {
    /// The pods of this node.
    pub pods: BTreeMap<PodId, PodPlan>,
    /// What could not be honoured.
    pub findings: Vec<Finding>,
}

/// How bad a [`Finding`] is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Severity {
    /// Worth knowing.
    Info,
    /// Honoured in part, or likely not what was meant.
    Warning,
    /// The object is refused; its last good form stays.
    Error,
}

/// Something about one field of one object that a person should know.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Finding {
    /// How bad.
    pub severity: Severity,
    /// A stable code.
    pub code: &'static str,
    /// The object's kind.
    pub kind: String,
    /// The object's namespace; empty for cluster scope.
    pub namespace: String,
    /// The object's name.
    pub name: String,
    /// The path of the field.
    pub field: String,
    /// What is wrong and what to do about it.
    pub message: String,
}
