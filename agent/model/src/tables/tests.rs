use agent_abi::{Flow, Reason, Verdict, decide, protocol};
use fastrand::Rng;

use super::*;
use crate::{
    compile::{compile, scan},
    egress::RuleSet,
    universe::{pick, random_ip, random_rule, source},
};

const HOST: u64 = 1;
const DEFAULTS: [DefaultAction; 3] =
    [DefaultAction::AllowAny, DefaultAction::RegistryOnly, DefaultAction::Audit];

fn pod(policy: Option<EgressPolicy>) -> Pod {
    let policy = policy.map(Arc::new);
    Pod { policy, addresses: Vec::new(), proxy_port: None, inbound: Inbound::default() }
}

/// What a policy's rules, read one by one, and its default say.
fn expected(policy: &EgressPolicy, flow: &Flow) -> (Verdict, Reason, Option<Decision>) {
    if let Some(rule) = scan(policy.rules.rules(), flow.dst, flow.protocol, flow.dst_port) {
        let verdict = match rule.action {
            Action::Direct => Verdict::Direct,
            Action::Proxy(_) => Verdict::Proxy,
        };
        let decision = Decision { source: rule.source.clone(), action: rule.action };
        return (verdict, Reason::Rule, Some(decision));
    }
    match policy.default_action {
        DefaultAction::AllowAny => (Verdict::Direct, Reason::DefaultAllow, None),
        DefaultAction::RegistryOnly => (Verdict::Deny, Reason::NoRule, None),
        DefaultAction::Audit => (Verdict::Direct, Reason::WouldDeny, None),
    }
}

#[test]
fn several_pods_are_judged_each_by_its_own_rules() {
    let sources: Vec<_> = ["a", "b", "c"].into_iter().map(source).collect();
    for seed in 0..300 {
        let mut random = Rng::with_seed(seed);
        let mut tables = HostTables::new(seed, HOST, 0);
        let policies: Vec<EgressPolicy> = (0..4)
            .map(|_| EgressPolicy {
                default_action: *pick(&mut random, &DEFAULTS),
                reads_all: false,
                rules: Arc::new(RuleSet::new((0..8).map(|_| random_rule(&mut random, &sources)))),
            })
            .collect();
        for (netns, policy) in (10..).zip(&policies) {
            let rules = Arc::new(compile(&policy.rules).unwrap());
            tables.insert(netns, &pod(Some(policy.clone())), &rules);
            tables.insert(netns + 10, &pod(Some(policy.clone())), &rules);
        }
        assert_eq!(tables.tables.len(), 4, "pods with equal rules share a table");
        for _ in 0..400 {
            let at = random.u64(..4);
            let flow = Flow {
                netns: 10 + at + 10 * random.u64(..2),
                dst: addr_of(random_ip(&mut random)),
                dst_port: random.u16(..5),
                protocol: *pick(&mut random, &[protocol::TCP, protocol::UDP]),
            };
            let judgement = decide(&tables, &flow);
            let decision = tables.decision(judgement.rule).cloned();
            let expected = expected(&policies[usize::try_from(at).unwrap()], &flow);
            let found = (judgement.verdict, judgement.reason, decision);
            assert_eq!(found, expected, "seed {seed} {flow:?}");
            assert_eq!(judgement.generation, seed);
        }
    }
}

#[test]
fn a_pods_word_carries_its_addresses_port_and_default() {
    let policy = EgressPolicy {
        default_action: DefaultAction::Audit,
        reads_all: false,
        rules: Arc::default(),
    };
    let enrolled = Pod {
        policy: Some(Arc::new(policy)),
        addresses: ["203.0.113.5", "203.0.113.6", "2001:db8::5"]
            .map(|ip| ip.parse().unwrap())
            .into(),
        proxy_port: NonZeroU16::new(15_001),
        inbound: Inbound::default(),
    };
    let word = enrolled.word(7);
    assert_eq!((word.table, word.default_action, word.flags, word.proxy_port), (7, 2, 1, 15_001));
    assert_eq!(word.addr4, addr_of([203, 0, 113, 5].into()));
    assert_eq!(word.addr6, addr_of(enrolled.addresses[2]));
    let outside = Pod { policy: None, ..enrolled };
    assert_eq!((outside.word(7).table, outside.word(7).flags), (0, 0));
}

#[test]
fn a_pod_not_enrolled_is_not_judged_and_a_number_of_no_rule_stands_for_none() {
    let mut tables = HostTables::new(3, HOST, 0);
    assert_eq!(tables.decision(0), None);
    tables.insert(5, &pod(None), &Arc::default());
    let dst = addr_of([203, 0, 113, 9].into());
    let flow = Flow { netns: 5, dst, dst_port: 443, protocol: protocol::TCP };
    assert_eq!(decide(&tables, &flow).reason, Reason::NotEnrolled);
    assert_eq!(decide(&tables, &Flow { netns: HOST, ..flow }).reason, Reason::Host);
    assert_eq!(decide(&tables, &Flow { netns: 6, ..flow }).reason, Reason::UnknownAllowed);
}
