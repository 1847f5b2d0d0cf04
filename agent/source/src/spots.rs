//! Where objects are.

use std::collections::BTreeMap;

use agent_model::{
    finding::Finding,
    resource::{ObjectKey, Short},
};

/// Where objects are, for people: `far.yaml, document 2 (line 14)`.
#[derive(Clone, Debug, Default)]
pub struct Spots(BTreeMap<(Short, Short, Short), String>);

impl Spots {
    /// Where the object of a finding is.
    pub fn of(&self, finding: &Finding) -> Option<String> {
        let Finding { kind, namespace, name, .. } = finding;
        self.0.get(&(kind.clone(), namespace.clone(), name.clone())).cloned()
    }
}

impl FromIterator<(ObjectKey, String)> for Spots {
    fn from_iter<I: IntoIterator<Item = (ObjectKey, String)>>(all: I) -> Self {
        let spot = |(key, spot): (ObjectKey, String)| {
            ((key.kind.shown().into(), key.namespace, key.name), spot)
        };
        Self(all.into_iter().map(spot).collect())
    }
}
