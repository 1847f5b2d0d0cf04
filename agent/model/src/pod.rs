//! How a pod is named.

use std::fmt;

use crate::object::{Kind, ObjectKey};

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

impl fmt::Display for PodId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}
