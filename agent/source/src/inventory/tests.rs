use agent_model::finding::Severity;

use super::*;

fn key(name: &str) -> ObjectKey {
    ObjectKey::new(Kind::ServiceEntry, "shop", name)
}

fn identity(name: &str, generation: i64) -> Identity {
    Identity { uid: format!("uid-of-{name}").into(), generation, ..Identity::default() }
}

fn now(inventory: &Inventory) -> Digest {
    let digests = inventory.digests(&Objects::default(), &[]);
    digests.kinds.get("serviceentries.networking.istio.io").copied().unwrap_or_default()
}

fn position(inventory: &Inventory, digest: Digest) -> Option<u64> {
    inventory.position(Kind::ServiceEntry, digest)
}

#[tokio::test]
async fn what_has_the_same_objects_says_the_same_in_whatever_order_they_came() {
    let (one, other) = (Inventory::default(), Inventory::default());
    for name in ["a", "b", "c"] {
        one.apply(key(name), identity(name, 1));
    }
    other.apply(key("b"), identity("b", 7));
    for name in ["c", "b", "a", "d"] {
        other.apply(key(name), identity(name, 1));
    }
    assert_ne!(now(&one), now(&other));
    other.retract(&key("d"));
    assert_eq!(now(&one), now(&other));
    one.apply(key("a"), identity("a", 2));
    assert_ne!(now(&one), now(&other));
}

#[tokio::test]
async fn a_node_that_is_stale_is_placed_where_it_is() {
    let inventory = Inventory::default();
    assert_eq!(position(&inventory, Digest::default()), Some(0));
    let mut said = vec![now(&inventory)];
    for generation in 1..=3 {
        inventory.apply(key("a"), identity("a", generation));
        said.push(now(&inventory));
    }
    inventory.apply(key("b"), identity("b", 1));
    for (at, digest) in said.iter().enumerate() {
        assert_eq!(position(&inventory, *digest), Some(at as u64));
    }
    assert_eq!(inventory.get(&key("a")).map(|known| known.position), Some(3));
    assert_eq!(inventory.get(&key("b")).map(|known| known.position), Some(4));
    assert_eq!(position(&inventory, Digest::of("another", 1)), None);
    // A status that is written is no change.
    let said = identity("b", 1);
    inventory.apply(key("b"), Identity { version: "9".into(), ..said });
    assert_eq!(position(&inventory, now(&inventory)), Some(4));
    assert_eq!(inventory.get(&key("b")).map(|known| known.identity.version), Some("9".into()));
}

#[tokio::test]
async fn only_the_newest_changes_are_remembered() {
    let inventory = Inventory::default();
    inventory.apply(key("a"), identity("a", 1));
    let first = now(&inventory);
    for generation in 2..=i64::try_from(PAST).unwrap() + 1 {
        inventory.apply(key("a"), identity("a", generation));
    }
    assert_eq!(position(&inventory, first), Some(1));
    inventory.apply(key("a"), identity("a", 0));
    assert_eq!(position(&inventory, first), None);
    assert_eq!(position(&inventory, now(&inventory)), Some(PAST as u64 + 2));
}

#[tokio::test]
async fn an_object_whose_older_form_is_in_force_is_named() {
    let inventory = Inventory::default();
    inventory.apply(key("a"), identity("a", 2));
    inventory.apply(key("b"), identity("b", 1));
    let note = |name: &str| Note {
        finding: Finding::new(Severity::Error, "SK0206", &key(name), "", ""),
        place: None,
    };
    let entry = serde_json::json!({
        "apiVersion": "networking.istio.io/v1", "kind": "ServiceEntry",
        "metadata": {"name": "a", "namespace": "shop", "uid": "uid-of-a", "generation": 1},
        "spec": {"hosts": ["a.example"]},
    });
    let parsed = agent_model::resource::parse(entry).into_iter().next().unwrap().unwrap();
    let objects = std::iter::once(parsed.object.unwrap()).collect();
    let notes = [note("a"), note("b"), note("unknown")].map(Arc::new);
    let stale: Vec<_> = inventory.digests(&objects, &notes).stale.clone().into_iter().collect();
    assert_eq!(stale, [("uid-of-a".to_owned(), Some(1)), ("uid-of-b".to_owned(), None)]);
}

#[test]
fn a_sum_is_read_as_it_was_written() {
    let kinds = [("gateways.networking.istio.io".to_owned(), Digest::of("a", 1))].into();
    let digests = Digests { kinds, stale: [("a".to_owned(), None)].into() };
    let text = serde_json::to_string(&digests).unwrap();
    assert_eq!(serde_json::from_str::<Digests>(&text).unwrap(), digests);
}
