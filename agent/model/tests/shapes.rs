//! The shape of every field of every schema: a mapping, a list and a scalar each only where it
//! belongs, told by field, by what is there and by what is expected.

use std::fs;

use agent_model::resource::{documents, parse};
use serde_json::{Map, Value, json};

/// A place in a schema: the names that lead to it, `[]` for a list's items, `{}` for a map's values.
struct Place<'a> {
    path: Vec<String>,
    schema: &'a Value,
}

fn definitions() -> Vec<Value> {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../deploy/crds");
    let files = fs::read_dir(folder).expect("definitions");
    let mut found = Vec::new();
    for file in files {
        let text = fs::read_to_string(file.expect("an entry").path()).expect("a file");
        found.extend(documents(&text).into_iter().map(|one| one.value.expect("YAML")));
    }
    found
}

fn places<'a>(schema: &'a Value, path: &mut Vec<String>, found: &mut Vec<Place<'a>>) {
    found.push(Place { path: path.clone(), schema });
    let mut step = |name: String, schema: &'a Value| {
        path.push(name);
        places(schema, path, found);
        path.pop();
    };
    for (name, field) in schema["properties"].as_object().into_iter().flatten() {
        step(name.clone(), field);
    }
    if let Some(items) = schema.get("items") {
        step("[]".to_owned(), items);
    }
    if let Some(values) = schema.get("additionalProperties").filter(|one| one.is_object()) {
        step("{}".to_owned(), values);
    }
}

/// A value with another one deep inside.
fn within(path: &[String], value: Value) -> Value {
    path.iter().rev().fold(value, |value, name| match name.as_str() {
        "[]" => json!([value]),
        "{}" => json!({"80": value}),
        name => Value::Object(Map::from_iter([(name.to_owned(), value)])),
    })
}

/// The path as people write it.
fn shown(path: &[String]) -> String {
    let mut text = "spec".to_owned();
    for name in path {
        match name.as_str() {
            "[]" => text.push_str("[0]"),
            "{}" => text.push_str(".80"),
            name => text.extend([".", name]),
        }
    }
    text
}

/// Values that do not belong where a schema has this type, with what is said to be there.
fn misplaced(schema: &Value) -> (Vec<(Value, &'static str)>, &'static str) {
    let list = || (json!(["x"]), "a list");
    let empty = || (json!([]), "a list");
    let map = || (json!({"x": "y"}), "a mapping");
    let text = || (json!("x y"), "the string \"x y\"");
    match schema["type"].as_str() {
        Some("object") => (vec![list(), empty(), text(), (json!(1), "1")], "a mapping"),
        Some("array") => (vec![map(), text(), (json!(true), "true")], "a list"),
        Some("integer") => (vec![list(), map(), text(), (json!(0.5), "0.5")], "a whole number"),
        Some("number") => (vec![list(), map(), text()], "a number"),
        Some("boolean") => (vec![list(), map(), text()], "true or false"),
        // Of some the words are looked at later, with what each of them means.
        Some("string") if schema.get("enum").is_some() => {
            (vec![list(), map(), (json!(1), "1")], "")
        }
        Some("string") => (vec![list(), map(), (json!(1), "1"), (json!(true), "true")], "a string"),
        _ => (Vec::new(), ""),
    }
}

/// Every place of a definition, and how an object of its kind is made of a value at one.
fn all_places(definition: &Value) -> (Vec<Place<'_>>, impl Fn(&[String], Value) -> Value) {
    let spec = &definition["spec"];
    let version = spec["versions"][0]["name"].as_str().expect("a version");
    let api = format!("{}/{version}", spec["group"].as_str().expect("a group"));
    let kind = spec["names"]["kind"].as_str().expect("a kind");
    let schema = &spec["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"];
    let mut found = Vec::new();
    places(schema, &mut Vec::new(), &mut found);
    let object = move |path: &[String], value: Value| {
        json!({
            "apiVersion": api,
            "kind": kind,
            "metadata": {"name": "x", "namespace": "shop"},
            "spec": within(path, value),
        })
    };
    (found, object)
}

/// A value that belongs where a schema has this type; `None` where one of another place is as good.
fn placed(schema: &Value) -> Option<Value> {
    if let Some(words) = schema["enum"].as_array() {
        return words.first().cloned();
    }
    match schema["type"].as_str()? {
        "object" => Some(json!({})),
        "array" => Some(json!([])),
        "integer" | "number" => Some(json!(1)),
        "boolean" => Some(json!(true)),
        "string" => Some(json!("x")),
        _ => None,
    }
}

#[test]
fn every_field_of_the_schema_is_read() {
    let mut tried = 0;
    for definition in definitions() {
        let (found, object) = all_places(&definition);
        for Place { path, schema } in found {
            let Some(value) = placed(schema) else { continue };
            let object = object(&path, value);
            let findings = match parse(object.clone()).remove(0) {
                Ok(parsed) => parsed.findings,
                // A word of a list that the schema does not have: the field is read.
                Err(error) => {
                    assert_eq!(error.field(), shown(&path), "{object}: {error}");
                    continue;
                }
            };
            assert!(findings.is_empty(), "{object}: {findings:?}");
            tried += 1;
        }
        // And one that it does not have is told.
        let unknown = parse(object(&["noSuchField".to_owned()], json!(1))).remove(0);
        assert_eq!(unknown.expect("it is read").findings[0].field, "spec.noSuchField");
    }
    assert!(tried > 1_500, "{tried}");
}

#[test]
fn every_field_takes_its_own_shape_alone() {
    let mut tried = 0;
    for definition in definitions() {
        let (found, object) = all_places(&definition);
        for Place { path, schema } in found {
            let (values, expected) = misplaced(schema);
            for (value, there) in values {
                let object = object(&path, value);
                let error = parse(object.clone()).remove(0).expect_err(&object.to_string());
                assert_eq!(error.field(), shown(&path), "{object}");
                let text = error.to_string();
                assert!(text.contains(&format!("found {there}, expected {expected}")), "{text}");
                tried += 1;
            }
        }
    }
    assert!(tried > 4_000, "{tried}");
}

fn refusal(manifest: &str) -> String {
    let value = documents(manifest).remove(0).value.expect("YAML");
    parse(value).remove(0).expect_err(manifest).to_string()
}

#[test]
fn kinds_of_kubernetes_and_mesh_settings_take_their_shapes_alone() {
    let mesh = |text: &str| {
        format!(
            "apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: istio, namespace: istio-system}}\n\
             data: {{mesh: '{text}'}}"
        )
    };
    let pod = |rest: &str| {
        format!("apiVersion: v1\nkind: Pod\nmetadata: {{name: x, namespace: shop}}\n{rest}")
    };
    let told = |name: &str| format!("ConfigMap istio-system/istio: data.mesh{name}");
    for (manifest, expected) in [
        (mesh("[a]"), told(": found a list, expected a mapping")),
        (
            mesh("a: 1, a: 2}").replace("'a", "'{a"),
            told(": the key \"a\" is there twice: keep one"),
        ),
        (mesh("a"), told(": found the string \"a\", expected a mapping")),
        (
            mesh("outboundTrafficPolicy: [ALLOW_ANY]"),
            told(": outboundTrafficPolicy: found a list, expected a mapping"),
        ),
        (
            mesh("outboundTrafficPolicy: ALLOW_ANY"),
            told(": outboundTrafficPolicy: found the string \"ALLOW_ANY\", expected a mapping"),
        ),
        (
            mesh("outboundTrafficPolicy: {mode: {ALLOW_ANY: 1}}"),
            told(
                ": outboundTrafficPolicy.mode: found a mapping, expected one of REGISTRY_ONLY, \
                 ALLOW_ANY, ALLOW_ANY_DYNAMIC_DNS",
            ),
        ),
        (mesh("rootNamespace: [a]"), told(": rootNamespace: found a list, expected a string")),
        (pod("spec: [a]"), "Pod shop/x: spec: found a list, expected a mapping".to_owned()),
        (
            pod("spec: {containers: {a: b}}"),
            "Pod shop/x: spec.containers: found a mapping, expected a list".to_owned(),
        ),
    ] {
        assert_eq!(refusal(&manifest), expected, "{manifest}");
    }
}

#[test]
fn what_names_an_object_is_told_by_field_and_shape() {
    let service = "apiVersion: v1\nkind: Service\n";
    for (manifest, expected) in [
        ("[a]".to_owned(), "a manifest is a mapping with apiVersion and kind, and this is a list"),
        ("kind: [Pod]\napiVersion: v1".to_owned(), "kind: found a list, expected a string"),
        ("kind: Pod".to_owned(), "apiVersion: found nothing, expected a string"),
        (service.to_owned(), "metadata: found nothing, expected a mapping with a name"),
        (
            format!("{service}metadata: [a]"),
            "metadata: found a list, expected a mapping with a name",
        ),
        (format!("{service}metadata: {{}}"), "metadata.name: found nothing, expected a string"),
        (
            format!("{service}metadata: {{name: 1}}"),
            "metadata.name: found a number, expected a string",
        ),
        (
            format!("{service}metadata: {{name: ''}}"),
            "metadata.name: found an empty string, expected a name",
        ),
        (
            format!("{service}metadata: {{name: a, namespace: [b]}}"),
            "metadata.namespace: found a list, expected a string",
        ),
        (
            "apiVersion: v1\nkind: List\nitems: {a: b}".to_owned(),
            "items: found a mapping, expected a list",
        ),
    ] {
        assert_eq!(refusal(&manifest), expected, "{manifest}");
    }
}

#[test]
fn a_value_is_told_in_the_words_of_the_manifest() {
    let entry = |fields: &str| {
        format!(
            "apiVersion: networking.istio.io/v1\nkind: ServiceEntry\n\
             metadata: {{name: x, namespace: shop}}\nspec: {{{fields}}}"
        )
    };
    let number =
        |value: &str| entry(&format!("hosts: [a.b], ports: [{{name: a, number: {value}}}]"));
    let port = "ServiceEntry shop/x: spec.ports[0].number";
    let bounds = "expected a whole number from 0 to 4294967295";
    for (value, found) in [
        ("'443'", "the string \"443\""),
        ("443.5", "443.5"),
        ("-1", "-1"),
        ("4294967296", "4294967296"),
        ("true", "true"),
    ] {
        assert_eq!(refusal(&number(value)), format!("{port}: found {found}, {bounds}"));
    }
    assert_eq!(
        refusal(&entry("resolution: Static")),
        "ServiceEntry shop/x: spec.resolution: found \"Static\", expected one of NONE, STATIC, DNS, \
         DNS_ROUND_ROBIN, DYNAMIC_DNS"
    );
    // An API server takes it, and it says the same.
    let value = documents(&number("443.0")).remove(0).value.expect("YAML");
    assert!(parse(value).remove(0).is_ok());
}
