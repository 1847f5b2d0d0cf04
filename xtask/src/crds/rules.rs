//! What is checked of the resources, in the API server's words: what can be told of a field by
//! itself. The rest (names, and how fields stand to each other across lists) the agent tells.

mod app_mesh;
mod istio;
mod istio_endpoints;
mod istio_tokens;

use agent_model::resource::Kind;
use anyhow::{Context as _, bail};
use serde_json::{Value, json};

/// A path below `spec`: names, with `[]` for a list's items and `{}` for a map's values; empty is
/// `spec` itself.
type At = (&'static str, Rule);

/// One rule.
#[derive(Clone, Debug)]
enum Rule {
    Required(&'static [&'static str]),
    /// Of these fields exactly one.
    OneOf(&'static [&'static str]),
    /// Of these fields at most one.
    AtMostOne(&'static [&'static str]),
    Range(i64, i64),
    AtLeast(i64),
    /// How many items, characters or fields.
    Count(u64, u64),
    Pattern(&'static str),
    Enum(&'static [&'static str]),
    /// A null says something.
    Nullable,
    /// A time of a millisecond at least.
    Time,
    /// A time, which may be none at all.
    TimeOrZero,
    /// An expression, and what it means that it is false.
    Holds(&'static str, &'static str),
    /// The same, about the whole object.
    ObjectHolds(&'static str, &'static str),
}

use Rule::{
    AtLeast, AtMostOne, Count, Enum, Holds, Nullable, ObjectHolds, OneOf, Pattern, Range, Required,
    Time, TimeOrZero,
};

/// A label of a DNS name.
const LABEL: Rule = Pattern("^[a-zA-Z0-9]([-a-zA-Z0-9]*[a-zA-Z0-9])?$");
/// Whom something is exported to.
const EXPORT: Rule = Pattern(r"^(\*|\.|[a-zA-Z0-9]([-a-zA-Z0-9]*[a-zA-Z0-9])?)$");
/// What a selector has: no part of a label.
const WHOLE_LABELS: Rule = Holds(
    "self.all(key, key != '' && !key.contains('*') && !self[key].contains('*'))",
    "a selector takes whole labels, no wildcards",
);
/// No upper bound.
const MANY: u64 = u64::MAX;
const PORT: Rule = Range(1, 65_535);
const PERCENT: Rule = Range(0, 100);

/// Puts a kind's rules into its schema; returns those about the whole object.
pub(super) fn apply(kind: Kind, spec: &mut Value) -> anyhow::Result<Vec<Value>> {
    let mut of_object = Vec::new();
    for (path, rule) in of(kind) {
        if let ObjectHolds(rule, message) = rule {
            of_object.push(json!({"rule": rule, "message": message}));
            continue;
        }
        let place = find(spec, path).with_context(|| format!("{path} is no field"))?;
        put(place, &rule).with_context(|| path.to_owned())?;
    }
    Ok(of_object)
}

fn of(kind: Kind) -> Vec<At> {
    match kind {
        Kind::ServiceEntry => istio_endpoints::service_entry(),
        Kind::WorkloadEntry => istio_endpoints::workload_entry(),
        Kind::Sidecar => istio::sidecar(),
        Kind::VirtualService => istio::virtual_service(),
        Kind::DestinationRule => istio::destination_rule(),
        Kind::Gateway => istio::gateway(),
        Kind::WorkloadGroup => istio_endpoints::workload_group(),
        Kind::PeerAuthentication => istio::peers(),
        Kind::AuthorizationPolicy => istio::access(),
        Kind::RequestAuthentication => istio_tokens::request_authentication(),
        Kind::MeshPolicy => istio::mesh_policy(),
        Kind::Policy => istio::policy(),
        Kind::Mesh => app_mesh::mesh(),
        Kind::BackendGroup => app_mesh::group(),
        Kind::VirtualNode => app_mesh::node(),
        Kind::VirtualGateway => app_mesh::gateway(),
        Kind::AppMeshVirtualService => app_mesh::service(),
        Kind::VirtualRouter => app_mesh::router(),
        Kind::GatewayRoute => app_mesh::gateway_route(),
        _ => Vec::new(),
    }
}

fn find<'a>(spec: &'a mut Value, path: &str) -> Option<&'a mut Value> {
    let mut place = spec;
    for part in path.split('.').filter(|part| !part.is_empty()) {
        let name = part.trim_end_matches(['[', ']', '{', '}']);
        place = place.get_mut("properties")?.get_mut(name)?;
        if part.ends_with("[]") {
            place = place.get_mut("items")?;
        } else if part.ends_with("{}") {
            place = place.get_mut("additionalProperties")?;
        }
    }
    Some(place)
}

fn put(place: &mut Value, rule: &Rule) -> anyhow::Result<()> {
    match rule {
        Required(fields) => place["required"] = json!(fields),
        OneOf(fields) => also(place, &json!({"oneOf": each_required(fields)})),
        AtMostOne(fields) => {
            let mut choices = each_required(fields);
            choices.push(json!({"not": {"anyOf": each_required(fields)}}));
            also(place, &json!({"oneOf": choices}));
        }
        Range(least, most) => {
            place["minimum"] = json!(least);
            place["maximum"] = json!(most);
        }
        AtLeast(least) => place["minimum"] = json!(least),
        Count(least, most) => {
            let (low, high) = match place["type"].as_str() {
                Some("array") => ("minItems", "maxItems"),
                Some("string") => ("minLength", "maxLength"),
                Some("object") => ("minProperties", "maxProperties"),
                other => bail!("{other:?} has no length"),
            };
            place[low] = json!(least);
            if *most != MANY {
                place[high] = json!(most);
            }
        }
        Pattern(pattern) => place["pattern"] = json!(pattern),
        Enum(words) => place["enum"] = json!(words),
        Nullable => place["nullable"] = json!(true),
        Time => {
            // A bound on the length bounds what the expression costs.
            place["maxLength"] = json!(32);
            let (rule, message) = ("duration(self) >= duration('1ms')", "give 1ms at least");
            put(place, &Holds(rule, message))?;
        }
        TimeOrZero => {
            place["maxLength"] = json!(32);
            let (rule, message) = ("duration(self) >= duration('0s')", "give a time such as 1.5s");
            put(place, &Holds(rule, message))?;
        }
        Holds(rule, message) => {
            let rule = json!({"rule": rule, "message": message});
            match &mut place["x-kubernetes-validations"] {
                Value::Array(rules) => rules.push(rule),
                none => *none = json!([rule]),
            }
        }
        ObjectHolds(..) => bail!("is about the object"),
    }
    Ok(())
}

fn each_required(fields: &[&str]) -> Vec<Value> {
    fields.iter().map(|field| json!({"required": [field]})).collect()
}

/// One more condition beside those that are there.
fn also(place: &mut Value, condition: &Value) {
    match &mut place["allOf"] {
        Value::Array(all) => all.push(condition.clone()),
        none => *none = json!([condition]),
    }
}
