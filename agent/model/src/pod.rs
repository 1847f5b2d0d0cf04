//! How a pod is named, and what it is a part of.

mod access_log;

use std::fmt;

use crate::object::{Kind, ObjectKey};

pub use access_log::{ALL, AccessLog, AccessLogError, share};

/// A pod by its namespace and name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PodId {
    /// The Kubernetes namespace.
    pub namespace: String,
    /// The pod's name.
    pub name: String,
}

impl PodId {
    /// The key of its Pod.
    pub fn key(&self) -> ObjectKey {
        ObjectKey::new(Kind::Pod, &*self.namespace, &*self.name)
    }
}

/// What a pod is a part of, as metrics and logs name it: all pods of one Deployment have the same.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WorkloadName {
    /// The Kubernetes namespace.
    pub namespace: String,
    /// The Deployment, `StatefulSet`, `DaemonSet`, Job, or whatever else made the pod; the pod itself
    /// where nothing did.
    pub name: String,
    /// The label `app`.
    pub app: Option<String>,
    /// The label `version`.
    pub version: Option<String>,
    /// The service that it is a part of, by its labels.
    pub canonical_service: String,
    /// Which revision of that.
    pub canonical_revision: String,
}

impl fmt::Display for PodId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}
