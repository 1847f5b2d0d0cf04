//! What a revision is called beside its name: a `MutatingWebhookConfiguration` of Istio's with two
//! labels. Nothing else of it is read.

use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::{Described as _, Metadata};

/// The tag's name.
pub const TAG: &str = "istio.io/tag";
/// The revision that the tag stands for. On namespaces and pods: a revision or a tag.
pub const REVISION: &str = "istio.io/rev";

/// See the module.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct RevisionTag {
    /// Name and labels.
    pub metadata: Metadata,
}

impl RevisionTag {
    /// Whether a webhook configuration may be one: it has the label, or labels that cannot be read.
    pub(super) fn is_one(map: &Map<String, Value>) -> bool {
        let labels = map.get("metadata").and_then(|metadata| metadata.get("labels"));
        match labels {
            None | Some(Value::Null) => false,
            Some(Value::Object(labels)) => labels.contains_key(TAG),
            Some(_) => true,
        }
    }

    /// The tag and its revision.
    pub fn names(&self) -> Option<(&str, &str)> {
        Some((self.metadata.label(TAG)?, self.metadata.label(REVISION)?))
    }

    /// What it was read from, as far as it is read.
    pub fn manifest(&self) -> Value {
        json!({
            "apiVersion": "admissionregistration.k8s.io/v1",
            "kind": "MutatingWebhookConfiguration",
            "metadata": {"name": self.metadata.name(), "labels": self.metadata.labels.to_map()},
        })
    }
}
