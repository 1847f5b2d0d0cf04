//! The parts of an object that count if the whole cannot be read: put aside before it is read.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta};
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::{Map, Value, json};

use super::{Refused, Selector, selecting_field};
use crate::resource::{
    Kind, Metadata, ObjectKey, app_mesh::INJECTOR, mesh_config, shape::Shaped, tag::REVISION, yaml,
};

/// On a namespace: what may put its pods into Istio's mesh. Where one cannot be read, the first is
/// taken to do so.
const ENROLS: [&str; 4] =
    ["istio-injection", "sidecar.istio.io/inject", REVISION, "istio.io/dataplane-mode"];
const ENABLED: &str = "enabled";

/// See the module.
#[derive(Debug)]
pub(in crate::resource) struct Parts {
    metadata: Value,
    /// What selects, or what of it is there.
    selector: Field,
    /// The mesh's settings.
    settings: Value,
}

/// A field that may not even have a place.
#[derive(Debug)]
enum Field {
    Absent,
    Given(Value),
    /// What it would stand in is no mapping.
    Lost,
}

impl Parts {
    /// Of the kinds that restrict.
    pub(in crate::resource) fn of(kind: Kind, map: &Map<String, Value>) -> Option<Self> {
        let field = selecting_field(kind)?;
        let value = |name: &str| map.get(name).cloned().unwrap_or_default();
        let selector = match map.get("spec") {
            None | Some(Value::Null) => Field::Absent,
            Some(Value::Object(spec)) => match spec.get(field) {
                None | Some(Value::Null) => Field::Absent,
                Some(given) => Field::Given(given.clone()),
            },
            Some(_) => Field::Lost,
        };
        let settings = if kind == Kind::ConfigMap { value("data") } else { Value::Null };
        Some(Self { metadata: value("metadata"), selector, settings })
    }

    /// Of an object of which nothing can be read.
    pub(in crate::resource) fn lost() -> Self {
        let metadata = json!({"labels": false});
        Self { metadata, selector: Field::Lost, settings: Value::Null }
    }

    /// The strictest object that may have been meant.
    pub(in crate::resource) fn stricter(self, key: &ObjectKey) -> Option<Refused> {
        let Self { metadata, selector, settings } = self;
        let (metadata, are_labels_read) = read_metadata(metadata, key);
        let selector = match key.kind {
            Kind::Namespace if are_labels_read => Selector::None,
            Kind::Namespace => Selector::Unknown,
            kind => read_selector(kind, selector),
        };
        Refused::stricter(key, metadata, selector, root_namespace(&settings))
    }
}

fn read_selector(kind: Kind, field: Field) -> Selector {
    let known = match kind {
        Kind::VirtualNode | Kind::VirtualGateway | Kind::Mesh => typed::<LabelSelector>(field)
            .filter(|one| are_operators_known(one.as_ref()))
            .map(Selector::Labels),
        Kind::Sidecar => typed(field).map(Selector::Workload),
        Kind::PeerAuthentication | Kind::AuthorizationPolicy => typed(field).map(Selector::Pods),
        Kind::Policy => typed(field).map(|all| Selector::Targets(all.unwrap_or_default())),
        _ => Some(Selector::None),
    };
    known.unwrap_or(Selector::Unknown)
}

/// `None` where it cannot be read.
fn typed<T: DeserializeOwned>(field: Field) -> Option<Option<T>> {
    match field {
        Field::Absent => Some(None),
        Field::Given(value) => T::deserialize(Shaped(value)).ok().map(Some),
        Field::Lost => None,
    }
}

fn are_operators_known(selector: Option<&LabelSelector>) -> bool {
    let mut all = selector.into_iter().flat_map(|one| one.match_expressions.iter().flatten());
    let known = ["In", "NotIn", "Exists", "DoesNotExist"];
    all.all(|one| known.contains(&one.operator.as_str()))
}

/// The metadata, and whether it has all labels that there are.
fn read_metadata(metadata: Value, key: &ObjectKey) -> (Metadata, bool) {
    if let Ok(whole) = Metadata::deserialize(Shaped(metadata.clone())) {
        return (whole, true);
    }
    let labels = match metadata.get("labels") {
        None | Some(Value::Null) => Some(Map::new()),
        Some(Value::Object(labels)) => Some(labels.clone()),
        Some(_) => None,
    };
    let is_lost = |name: &str| match &labels {
        Some(labels) => labels.get(name).is_some_and(|value| !value.is_string()),
        None => true,
    };
    let are_read = labels.as_ref().is_some_and(|all| all.values().all(Value::is_string));
    let mut enrolling = BTreeMap::new();
    if key.kind == Kind::Namespace {
        if ENROLS.iter().any(|name| is_lost(name)) {
            enrolling.insert(ENROLS[0].to_owned(), ENABLED.to_owned());
        }
        if is_lost(INJECTOR) {
            enrolling.insert(INJECTOR.to_owned(), ENABLED.to_owned());
        }
    }
    let text = |(name, value): (String, Value)| Some((name, value.as_str()?.to_owned()));
    let labels = labels.into_iter().flatten().filter_map(text).chain(enrolling).collect();
    let created = metadata.get("creationTimestamp").cloned().unwrap_or_default();
    let read = ObjectMeta {
        name: Some(key.name.to_string()),
        namespace: (!key.namespace.is_empty()).then(|| key.namespace.to_string()),
        labels: Some(labels),
        creation_timestamp: serde_json::from_value(created).ok(),
        ..ObjectMeta::default()
    };
    (read.into(), are_read)
}

/// Where the Sidecar is that is everybody's, if that much can be read.
fn root_namespace(data: &Value) -> Option<String> {
    let text = data.get(mesh_config::KEY)?.as_str()?;
    let settings: Value = serde_saphyr::from_str_with_options(text, yaml::options()).ok()?;
    Some(settings.get("rootNamespace")?.as_str()?.to_owned())
}
