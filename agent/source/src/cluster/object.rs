//! One object of the API server, as a place that makes a statement.

use kube::{
    api::DynamicObject,
    core::{ApiResource, TypeMeta},
};
use serde_json::{Value, json};

use super::{
    kinds::{Reach, Watched},
    saved::Text,
};
use crate::{
    inventory::{Conditions, Identity},
    object,
    statement::Statement,
    store::Place,
};

/// What `kubectl apply` keeps for itself: the whole object once more.
const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";

/// On a pod: whether it is in the mesh.
const INJECT: &str = "sidecar.istio.io/inject";

/// An object that came.
#[derive(Debug)]
pub(super) struct Item {
    /// Its name among all objects of the server.
    pub(super) place: Place,
    /// What it says.
    pub(super) statement: Statement,
    /// Its text, where its type cannot be written back: custom resources and the mesh's settings.
    pub(super) text: Option<Text>,
    /// What the server says of it, for the same kinds; not of one that was saved.
    pub(super) identity: Option<Identity>,
}

/// The place of an object.
pub(super) fn place(watched: &Watched, object: &DynamicObject) -> Place {
    let metadata = &object.metadata;
    let namespace = metadata.namespace.as_deref().unwrap_or_default();
    watched.place(namespace, metadata.name.as_deref().unwrap_or_default()).into()
}

/// Reads an object. What no part of the program reads of it is left out first: in a large cluster
/// it is half of the bytes.
pub(super) fn item(
    watched: &Watched,
    resource: &ApiResource,
    mut object: DynamicObject,
) -> Result<Item, serde_json::Error> {
    let place = place(watched, &object);
    let identity = watched.keeps_text().then(|| identify(watched, resource, &object));
    // A status that is written means nothing here, and nor does the version that it makes. The
    // status of the core's own kinds does.
    object.metadata.resource_version = None;
    if let Some(data) = object.data.as_object_mut()
        && watched.is_custom()
    {
        data.remove("status");
    }
    if matches!(watched.reach, Reach::Elsewhere(_)) {
        endpoint_alone(&mut object);
    }
    object.metadata.managed_fields = None;
    if let Some(annotations) = &mut object.metadata.annotations {
        annotations.remove(LAST_APPLIED);
    }
    // The items of a list do not say what they are.
    object.types =
        Some(TypeMeta { api_version: resource.api_version.clone(), kind: resource.kind.clone() });
    let spot = match object.metadata.generation {
        Some(generation) => format!("generation {generation}"),
        None => "as the API server has it".to_owned(),
    };
    let value = serde_json::to_value(object)?;
    Ok(Item { identity, ..read(place, &spot, value, watched.keeps_text()) })
}

/// Leaves of a pod what makes it an endpoint, and a workload of the mesh.
fn endpoint_alone(pod: &mut DynamicObject) {
    const STATUS: [&str; 4] = ["phase", "conditions", "podIP", "podIPs"];
    const SPEC: [&str; 3] = ["nodeName", "serviceAccountName", "hostNetwork"];
    let annotations = pod.metadata.annotations.iter_mut();
    annotations.for_each(|all| all.retain(|name, _| name == INJECT));
    pod.metadata.owner_references = None;
    let status = pod.data["status"].as_object().into_iter().flatten();
    let status = status.filter(|(field, _)| STATUS.contains(&field.as_str()));
    let status: serde_json::Map<_, _> = status.map(|(k, v)| (k.clone(), v.clone())).collect();
    let spec = pod.data["spec"].as_object().into_iter().flatten();
    let spec = spec.filter(|(field, _)| SPEC.contains(&field.as_str()));
    let mut spec: serde_json::Map<_, _> = spec.map(|(k, v)| (k.clone(), v.clone())).collect();
    spec.insert("containers".to_owned(), json!([]));
    pod.data = json!({"spec": spec, "status": status});
}

fn identify(watched: &Watched, resource: &ApiResource, object: &DynamicObject) -> Identity {
    let metadata = &object.metadata;
    let text = |field: &Option<String>| field.as_deref().unwrap_or_default().into();
    let versions = watched.kind.versions();
    Identity {
        uid: text(&metadata.uid),
        generation: metadata.generation.unwrap_or_default(),
        version: text(&metadata.resource_version),
        api: versions.iter().find(|one| **one == resource.version).copied().unwrap_or_default(),
        conditions: Conditions::read(object.data.get("status")),
    }
}

/// Reads what [`item`] made, or what was saved of it.
pub(super) fn read(place: Place, spot: &str, value: Value, keep_text: bool) -> Item {
    let text = keep_text.then(|| Text::of(&value));
    let statement = object::read_object(&place, spot, value);
    Item { place, statement, text, identity: None }
}

impl Watched {
    /// Whether [`super::saved`] needs the object's text.
    pub(super) fn keeps_text(&self) -> bool {
        use agent_model::resource::Kind;
        self.is_custom() || self.kind == Kind::ConfigMap
    }
}

#[cfg(test)]
mod tests;
