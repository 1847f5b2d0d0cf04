use agent_model::{finding::Severity, resource::Kind};
use agent_source::note::Note;
use tokio::time::advance;

use super::*;

fn key(name: &str) -> ObjectKey {
    ObjectKey::new(Kind::ServiceEntry, "shop", name)
}

fn told(code: &'static str, refuses: bool) -> Told {
    let note = Note::loose(Severity::Warning, code, "why".to_owned()).about("spec.ports[0].number");
    Told { note: note.into(), refuses }
}

fn refused(name: &str) -> ByObject {
    ByObject::from([(key(name), vec![told("SK0206", true)])])
}

/// Says all that is due; what it was.
fn say(ledger: &mut Ledger, all: &ByObject) -> Vec<(String, i32)> {
    let due = ledger.due(all, |key| Some(format!("uid of {}", key.name)));
    let all = due.iter().map(|due| {
        ledger.said(due, due.said + 1, Duration::ZERO);
        let event = event(due, ObjectReference::default(), "n-1");
        (format!("{} {}", event.type_.unwrap(), event.reason.unwrap()), due.said + 1)
    });
    all.collect()
}

#[tokio::test(start_paused = true)]
async fn what_stays_true_is_said_again_after_half_an_hour_as_one_more_of_the_same() {
    let (mut ledger, all) = (Ledger::default(), refused("a"));
    assert_eq!(say(&mut ledger, &all), [("Warning SK0206".to_owned(), 1)]);
    for _ in 0..29 {
        advance(Duration::from_mins(1)).await;
        assert!(say(&mut ledger, &all).is_empty());
    }
    advance(Duration::from_mins(1)).await;
    assert_eq!(say(&mut ledger, &all), [("Warning SK0206".to_owned(), 2)]);
    assert!(say(&mut ledger, &all).is_empty());
}

#[tokio::test(start_paused = true)]
async fn what_is_mended_is_said_once_and_what_goes_is_not() {
    let (mut ledger, all) = (Ledger::default(), refused("a"));
    say(&mut ledger, &all);
    assert_eq!(say(&mut ledger, &ByObject::new()), [("Normal Accepted".to_owned(), 1)]);
    assert!(say(&mut ledger, &ByObject::new()).is_empty());
    // Broken again at once, and after a while.
    assert!(say(&mut ledger, &all).is_empty());
    say(&mut ledger, &ByObject::new());
    advance(CALM).await;
    say(&mut ledger, &ByObject::new());
    assert_eq!(say(&mut ledger, &all).len(), 1);
    // Deleted.
    assert!(ledger.due(&ByObject::new(), |_| None).is_empty());
    // Refused before this agent was elected.
    ledger.remember([key("b")].into());
    assert_eq!(say(&mut ledger, &ByObject::new()), [("Normal Accepted".to_owned(), 1)]);
}

#[tokio::test(start_paused = true)]
async fn what_could_not_be_said_is_due_again() {
    let (mut ledger, all) = (Ledger::default(), refused("a"));
    let due = |ledger: &mut Ledger, all: &ByObject| ledger.due(all, |_| Some(String::new())).len();
    assert_eq!((due(&mut ledger, &all), due(&mut ledger, &all)), (1, 1));
    let none = ByObject::new();
    assert_eq!((due(&mut ledger, &none), due(&mut ledger, &none)), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn memory_is_bounded_and_refusals_go_first() {
    let mut ledger = Ledger::default();
    let mut all: ByObject =
        (0..3_000).map(|at| (key(&format!("a-{at}")), vec![told("SK0302", false)])).collect();
    all.insert(key("a"), vec![told("SK0206", true); 20]);
    let due = ledger.due(&all, |key| Some(key.name.to_string()));
    assert_eq!(due.len(), MOST);
    assert!(due[0].told.as_ref().unwrap().refuses);
    assert_eq!(due.iter().filter(|due| due.key == key("a")).count(), OF_ONE);
    for due in &due {
        ledger.said(due, 1, Duration::ZERO);
    }
    assert!(ledger.said.len() <= MOST);
    advance(CALM).await;
    ledger.due(&ByObject::new(), |key| Some(key.name.to_string()));
    assert!(ledger.said.is_empty());
}

#[tokio::test]
async fn an_event_has_what_a_server_takes() {
    let mut long = told("SK0206", true);
    std::sync::Arc::make_mut(&mut long.note).finding.message = "é".repeat(NOTE);
    let name = format!("{}-{}", "a".repeat(NAME - 1), "b".repeat(50));
    let due = Due { id: 7, key: key(&name), told: Some(long), said: 0, inherited: false };
    let made = event(&due, ObjectReference::default(), "n-1");
    let note = made.note.unwrap();
    assert!(
        note.len() <= NOTE && note.ends_with('…') && note.starts_with("spec.ports[0]"),
        "{note}"
    );
    assert_eq!(made.metadata.name.unwrap(), format!("{}.0000000000000007", "a".repeat(NAME - 1)));
    assert_eq!(made.metadata.namespace.as_deref(), Some("shop"));
    let cluster = ObjectKey { namespace: "".into(), ..key("mesh") };
    assert_eq!(place(&Due { key: cluster, ..due }).1, "default");
}
