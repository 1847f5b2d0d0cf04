use std::{net::Ipv4Addr, num::NonZeroU16, time::Instant};

use agent_abi::{MAX_PREFIXES, MAX_RULES, protocol};
use fastrand::Rng;
use ipnet::IpNet;

use super::*;
use crate::{
    egress::{Protocol, ProxyDuty},
    universe::{pick, random_ip, random_rule, source},
};

fn rule(cidr: &str, port: u16, name: &str) -> Rule {
    Rule {
        class: Class::Registered,
        protocol: Protocol::Tcp,
        cidr: cidr.parse().unwrap(),
        port: NonZeroU16::new(port),
        action: Action::Direct,
        age: 0,
        source: source(name),
    }
}

fn compiled(rules: impl IntoIterator<Item = Rule>) -> Table {
    compile(&RuleSet::new(rules)).unwrap()
}

/// The name of the rule's object, or nothing.
fn who(table: &Table, addr: &str, port: u16) -> String {
    let decision = table.decide(addr_of(addr.parse().unwrap()), protocol::TCP, port);
    decision.map_or_else(String::new, |decision| decision.source.name.to_string())
}

fn names(table: &Table, addr: &str, ports: &[u16]) -> Vec<String> {
    ports.iter().map(|port| who(table, addr, *port)).collect()
}

#[test]
fn a_longer_prefix_does_not_hide_the_ports_of_a_wider_one() {
    let table = compiled([rule("203.0.113.0/24", 443, "wide"), rule("203.0.113.9/32", 80, "host")]);
    assert_eq!(names(&table, "203.0.113.9", &[80, 443, 22]), ["host", "wide", ""]);
    assert_eq!(names(&table, "203.0.113.8", &[80, 443]), ["", "wide"]);
    assert_eq!(who(&table, "203.0.114.9", 443), "");
}

#[test]
fn prefix_length_outranks_the_exact_port_and_the_exact_port_outranks_age() {
    let longer = [rule("203.0.113.0/24", 443, "wide"), rule("203.0.113.9/32", 0, "host")];
    assert_eq!(names(&compiled(longer), "203.0.113.9", &[443, 1]), ["host", "host"]);
    let old_any = Rule { age: 0, ..rule("203.0.113.0/24", 0, "old") };
    let young_exact = Rule { age: 9, ..rule("203.0.113.0/24", 443, "young") };
    let table = compiled([old_any.clone(), young_exact]);
    assert_eq!(names(&table, "203.0.113.9", &[443, 1]), ["young", "old"]);
    let younger_any = Rule { age: 1, ..rule("203.0.113.0/24", 0, "a") };
    assert_eq!(who(&compiled([younger_any, old_any]), "203.0.113.9", 1), "old");
}

#[test]
fn class_outranks_the_prefix() {
    let exempt = Rule { class: Class::Exempt, ..rule("203.0.113.0/24", 0, "exempt") };
    let table = compiled([exempt, rule("203.0.113.9/32", 443, "host")]);
    assert_eq!(names(&table, "203.0.113.9", &[443, 80]), ["exempt", "exempt"]);
    assert_eq!(table.prefixes.len(), 1, "the host's prefix adds nothing");
}

#[test]
fn the_first_name_decides_among_rules_of_one_age() {
    let rules = [rule("203.0.113.0/24", 443, "b"), rule("203.0.113.0/24", 443, "a")];
    assert_eq!(who(&compiled(rules), "203.0.113.9", 443), "a");
}

#[test]
fn the_stricter_of_two_actions_decides_where_all_else_is_equal() {
    let direct = rule("203.0.113.0/24", 443, "a");
    let strict = Rule { action: Action::Proxy(ProxyDuty::NameRequired), ..direct.clone() };
    let table = compiled([strict.clone(), direct]);
    let decision = table.decide(addr_of([203, 0, 113, 1].into()), protocol::TCP, 443).unwrap();
    assert_eq!(decision.action, strict.action);
}

#[test]
fn mapped_prefixes_are_ipv4_and_wider_ones_never_cover_ipv4() {
    let table = compiled([rule("::ffff:203.0.113.0/120", 443, "mapped")]);
    assert_eq!(who(&table, "203.0.113.7", 443), "mapped");
    assert_eq!(who(&table, "::ffff:203.0.113.7", 443), "mapped");
    let all = compiled([rule("::ffff:0:0/96", 443, "all")]);
    assert_eq!(all.prefixes[0].0, Prefix { addr: Addr::v4(0), len: 0 });
    for wide in ["::/0", "::/1", "::fffe:0:0/95", "::/80", "::/95"] {
        let table = compiled([rule(wide, 0, "v6")]);
        assert_eq!(who(&table, "203.0.113.7", 443), "", "{wide}");
        assert_eq!(who(&table, "::ffff:203.0.113.7", 443), "", "{wide}");
    }
    assert_eq!(who(&compiled([rule("::/0", 0, "v6")]), "2001:db8::1", 443), "v6");
    assert_eq!(who(&compiled([rule("0.0.0.0/0", 0, "v4")]), "2001:db8::1", 443), "");
}

#[test]
fn prefixes_that_say_the_same_share_a_set_and_those_inside_a_like_one_are_left_out() {
    let table = compiled([
        rule("203.0.113.0/25", 443, "a"),
        rule("203.0.113.9/32", 443, "a"),
        rule("203.0.113.128/25", 443, "a"),
        rule("2001:db8::/32", 443, "a"),
    ]);
    assert_eq!(table.prefixes.len(), 3);
    assert_eq!((table.set_count(), table.port_rule_count(), table.decisions.len()), (1, 1, 1));
}

#[test]
fn a_prefix_sorts_right_before_those_that_it_covers() {
    let sorted = [
        "0.0.0.0/0",
        "1.0.0.0/8",
        "1.0.0.1/32",
        "1.0.1.0/24",
        "2.0.0.0/7",
        "2.0.0.0/8",
        "::/0",
        "1::/16",
        "1:0:0:1::/64",
    ];
    let prefixes: Vec<Prefix> =
        sorted.iter().map(|cidr| cidr.parse::<IpNet>().unwrap().into()).collect();
    assert!(prefixes.is_sorted(), "{prefixes:?}");
    assert!(prefixes[1].encloses(&prefixes[2]) && !prefixes[2].encloses(&prefixes[1]));
}

#[test]
fn a_set_past_a_limit_is_refused_by_the_limits_name() {
    // 1,100 nested hosts that each add a port to 500 ports of the network around them.
    let wide = (1..=500).map(|port| rule("203.0.0.0/16", port, "wide"));
    let hosts = (0..1_100_u16).map(|host| {
        let [high, low] = host.to_be_bytes();
        rule(&format!("203.0.{high}.{low}/32"), 1_000 + host, "host")
    });
    let error = compile(&RuleSet::new(wide.chain(hosts))).unwrap_err();
    assert_eq!(error, CompileError::TooManyPortRules);
    let text = error.to_string();
    assert!(text.contains("MAX_RULES") && text.contains(&MAX_RULES.to_string()), "{text}");

    let model = rule("0.0.0.0/0", 443, "all");
    let cidr = |at: u32| IpNet::new(Ipv4Addr::from(at * 2).into(), 32).unwrap();
    let hosts = (0..=MAX_PREFIXES).map(|at| Rule { cidr: cidr(at), ..model.clone() });
    let text = compile(&RuleSet::new(hosts)).unwrap_err().to_string();
    assert!(text.contains("524289") && text.contains("MAX_PREFIXES"), "{text}");
}

#[test]
fn a_million_packets_are_judged_as_a_linear_scan_judges_them() {
    let sources: Vec<_> = ["a", "b", "c"].into_iter().map(source).collect();
    let mut decided = 0_u32;
    for seed in 0..2_000 {
        let mut random = Rng::with_seed(seed);
        let count = 1 + random.usize(..24);
        let mut rules: Vec<Rule> = (0..count).map(|_| random_rule(&mut random, &sources)).collect();
        let set = RuleSet::new(rules.clone());
        let table = compile(&set).unwrap();
        random.shuffle(&mut rules);
        let shuffled = RuleSet::new(rules);
        assert_eq!(compile(&shuffled).unwrap(), table, "seed {seed}: order matters");
        for _ in 0..500 {
            let dst = addr_of(random_ip(&mut random));
            let protocol = *pick(&mut random, &[protocol::TCP, protocol::TCP, protocol::UDP]);
            let port = random.u16(..5);
            let expected =
                scan(set.rules(), dst, protocol, port).map(|rule| (&rule.source, rule.action));
            let found = table.decide(dst, protocol, port);
            let found = found.map(|decision| (&decision.source, decision.action));
            assert_eq!(found, expected, "seed {seed}: {dst:?} {protocol} {port} in {set:#?}");
            decided += u32::from(expected.is_some());
        }
    }
    assert!((300_000..900_000).contains(&decided), "{decided} packets met a rule");
}

#[test]
fn no_prefix_repeats_what_the_one_around_it_says() {
    let sources: Vec<_> = ["a", "b"].into_iter().map(source).collect();
    for seed in 0..500 {
        let mut random = Rng::with_seed(seed);
        let table = compiled((0..20).map(|_| random_rule(&mut random, &sources)));
        assert!(table.prefixes.is_sorted_by(|one, other| one.0 < other.0));
        for (at, (prefix, set)) in table.prefixes.iter().enumerate() {
            let around = table.prefixes[..at].iter().rfind(|(outer, _)| outer.encloses(prefix));
            assert!(around.is_none_or(|(_, outer)| outer != set), "seed {seed}: {prefix:?}");
        }
    }
}

/// 100,000 addresses as a list of them comes: single hosts and small networks inside wider ones.
fn large(shared_source: bool) -> RuleSet {
    let shared = source("all");
    RuleSet::new((0..100_000_u32).map(|at| {
        let addr = Ipv4Addr::from(0x0a00_0000 + at * 64);
        let source = if shared_source { shared.clone() } else { source(&at.to_string()) };
        let len = if at % 16 == 0 { 24 } else { 32 };
        let cidr = IpNet::new(addr.into(), len).unwrap();
        Rule { cidr, source, ..rule("0.0.0.0/0", 443, "") }
    }))
}

#[test]
fn a_hundred_thousand_prefixes_compile() {
    for shared in [true, false] {
        let set = large(shared);
        let start = Instant::now();
        let table = compile(&set).unwrap();
        println!(
            "compiled {} rules, one source {shared}: {:?}; {} prefixes, {} sets",
            set.rules().len(),
            start.elapsed(),
            table.prefixes.len(),
            table.set_count()
        );
        assert!(table.decide(addr_of([10, 0, 0, 64].into()), protocol::TCP, 443).is_some());
        assert!(table.decide(addr_of([10, 0, 2, 1].into()), protocol::TCP, 443).is_none());
    }
}
