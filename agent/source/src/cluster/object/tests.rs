use std::{fs, path::Path};

use agent_model::resource::{Kind, documents};

use super::*;
use crate::{cluster::kinds, statement::Claim};

/// Every object of the golden cases, as it is written.
fn written() -> Vec<Value> {
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("../model/tests/golden");
    let mut values = Vec::new();
    for case in fs::read_dir(golden).unwrap() {
        for file in fs::read_dir(case.unwrap().path()).unwrap() {
            let path = file.unwrap().path();
            if path.extension().is_some_and(|extension| extension == "yaml") {
                let text = fs::read_to_string(path).unwrap();
                values.extend(documents(&text).into_iter().filter_map(|one| one.value.ok()));
            }
        }
    }
    values
}

fn only(statement: &Statement) -> Option<&Claim> {
    statement.claims.first()
}

/// The server fills in the namespace, and keeps books of its own in the metadata.
fn as_served(mut value: Value, namespaced: bool) -> Value {
    if let Some(metadata) = value["metadata"].as_object_mut() {
        if namespaced {
            metadata.entry("namespace").or_insert("default".into());
        }
        metadata.insert("resourceVersion".into(), "1".into());
        metadata.insert("managedFields".into(), serde_json::json!([{"manager": "kubectl"}]));
    }
    value
}

#[test]
fn an_object_means_the_same_from_a_server_and_from_a_file() {
    let mut compared = 0;
    for value in written() {
        let kind = value["kind"].as_str().unwrap_or_default();
        let api_version = value["apiVersion"].as_str().unwrap_or_default();
        let version = api_version.rsplit('/').next();
        let kind = Kind::read(api_version, kind);
        let Some(watched) = kind.and_then(|kind| kinds::of(kind, "istio")) else { continue };
        let from_file = object::read_object("place", "spot", value.clone());
        let given = as_served(value.clone(), watched.kind.is_namespaced());
        let object: DynamicObject = serde_json::from_value(given).unwrap();
        let resource = watched.resource(version.unwrap());
        let from_server = item(watched, &resource, object).unwrap();
        let (file, server) = (only(&from_file), only(&from_server.statement));
        let findings = |claim: Option<&Claim>| claim.map(|claim| claim.findings.clone());
        assert_eq!(findings(file), findings(server), "{value}");
        assert_eq!(
            file.map(|claim| (&claim.key, claim.form.is_some())),
            server.map(|claim| (&claim.key, claim.form.is_some())),
        );
        // But for the version, which only a server gives.
        let form = |claim: Option<&Claim>| {
            let text = format!("{:?}", claim.and_then(|claim| claim.form.clone()));
            text.replace("resource_version: Some(\"1\")", "resource_version: None")
        };
        assert_eq!(form(file), form(server));
        // What is saved of it says the same once more.
        if let Some(text) = from_server.text {
            let saved = serde_json::from_slice(&text.unpack().unwrap()).unwrap();
            let again = read(from_server.place, "spot", saved, true);
            assert_eq!(form(server), form(only(&again.statement)));
        }
        compared += 1;
    }
    assert!(compared > 100, "only {compared} objects were compared");
}

#[test]
fn of_a_status_only_its_conditions_are_kept_and_beside_the_object() {
    let entries = kinds::of(Kind::ServiceEntry, "").unwrap();
    let of = |version: &str, status: Value| {
        let object = serde_json::json!({
            "metadata": {"name": "db", "namespace": "shop", "uid": "u", "generation": 3,
                "resourceVersion": version},
            "spec": {"hosts": ["db.example.com"]},
            "status": status,
        });
        let resource = entries.resource("v1");
        item(entries, &resource, serde_json::from_value(object).unwrap()).unwrap()
    };
    let ours = serde_json::json!({"type": "sekisho.dev/Accepted", "status": "False",
        "lastTransitionTime": "2026-01-02T03:04:05Z"});
    let before = of("1", serde_json::json!({}));
    let after = of("2", serde_json::json!({"conditions": [ours]}));
    assert_eq!(before.text, after.text);
    let (before, after) = (before.identity.unwrap(), after.identity.unwrap());
    assert_eq!((&*after.uid, after.generation, &*after.version, after.api), ("u", 3, "2", "v1"));
    assert!(after.conditions.has("sekisho.dev/Accepted", "False"));
    assert_eq!(before.conditions, Conditions::default());
}
