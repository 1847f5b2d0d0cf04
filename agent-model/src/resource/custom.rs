//! The shape that all custom resources share.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde::Deserialize;

/// A custom resource with its own kind of `spec`. What others report of it (`status`) is not read.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Custom<Spec> {
    /// Name, namespace, labels, annotations and age.
    pub metadata: ObjectMeta,
    /// What is asked for.
    pub spec: Spec,
}
