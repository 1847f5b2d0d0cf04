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
        socket: 77,
        ..Event::default()
    };
    let pod = Some(PodId { namespace: "shop".into(), name: "web-0".into() });
    let known = Known { pod, workload: None, address: "192.0.2.7".parse().ok(), rule: None };
    FlowRecord::from_event(&event, Timestamp::UNIX_EPOCH, known).unwrap()
}

#[test]
fn an_event_becomes_a_record_with_names() {
    let event = Event {
        kind: EventKind::CLOSE,
        layer: LAYER_LINK,
        netns: 9,
        generation: 4,
        verdict: Verdict::Direct as u32,
        reason: Reason::Rule as u32,
        rule: 2,
        dst: Addr::v6([0x2001_0db8_u32.to_be(), 0, 0, 5_u32.to_be()]),
        dst_port: 443,
        src_port: 40_000,
        protocol: protocol::UDP.into(),
        bytes_sent: 10,
        bytes_received: 20,
        duration_ns: 3_500_000,
        rtt_us: 120,
        pid: 42,
        ..Event::default()
    };
    let source = RuleSource {
        kind: "ServiceEntry",
        namespace: "a".into(),
        name: "db".into(),
        field: "spec.ports[0]".into(),
        host: Some("db.example".to_owned()),
    };
    let known = Known { rule: Some(source.into()), ..Known::default() };
    let found = FlowRecord::from_event(&event, Timestamp::UNIX_EPOCH, known).unwrap();
    let to = End(found.destination.address, found.destination.port).to_string();
    assert_eq!(to, "[2001:db8::5]:443");
    assert_eq!(found.source, Source { address: None, port: Some(40_000) });
    assert_eq!((found.layer, found.verdict), (Layer::Link, Verdict::Direct));
    assert_eq!((found.protocol.to_string().as_str(), found.pid), ("udp", Some(42)));
    assert_eq!((found.service(), found.connection), (Some("db.example"), None));
    let carried = found.carried.unwrap();
    assert_eq!((carried.bytes_sent, carried.bytes_received), (10, 20));
    assert_eq!((carried.duration_us, carried.rtt_us), (3_500, 120));

    let unknown = Event { verdict: 99, ..event };
    assert_eq!(FlowRecord::from_event(&unknown, Timestamp::UNIX_EPOCH, Known::default()), None);
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
