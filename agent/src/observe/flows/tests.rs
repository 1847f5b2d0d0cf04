use agent_abi::{Reason, Verdict};
use tokio::sync::broadcast::error::{RecvError, TryRecvError};

use super::*;
use crate::observe::flow_record::test_record;

#[test]
fn the_ring_keeps_the_newest() {
    let log = FlowLog::default();
    for number in 0..RING + 10 {
        log.record(test_record(u16::try_from(number).unwrap(), Verdict::Direct, Reason::Rule));
    }
    let (kept, _) = log.follow();
    assert_eq!(kept.len(), RING);
    assert_eq!(kept[0].destination.port, Some(10));
    assert_eq!(kept[RING - 1].destination.port, u16::try_from(RING + 9).ok());
}

#[test]
fn a_follower_gets_each_flow_once() {
    let log = FlowLog::default();
    log.record(test_record(1, Verdict::Direct, Reason::Rule));
    let (kept, mut to_come) = log.follow();
    log.record(test_record(2, Verdict::Direct, Reason::Rule));
    assert_eq!(kept.iter().map(|flow| flow.destination.port).collect::<Vec<_>>(), [Some(1)]);
    assert_eq!(to_come.try_recv().unwrap().destination.port, Some(2));
    assert!(matches!(to_come.try_recv(), Err(TryRecvError::Empty)));
}

#[tokio::test]
async fn a_slow_follower_is_told_how_many_it_missed() {
    let log = FlowLog::default();
    let (_, mut to_come) = log.follow();
    for _ in 0..BACKLOG + 5 {
        log.record(test_record(1, Verdict::Direct, Reason::Rule));
    }
    assert!(matches!(to_come.recv().await, Err(RecvError::Lagged(5))));
    assert!(to_come.recv().await.is_ok());
}
