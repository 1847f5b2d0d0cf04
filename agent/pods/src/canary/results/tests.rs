use std::io;

use super::*;

fn probe(layer: u8, reply: Reply) -> Probe {
    Probe { hook: 0, interface: 0, name: format!("hook {layer}"), layer, reply }
}

fn results(answers: Vec<(Probe, Option<u64>)>) -> ProbeResults {
    let proof = |generation| Proof { generation, seen_ns: 1 };
    let answers = answers.into_iter().map(|(probe, by)| (probe, by.map(proof))).collect();
    ProbeResults { generation: 6, error: None, answers }
}

#[test]
fn every_hook_that_there_is_must_refuse() {
    let whole = results(vec![
        (probe(1, Reply::Refused), Some(6)),
        (probe(2, Reply::NoWay), None),
        (probe(3, Reply::Sent), Some(7)),
    ]);
    assert_eq!(whole.complaint(), None);
    assert_eq!(whole.generation(), Some(6));
    assert_eq!(whole.layers(), [1, 3], "a layer that was not asked has not answered");
}

#[test]
fn what_is_wrong_is_said_by_hook() {
    let of = |layer, reply, by| {
        let found = results(vec![(probe(layer, reply), by)]);
        assert!(found.layers().is_empty());
        assert_eq!(found.generation(), None);
        found.complaint().unwrap()
    };
    let told = "its canary shows: hook";
    assert_eq!(of(1, Reply::Sent, None), format!("{told} 1 did not judge it"));
    assert_eq!(of(3, Reply::Sent, None), format!("{told} 3 did not judge it"));
    assert_eq!(of(1, Reply::Refused, None), format!("{told} 1: another program refused it"));
    assert_eq!(
        of(1, Reply::Sent, Some(6)),
        format!("{told} 1 refused it, and another program let it out")
    );
    assert_eq!(
        of(2, Reply::Refused, Some(5)),
        format!("{told} 2 judges by generation 5, and 6 is in force")
    );
    let refused = io::Error::from_raw_os_error(libc::ENETUNREACH);
    assert!(of(1, Reply::Failed(refused), None).contains("Network is unreachable"));
}

#[test]
fn a_link_is_as_good_as_the_worst_of_its_frames() {
    let on = |interface, reply, by: Option<u64>| (Probe { interface, ..probe(3, reply) }, by);
    let found = results(vec![
        (probe(1, Reply::Refused), Some(6)),
        on(4, Reply::Sent, Some(6)),
        on(4, Reply::Sent, None),
        on(5, Reply::NoWay, None),
        on(5, Reply::Sent, Some(6)),
        on(6, Reply::Stuck, None),
    ]);
    let shown = [(4, LinkProof::Failing), (5, LinkProof::Refused), (6, LinkProof::Down)];
    assert_eq!(found.links(), BTreeMap::from(shown));
    assert!(found.complaint().is_some_and(|it| !it.contains("hook 3 did not judge it; hook 3")));
}
