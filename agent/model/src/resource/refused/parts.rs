//! The parts of an object that count if the whole cannot be read: put aside before it is read.

use k8s_openapi::{
    api::core::v1::{Pod, PodIP, PodSpec, PodStatus},
    apimachinery::pkg::apis::meta::v1::LabelSelector,
};
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};

use super::{Refused, Rest, Selector, metadata, selecting_field};
use crate::resource::{
    Kind, ObjectKey, check::is_selector_sound, mesh_config, shape::Shaped, yaml,
};

/// See the module.
#[derive(Debug)]
pub(in crate::resource) struct Parts {
    metadata: Value,
    /// What selects, or what of it is there.
    selector: Field,
    /// What else is believed: the mesh's settings, or where a pod is.
    rest: Value,
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
        let rest = match kind {
            Kind::ConfigMap => value("data"),
            Kind::Pod => place_of_pod(map),
            _ => Value::Null,
        };
        Some(Self { metadata: value("metadata"), selector, rest })
    }

    /// Of an object of which nothing can be read.
    pub(in crate::resource) fn lost() -> Self {
        let metadata = json!({"labels": false});
        Self { metadata, selector: Field::Lost, rest: Value::Null }
    }

    /// The strictest object that may have been meant.
    pub(in crate::resource) fn stricter(self, key: &ObjectKey) -> Option<Refused> {
        let Self { metadata, selector, rest } = self;
        let (metadata, is_whole) = metadata::read(&metadata, key);
        let is_known = match key.kind {
            Kind::Namespace => is_whole,
            Kind::Pod => is_whole && !matches!(selector, Field::Lost) && is_node_known(&rest),
            _ => true,
        };
        let selector = if is_known { read_selector(key, selector) } else { Selector::Unknown };
        let rest = match key.kind {
            Kind::ConfigMap => root_namespace(&rest).map_or(Rest::Nothing, Rest::Root),
            Kind::Pod => Rest::OfPod(read_pod(&rest).into()),
            _ => Rest::Nothing,
        };
        Refused::stricter(key, metadata, selector, rest)
    }
}

fn read_selector(key: &ObjectKey, field: Field) -> Selector {
    let known = match key.kind {
        Kind::VirtualNode | Kind::VirtualGateway | Kind::Mesh => {
            typed::<Option<LabelSelector>>(field)
                .filter(|one| is_selector_sound(one.as_ref(), key))
                .map(Selector::Labels)
        }
        Kind::Sidecar => typed(field).map(Selector::Workload),
        Kind::PeerAuthentication | Kind::AuthorizationPolicy | Kind::RequestAuthentication => {
            typed(field).map(Selector::Pods)
        }
        Kind::Policy => {
            typed::<Option<_>>(field).map(|all| Selector::Targets(all.unwrap_or_default()))
        }
        _ => Some(Selector::None),
    };
    known.unwrap_or(Selector::Unknown)
}

/// `None` where it cannot be read.
fn typed<T: DeserializeOwned>(field: Field) -> Option<T> {
    match field {
        Field::Absent => T::deserialize(Value::Null).ok(),
        Field::Given(value) => T::deserialize(Shaped(value)).ok(),
        Field::Lost => None,
    }
}

/// Few of a pod's many fields: every pod of a cluster is put aside before it is read.
fn place_of_pod(map: &Map<String, Value>) -> Value {
    let field = |of: &str, name: &str| match map.get(of) {
        Some(Value::Object(map)) => map.get(name).cloned().unwrap_or_default(),
        _ => Value::Null,
    };
    json!({
        "nodeName": field("spec", "nodeName"),
        "hostNetwork": field("spec", "hostNetwork"),
        "phase": field("status", "phase"),
        "podIP": field("status", "podIP"),
        "podIPs": field("status", "podIPs"),
    })
}

fn is_node_known(place: &Value) -> bool {
    matches!(place["nodeName"], Value::Null | Value::String(_))
}

/// A pod of which nothing says that it is on the host's network has one of its own.
fn read_pod(place: &Value) -> Pod {
    let text = |name: &str| place[name].as_str().map(str::to_owned);
    let listed = place["podIPs"].as_array().into_iter().flatten();
    let listed = listed.filter_map(|one| Some(PodIP { ip: one["ip"].as_str()?.to_owned() }));
    let spec = PodSpec {
        node_name: text("nodeName"),
        host_network: place["hostNetwork"].as_bool(),
        ..PodSpec::default()
    };
    let status = PodStatus {
        phase: text("phase"),
        pod_ip: text("podIP"),
        pod_ips: Some(listed.collect()),
        ..PodStatus::default()
    };
    Pod { spec: Some(spec), status: Some(status), ..Pod::default() }
}

/// Where the Sidecar is that is everybody's, if that much can be read.
fn root_namespace(data: &Value) -> Option<String> {
    let text = data.get(mesh_config::KEY)?.as_str()?;
    let settings: Value = serde_saphyr::from_str_with_options(text, yaml::options()).ok()?;
    Some(settings.get("rootNamespace")?.as_str()?.to_owned())
}
