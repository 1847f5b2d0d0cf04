//! The shape that all custom resources share.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde::Deserialize;
use serde_json::Value;

/// A custom resource with its own kind of `spec`.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Custom<Spec> {
    /// The group and version that it was written in.
    pub api_version: String,
    /// The kind.
    pub kind: String,
    /// Name, namespace, labels, annotations and age.
    pub metadata: ObjectMeta,
    /// What is asked for.
    pub spec: Spec,
    /// What others report; not read.
    pub status: Option<Value>,
}
