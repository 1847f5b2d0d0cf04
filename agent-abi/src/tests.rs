use super::*;

const HOST: u64 = 1;
const POD: u64 = 2;

/// One pod, one prefix (203.0.113.0/24 is not matched here: the caller says what matches).
struct Fixed {
    generation: u64,
    flags: u32,
    policy: Option<PodPolicy>,
    rule: Option<(u16, RuleValue)>,
}

impl Tables for Fixed {
    fn generation(&self) -> u64 {
        self.generation
    }
    fn host_netns(&self) -> u64 {
        HOST
    }
    fn flags(&self) -> u32 {
        self.flags
    }
    fn pod(&self, key: &PodKey) -> Option<PodPolicy> {
        assert_eq!(u64::from(key.slot), self.generation & 1);
        self.policy.filter(|_| key.netns == POD)
    }
    fn prefix(&self, _: &PrefixKey) -> Option<PrefixValue> {
        let mut value = PrefixValue::default();
        value.set[usize::try_from(self.generation & 1).unwrap()] = 9;
        Some(value)
    }
    fn rule(&self, key: &RuleKey) -> Option<RuleValue> {
        self.rule.filter(|(port, _)| key.set == 9 && key.port == *port).map(|(_, value)| value)
    }
}

fn enrolled(default_action: u32) -> Fixed {
    let policy = PodPolicy {
        table: 1,
        default_action,
        flags: policy_flag::ENROLLED,
        addr4: Addr::v4(u32::from_ne_bytes([203, 0, 113, 5])),
        ..PodPolicy::default()
    };
    Fixed { generation: 7, flags: 0, policy: Some(policy), rule: None }
}

fn to(last: u8, port: u16) -> Flow {
    let dst = Addr::v4(u32::from_ne_bytes([203, 0, 113, last]));
    Flow { netns: POD, dst, dst_port: port, protocol: protocol::TCP }
}

fn outcome(tables: &Fixed, flow: Flow) -> (Verdict, Reason) {
    let judgement = decide(tables, &flow);
    assert_eq!(judgement.generation, tables.generation);
    (judgement.verdict, judgement.reason)
}

#[test]
fn the_policy_answers_where_no_rule_does() {
    use policy_default::{ALLOW_ANY, AUDIT, REGISTRY_ONLY};
    for (default, expected) in [
        (ALLOW_ANY, (Verdict::Direct, Reason::DefaultAllow)),
        (REGISTRY_ONLY, (Verdict::Deny, Reason::NoRule)),
        (AUDIT, (Verdict::Direct, Reason::WouldDeny)),
    ] {
        assert_eq!(outcome(&enrolled(default), to(9, 80)), expected);
    }
}

#[test]
fn a_rule_decides_for_its_port_and_a_rule_without_port_for_all() {
    let mut tables = enrolled(policy_default::REGISTRY_ONLY);
    tables.rule = Some((443, RuleValue { action: rule_action::PROXY, rule: 4 }));
    assert_eq!(outcome(&tables, to(9, 443)), (Verdict::Proxy, Reason::Rule));
    assert_eq!(outcome(&tables, to(9, 80)), (Verdict::Deny, Reason::NoRule));
    tables.rule = Some((0, RuleValue { action: rule_action::DIRECT, rule: 4 }));
    assert_eq!(outcome(&tables, to(9, 80)), (Verdict::Direct, Reason::Rule));
    assert_eq!(decide(&tables, &to(9, 80)).rule, 4);
}

#[test]
fn the_pod_itself_is_never_refused() {
    let tables = enrolled(policy_default::REGISTRY_ONLY);
    assert_eq!(outcome(&tables, to(5, 80)), (Verdict::Direct, Reason::Local));
    for dst in [[127, 0, 0, 1], [127, 9, 9, 9], [0, 0, 0, 0]] {
        let flow = Flow { dst: Addr::v4(u32::from_ne_bytes(dst)), ..to(9, 80) };
        assert_eq!(outcome(&tables, flow), (Verdict::Direct, Reason::Local));
    }
    let flow = Flow { dst: Addr::v6([0, 0, 0, 1_u32.to_be()]), ..to(9, 80) };
    assert_eq!(outcome(&tables, flow), (Verdict::Direct, Reason::Local));
}

#[test]
fn a_pod_without_an_address_of_a_family_does_not_match_the_zero_address_of_another() {
    let tables = enrolled(policy_default::REGISTRY_ONLY);
    let flow = Flow { dst: Addr { family: 6, words_be: [1, 0, 0, 0] }, ..to(9, 80) };
    assert_eq!(outcome(&tables, flow), (Verdict::Deny, Reason::NoRule));
}

#[test]
fn namespaces_that_are_not_ours_are_let_be_or_held() {
    let mut tables = enrolled(policy_default::REGISTRY_ONLY);
    let host = Flow { netns: HOST, ..to(9, 80) };
    assert_eq!(outcome(&tables, host), (Verdict::Direct, Reason::Host));
    let stranger = Flow { netns: 77, ..to(9, 80) };
    assert_eq!(outcome(&tables, stranger), (Verdict::Direct, Reason::UnknownAllowed));
    tables.flags = node_flag::HOLD_UNKNOWN;
    assert_eq!(outcome(&tables, stranger), (Verdict::Hold, Reason::UnknownHeld));
    assert_eq!(outcome(&tables, host), (Verdict::Direct, Reason::Host));
    tables.policy = Some(PodPolicy::default());
    assert_eq!(outcome(&tables, to(9, 80)), (Verdict::Direct, Reason::NotEnrolled));
}

#[test]
fn a_held_namespace_reaches_only_itself() {
    let mut tables = enrolled(policy_default::REGISTRY_ONLY);
    tables.flags = node_flag::HOLD_UNKNOWN;
    let v4 = |octets| Addr::v4(u32::from_ne_bytes(octets));
    let v6 = |words: [u32; 4]| Addr::v6(words.map(u32::to_be));
    let own = [v4([127, 0, 0, 1]), v4([127, 9, 9, 9]), v4([0; 4]), v6([0, 0, 0, 1]), v6([0; 4])];
    let mapped = v6([0, 0, 0xffff, 0x7f00_0001]);
    for dst in own.into_iter().chain([mapped]) {
        let flow = Flow { netns: 77, dst, ..to(9, 80) };
        assert_eq!(outcome(&tables, flow), (Verdict::Direct, Reason::Local), "{dst:?}");
    }
    for dst in [v4([203, 0, 113, 5]), v4([128, 0, 0, 1]), v6([0, 0, 0, 2]), canary::V4, canary::V6]
    {
        let flow = Flow { netns: 77, dst, ..to(9, 80) };
        assert_eq!(outcome(&tables, flow), (Verdict::Hold, Reason::UnknownHeld), "{dst:?}");
    }
    // Its packets have no name to go by.
    assert_eq!(Standing::of(&tables, 77).unnamed().verdict, Verdict::Hold);
}

#[test]
fn a_mapped_address_is_the_ipv4_address_it_stands_for() {
    let v4 = u32::from_ne_bytes([203, 0, 113, 9]);
    assert_eq!(Addr::v6([0, 0, 0xffff_u32.to_be(), v4]), Addr::v4(v4));
    assert_eq!(Addr::v6([0, 0, 0xffff_u32.to_be(), v4]).bits(), 32);
    assert_eq!(Addr::v6([0x2001_0db8_u32.to_be(), 0, 0xffff_u32.to_be(), v4]).family, FAMILY_V6);
}

#[test]
fn every_word_of_ours_has_a_name_and_comes_back() {
    for word in 0..64 {
        if let Some(reason) = Reason::from_word(word) {
            assert_eq!(reason as u32, word);
            assert!(!reason.name().is_empty());
        }
    }
    assert_eq!(Reason::from_word(24), None);
    assert_eq!(Verdict::from_word(4), Some(Verdict::Hold));
}

/// Port 8080 is strict and probed, 9090 takes all, others are strict; who opened any flow.
struct Guarded(Option<u32>);

impl InboundTables for Guarded {
    fn port(&self, key: &InboundKey) -> Option<InboundPort> {
        let flags = match key.port {
            8080 => inbound_flag::STRICT | inbound_flag::PROBE,
            9090 => 0,
            0 => inbound_flag::STRICT,
            _ => return None,
        };
        (key.netns == POD && key.slot == 1).then_some(InboundPort { flags })
    }
    fn opened_by(&self, key: &FlowKey) -> Option<u32> {
        assert_eq!((key.netns, key.peer_port, key.protocol), (POD, 40_000, 6));
        self.0
    }
}

fn arrival(local_port: u16) -> Arrival {
    let local = Addr::v4(1_u32.to_be());
    Arrival { netns: POD, local, local_port, peer: Addr::v4(2_u32.to_be()), peer_port: 40_000 }
}

#[test]
fn a_strict_port_takes_no_strangers_plaintext() {
    for stranger in [None, Some(OpenedBy::PEER), Some(OpenedBy::POD), Some(OpenedBy::KEPT)] {
        for port in [80, 8080] {
            assert_eq!(admit(&Guarded(stranger), 1, &arrival(port)), Admission::Refused);
        }
        assert_eq!(admit(&Guarded(stranger), 1, &arrival(9090)), Admission::Taken);
        assert_eq!(admit(&Guarded(stranger), 1, &arrival(MESH_PORT)), Admission::Taken);
    }
}

#[test]
fn the_other_slot_and_other_pods_take_what_comes() {
    assert_eq!(admit(&Guarded(None), 0, &arrival(80)), Admission::Taken);
    let other = Arrival { netns: POD + 1, ..arrival(80) };
    assert_eq!(admit(&Guarded(None), 1, &other), Admission::Taken);
}

#[test]
fn the_node_reaches_probed_ports_and_no_others() {
    let node = Guarded(Some(OpenedBy::NODE));
    assert_eq!(admit(&node, 1, &arrival(8080)), Admission::Known);
    assert_eq!(admit(&node, 1, &arrival(80)), Admission::Refused);
}

#[test]
fn pods_of_the_node_and_the_pod_itself_are_known() {
    assert_eq!(admit(&Guarded(Some(OpenedBy::MEMBER)), 1, &arrival(80)), Admission::Known);
    let itself = Arrival { peer: arrival(80).local, ..arrival(80) };
    assert_eq!(admit(&Guarded(None), 1, &itself), Admission::Known);
    let loopback = Arrival { peer: Addr::v4(0x7f00_0001_u32.to_be()), ..arrival(80) };
    assert_eq!(admit(&Guarded(None), 1, &loopback), Admission::Known);
}
