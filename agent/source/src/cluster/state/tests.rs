use serde_json::json;

use super::*;
use crate::inventory::Identity;

fn watched(kind: Kind) -> Arc<Watched> {
    Arc::clone(kinds::of(kind, "istio").unwrap())
}

/// A `ServiceEntry` with one port.
fn entry(name: &str, port: u32) -> Item {
    let value = json!({
        "apiVersion": "networking.istio.io/v1", "kind": "ServiceEntry",
        "metadata": {"name": name, "namespace": "shop"},
        "spec": {"hosts": ["db.example.com"], "ports": [{"number": port, "name": "a"}]},
    });
    let place = watched(Kind::ServiceEntry).place("shop", name).into();
    object::read(place, "generation 1", value, true)
}

fn names(state: &mut State) -> Vec<String> {
    state.store.settle().objects.iter().map(|(key, _)| key.name.to_string()).collect()
}

fn list(items: Vec<Item>) -> Vec<Told> {
    vec![(watched(Kind::ServiceEntry), News::Listed(items))]
}

#[test]
fn nothing_is_published_before_every_kind_is_listed() {
    let mut state = State::default();
    let (last, others) = kinds::ALL.split_last().unwrap();
    for watched in others {
        assert!(!state.take(vec![(Arc::clone(watched), News::Listed(Vec::new()))]), "{watched}");
    }
    assert!(state.take(vec![(Arc::clone(last), News::Listed(Vec::new()))]));
}

#[test]
fn a_list_replaces_all_of_its_kind_and_nothing_else() {
    let mut state = State::default();
    let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "shop"}});
    state.restore(namespace, "node-1");
    state.take(list(vec![entry("a", 1), entry("b", 1)]));
    assert_eq!(names(&mut state), ["shop", "a", "b"]);
    state.take(list(vec![entry("b", 1), entry("c", 1)]));
    assert_eq!(names(&mut state), ["shop", "b", "c"]);
    let texts: Vec<_> = state.texts.keys().map(|key| key.name.as_str()).collect();
    assert_eq!(texts, ["b", "c"]);
    state.take(list(Vec::new()));
    assert_eq!(names(&mut state), ["shop"]);
    assert!(state.texts.is_empty());
}

#[test]
fn an_object_that_is_broken_at_a_start_has_its_form_from_before_the_start() {
    let mut state = State::default();
    let saved = entry("a", 1).text.unwrap();
    state.restore(serde_json::from_slice(&saved.unpack().unwrap()).unwrap(), "node-1");
    state.store.settle();
    state.take(list(vec![entry("a", 70_000), entry("b", 70_000)]));
    let observed = state.store.settle();
    let forms: Vec<_> = observed.objects.service_entries().collect();
    assert_eq!(forms.len(), 1, "{forms:?}");
    assert_eq!(forms[0].metadata.name.as_deref(), Some("a"));
    assert_eq!(observed.notes.iter().filter(|note| note.is_error()).count(), 2);
    // And it is saved in that form again.
    assert_eq!(state.texts.values().cloned().collect::<Vec<_>>(), [saved]);
}

#[test]
fn changes_after_a_list_are_taken_one_by_one() {
    let mut state = State::default();
    let entries = watched(Kind::ServiceEntry);
    state.take(list(vec![entry("a", 1)]));
    let b = entry("b", 1);
    let place = Arc::clone(&b.place);
    state.take(vec![(Arc::clone(&entries), News::Applied(b))]);
    assert_eq!(names(&mut state), ["a", "b"]);
    state.take(vec![(entries, News::Deleted(place))]);
    assert_eq!(names(&mut state), ["a"]);
}

/// As it comes after a write to its status.
fn with_status(item: &Item, generation: i64) -> Item {
    let identity =
        Identity { uid: "1".into(), generation, version: "9".into(), ..Identity::default() };
    let statement = crate::object::read_object(
        &item.place,
        "generation 1",
        serde_json::from_slice(&item.text.as_ref().unwrap().unpack().unwrap()).unwrap(),
    );
    let (place, text) = (Arc::clone(&item.place), item.text.clone());
    Item { place, statement, text, identity: Some(identity) }
}

#[tokio::test]
async fn a_status_that_is_written_is_no_news() {
    let mut state = State::default();
    for watched in kinds::ALL.iter() {
        state.take(vec![(Arc::clone(watched), News::Listed(Vec::new()))]);
    }
    let entries = watched(Kind::ServiceEntry);
    let (good, broken) = (entry("a", 1), entry("a", 70_000));
    let apply =
        |state: &mut State, item| state.take(vec![(Arc::clone(&entries), News::Applied(item))]);
    let again = || with_status(&entry("a", 1), 1);
    assert!(apply(&mut state, good));
    assert!(!apply(&mut state, again()));
    let key = key(Kind::ServiceEntry, &again().place).unwrap();
    // The status writer is told all the same.
    assert_eq!(state.inventory.get(&key).unwrap().identity.version, "9".into());
    // What is mended to what it was before is news.
    assert!(apply(&mut state, broken));
    assert!(apply(&mut state, again()));
    assert!(state.store.settle().notes.iter().all(|note| !note.is_error()));
}

/// Pods of other nodes that are not wanted any more go, whichever watch had them last; and nothing is
/// published for the first time before all that is wanted is there.
#[test]
fn pods_of_other_nodes_are_there_while_they_are_wanted() {
    let mut state = State::default();
    let pod = |name: &str, node: &str| {
        json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "namespace": "shop"},
            "spec": {"nodeName": node, "containers": []}})
    };
    state.restore(pod("ours", "node-1"), "node-1");
    state.restore(pod("theirs", "node-2"), "node-1");
    assert_eq!(names(&mut state), ["ours", "theirs"]);
    let elsewhere = Arc::new(Watched::elsewhere(Some(&"shop".into())));
    let wanted = || std::iter::once(&elsewhere);
    assert!(!state.leave(wanted()) && state.lacks(wanted()));
    // A list of this node's pods says nothing about them.
    state.take(vec![(watched(Kind::Pod), News::Listed(Vec::new()))]);
    assert_eq!(names(&mut state), ["theirs"]);
    let place = elsewhere.place("shop", "another").into();
    let another = object::read(place, "", pod("another", "node-2"), false);
    state.take(vec![(Arc::clone(&elsewhere), News::Listed(vec![another]))]);
    assert!(!state.lacks(wanted()));
    assert_eq!(names(&mut state), ["another"]);
    assert!(state.leave(std::iter::empty()));
    assert!(names(&mut state).is_empty());
    // Wanted again, it is listed again; but what was published once is not waited for.
    assert!(state.lacks(wanted()));
    state.published = true;
    assert!(!state.lacks(wanted()));
}

/// Where they are followed in all namespaces at once from then on, none goes that is still there.
#[test]
fn pods_of_other_nodes_stay_while_one_watch_takes_the_place_of_many() {
    let mut state = State::default();
    let item = |watched: &Watched, name: &str| {
        let value = json!({"apiVersion": "v1", "kind": "Pod",
            "metadata": {"name": name, "namespace": "shop"},
            "spec": {"nodeName": "node-2", "containers": []}});
        object::read(watched.place("shop", name).into(), "", value, false)
    };
    let of_shop = Arc::new(Watched::elsewhere(Some(&"shop".into())));
    let both = vec![item(&of_shop, "a"), item(&of_shop, "b")];
    state.take(vec![(Arc::clone(&of_shop), News::Listed(both))]);
    let all = Arc::new(Watched::elsewhere(None));
    assert!(!state.has_listed(&all));
    assert!(!state.leave([&of_shop, &all].into_iter()));
    state.take(vec![(Arc::clone(&all), News::Listed(vec![item(&all, "a")]))]);
    assert!(state.has_listed(&all));
    assert!(state.leave(std::iter::once(&all)), "one has gone meanwhile");
    assert_eq!(names(&mut state), ["a"]);
}

/// A node of App Mesh with these listeners.
fn node(listeners: &serde_json::Value) -> Item {
    let value = json!({
        "apiVersion": "appmesh.k8s.aws/v1beta2", "kind": "VirtualNode",
        "metadata": {"name": "n", "namespace": "shop"},
        "spec": {"podSelector": {"matchLabels": {"app": "a"}}, "listeners": listeners},
    });
    object::read(watched(Kind::VirtualNode).place("shop", "n").into(), "spot", value, true)
}

/// What the next agent makes of what this one would save.
fn restarted(state: &mut State) -> State {
    let objects = state.store.settle().objects;
    let (texts, broken) = (Arc::clone(&state.texts), Arc::clone(&state.broken));
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("objects.snapshot");
    let contents = crate::cluster::saved::Contents { objects, texts, broken };
    crate::cluster::saved::write(&path, "node-1", &contents).unwrap();
    let mut next = State::default();
    let restore = |value| next.restore(value, "node-1");
    crate::cluster::saved::read(&path, "node-1", restore).unwrap().unwrap();
    next.store.settle();
    next
}

#[test]
fn what_is_left_of_a_refused_object_is_there_after_a_restart_and_a_good_form_stays() {
    let key = ObjectKey::new(Kind::VirtualNode, "shop", "n");
    let list = |state: &mut State, item| {
        state.take(vec![(watched(Kind::VirtualNode), News::Listed(vec![item]))]);
        state.store.settle().objects
    };
    let mut state = State::default();
    assert!(list(&mut state, node(&json!(7))).refused(&key).is_some());
    let mut state = restarted(&mut state);
    let objects = state.store.settle().objects;
    assert!(objects.refused(&key).is_some() && objects.get(&key).is_none());

    let objects = list(&mut state, node(&json!([])));
    assert!(objects.refused(&key).is_none() && objects.get(&key).is_some());
    list(&mut state, node(&json!(7)));
    let mut state = restarted(&mut state);
    let objects = list(&mut state, node(&json!(7)));
    assert!(objects.refused(&key).is_none() && objects.get(&key).is_some());
    state.take(vec![(watched(Kind::VirtualNode), News::Listed(Vec::new()))]);
    assert!(state.broken.is_empty() && state.texts.is_empty());
}

#[test]
fn tags_and_settings_of_revisions_are_there_after_a_restart() {
    let mut state = State::default();
    let tag = json!({
        "apiVersion": "admissionregistration.k8s.io/v1", "kind": "MutatingWebhookConfiguration",
        "metadata": {"name": "t", "labels": {"istio.io/tag": "prod", "istio.io/rev": "a"}},
    });
    let settings = json!({
        "apiVersion": "v1", "kind": "ConfigMap",
        "metadata": {"name": "istio-a", "namespace": "istio-system"},
        "data": {"mesh": "outboundTrafficPolicy: {mode: REGISTRY_ONLY}"},
    });
    state.restore(tag, "node-1");
    state.restore(settings, "node-1");
    let mut state = restarted(&mut state);
    assert_eq!(names(&mut state), ["istio-a", "t"]);
    // A list of the settings of the default revision is none of the others'.
    state.take(vec![(watched(Kind::ConfigMap), News::Listed(Vec::new()))]);
    assert_eq!(names(&mut state), ["istio-a", "t"]);
    let objects = state.store.settle().objects;
    assert_eq!(objects.revision_tags().next().unwrap().names(), Some(("prod", "a")));
}

/// Leaders of Istio renew such objects every few seconds.
#[test]
fn a_config_map_that_is_no_settings_is_no_news() {
    let mut state = State::default();
    for watched in kinds::ALL.iter() {
        state.take(vec![(Arc::clone(watched), News::Listed(Vec::new()))]);
    }
    let leader = json!({
        "apiVersion": "v1", "kind": "ConfigMap",
        "metadata": {"name": "istio-leader", "namespace": "istio-system"},
    });
    let watched = Arc::clone(kinds::of(Kind::ConfigMap, "istio-leader").unwrap());
    let item = object::read("p".into(), "spot", leader, true);
    assert!(!state.take(vec![(watched, News::Applied(item))]));
}
