//! Of an object's metadata what is read: a third of what there is, of which a large cluster has tens
//! of thousands.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};
use serde::Deserialize;

/// Name, namespace, labels, annotations and age.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(from = "ObjectMeta")]
pub struct Metadata {
    /// See [`ObjectMeta::name`].
    pub name: Option<String>,
    /// See [`ObjectMeta::namespace`].
    pub namespace: Option<String>,
    /// See [`ObjectMeta::uid`].
    pub uid: Option<String>,
    /// See [`ObjectMeta::generation`].
    pub generation: Option<i64>,
    /// See [`ObjectMeta::creation_timestamp`].
    pub creation_timestamp: Option<Time>,
    /// See [`ObjectMeta::labels`].
    pub labels: Pairs,
    /// See [`ObjectMeta::annotations`].
    pub annotations: Pairs,
}

/// A few texts by key, in the order of the keys. A map of one entry takes half a kilobyte.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pairs(Box<[(String, String)]>);

/// What all kinds of metadata tell.
pub trait Described {
    /// Empty where there is none.
    fn name(&self) -> &str;
    /// Empty for cluster scope.
    fn namespace(&self) -> &str;
    /// What tells it from one of the same name.
    fn uid(&self) -> Option<&str>;
    /// Which form of what is asked for it is.
    fn generation(&self) -> Option<i64>;
    /// When it was created.
    fn created(&self) -> Option<&Time>;
    /// A label's value.
    fn label(&self, key: &str) -> Option<&str>;
    /// An annotation's value.
    fn annotation(&self, key: &str) -> Option<&str>;
}

impl From<ObjectMeta> for Metadata {
    fn from(metadata: ObjectMeta) -> Self {
        let ObjectMeta {
            name,
            namespace,
            uid,
            generation,
            creation_timestamp,
            labels,
            annotations,
            ..
        } = metadata;
        let (labels, annotations) = (labels.into(), annotations.into());
        Self { name, namespace, uid, generation, creation_timestamp, labels, annotations }
    }
}

impl From<Metadata> for ObjectMeta {
    fn from(metadata: Metadata) -> Self {
        let Metadata { name, namespace, uid, generation, creation_timestamp, labels, annotations } =
            metadata;
        let map = |pairs: Pairs| Some(pairs.to_map()).filter(|map| !map.is_empty());
        Self {
            name,
            namespace,
            uid,
            generation,
            creation_timestamp,
            labels: map(labels),
            annotations: map(annotations),
            ..Self::default()
        }
    }
}

impl From<Option<BTreeMap<String, String>>> for Pairs {
    fn from(map: Option<BTreeMap<String, String>>) -> Self {
        Self(map.into_iter().flatten().collect())
    }
}

impl Pairs {
    /// The value of a key.
    pub fn get(&self, key: &str) -> Option<&str> {
        let at = self.0.binary_search_by(|(known, _)| known.as_str().cmp(key)).ok()?;
        Some(&self.0[at].1)
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = &(String, String)> {
        self.0.iter()
    }

    /// A copy.
    pub fn to_map(&self) -> BTreeMap<String, String> {
        self.iter().cloned().collect()
    }

    /// Leaves those of some keys.
    pub(crate) fn keep(&mut self, is_kept: impl Fn(&str) -> bool) {
        let all = std::mem::take(&mut self.0).into_vec();
        self.0 = all.into_iter().filter(|(key, _)| is_kept(key)).collect();
    }
}

/// Both have the same fields; only a value by its key is found otherwise.
macro_rules! described {
    ($metadata:ty, |$pairs:ident, $key:ident| $value:expr) => {
        impl Described for $metadata {
            fn name(&self) -> &str {
                self.name.as_deref().unwrap_or_default()
            }

            fn namespace(&self) -> &str {
                self.namespace.as_deref().unwrap_or_default()
            }

            fn uid(&self) -> Option<&str> {
                self.uid.as_deref()
            }

            fn generation(&self) -> Option<i64> {
                self.generation
            }

            fn created(&self) -> Option<&Time> {
                self.creation_timestamp.as_ref()
            }

            fn label(&self, $key: &str) -> Option<&str> {
                let $pairs = &self.labels;
                $value
            }

            fn annotation(&self, $key: &str) -> Option<&str> {
                let $pairs = &self.annotations;
                $value
            }
        }
    };
}

described!(Metadata, |pairs, key| pairs.get(key));
described!(ObjectMeta, |pairs, key| pairs.as_ref()?.get(key).map(String::as_str));
