//! Many rules, many pods, and the limits.

use agent_model::compile::compile;

use super::*;

/// Changes one rule of many, several times; returns the least time that a plan took, which
/// compiles, and the least that compiling alone did.
fn one_change_of_many(mut rules: Vec<Rule>) -> (Duration, Duration) {
    let (mut planner, mut maps) = (Planner::new(Found::default()), Maps::default());
    let desired = |rules: &[Rule]| {
        let rules = Arc::new(RuleSet::new(rules.iter().cloned()));
        Desired::from([(7, pod(&rules)), (8, pod(&rules))])
    };
    published(&mut planner, &mut maps, &desired(&rules));
    let mut least = (Duration::MAX, Duration::MAX);
    for port in 1..4 {
        rules[50_000].port = std::num::NonZero::new(port);
        let desired = desired(&rules);
        let start = Instant::now();
        let table = compile(&desired[&7].policy.as_ref().unwrap().rules).unwrap();
        least.1 = least.1.min(start.elapsed());
        assert_eq!(table.prefixes.len(), rules.len());
        let (writes, time) = published(&mut planner, &mut maps, &desired);
        assert_eq!(writes, 2, "the port of a new set and the prefix that names it");
        least.0 = least.0.min(time);
    }
    let mut desired = desired(&rules);
    published(&mut planner, &mut maps, &desired);
    desired.insert(9, desired[&7].clone());
    let (writes, time) = published(&mut planner, &mut maps, &desired);
    assert_eq!(writes, 1, "the new pod");
    println!("one pod beside {} rules: planned in {time:?}", rules.len());
    least
}

#[test]
fn one_rule_among_a_hundred_thousand_is_a_write_or_two() {
    let shared = source("all");
    let one_object = hosts(100_000).into_iter().map(|rule| Rule { source: shared.clone(), ..rule });
    for (what, rules) in [("one object", one_object.collect()), ("as many", hosts(100_000))] {
        let (planned, compiled) = one_change_of_many(rules);
        println!(
            "one rule of 100,000 of {what}: planned in {planned:?}, of it {compiled:?} compiling"
        );
    }
}

#[test]
fn a_thousand_pods_with_the_same_rules_hold_the_rules_once() {
    let mut sizes = Vec::new();
    for count in [1, 1_000] {
        let (mut planner, mut maps) = (Planner::new(Found::default()), Maps::default());
        let rules = RuleSet::new(hosts(10_000));
        // Each pod's rules are a copy, as a translator may make them.
        let copies = if count == 1 { 1 } else { 10 };
        let copies: Vec<_> = (0..copies).map(|_| Arc::new(rules.clone())).collect();
        let pods = (0..count).map(|at: usize| (10 + at as u64, pod(&copies[at % copies.len()])));
        let (_, time) = published(&mut planner, &mut maps, &pods.collect());
        println!(
            "{count} pods: {} prefixes, {} rules, {} pods in {time:?}",
            maps.prefixes.len(),
            maps.rules.len(),
            maps.pods.len()
        );
        assert_eq!(maps.pods.len(), 2 * count);
        sizes.push((maps.prefixes.len(), maps.rules.len(), planner.tables.in_force().len()));
    }
    assert_eq!(sizes[0], sizes[1]);
    assert_eq!(sizes[0], (10_000, 10_000, 1));
}

#[test]
fn past_a_limit_a_generation_is_refused_by_name_and_the_one_before_stays() {
    let (mut planner, mut maps) = (Planner::new(Found::default()), Maps::default());
    let not_enrolled = Pod { policy: None, ..pod(&Arc::default()) };
    let pods = |from: u64, count: u64| -> Desired {
        (from..from + count).map(|netns| (netns, not_enrolled.clone())).collect()
    };
    published(&mut planner, &mut maps, &pods(10, 2_000));
    let error = planner.plan(&pods(5_000, 2_100)).unwrap_err().to_string();
    assert!(error.contains("4200") && error.contains("MAX_PODS"), "{error}");
    assert_eq!((planner.generation(), maps.pods.len()), (1, 4_000));
    published(&mut planner, &mut maps, &pods(5_000, 2_048));
    assert_eq!(maps.pods.len(), 4_096);

    let many_ports = |first: u16| {
        let wide: IpNet = "10.0.0.0/8".parse().unwrap();
        let ports = (first..first + 500).map(|port| rule(wide, port, &source("wide")));
        let hosts = (0..1_000).map(|at| rule(host(at), 9, &source(&at.to_string())));
        Desired::from([(7, pod(&Arc::new(RuleSet::new(ports.chain(hosts)))))])
    };
    published(&mut planner, &mut maps, &many_ports(1_000));
    let error = planner.plan(&many_ports(2_000)).unwrap_err().to_string();
    assert!(error.contains("MAX_RULES") && error.contains(&MAX_RULES.to_string()), "{error}");

    let networks = |net: u32| {
        let at = |at: u32| IpNet::new(Ipv4Addr::from((net << 24) + at).into(), 32).unwrap();
        let source = source("all");
        let rules = (0..270_000).map(|host| rule(at(host), 443, &source));
        Desired::from([(7, pod(&Arc::new(RuleSet::new(rules))))])
    };
    published(&mut planner, &mut maps, &networks(10));
    let error = planner.plan(&networks(11)).unwrap_err().to_string();
    assert!(error.contains("540000") && error.contains("MAX_PREFIXES"), "{error}");
    assert!(planner.plan(&networks(10)).unwrap().writes() < 3, "what is in force still fits");
}
