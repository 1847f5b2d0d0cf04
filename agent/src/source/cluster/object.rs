//! One object of the API server, as a place that makes a statement.

use std::sync::Arc;

use kube::{
    api::DynamicObject,
    core::{ApiResource, TypeMeta},
};
use serde_json::Value;

use super::kinds::Watched;
use crate::source::{
    manifest,
    store::{Place, Statement},
};

/// What `kubectl apply` keeps for itself: the whole object once more.
const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";

/// An object that came.
#[derive(Debug)]
pub(super) struct Item {
    /// Its name among all objects of the server.
    pub(super) place: Place,
    /// What it says.
    pub(super) statement: Statement,
    /// Its text, where its type cannot be written back: custom resources and the mesh's settings.
    pub(super) text: Option<Arc<str>>,
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
    Ok(read(place, &spot, value, watched.keeps_text()))
}

/// Reads what [`item`] made, or what was saved of it.
pub(super) fn read(place: Place, spot: &str, value: Value, keep_text: bool) -> Item {
    let text = keep_text.then(|| value.to_string().into());
    let statement = manifest::read_object(&place, spot, value);
    Item { place, statement, text }
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
