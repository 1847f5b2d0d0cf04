//! A document to a typed object: dispatch, the path of whatever is wrong, and no field dropped
//! without a word.

use std::sync::Arc;

use k8s_openapi::api::{core::v1 as core, discovery::v1};
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use super::{
    Kind, MayBe, Object, ObjectKey, Refused,
    mesh_config::{self, MeshConfigMap},
    refused::Parts,
    shape::{ShapeError, Shaped},
    tag::RevisionTag,
    yaml::{self, NotYaml},
};
use crate::finding::{Finding, Severity, code};

const NAME: &str = "metadata.name";

/// What a document holds.
#[derive(Debug, Default)]
pub struct Parsed {
    /// The object; `None` for what is not for us.
    pub object: Option<Object>,
    /// Fields that we do not know, and kinds that we do not read.
    pub findings: Vec<Finding>,
}

/// Why a document is no object. The last good form of that object stays in force.
#[derive(Debug, thiserror::Error)]
pub enum ResourceError {
    /// A list, a number, …
    #[error("a manifest is a mapping with apiVersion and kind, and this is {found}")]
    NotAMapping {
        /// What it is.
        found: &'static str,
    },
    /// Without it nothing can be told.
    #[error("{field}: found {found}, expected {expected}")]
    Unnamed {
        /// The field.
        field: &'static str,
        /// What is there.
        found: &'static str,
        /// What belongs there.
        expected: &'static str,
        /// What it may be nevertheless.
        may_be: Option<MayBe>,
    },
    /// A field has the wrong type or an unknown value.
    #[error("{key}: {field}: {source}")]
    Field {
        /// The object.
        key: ObjectKey,
        /// The path of the field.
        field: String,
        /// What is wrong.
        #[source]
        source: ShapeError,
        /// What is left of it, where it restricts.
        refused: Option<Arc<Refused>>,
    },
    /// The mesh's settings are not YAML.
    #[error("{key}: data.mesh: {source}")]
    MeshConfig {
        /// The object.
        key: ObjectKey,
        /// What is wrong.
        #[source]
        source: NotYaml,
        /// What is left of it.
        refused: Option<Arc<Refused>>,
    },
}

impl ResourceError {
    /// The object that is refused, if it gets as far as having a name.
    pub fn key(&self) -> Option<&ObjectKey> {
        match self {
            Self::NotAMapping { .. } | Self::Unnamed { .. } => None,
            Self::Field { key, .. } | Self::MeshConfig { key, .. } => Some(key),
        }
    }

    /// What is wrong, without the object and the field.
    pub fn reason(&self) -> String {
        match self {
            Self::NotAMapping { .. } => self.to_string(),
            Self::Unnamed { found, expected, .. } => format!("found {found}, expected {expected}"),
            Self::Field { source, .. } => source.to_string(),
            Self::MeshConfig { source, .. } => source.to_string(),
        }
    }

    /// What is left of an object that restricts.
    pub fn refused(&self) -> Option<&Arc<Refused>> {
        match self {
            Self::NotAMapping { .. } | Self::Unnamed { .. } => None,
            Self::Field { refused, .. } | Self::MeshConfig { refused, .. } => refused.as_ref(),
        }
    }

    /// What something without a name may be.
    pub fn may_be(&self) -> Option<&MayBe> {
        match self {
            Self::Unnamed { may_be, .. } => may_be.as_ref(),
            _ => None,
        }
    }

    fn of(mut self, kind: Kind, map: &Map<String, Value>) -> Self {
        let metadata = map.get("metadata").and_then(Value::as_object);
        let namespace = metadata.and_then(|metadata| metadata.get("namespace"));
        let namespace = namespace.and_then(Value::as_str).map(str::to_owned);
        let not_for_us = kind == Kind::ConfigMap
            && namespace.as_ref().is_some_and(|own| own != mesh_config::NAMESPACE);
        if let Self::Unnamed { may_be, .. } = &mut self
            && !not_for_us
        {
            *may_be = Some((kind, namespace));
        }
        self
    }

    fn with(mut self, parts: Option<Parts>) -> Self {
        if let Self::Field { key, refused, .. } | Self::MeshConfig { key, refused, .. } = &mut self
        {
            *refused = parts.and_then(|parts| parts.stricter(key)).map(Arc::new);
        }
        self
    }

    /// The path of the field that is wrong.
    pub fn field(&self) -> &str {
        match self {
            Self::NotAMapping { .. } => "",
            Self::Unnamed { field, .. } => field,
            Self::Field { field, .. } => field,
            Self::MeshConfig { .. } => "data.mesh",
        }
    }
}

/// Reads one document. A `List` gives as many results as it has items.
pub fn parse(value: Value) -> Vec<Result<Parsed, ResourceError>> {
    match value {
        Value::Object(mut map) if is_list(&map) => match map.remove("items") {
            Some(Value::Array(items)) => items.into_iter().flat_map(parse).collect(),
            None | Some(Value::Null) => Vec::new(),
            Some(other) => vec![Err(unnamed("items", Some(&other), "a list"))],
        },
        Value::Object(map) => vec![parse_one(map)],
        other => vec![Err(ResourceError::NotAMapping { found: type_name(&other) })],
    }
}

/// `List`, and the `PodList` and its like that an API server answers.
fn is_list(map: &Map<String, Value>) -> bool {
    map.get("kind").and_then(Value::as_str).is_some_and(|kind| kind.ends_with("List"))
        && map.contains_key("items")
}

fn unnamed(field: &'static str, found: Option<&Value>, expected: &'static str) -> ResourceError {
    let found = found.map_or("nothing", type_name);
    ResourceError::Unnamed { field, found, expected, may_be: None }
}

fn type_name(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "a list",
        Value::Object(_) => "a mapping",
    }
}

fn parse_one(mut map: Map<String, Value>) -> Result<Parsed, ResourceError> {
    let text = |map: &Map<String, Value>, field: &'static str| {
        let found = map.get(field);
        let text = found.and_then(Value::as_str).map(str::to_owned);
        text.ok_or_else(|| unnamed(field, found, "a string"))
    };
    let (version, kind_name) = (text(&map, "apiVersion")?, text(&map, "kind")?);
    let Some(kind) = Kind::read(&version, &kind_name) else {
        return Ok(not_read(&map, &version, &kind_name));
    };
    let key = name(&mut map, kind).map_err(|error| error.of(kind, &map))?;
    if !is_for_us(&map, &key) {
        return Ok(Parsed::default());
    }
    let parts = Parts::of(kind, &map);
    decode(map, &key).map_err(|error| error.with(parts))
}

/// Of some kinds only a few objects are read; any other is not for us, whatever is in it.
fn is_for_us(map: &Map<String, Value>, key: &ObjectKey) -> bool {
    match key.kind {
        Kind::ConfigMap => mesh_config::is_settings(key, map.get("data")),
        Kind::MutatingWebhookConfiguration => RevisionTag::is_one(map),
        _ => true,
    }
}

/// Fills in the namespace that the API server would, and takes the name.
fn name(map: &mut Map<String, Value>, kind: Kind) -> Result<ObjectKey, ResourceError> {
    let metadata = match map.get_mut("metadata") {
        Some(Value::Object(metadata)) => metadata,
        other => return Err(unnamed("metadata", other.as_deref(), "a mapping with a name")),
    };
    let namespace = if kind.is_namespaced() {
        let given = match metadata.get("namespace") {
            Some(Value::String(given)) => given.clone(),
            None | Some(Value::Null) => "default".to_owned(),
            other => return Err(unnamed("metadata.namespace", other, "a string")),
        };
        metadata.insert("namespace".to_owned(), Value::String(given.clone()));
        given
    } else {
        metadata.remove("namespace");
        String::new()
    };
    match metadata.get("name") {
        Some(Value::String(name)) if !name.is_empty() => Ok(ObjectKey::new(kind, namespace, name)),
        Some(Value::String(_)) => Err(ResourceError::Unnamed {
            field: NAME,
            found: "an empty string",
            expected: "a name",
            may_be: None,
        }),
        other => Err(unnamed(NAME, other, "a string")),
    }
}

fn not_read(map: &Map<String, Value>, version: &str, kind: &str) -> Parsed {
    let metadata = |field| {
        let found = map.get("metadata").and_then(|metadata| metadata.get(field));
        found.and_then(Value::as_str).unwrap_or_default().into()
    };
    let finding = Finding {
        severity: Severity::Info,
        code: code::KIND_NOT_READ,
        kind: kind.into(),
        namespace: metadata("namespace"),
        name: metadata("name"),
        field: "kind".into(),
        message: format!("{version} {kind} is not read: the object has no effect here"),
    };
    Parsed { object: None, findings: vec![finding] }
}

fn decode(mut map: Map<String, Value>, key: &ObjectKey) -> Result<Parsed, ResourceError> {
    let mut findings = Vec::new();
    let found = &mut findings;
    let object = match key.kind {
        Kind::Namespace => Object::Namespace(typed(Value::Object(map), key, found)?),
        Kind::Pod => Object::Pod(typed(Value::Object(map), key, found)?),
        Kind::Service => {
            let whole = typed::<core::Service>(Value::Object(map), key, found)?;
            Object::Service(Arc::new(Arc::unwrap_or_clone(whole).into()))
        }
        Kind::Endpoints => Object::Endpoints(typed(Value::Object(map), key, found)?),
        Kind::EndpointSlice => {
            let whole = typed::<v1::EndpointSlice>(Value::Object(map), key, found)?;
            Object::EndpointSlice(Arc::new(Arc::unwrap_or_clone(whole).into()))
        }
        Kind::ServiceEntry => Object::ServiceEntry(custom(&mut map, key, found)?),
        Kind::WorkloadEntry => Object::WorkloadEntry(custom(&mut map, key, found)?),
        Kind::Sidecar => Object::Sidecar(custom(&mut map, key, found)?),
        Kind::VirtualService => Object::VirtualService(custom(&mut map, key, found)?),
        Kind::DestinationRule => Object::DestinationRule(custom(&mut map, key, found)?),
        Kind::Gateway => Object::Gateway(custom(&mut map, key, found)?),
        Kind::WorkloadGroup => Object::WorkloadGroup(custom(&mut map, key, found)?),
        Kind::PeerAuthentication => Object::PeerAuthentication(custom(&mut map, key, found)?),
        Kind::AuthorizationPolicy => Object::AuthorizationPolicy(custom(&mut map, key, found)?),
        Kind::RequestAuthentication => Object::RequestAuthentication(custom(&mut map, key, found)?),
        Kind::MeshPolicy => Object::MeshPolicy(custom(&mut map, key, found)?),
        Kind::Policy => Object::Policy(custom(&mut map, key, found)?),
        Kind::Mesh => Object::Mesh(custom(&mut map, key, found)?),
        Kind::VirtualNode => Object::VirtualNode(custom(&mut map, key, found)?),
        Kind::VirtualRouter => Object::VirtualRouter(custom(&mut map, key, found)?),
        Kind::AppMeshVirtualService => Object::AppMeshVirtualService(custom(&mut map, key, found)?),
        Kind::VirtualGateway => Object::VirtualGateway(custom(&mut map, key, found)?),
        Kind::GatewayRoute => Object::GatewayRoute(custom(&mut map, key, found)?),
        Kind::BackendGroup => Object::BackendGroup(custom(&mut map, key, found)?),
        Kind::ConfigMap => mesh(map, key, found)?,
        Kind::MutatingWebhookConfiguration => {
            // What else is in it is for the API server.
            map.retain(|field, _| field == "metadata");
            Object::RevisionTag(typed(Value::Object(map), key, found)?)
        }
    };
    Ok(Parsed { object: Some(object), findings })
}

/// A custom resource as the API server stores it: a field that is null is a field that is not there.
fn custom<T: DeserializeOwned>(
    map: &mut Map<String, Value>,
    key: &ObjectKey,
    findings: &mut Vec<Finding>,
) -> Result<Arc<T>, ResourceError> {
    // The key says the first two, and the last is for people.
    for field in ["apiVersion", "kind", "status"] {
        map.remove(field);
    }
    prune_nulls(map);
    typed(Value::Object(std::mem::take(map)), key, findings)
}

fn prune_nulls(map: &mut Map<String, Value>) {
    map.retain(|_, value| !value.is_null());
    map.values_mut().for_each(prune_nulls_within);
}

fn prune_nulls_within(value: &mut Value) {
    match value {
        Value::Object(map) => prune_nulls(map),
        Value::Array(items) => items.iter_mut().for_each(prune_nulls_within),
        _ => {}
    }
}

fn typed<T: DeserializeOwned>(
    value: Value,
    key: &ObjectKey,
    findings: &mut Vec<Finding>,
) -> Result<Arc<T>, ResourceError> {
    let mut ignored = Vec::new();
    let mut track = serde_path_to_error::Track::new();
    let traced = serde_path_to_error::Deserializer::new(Shaped(value), &mut track);
    let found = serde_ignored::deserialize(traced, |path| ignored.push(path.to_string()));
    let object = found.map_err(|source| ResourceError::Field {
        key: key.clone(),
        field: track.path().to_string(),
        source,
        refused: None,
    })?;
    findings.extend(ignored.into_iter().map(|path| unknown_field(key, &path)));
    Ok(Arc::new(object))
}

/// `serde_ignored` writes `a.0.b` and `a.?.b`; people write `a[0].b` and `a.b`.
fn unknown_field(key: &ObjectKey, path: &str) -> Finding {
    let mut field = String::new();
    for part in path.split('.').filter(|part| *part != "?") {
        match part.parse::<usize>() {
            Ok(_) => field.extend(["[", part, "]"]),
            Err(_) if field.is_empty() => field.push_str(part),
            Err(_) => field.extend([".", part]),
        }
    }
    let message = format!("{field} is not a field that is read here: it has no effect");
    Finding::new(Severity::Warning, code::FIELD_NOT_READ, key, field, message)
}

/// A mesh's settings.
fn mesh(
    map: Map<String, Value>,
    key: &ObjectKey,
    findings: &mut Vec<Finding>,
) -> Result<Object, ResourceError> {
    let config: Arc<core::ConfigMap> = typed(Value::Object(map), key, findings)?;
    let text = config.data.as_ref().and_then(|data| data.get(mesh_config::KEY));
    let text = text.map_or("", String::as_str);
    let value: Value = if text.trim().is_empty() {
        Value::Object(Map::new())
    } else {
        serde_saphyr::from_str_with_options(text, yaml::options()).map_err(|source| {
            let (key, source) = (key.clone(), NotYaml::with_place(&source));
            ResourceError::MeshConfig { key, source, refused: None }
        })?
    };
    let mut value = if value.is_null() { Value::Object(Map::new()) } else { value };
    prune_nulls_within(&mut value);
    let before = findings.len();
    let mesh: Arc<mesh_config::MeshConfig> =
        typed(value, key, findings).map_err(|error| within("data.mesh", error))?;
    for finding in &mut findings[before..] {
        // Most of a mesh's settings are for parts that do not exist here, so this is no warning.
        finding.severity = Severity::Info;
        finding.field = compact_str::format_compact!("data.mesh: {}", finding.field);
    }
    let metadata = config.metadata.clone().into();
    Ok(Object::MeshConfig(Arc::new(MeshConfigMap { metadata, mesh: (*mesh).clone() })))
}

fn within(prefix: &str, error: ResourceError) -> ResourceError {
    match error {
        ResourceError::Field { key, field, source, refused } => {
            // The settings themselves have no path of their own.
            let field = if field == "." { prefix.to_owned() } else { format!("{prefix}: {field}") };
            ResourceError::Field { key, field, source, refused }
        }
        other => other,
    }
}
