//! The shape that all custom resources share.

use serde::Deserialize;

use super::Metadata;

/// A custom resource with its own kind of `spec`. What others report of it (`status`) is not read.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Custom<Spec> {
    /// Name, namespace, labels, annotations and age.
    pub metadata: Metadata,
    /// What is asked for.
    pub spec: Spec,
}
