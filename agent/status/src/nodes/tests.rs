use std::collections::BTreeMap;

use agent_model::resource::{ObjectKey, Objects};
use agent_source::inventory::{Digests, Identity};
use k8s_openapi::{
    api::coordination::v1::LeaseSpec,
    apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta},
};
use tokio::time::advance;

use super::*;

const KIND: Kind = Kind::ServiceEntry;

fn key(name: &str) -> ObjectKey {
    ObjectKey::new(KIND, "shop", name)
}

fn apply(inventory: &Inventory, name: &str, generation: i64) {
    let identity = Identity { uid: name.into(), generation, ..Identity::default() };
    inventory.apply(key(name), identity);
}

fn lease(node: &str, report: &NodeReport, renewed: Timestamp) -> Lease {
    let text = serde_json::to_string(report).unwrap();
    Lease {
        metadata: ObjectMeta {
            name: Some(format!("of-{node}")),
            annotations: Some(BTreeMap::from([("sekisho.dev/in-force".to_owned(), text)])),
            ..ObjectMeta::default()
        },
        spec: Some(LeaseSpec {
            holder_identity: Some(node.to_owned()),
            lease_duration_seconds: Some(45),
            renew_time: Some(MicroTime(renewed)),
            ..LeaseSpec::default()
        }),
    }
}

fn now(inventory: &Inventory) -> NodeReport {
    NodeReport { digests: inventory.digests(&Objects::default(), &[]), trouble: None }
}

/// How many nodes enforce an object, and what each other one lacks.
fn tally(nodes: &mut Nodes, inventory: &Inventory, name: &str) -> (usize, Vec<Lack>) {
    let tally = nodes.count(inventory, &[KIND]).of(KIND, &inventory.get(&key(name)).unwrap());
    assert_eq!(tally.all, tally.enforcing + tally.lacking.len());
    (tally.enforcing, tally.lacking.into_iter().map(|(_, lack)| lack).collect())
}

#[tokio::test(start_paused = true)]
async fn a_node_counts_for_what_it_has_said() {
    let (inventory, mut nodes) = (Inventory::default(), Nodes::default());
    apply(&inventory, "a", 1);
    let first = now(&inventory);
    apply(&inventory, "b", 1);
    nodes.take(&lease("n-1", &first, Timestamp::now()), true);
    nodes.take(&lease("n-2", &now(&inventory), Timestamp::now()), true);
    assert_eq!(tally(&mut nodes, &inventory, "a"), (2, vec![]));
    assert_eq!(tally(&mut nodes, &inventory, "b"), (1, vec![Lack::Late]));
    let mut troubled = first;
    troubled.trouble = Some("full".to_owned());
    nodes.take(&lease("n-1", &troubled, Timestamp::now()), false);
    assert_eq!(tally(&mut nodes, &inventory, "b"), (1, vec![Lack::Refused("full".to_owned())]));
    nodes.take(&lease("n-1", &now(&inventory), Timestamp::now()), false);
    assert_eq!(tally(&mut nodes, &inventory, "b"), (2, vec![]));
    // A change that no node has in force.
    apply(&inventory, "a", 2);
    assert_eq!(tally(&mut nodes, &inventory, "a"), (0, vec![Lack::Late, Lack::Late]));
    assert_eq!(tally(&mut nodes, &inventory, "b"), (2, vec![]));
}

#[tokio::test(start_paused = true)]
async fn a_report_of_a_moment_not_yet_seen_counts_once_it_is() {
    let (inventory, other, mut nodes) =
        (Inventory::default(), Inventory::default(), Nodes::default());
    apply(&other, "a", 1);
    apply(&other, "b", 1);
    nodes.take(&lease("n-1", &now(&other), Timestamp::now()), false);
    apply(&inventory, "a", 1);
    assert_eq!(tally(&mut nodes, &inventory, "a"), (0, vec![Lack::Late]));
    apply(&inventory, "b", 1);
    assert_eq!(tally(&mut nodes, &inventory, "a"), (1, vec![]));
}

#[tokio::test(start_paused = true)]
async fn a_broken_object_is_stale_where_its_older_form_is_in_force() {
    let (inventory, mut nodes) = (Inventory::default(), Nodes::default());
    apply(&inventory, "a", 2);
    let digests =
        Digests { stale: [("a".to_owned(), Some(1))].into(), ..(*now(&inventory).digests).clone() };
    let report = NodeReport { digests: Arc::new(digests), trouble: None };
    nodes.take(&lease("n-1", &report, Timestamp::now()), false);
    nodes.take(&lease("n-2", &now(&inventory), Timestamp::now()), false);
    assert_eq!(tally(&mut nodes, &inventory, "a"), (1, vec![Lack::Stale(Some(1))]));
}

#[tokio::test(start_paused = true)]
async fn a_silent_node_is_not_confirmed_and_one_that_speaks_again_is() {
    let (inventory, mut nodes) = (Inventory::default(), Nodes::default());
    apply(&inventory, "a", 1);
    let start = Timestamp::now();
    nodes.take(&lease("n-1", &now(&inventory), start), false);
    // One that has been silent for long when this agent is elected.
    let old = start - jiff::SignedDuration::from_mins(5);
    nodes.take(&lease("n-2", &now(&inventory), old), true);
    assert_eq!(tally(&mut nodes, &inventory, "a"), (1, vec![Lack::Silent]));
    assert_eq!(nodes.doubtful(Some("n-2")), None, "the leader is there");
    assert_eq!(nodes.doubtful(None).map(|(name, _)| name).as_deref(), Some("n-2"));
    assert_eq!(nodes.doubtful(None), None);
    advance(Duration::from_secs(46)).await;
    // Listed again, which is no sign of life.
    nodes.take(&lease("n-1", &now(&inventory), start), true);
    assert_eq!(tally(&mut nodes, &inventory, "a").0, 0);
    nodes.take(&lease("n-1", &now(&inventory), start + jiff::SignedDuration::from_secs(1)), false);
    assert_eq!(tally(&mut nodes, &inventory, "a"), (1, vec![Lack::Silent]));
    nodes.forget("of-n-2");
    assert_eq!(tally(&mut nodes, &inventory, "a"), (1, vec![]));
}

#[tokio::test(start_paused = true)]
async fn a_node_that_gets_on_is_told_from_one_that_does_not() {
    let (inventory, mut nodes) = (Inventory::default(), Nodes::default());
    let progress = |nodes: &mut Nodes| {
        nodes.count(&inventory, &[KIND]).progress(KIND).map(|since| since.elapsed().as_secs())
    };
    assert_eq!(progress(&mut nodes), None);
    apply(&inventory, "a", 1);
    nodes.take(&lease("n-1", &now(&inventory), Timestamp::now()), false);
    nodes.take(&lease("n-2", &now(&inventory), Timestamp::now()), false);
    assert_eq!(progress(&mut nodes), Some(0));
    advance(Duration::from_secs(3)).await;
    assert_eq!(progress(&mut nodes), Some(3));
    apply(&inventory, "b", 1);
    let then = now(&inventory);
    apply(&inventory, "c", 1);
    // One gets on, and the other is behind.
    nodes.take(&lease("n-1", &now(&inventory), Timestamp::now()), false);
    assert_eq!(progress(&mut nodes), Some(3));
    nodes.take(&lease("n-2", &then, Timestamp::now()), false);
    assert_eq!(progress(&mut nodes), Some(0));
}
