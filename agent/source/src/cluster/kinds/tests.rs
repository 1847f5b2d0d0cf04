use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
};

use agent_model::resource::{Kind, documents};
use serde_json::Value;

use super::*;

fn texts(value: &Value) -> Vec<&str> {
    value.as_array().into_iter().flatten().filter_map(Value::as_str).collect()
}

/// Group, resource and names of everything that the cluster role grants, by its verbs.
fn granted() -> BTreeMap<String, BTreeSet<(String, String, String)>> {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../deploy/base/rbac.yaml");
    let all = documents(&fs::read_to_string(file).unwrap());
    let mut values = all.into_iter().filter_map(|document| document.value.ok());
    let role = values.find(|value| value["kind"] == "ClusterRole").unwrap();
    let mut granted: BTreeMap<_, BTreeSet<_>> = BTreeMap::new();
    for rule in role["rules"].as_array().unwrap() {
        let of_verbs = granted.entry(texts(&rule["verbs"]).join(" ")).or_default();
        for group in texts(&rule["apiGroups"]) {
            for resource in texts(&rule["resources"]) {
                let names = texts(&rule["resourceNames"]).join(",");
                of_verbs.insert((group.to_owned(), resource.to_owned(), names));
            }
        }
    }
    granted
}

/// What is granted is what is watched and written: nothing is missing, and nothing is too much.
#[test]
fn the_cluster_role_grants_just_what_is_watched_and_written() {
    let granted = granted();
    let watched = ALL.iter().map(|watched| {
        let name = match watched.reach {
            Reach::One(_, name) => name,
            _ => "",
        };
        (watched.group().to_owned(), watched.kind.plural().to_owned(), name.to_owned())
    });
    assert_eq!(granted["list watch"], watched.collect());
    // Those that have a status of which only conditions are written.
    let custom = ALL.iter().filter(|watched| watched.is_custom());
    let status = |watched: &Watched| format!("{}/status", watched.kind.plural());
    let written = custom.map(|one| (one.group().to_owned(), status(one), String::new()));
    assert_eq!(granted["patch"], written.collect());
    let row = |group: &str, name: &str| (group.to_owned(), name.to_owned(), String::new());
    assert_eq!(granted["create patch"], [row("events.k8s.io", "events")].into());
    assert_eq!(granted["get"], [row("", "nodes")].into());
    assert_eq!(granted.len(), 4, "{granted:?}");
}

#[test]
fn every_kind_is_watched_but_the_one_that_is_mirrored() {
    let left_out = Kind::ALL.iter().filter(|kind| of(**kind, "").is_none());
    assert_eq!(left_out.collect::<Vec<_>>(), [&Kind::Endpoints]);
}

/// Two groups may have one name for a kind and for its resource.
#[test]
fn no_two_kinds_share_a_place() {
    let places: BTreeSet<String> = ALL.iter().map(|watched| watched.place("a", "b")).collect();
    // Those of one kind never have the same object.
    let kinds: BTreeSet<Kind> = ALL.iter().map(|watched| watched.kind).collect();
    assert_eq!(places.len(), kinds.len());
    let labels: BTreeSet<String> = ALL.iter().map(|watched| watched.label()).collect();
    assert_eq!(labels.len(), ALL.len());
}

/// The settings of the default revision are asked for by themselves: every agent may read those.
#[test]
fn the_settings_of_the_default_revision_come_by_an_entry_of_their_own() {
    let of = |kind, name| of(kind, name).unwrap();
    let own = of(Kind::ConfigMap, "istio");
    assert_eq!(own.fields("n").as_deref(), Some("metadata.name=istio"));
    assert!(!own.is_optional());
    for name in ["istio-canary", "istio-leader", ""] {
        let others = of(Kind::ConfigMap, name);
        assert_eq!(others.fields("n").as_deref(), Some("metadata.name!=istio"), "{name}");
        assert!(others.is_optional() && others.label() != own.label());
        // Both have the objects of one kind, at the same places.
        assert_eq!(others.place("istio-system", "a"), own.place("istio-system", "a"));
    }
    let tags = of(Kind::MutatingWebhookConfiguration, "any");
    assert_eq!((tags.fields("n"), tags.labels()), (None, Some("istio.io/tag".to_owned())));
    assert!(tags.is_optional() && !tags.is_custom());
    assert!(ALL.iter().filter(|one| one.is_optional()).count() == 2);
    assert!(ALL.iter().filter(|one| one.labels().is_some()).count() == 1);
}
