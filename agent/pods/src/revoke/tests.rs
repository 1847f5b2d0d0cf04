use std::{
    io::{ErrorKind, Read, Write},
    net::{TcpListener, TcpStream},
};

use agent_abi::{
    InboundKey, InboundPort, InboundTables, PodKey, PodPolicy, PrefixKey, PrefixValue, RuleKey,
    RuleValue, Tables, inbound_flag, node_flag, policy_default, policy_flag, rule_action,
};
use agent_kernel::{
    sock_diag::{SocketId, testing::storage_map},
    testing::{Sandbox, ip},
};

use super::*;

const POD: u64 = 5;
const GOOD: u8 = 7;
const BAD: u8 = 8;

/// Only 203.0.113.7 may be reached. Without a policy the pod is not known.
struct OnlyGood {
    netns: u64,
    default_action: Option<u32>,
}

impl OnlyGood {
    fn registry() -> Self {
        Self { netns: POD, default_action: Some(policy_default::REGISTRY_ONLY) }
    }
}

impl Tables for OnlyGood {
    fn generation(&self) -> u64 {
        4
    }
    fn host_netns(&self) -> u64 {
        1
    }
    fn flags(&self) -> u32 {
        node_flag::HOLD_UNKNOWN
    }
    fn pod(&self, key: &PodKey) -> Option<PodPolicy> {
        let policy = |default_action| PodPolicy {
            default_action,
            flags: policy_flag::ENROLLED,
            ..PodPolicy::default()
        };
        self.default_action.filter(|_| key.netns == self.netns).map(policy)
    }
    fn prefix(&self, key: &PrefixKey) -> Option<PrefixValue> {
        (key.addr == addr(GOOD)).then_some(PrefixValue { set: [1, 1] })
    }
    fn rule(&self, key: &RuleKey) -> Option<RuleValue> {
        (key.port == 0).then_some(RuleValue { action: rule_action::DIRECT, rule: 1 })
    }
}

/// Port 8443 is strict, and what comes from the good address was introduced.
impl InboundTables for OnlyGood {
    fn port(&self, key: &InboundKey) -> Option<InboundPort> {
        (key.port == 8443).then_some(InboundPort { flags: inbound_flag::STRICT })
    }
    fn opened_by(&self, key: &FlowKey) -> Option<u32> {
        Some(if key.peer == addr(GOOD) { OpenedBy::MEMBER } else { OpenedBy::PEER })
    }
}

impl Knowledge for OnlyGood {
    /// What comes from port 8080 has been accepted there.
    fn is_peers(&self, key: &FlowKey) -> bool {
        key.pod_port == 8080
    }
}

fn nothing() -> Keep {
    Keep::Only(Arc::default())
}

fn addr(last: u8) -> Addr {
    Addr::v4(u32::from_ne_bytes([203, 0, 113, last]))
}

fn open(peer: Addr) -> OpenSocket {
    OpenSocket {
        id: SocketId::default(),
        state: State::Open,
        protocol: protocol::TCP,
        local: (addr(1), 40_000),
        peer: (peer, 443),
        stored: None,
    }
}

fn marked(kind: u32, dst: Addr, socket: OpenSocket) -> OpenSocket {
    let state = SocketState { kind, dst, dst_port: 443, ..SocketState::default() };
    OpenSocket { stored: Some(state), ..socket }
}

fn is_reset(socket: &OpenSocket) -> bool {
    reset_among(std::slice::from_ref(socket)) == 1
}

fn reset_among(sockets: &[OpenSocket]) -> usize {
    sort_out(sockets, &OnlyGood::registry(), POD, &nothing()).reset.len()
}

#[test]
fn what_the_pod_has_opened_is_reset_where_the_verdict_is_deny() {
    for state in [State::Open, State::Connecting] {
        assert!(is_reset(&OpenSocket { state, ..open(addr(BAD)) }));
        assert!(!is_reset(&OpenSocket { state, ..open(addr(GOOD)) }));
    }
    let datagrams = OpenSocket { protocol: protocol::UDP, ..open(addr(BAD)) };
    assert!(is_reset(&datagrams));
    let direct = marked(SocketKind::DIRECT, addr(BAD), open(addr(BAD)));
    assert!(is_reset(&direct));
    let found = sort_out(&[direct], &OnlyGood::registry(), POD, &nothing()).reset;
    assert_eq!((found[0].dst, found[0].judgement.generation), ((addr(BAD), 443), 4));
}

#[test]
fn what_was_accepted_is_reset_where_its_port_is_strict_and_the_peer_a_stranger() {
    let accepted = |port, peer| {
        let local = (addr(1), port);
        marked(SocketKind::ACCEPTED, Addr::NONE, OpenSocket { local, ..open(peer) })
    };
    assert!(is_reset(&accepted(8443, addr(BAD))));
    assert!(!is_reset(&accepted(8443, addr(GOOD))));
    assert!(!is_reset(&accepted(8443, addr(1))), "the pod itself");
    assert!(!is_reset(&accepted(8080, addr(BAD))));
    let stranger = accepted(8443, addr(BAD));
    let found = sort_out(&[stranger], &OnlyGood::registry(), POD, &Keep::All).reset;
    assert_eq!(found[0].judgement.reason, agent_abi::Reason::Plaintext);
    // Before the hooks were there to mark it: known by its listener.
    let unmarked = OpenSocket { stored: None, ..stranger };
    let listener = OpenSocket { state: State::Listening, ..unmarked };
    assert_eq!(reset_among(&[unmarked, listener]), 1);
}

#[test]
fn a_proxied_connection_is_judged_by_what_was_dialled() {
    let loopback = Addr::v4(u32::from_ne_bytes([127, 0, 0, 1]));
    let proxied = |dst| marked(SocketKind::PROXIED, dst, open(loopback));
    assert!(is_reset(&proxied(addr(BAD))));
    assert!(!is_reset(&proxied(addr(GOOD))));
    let found = sort_out(&[proxied(addr(BAD))], &OnlyGood::registry(), POD, &nothing()).reset;
    assert_eq!(found[0].dst, (addr(BAD), 443));
}

#[test]
fn what_the_pod_has_not_opened_is_left_alone() {
    for kind in [SocketKind::AGENT, SocketKind::ACCEPTED] {
        assert!(!is_reset(&marked(kind, addr(BAD), open(addr(BAD)))), "kind {kind}");
    }
    for state in [State::Listening, State::Idle] {
        assert!(!is_reset(&OpenSocket { state, ..open(addr(BAD)) }), "{state:?}");
    }
    let unconnected = OpenSocket {
        protocol: protocol::UDP,
        state: State::Idle,
        peer: (Addr::NONE, 0),
        ..open(Addr::NONE)
    };
    assert!(!is_reset(&unconnected));
}

#[test]
fn an_unmarked_flow_is_the_peers_where_its_first_packet_was() {
    for protocol in [protocol::TCP, protocol::UDP] {
        let answered = OpenSocket { local: (addr(1), 8080), protocol, ..open(addr(BAD)) };
        assert!(!is_reset(&answered));
        // What the programs have marked is known to be the pod's own.
        assert!(is_reset(&marked(SocketKind::DIRECT, addr(BAD), answered)));
    }
}

#[test]
fn a_connection_to_a_port_that_is_listened_on_was_accepted() {
    let listener = OpenSocket { state: State::Listening, ..open(Addr::NONE) };
    let accepted = open(addr(BAD));
    let own = marked(SocketKind::DIRECT, addr(BAD), accepted);
    let elsewhere = marked(SocketKind::ACCEPTED, Addr::NONE, accepted);
    let within = open(Addr::v4(u32::from_ne_bytes([127, 0, 0, 1])));
    let flows = accepted_flows(&[listener, accepted, own, elsewhere, within], POD);
    assert_eq!(flows, [flow_key(&accepted, POD); 2]);
    let udp = OpenSocket { protocol: protocol::UDP, ..listener };
    let other_port = OpenSocket { local: (addr(1), 40_001), ..listener };
    assert_eq!(accepted_flows(&[udp, other_port, accepted], POD), []);
}

#[test]
fn a_kept_connection_outlives_its_rule_and_is_not_reset() {
    let sockets = [open(addr(BAD)), open(addr(GOOD))];
    let found = sort_out(&sockets, &OnlyGood::registry(), POD, &Keep::All);
    assert_eq!(found.reset.len(), 0);
    assert_eq!(found.outlive, [(flow_key(&sockets[0], POD), OpenedBy::POD)]);
}

#[test]
fn what_leads_to_an_address_that_a_name_has_left_is_kept_on_its_port_alone() {
    let source = agent_model::egress::RuleSource {
        name: "db".into(),
        namespace: "shop".into(),
        kind: "ServiceEntry",
        field: "spec.ports[0]".into(),
        host: None,
    };
    let rule = |port: u16| Rule {
        class: agent_model::egress::Class::Registered,
        protocol: agent_model::egress::Protocol::Tcp,
        cidr: "203.0.113.8/32".parse().unwrap(),
        port: port.try_into().ok(),
        action: agent_model::egress::Action::Direct,
        age: 0,
        source: Arc::new(source.clone()),
    };
    let left = open(addr(BAD));
    let loopback = open(Addr::v4(u32::from_ne_bytes([127, 0, 0, 1])));
    let proxied = marked(SocketKind::PROXIED, addr(BAD), loopback);
    let datagrams = OpenSocket { protocol: protocol::UDP, ..left };
    let sockets = [left, proxied, datagrams];
    let found = sort_out(&sockets, &OnlyGood::registry(), POD, &Keep::Only([rule(443)].into()));
    assert_eq!(found.outlive, [(flow_key(&left, POD), OpenedBy::KEPT)]);
    assert_eq!(found.reset.len(), 1, "the datagrams: the rule is for TCP");
    let other = sort_out(&sockets, &OnlyGood::registry(), POD, &Keep::Only([rule(80)].into()));
    assert_eq!((other.outlive.len(), other.reset.len()), (0, 3));
}

#[test]
fn a_pod_that_is_held_audited_or_another_ones_loses_nothing() {
    let sockets = [open(addr(BAD))];
    for (default_action, netns) in [
        (None, POD),
        (Some(policy_default::AUDIT), POD),
        (Some(policy_default::ALLOW_ANY), POD),
        (Some(policy_default::REGISTRY_ONLY), 1),
        (Some(policy_default::REGISTRY_ONLY), 6),
    ] {
        let tables = OnlyGood { netns: POD, default_action };
        assert_eq!(
            sort_out(&sockets, &tables, netns, &nothing()).reset.len(),
            0,
            "{default_action:?}, {netns}"
        );
    }
}

#[tokio::test]
async fn a_sweep_resets_the_denied_connection_and_no_other() {
    let worker = Worker::start().unwrap();
    let sandbox = Sandbox::new();
    let pair = |host: &str| {
        let listener = TcpListener::bind(host).unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        (client, listener.accept().unwrap().0, listener)
    };
    let (mut good, mut bad) = sandbox.run(|| {
        ip(&["address", "add", "203.0.113.7/32", "dev", "lo"]);
        ip(&["address", "add", "203.0.113.8/32", "dev", "lo"]);
        (pair("203.0.113.7:8080"), pair("203.0.113.8:8080"))
    });
    let namespace = sandbox.open(&worker).await;
    let tables = Arc::new(OnlyGood { netns: namespace.cookie(), ..OnlyGood::registry() });
    let map = Arc::new(storage_map());
    let sweep = || sweep(&worker, &namespace, Arc::clone(&map), Arc::clone(&tables), nothing());
    let reset = sweep().await.unwrap().reset;
    assert_eq!(reset.len(), 1, "{reset:#?}");
    assert_eq!(reset[0].dst, (addr(BAD), bad.2.local_addr().unwrap().port()));
    assert_eq!(bad.0.read(&mut [0]).unwrap_err().kind(), ErrorKind::ConnectionAborted);
    assert_eq!(bad.1.read(&mut [0]).unwrap_err().kind(), ErrorKind::ConnectionReset);
    good.0.write_all(b"x").unwrap();
    assert_eq!(good.1.read(&mut [0]).unwrap(), 1);
    assert_eq!(sweep().await.unwrap().reset.len(), 0);
    let sockets = open_sockets(&worker, &namespace, map).await.unwrap();
    let accepted = accepted_flows(&sockets, POD);
    assert_eq!(accepted.len(), 1, "only the server's end of the good one: {accepted:?}");
}
