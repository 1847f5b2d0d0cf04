use std::sync::Arc;

use agent_model::resource::Kind;

use super::*;
use crate::manifest;

fn service(name: &str, address: &str) -> String {
    format!(
        "---\napiVersion: v1\nkind: Service\nmetadata: {{name: {name}, namespace: shop}}\n\
         spec: {{clusterIP: {address}, ports: [{{port: 80}}]}}\n"
    )
}

fn broken(name: &str) -> String {
    format!(
        "---\napiVersion: v1\nkind: Service\nmetadata: {{name: {name}, namespace: shop}}\nspec: 7\n"
    )
}

const NOT_YAML: &str = "---\nkind: [\n";

/// A store, and what it says of each Service: its name and address.
#[derive(Default)]
struct Sample(Store);

impl Sample {
    fn say(&mut self, place: &str, text: &str) -> Observed {
        self.0.say(place.into(), manifest::read(place, text));
        self.0.settle()
    }

    fn gone(&mut self, place: &str) -> Observed {
        self.0.retract(place);
        self.0.settle()
    }
}

fn addresses(observed: &Observed) -> Vec<String> {
    let address = |service: &Arc<agent_model::resource::Service>| {
        let name = service.metadata.name.clone().unwrap_or_default();
        format!("{name} {}", service.addresses.first().map(ToString::to_string).unwrap_or_default())
    };
    observed.objects.services().map(address).collect()
}

fn messages(observed: &Observed) -> Vec<String> {
    let line = |note: &Arc<Note>| {
        let place = note.place.as_deref().unwrap_or_default();
        let Finding { severity, field, message, .. } = &note.finding;
        format!("{} {place}: {} {field}: {message}", severity.name(), note.object())
    };
    observed.notes.iter().map(line).collect()
}

#[test]
fn a_broken_object_keeps_its_last_good_form_and_its_neighbours_move_on() {
    let mut store = Sample::default();
    store.say("a", &(service("db", "203.0.113.1") + &service("web", "203.0.113.2")));
    let after = store.say("a", &(broken("db") + &service("web", "203.0.113.3")));
    assert_eq!(addresses(&after), ["db 203.0.113.1", "web 203.0.113.3"]);
    let messages = messages(&after);
    assert_eq!(messages.len(), 1, "{messages:?}");
    assert!(
        messages[0].starts_with("error a, document 1 (line 1): Service shop/db spec: "),
        "{messages:?}"
    );
    assert!(messages[0].ends_with("the form that was in force before stays"), "{messages:?}");
    assert_eq!(addresses(&store.say("a", &broken("db"))), ["db 203.0.113.1"]);
    assert_eq!(addresses(&store.say("a", "")), Vec::<String>::new());
}

#[test]
fn an_object_that_was_never_good_is_not_in_force() {
    let mut store = Sample::default();
    let after = store.say("a", &broken("db"));
    assert_eq!(addresses(&after), Vec::<String>::new());
    assert!(messages(&after)[0].ends_with("the object is refused"), "{:?}", messages(&after));
}

#[test]
fn a_document_that_is_no_yaml_keeps_what_its_place_said_before() {
    let mut store = Sample::default();
    store.say("a", &(service("db", "203.0.113.1") + &service("web", "203.0.113.2")));
    store.say("b", &service("else", "203.0.113.9"));
    let after = store.say("a", &(NOT_YAML.to_owned() + &service("web", "203.0.113.3")));
    assert_eq!(addresses(&after), ["db 203.0.113.1", "else 203.0.113.9", "web 203.0.113.3"]);
    assert!(
        messages(&after)[0].starts_with("error a, document 1 (line 1): "),
        "{:?}",
        messages(&after)
    );
    // It still stands after a second broken form, and goes with a whole one.
    let after = store.say("a", &(NOT_YAML.to_owned() + &service("web", "203.0.113.4")));
    assert_eq!(addresses(&after), ["db 203.0.113.1", "else 203.0.113.9", "web 203.0.113.4"]);
    let after = store.say("a", &service("web", "203.0.113.4"));
    assert_eq!(addresses(&after), ["else 203.0.113.9", "web 203.0.113.4"]);
    assert!(messages(&after).is_empty());
}

#[test]
fn a_place_that_is_gone_takes_its_objects_along_even_broken_ones() {
    let mut store = Sample::default();
    store.say("a", &service("db", "203.0.113.1"));
    store.say("a", NOT_YAML);
    assert_eq!(addresses(&store.gone("a")), Vec::<String>::new());
}

#[test]
fn of_two_places_the_first_by_name_counts_whatever_came_first() {
    let mut store = Sample::default();
    store.say("b", &service("db", "203.0.113.2"));
    let after = store.say("a", &service("db", "203.0.113.1"));
    assert_eq!(addresses(&after), ["db 203.0.113.1"]);
    let messages = messages(&after);
    assert_eq!(messages.len(), 1);
    assert!(
        messages[0].starts_with("error b, document 1 (line 1): Service shop/db"),
        "{messages:?}"
    );
    assert!(messages[0].contains("in a, document 1 (line 1) already"), "{messages:?}");
    assert_eq!(addresses(&store.gone("a")), ["db 203.0.113.2"]);
}

#[test]
fn twice_in_one_place_the_first_counts() {
    let mut store = Sample::default();
    let after = store.say("a", &(service("db", "203.0.113.1") + &service("db", "203.0.113.2")));
    assert_eq!(addresses(&after), ["db 203.0.113.1"]);
    assert_eq!(messages(&after).len(), 1);
    // A change of the one that counts is seen.
    let after = store.say("a", &(service("db", "203.0.113.3") + &service("db", "203.0.113.2")));
    assert_eq!(addresses(&after), ["db 203.0.113.3"]);
}

#[test]
fn breaking_the_place_that_counts_does_not_let_another_in() {
    let mut store = Sample::default();
    store.say("a", &service("db", "203.0.113.1"));
    store.say("b", &service("db", "203.0.113.2"));
    assert_eq!(addresses(&store.say("a", &broken("db"))), ["db 203.0.113.1"]);
    assert_eq!(addresses(&store.gone("a")), ["db 203.0.113.2"]);
}

#[test]
fn where_nothing_is_in_force_the_next_good_form_counts() {
    let mut store = Sample::default();
    store.say("a", &broken("db"));
    assert_eq!(addresses(&store.say("b", &service("db", "203.0.113.2"))), ["db 203.0.113.2"]);
}

#[test]
fn an_object_may_move_between_places_while_it_is_broken() {
    let mut store = Sample::default();
    store.say("b", &service("db", "203.0.113.1"));
    store.0.say("a".into(), manifest::read("a", &broken("db")));
    store.0.retract("b");
    assert_eq!(addresses(&store.0.settle()), ["db 203.0.113.1"]);
}

#[test]
fn what_did_not_change_is_the_same_in_memory() {
    let mut store = Sample::default();
    let text = service("db", "203.0.113.1") + &service("web", "203.0.113.2");
    let before = store.say("a", &text);
    let after = store.say("a", &("# a comment\n".to_owned() + &text));
    assert!(Arc::ptr_eq(&before.objects, &after.objects));
    let after = store.say("a", &(service("db", "203.0.113.1") + &service("web", "203.0.113.3")));
    assert!(!Arc::ptr_eq(&before.objects, &after.objects));
    let key = |observed: &Observed| observed.objects.iter().next().unwrap().1.clone();
    assert!(key(&before).is_same(&key(&after)));
}

const MESH: &str = "---\napiVersion: appmesh.k8s.aws/v1beta2\nkind: Mesh\nmetadata: {name: m}\n";

/// The refused objects of which something is left.
fn refused(observed: &Observed) -> Vec<String> {
    let all = Kind::ALL.iter().flat_map(|kind| observed.objects.refused_of(*kind));
    all.map(|(key, _)| key.to_string()).collect()
}

#[test]
fn of_what_restricts_and_never_was_good_something_is_left() {
    let mut store = Sample::default();
    let broken = format!("{MESH}spec: 7\n");
    let first = store.say("a", &broken);
    assert_eq!(refused(&first), ["Mesh m"]);
    assert!(messages(&first)[0].contains("by the strictest that it may mean"), "{first:?}");
    let against_a_rule =
        format!("{MESH}spec: {{meshServiceDiscovery: {{ipPreference: IPv6_PREFERRED}}}}\n");
    assert_eq!(refused(&store.say("a", &against_a_rule)), ["Mesh m"]);
    let mended = store.say("a", MESH);
    assert!(refused(&mended).is_empty() && mended.objects.meshes().count() == 1);
    // From then on there is a good form, wherever it is broken.
    let again = store.say("a", &broken);
    assert!(refused(&again).is_empty() && again.objects.meshes().count() == 1);
    assert!(refused(&store.gone("a")).is_empty());
    store.say("b", &broken);
    assert_eq!(refused(&store.say("c", MESH)), [""; 0], "the other place has a good form");
    store.gone("c");
    assert!(refused(&store.gone("b")).is_empty());
}

#[test]
fn what_cannot_be_told_may_be_what_it_names_unless_that_is_known() {
    let mut store = Sample::default();
    let unreadable = "---\nkind: Mesh\nspec: [\n";
    assert_eq!(refused(&store.say("a", unreadable)), ["Mesh a, document 1 (line 1)"]);
    let moved = format!("---\nkind: Service\nx: [\n{unreadable}");
    assert_eq!(refused(&store.say("a", &moved)), ["Mesh a, document 2 (line 4)"]);
    assert!(refused(&store.say("a", MESH)).is_empty());
    for _ in 0..2 {
        let broken = store.say("a", unreadable);
        assert!(refused(&broken).is_empty() && broken.objects.meshes().count() == 1);
    }
    // It may be the settings of the mesh, where it names nothing.
    let nothing = store.say("b", NOT_YAML);
    assert_eq!(refused(&nothing), ["ConfigMap istio-system/b, document 1 (line 1)"]);
    assert!(refused(&store.gone("b")).is_empty());
    let unnamed = "---\napiVersion: networking.istio.io/v1\nkind: Sidecar\nmetadata: {}\n";
    assert_eq!(refused(&store.say("b", unnamed)), ["Sidecar default/b, document 1 (line 1)"]);
}
