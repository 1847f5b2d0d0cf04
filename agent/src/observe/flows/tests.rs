use agent_abi::{LAYER_WIRE, Reason, Verdict};
use tokio::sync::broadcast::error::{RecvError, TryRecvError};

use super::*;

pub(crate) fn test_record(port: u16, verdict: Verdict, reason: Reason) -> FlowRecord {
    let event = Event {
        kind: EventKind::VERDICT,
        layer: LAYER_CONNECT,
        netns: 7,
        generation: 3,
        verdict: verdict as u32,
        reason: reason as u32,
        dst: Addr::v4(u32::from(Ipv4Addr::new(203, 0, 113, 9)).to_be()),
        dst_port: port,
        protocol: protocol::TCP.into(),
        ..Event::default()
    };
    let names = Names { pod: Some("shop/web-0".into()), rule: None };
    FlowRecord::from_event(&event, Timestamp::UNIX_EPOCH, names).unwrap()
}

#[test]
fn an_event_becomes_a_record_with_names() {
    let event = Event {
        kind: EventKind::CLOSE,
        layer: LAYER_WIRE,
        netns: 9,
        generation: 4,
        verdict: Verdict::Direct as u32,
        reason: Reason::Rule as u32,
        rule: 2,
        dst: Addr::v6([0x2001_0db8_u32.to_be(), 0, 0, 5_u32.to_be()]),
        dst_port: 443,
        protocol: protocol::UDP.into(),
        bytes_sent: 10,
        bytes_received: 20,
        duration_ns: 3_500_000,
        rtt_us: 120,
        pid: 42,
        ..Event::default()
    };
    let names = Names { pod: Some("a/b".into()), rule: Some("ServiceEntry a/db".into()) };
    let found = FlowRecord::from_event(&event, Timestamp::UNIX_EPOCH, names).unwrap();
    assert_eq!(found.dst, "2001:db8::5".parse::<IpAddr>().unwrap());
    assert_eq!((found.event.as_ref(), found.layer.as_ref()), ("close", "wire"));
    assert_eq!((found.protocol.as_ref(), found.verdict.as_ref()), ("udp", "direct"));
    assert_eq!(found.pid, Some(42));
    let carried = found.carried.unwrap();
    assert_eq!((carried.bytes_sent, carried.bytes_received), (10, 20));
    assert_eq!((carried.duration_us, carried.rtt_us), (3_500, 120));

    let unknown = Event { verdict: 99, ..event };
    assert_eq!(FlowRecord::from_event(&unknown, Timestamp::UNIX_EPOCH, Names::default()), None);
}

#[test]
fn a_record_survives_json() {
    let mut close = test_record(80, Verdict::Direct, Reason::Rule);
    close.carried = Some(Carried { bytes_sent: 1, ..Carried::default() });
    for wanted in [test_record(80, Verdict::Deny, Reason::NoRule), close] {
        let text = serde_json::to_string(&wanted).unwrap();
        assert_eq!(serde_json::from_str::<FlowRecord>(&text).unwrap(), wanted, "{text}");
    }
}

#[test]
fn denied_is_what_a_person_looks_for() {
    for (verdict, reason, wanted) in [
        (Verdict::Deny, Reason::NoRule, true),
        (Verdict::Hold, Reason::UnknownHeld, true),
        (Verdict::Direct, Reason::WouldDeny, true),
        (Verdict::Direct, Reason::Rule, false),
        (Verdict::Proxy, Reason::Rule, false),
    ] {
        assert_eq!(test_record(1, verdict, reason).is_denied(), wanted, "{verdict:?} {reason:?}");
    }
}

#[test]
fn the_ring_keeps_the_newest() {
    let log = FlowLog::default();
    for number in 0..RING + 10 {
        log.record(test_record(u16::try_from(number).unwrap(), Verdict::Direct, Reason::Rule));
    }
    let (kept, _) = log.follow();
    assert_eq!(kept.len(), RING);
    assert_eq!(kept[0].port, 10);
    assert_eq!(usize::from(kept[RING - 1].port), RING + 9);
}

#[test]
fn a_follower_gets_each_flow_once() {
    let log = FlowLog::default();
    log.record(test_record(1, Verdict::Direct, Reason::Rule));
    let (kept, mut to_come) = log.follow();
    log.record(test_record(2, Verdict::Direct, Reason::Rule));
    assert_eq!(kept.iter().map(|flow| flow.port).collect::<Vec<_>>(), [1]);
    assert_eq!(to_come.try_recv().unwrap().port, 2);
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
