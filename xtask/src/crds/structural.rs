//! A schema as the API server wants it: a type everywhere, no references, no nulls, no defaults
//! (a field that is not given stays out, so that what is stored is what was written).

use serde_json::{Map, Value, json};

const ANYTHING: &str = "x-kubernetes-preserve-unknown-fields";

pub(super) fn rewritten(schema: Value) -> Value {
    let Value::Object(mut map) = schema else {
        // `true` is the schema of whatever one likes.
        return json!({ANYTHING: true});
    };
    for word in ["$schema", "title", "default", "nullable"] {
        map.remove(word);
    }
    if let Some(only) = without_null(&mut map) {
        return rewritten(only);
    }
    if let Some(words) = words(&map) {
        let mut text = json!({"type": "string", "enum": words});
        text["description"] = map.get("description").cloned().unwrap_or(Value::Null);
        return rewritten(text);
    }
    if map.get("description") == Some(&Value::Null) {
        map.remove("description");
    }
    number(&mut map);
    for (key, value) in &mut map {
        match key.as_str() {
            "properties" => each(value),
            "items" | "additionalProperties" => *value = rewritten(value.take()),
            _ => {}
        }
    }
    if map.get("type").is_none() && map.get("properties").is_none() {
        map.insert(ANYTHING.to_owned(), Value::Bool(true));
    }
    Value::Object(map)
}

fn each(properties: &mut Value) {
    if let Value::Object(properties) = properties {
        properties.values_mut().for_each(|value| *value = rewritten(value.take()));
    }
}

/// What is there where something or nothing may be.
fn without_null(map: &mut Map<String, Value>) -> Option<Value> {
    if let Some(Value::Array(types)) = map.get("type") {
        let only = types.iter().find(|one| **one != "null").cloned();
        map.insert("type".to_owned(), only.unwrap_or(Value::Null));
    }
    let choices = map.get("anyOf").or_else(|| map.get("allOf"))?.as_array()?;
    let is_null = |one: &Value| one["type"] == "null" || one["enum"] == json!([null]);
    let mut some = choices.iter().filter(|one| !is_null(one));
    let (Some(only), None) = (some.next().cloned(), some.next()) else { return None };
    let mut only = only;
    // What is said of the field says more than what is said of its type.
    if let (Some(said), Value::Object(only)) = (map.get("description"), &mut only) {
        only.insert("description".to_owned(), said.clone());
    }
    Some(only)
}

/// The words of an enumeration, each of which may have a description of its own.
fn words(map: &Map<String, Value>) -> Option<Vec<Value>> {
    let choices = map.get("oneOf")?.as_array()?;
    let mut words = Vec::new();
    for choice in choices {
        match (&choice["const"], &choice["enum"]) {
            (Value::String(word), _) => words.push(json!(word)),
            (_, Value::Array(several)) => words.extend(several.iter().cloned()),
            _ => return None,
        }
    }
    Some(words)
}

/// The server knows 32 and 64 bits with a sign.
fn number(map: &mut Map<String, Value>) {
    let format = map.get("format").and_then(Value::as_str).map(str::to_owned);
    match format.as_deref() {
        Some("int32") => {
            map.insert("minimum".to_owned(), json!(i32::MIN));
            map.insert("maximum".to_owned(), json!(i32::MAX));
        }
        Some("uint32") => {
            map.insert("format".to_owned(), json!("int64"));
            map.insert("minimum".to_owned(), json!(0));
            map.insert("maximum".to_owned(), json!(u32::MAX));
        }
        Some("uint64" | "uint") => {
            map.insert("format".to_owned(), json!("int64"));
            map.insert("minimum".to_owned(), json!(0));
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nulls_defaults_and_described_words_go() {
        let schema = json!({
            "title": "T", "type": "object", "default": {},
            "properties": {
                "maybe": {"anyOf": [{"type": "object", "description": "a type"}, {"type": "null"}],
                          "description": "a field"},
                "text": {"type": ["string", "null"], "default": null},
                "mode": {"oneOf": [{"const": "A", "description": "x"}, {"enum": ["B"]}]},
                "count": {"type": "integer", "format": "uint32", "minimum": 0},
                "any": true,
            },
        });
        let expected = json!({
            "type": "object",
            "properties": {
                "maybe": {"type": "object", "description": "a field"},
                "text": {"type": "string"},
                "mode": {"type": "string", "enum": ["A", "B"]},
                "count": {"type": "integer", "format": "int64", "minimum": 0, "maximum": u32::MAX},
                "any": {"x-kubernetes-preserve-unknown-fields": true},
            },
        });
        assert_eq!(rewritten(schema), expected);
    }
}
