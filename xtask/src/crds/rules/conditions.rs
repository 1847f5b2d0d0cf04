//! Conditions on several fields, as a schema has them: of what is below a place, each may say more.

use serde_json::{Value, json};

use super::Rule::{self, Also};

/// A field that is there, and what is so of it.
pub(super) fn with(field: &str, of_field: &Value) -> Value {
    json!({"required": [field], "properties": {field: of_field}})
}

/// What is so of a field, if it is there.
pub(super) fn of(field: &str, of_field: &Value) -> Value {
    json!({"properties": {field: of_field}})
}

/// A field that has one of these values.
pub(super) fn is(field: &str, words: &[&str]) -> Value {
    with(field, &json!({"enum": words}))
}

/// A text that is not empty.
pub(super) fn text(field: &str) -> Value {
    with(field, &json!({"minLength": 1}))
}

/// No text, or an empty one.
pub(super) fn no_text(field: &str) -> Value {
    of(field, &json!({"maxLength": 0}))
}

/// A list that is not empty.
pub(super) fn items(field: &str) -> Value {
    with(field, &json!({"minItems": 1}))
}

/// No list, or an empty one.
pub(super) fn no_items(field: &str) -> Value {
    of(field, &json!({"maxItems": 0}))
}

/// A field that is there.
pub(super) fn there(field: &str) -> Value {
    json!({"required": [field]})
}

pub(super) fn not(condition: &Value) -> Value {
    json!({"not": condition})
}

pub(super) fn all(conditions: &[Value]) -> Value {
    json!({"allOf": conditions})
}

pub(super) fn any(conditions: &[Value]) -> Value {
    json!({"anyOf": conditions})
}

pub(super) fn at_most_one(mut conditions: Vec<Value>) -> Value {
    conditions.push(not(&any(&conditions.clone())));
    json!({"oneOf": conditions})
}

/// Where the first is so, the second has to be.
pub(super) fn implies(when: &Value, then: &Value) -> Rule {
    Also(any(&[not(when), then.clone()]))
}
