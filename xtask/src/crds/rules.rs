//! What is checked of the resources, in the API server's words.
//!
//! ```text
//! patterns     what a name, an address or a time looks like     free
//! conditions   which fields go with which others                free
//! expressions  (`Holds`) what neither can say, or says badly    a budget for each, and for a kind
//! ```
//!
//! The budget counts how often an expression may run: where lists have no bound it is about a million
//! times, and one that goes through a list or a text there is refused. The agent tells the rest.

// Its macros are for those that follow.
#[macro_use]
mod patterns;

mod access;
mod app_mesh;
mod app_mesh_route;
mod balancer;
mod choices;
mod conditions;
mod destination;
mod endpoints;
mod gateway;
mod legacy;
mod pool;
mod routes;
mod server_tls;
mod sidecar;
mod target;
mod tokens;
mod virtual_service;
mod virtual_service_http;

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
    /// Of these fields one at least. A text or a list that is empty is none, as for Istio.
    Filled(&'static [&'static str]),
    /// Of these fields at most one is filled.
    OneFilled(&'static [&'static str]),
    Range(i64, i64),
    AtLeast(i64),
    Above(i64),
    /// How many items, characters or fields.
    Count(u64, u64),
    Pattern(&'static str),
    Enum(&'static [&'static str]),
    /// A null says something.
    Nullable,
    /// A time of a millisecond at least.
    Time,
    /// The same without an expression, where there is no budget for one.
    TimeText,
    /// A time, which may be none at all.
    TimeOrZero,
    /// The same without an expression.
    TimeOrZeroText,
    /// One more condition, as a schema has it.
    Also(Value),
    /// An expression, and what it means that it is false.
    Holds(&'static str, &'static str),
    /// The same, about the whole object.
    ObjectHolds(&'static str, &'static str),
    /// A field's older name, and the field.
    Alias(&'static str, &'static str),
    /// Several.
    Many(fn() -> Vec<Rule>),
}

use Rule::{
    Above, Alias, Also, AtLeast, AtMostOne, Count, Enum, Filled, Holds, Many, Nullable,
    ObjectHolds, OneFilled, OneOf, Pattern, Range, Required, Time, TimeOrZero, TimeOrZeroText,
    TimeText,
};

/// What a selector has: no part of a label.
const WHOLE_LABELS: Rule = Many(|| {
    let message = "a selector takes whole labels: give each a key, without wildcards";
    vec![Count(0, 4096), Holds("self.all(key, key != '' && !key.contains('*'))", message)]
});
/// The value of such a label.
const WHOLE_LABEL: Rule = Pattern("^[^*]*$");
/// What a workload has. Its labels' values are told apart by their pattern.
const LABELS: Rule = Many(|| {
    let rule = "self.all(key, key.matches('^(([a-zA-Z0-9]([-a-zA-Z0-9]{0,61}[a-zA-Z0-9])?[.])*\
                [a-zA-Z0-9]([-a-zA-Z0-9]{0,61}[a-zA-Z0-9])?[.]?/)?\
                [A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?$'))";
    vec![Count(0, 256), Holds(rule, "a key is NAME or PREFIX/NAME, of letters, digits and -_.")]
});
/// What is filled, and needs no more.
const FILLED: Rule = Count(1, MANY);
/// No upper bound.
const MANY: u64 = u64::MAX;
const PORT: Rule = Range(1, 65_535);
/// No port at all is written 0.
const PORT_OR_NONE: Rule = Range(0, 65_535);
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
        let is_single = !path.contains("[]") && !path.contains("{}");
        for rule in flat(rule) {
            let in_words = choices::in_words(place, &rule).filter(|_| is_single);
            match in_words {
                Some((rule, message)) => holds(place, &rule, &message),
                None => put(place, &rule).with_context(|| path.to_owned())?,
            }
        }
    }
    Ok(of_object)
}

/// Several rules as each of them.
fn flat(rule: Rule) -> Vec<Rule> {
    match rule {
        Many(rules) => rules().into_iter().flat_map(flat).collect(),
        one => vec![one],
    }
}

fn of(kind: Kind) -> Vec<At> {
    match kind {
        Kind::ServiceEntry => endpoints::service_entry(),
        Kind::WorkloadEntry => endpoints::workload_entry(),
        Kind::Sidecar => sidecar::rules(),
        Kind::VirtualService => virtual_service::rules(),
        Kind::DestinationRule => destination::rules(),
        Kind::Gateway => gateway::rules(),
        Kind::WorkloadGroup => endpoints::workload_group(),
        Kind::PeerAuthentication => access::peers(),
        Kind::AuthorizationPolicy => access::rules(),
        Kind::RequestAuthentication => tokens::rules(),
        Kind::MeshPolicy => legacy::mesh_policy(),
        Kind::Policy => legacy::policy(),
        Kind::Mesh => app_mesh::mesh(),
        Kind::BackendGroup => app_mesh::group(),
        Kind::VirtualNode => app_mesh::node(),
        Kind::VirtualGateway => app_mesh::gateway(),
        Kind::AppMeshVirtualService => app_mesh::service(),
        Kind::VirtualRouter => app_mesh_route::router(),
        Kind::GatewayRoute => app_mesh_route::gateway_route(),
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
        AtMostOne(fields) => also(place, &conditions::at_most_one(each_required(fields))),
        Filled(fields) => also(place, &json!({"anyOf": each_filled(place, fields)?})),
        OneFilled(fields) => also(place, &conditions::at_most_one(each_filled(place, fields)?)),
        Range(least, most) => {
            place["minimum"] = json!(least);
            place["maximum"] = json!(most);
        }
        AtLeast(least) => place["minimum"] = json!(least),
        Above(bound) => {
            place["minimum"] = json!(bound);
            place["exclusiveMinimum"] = json!(true);
        }
        Count(least, most) => count(place, *least, *most)?,
        Pattern(pattern) if place["pattern"].is_null() => place["pattern"] = json!(pattern),
        Pattern(pattern) => also(place, &json!({"pattern": pattern})),
        Enum(words) => place["enum"] = json!(words),
        Nullable => place["nullable"] = json!(true),
        Time | TimeText | TimeOrZero | TimeOrZeroText => time(place, rule)?,
        Also(condition) => also(place, condition),
        Holds(rule, message) => holds(place, rule, message),
        ObjectHolds(..) => bail!("is about the object"),
        Alias(old, new) => {
            let of_field = place["properties"][new].clone();
            anyhow::ensure!(!of_field.is_null(), "{new} is no field");
            place["properties"][old] = of_field;
        }
        Many(_) => {
            for rule in flat(rule.clone()) {
                put(place, &rule)?;
            }
        }
    }
    Ok(())
}

fn count(place: &mut Value, least: u64, most: u64) -> anyhow::Result<()> {
    let (low, high) = match place["type"].as_str() {
        Some("array") => ("minItems", "maxItems"),
        Some("string") => ("minLength", "maxLength"),
        Some("object") => ("minProperties", "maxProperties"),
        other => bail!("{other:?} has no length"),
    };
    place[low] = json!(least);
    if most != MANY {
        place[high] = json!(most);
    }
    Ok(())
}

/// A bound on the length bounds what an expression costs. What is none at all is left to it, for it
/// says what to do.
fn time(place: &mut Value, rule: &Rule) -> anyhow::Result<()> {
    place["maxLength"] = json!(32);
    let (rule, message) = match rule {
        TimeText => return put(place, &Pattern(patterns::TIME)),
        TimeOrZeroText => return put(place, &Pattern(patterns::TIME_OR_ZERO)),
        Time => ("duration(self) >= duration('1ms')", "give 1ms at least"),
        _ => ("duration(self) >= duration('0s')", "give a time such as 1.5s"),
    };
    put(place, &Pattern(patterns::TIME_OR_ZERO))?;
    put(place, &Holds(rule, message))
}

fn each_required(fields: &[&str]) -> Vec<Value> {
    fields.iter().map(|field| json!({"required": [field]})).collect()
}

fn each_filled(place: &Value, fields: &[&str]) -> anyhow::Result<Vec<Value>> {
    let filled = |field: &&str| {
        let of_field = &place["properties"][field];
        anyhow::ensure!(!of_field.is_null(), "{field} is no field");
        Ok(match of_field["type"].as_str() {
            Some("array") => conditions::with(field, &json!({"minItems": 1})),
            Some("string") => conditions::with(field, &json!({"minLength": 1})),
            _ => json!({"required": [field]}),
        })
    };
    fields.iter().map(filled).collect()
}

fn holds(place: &mut Value, rule: &str, message: &str) {
    let rule = json!({"rule": rule, "message": message});
    match &mut place["x-kubernetes-validations"] {
        Value::Array(rules) => rules.push(rule),
        none => *none = json!([rule]),
    }
}

/// One more condition beside those that are there.
fn also(place: &mut Value, condition: &Value) {
    match &mut place["allOf"] {
        Value::Array(all) => all.push(condition.clone()),
        none => *none = json!([condition]),
    }
}
