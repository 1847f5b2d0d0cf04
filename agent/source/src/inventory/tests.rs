use agent_model::snapshot::Severity;

use super::*;

fn key(name: &str) -> ObjectKey {
    ObjectKey::new(Kind::ServiceEntry, "shop", name)
}

fn identity(name: &str, generation: i64) -> Identity {
    Identity { uid: format!("uid-of-{name}").into(), generation, ..Identity::default() }
}

fn now(census: &Census) -> Digest {
    let sum = census.sum(&Objects::default(), &[]);
    sum.kinds.get("serviceentries.networking.istio.io").copied().unwrap_or_default()
}

fn position(census: &Census, digest: Digest) -> Option<u64> {
    census.position(Kind::ServiceEntry, digest)
}

#[tokio::test]
async fn what_has_the_same_objects_says_the_same_in_whatever_order_they_came() {
    let (one, other) = (Census::default(), Census::default());
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
async fn a_node_that_is_behind_is_placed_where_it_is() {
    let census = Census::default();
    assert_eq!(position(&census, Digest::default()), Some(0));
    let mut said = vec![now(&census)];
    for generation in 1..=3 {
        census.apply(key("a"), identity("a", generation));
        said.push(now(&census));
    }
    census.apply(key("b"), identity("b", 1));
    for (at, digest) in said.iter().enumerate() {
        assert_eq!(position(&census, *digest), Some(at as u64));
    }
    assert_eq!(census.get(&key("a")).map(|known| known.position), Some(3));
    assert_eq!(census.get(&key("b")).map(|known| known.position), Some(4));
    assert_eq!(position(&census, Digest::of("another", 1)), None);
    // A status that is written is no change.
    let said = identity("b", 1);
    census.apply(key("b"), Identity { version: "9".into(), ..said });
    assert_eq!(position(&census, now(&census)), Some(4));
    assert_eq!(census.get(&key("b")).map(|known| known.identity.version), Some("9".into()));
}

#[tokio::test]
async fn only_the_newest_changes_are_remembered() {
    let census = Census::default();
    census.apply(key("a"), identity("a", 1));
    let first = now(&census);
    for generation in 2..=i64::try_from(PAST).unwrap() + 1 {
        census.apply(key("a"), identity("a", generation));
    }
    assert_eq!(position(&census, first), Some(1));
    census.apply(key("a"), identity("a", 0));
    assert_eq!(position(&census, first), None);
    assert_eq!(position(&census, now(&census)), Some(PAST as u64 + 2));
}

#[tokio::test]
async fn an_object_whose_older_form_is_in_force_is_named() {
    let census = Census::default();
    census.apply(key("a"), identity("a", 2));
    census.apply(key("b"), identity("b", 1));
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
    let behind: Vec<_> = census.sum(&objects, &notes).behind.clone().into_iter().collect();
    assert_eq!(behind, [("uid-of-a".to_owned(), Some(1)), ("uid-of-b".to_owned(), None)]);
}

#[test]
fn a_sum_is_read_as_it_was_written() {
    let kinds = [("gateways.networking.istio.io".to_owned(), Digest::of("a", 1))].into();
    let sum = Sum { kinds, behind: [("a".to_owned(), None)].into() };
    let text = serde_json::to_string(&sum).unwrap();
    assert_eq!(serde_json::from_str::<Sum>(&text).unwrap(), sum);
}
