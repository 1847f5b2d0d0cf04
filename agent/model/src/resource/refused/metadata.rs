//! The metadata of a refused object: what of its labels and annotations can be read, and for what
//! enrols and cannot be read, that it does.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde::Deserialize as _;
use serde_json::Value;

use crate::resource::{
    Kind, Metadata, ObjectKey, app_mesh::INJECTOR, shape::Shaped, tag::REVISION,
};

const INJECTION: &str = "istio-injection";
const INJECT: &str = "sidecar.istio.io/inject";
const DATAPLANE_MODE: &str = "istio.io/dataplane-mode";
const ENABLED: &str = "enabled";

/// Labels or annotations, of which some may be lost.
#[derive(Debug, Default)]
struct Texts {
    read: BTreeMap<String, String>,
    lost: BTreeSet<String>,
    /// It is not known which there are.
    all_lost: bool,
}

impl Texts {
    fn of(value: Option<&Value>) -> Self {
        let map = match value {
            None | Some(Value::Null) => return Self::default(),
            Some(Value::Object(map)) => map,
            Some(_) => return Self { all_lost: true, ..Self::default() },
        };
        let mut texts = Self::default();
        for (name, value) in map {
            match value.as_str() {
                Some(text) => _ = texts.read.insert(name.clone(), text.to_owned()),
                None => _ = texts.lost.insert(name.clone()),
            }
        }
        texts
    }

    fn is_whole(&self) -> bool {
        !self.all_lost && self.lost.is_empty()
    }

    /// Where one of these is lost, another stands for it.
    fn make_up(&mut self, lost: &[&str], name: &str, value: &str) {
        if self.all_lost || lost.iter().any(|one| self.lost.contains(*one)) {
            self.read.insert(name.to_owned(), value.to_owned());
        }
    }
}

/// The metadata, and whether all labels and annotations were read that count.
pub(super) fn read(metadata: &Value, key: &ObjectKey) -> (Metadata, bool) {
    if let Ok(whole) = Metadata::deserialize(Shaped(metadata.clone())) {
        return (whole, true);
    }
    let mut labels = Texts::of(metadata.get("labels"));
    let mut annotations = Texts::default();
    match key.kind {
        Kind::Namespace => {
            labels.make_up(&[INJECTION, INJECT, REVISION, DATAPLANE_MODE], INJECTION, ENABLED);
            labels.make_up(&[INJECTOR], INJECTOR, ENABLED);
        }
        Kind::Pod => {
            annotations = Texts::of(metadata.get("annotations"));
            labels.make_up(&[INJECT, REVISION, DATAPLANE_MODE], INJECT, "true");
            annotations.make_up(&[INJECT], INJECT, "true");
            annotations.make_up(&[INJECTOR], INJECTOR, ENABLED);
        }
        _ => {}
    }
    let is_whole = labels.is_whole() && annotations.is_whole();
    let created = metadata.get("creationTimestamp").cloned().unwrap_or_default();
    let read = ObjectMeta {
        name: Some(key.name.to_string()),
        namespace: (!key.namespace.is_empty()).then(|| key.namespace.to_string()),
        uid: metadata.get("uid").and_then(Value::as_str).map(str::to_owned),
        labels: Some(labels.read),
        annotations: Some(annotations.read),
        creation_timestamp: serde_json::from_value(created).ok(),
        ..ObjectMeta::default()
    };
    (read.into(), is_whole)
}
