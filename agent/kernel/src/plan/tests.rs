use std::{
    collections::{BTreeSet, HashMap},
    convert::Infallible,
    net::Ipv4Addr,
    time::{Duration, Instant},
};

use agent_abi::{RuleValue, decide, policy_flag};
use agent_model::egress::{Rule, RuleSet};
use fastrand::Rng;
use ipnet::IpNet;

use super::*;
use maps::{Full, Maps, Watched};
use world::{World, expected, pod, rule, source};

mod maps;
mod scale;
mod world;

/// Asserts that a flow is judged as the rules in force say, by the right rule.
fn check(maps: &Maps, in_force: &Desired, names: Option<&RuleNames>, flow: &agent_abi::Flow) {
    let judgement = decide(maps, flow);
    let (verdict, reason, decision) = expected(in_force, flow);
    let context = format!("{flow:?} under generation {}", maps.generation);
    assert_eq!((judgement.verdict, judgement.reason), (verdict, reason), "{context}");
    if let Some(names) = names {
        assert_eq!(names.get(judgement.rule), decision, "{context}");
    }
}

/// A process of the agent on maps that outlive it.
struct Agent {
    maps: Maps,
    planner: Planner,
    in_force: Desired,
    /// The names of the generation in force are known: it is of this process.
    named: bool,
}

impl Agent {
    fn new() -> Self {
        let planner = Planner::new(Found::default());
        Self { maps: Maps::default(), planner, in_force: Desired::new(), named: true }
    }

    /// Publishes and narrows, looking at random flows after every write. `refuses` is asked before
    /// each; a refused widening must leave everything as it is.
    fn publish(
        &mut self,
        world: &World,
        random: &mut Rng,
        refuses: &mut dyn FnMut() -> bool,
    ) -> bool {
        let desired = world.desired();
        let plan = self.planner.plan(&desired).unwrap();
        let (names, generation) = (self.planner.names(), plan.generation());
        let Self { maps, planner, in_force, named } = self;
        let mut look = |maps: &Maps, in_force: &Desired, named: bool| {
            for _ in 0..4 {
                check(maps, in_force, named.then_some(&names), &world.random_flow(random));
            }
        };
        let mut after = |maps: &Maps| look(maps, in_force, *named);
        let mut watched = Watched { maps, refuses, after: &mut after };
        if planner.widen(&plan, &mut watched).is_err() {
            return false;
        }
        maps.generation = generation;
        planner.flipped(plan);
        (*in_force, *named) = (desired, true);
        look(maps, in_force, true);
        let mut after = |maps: &Maps| look(maps, in_force, true);
        let _ = planner.narrow(&mut Watched { maps, refuses, after: &mut after });
        true
    }

    /// Asserts that the maps hold what the mirror says, the same in both slots, and nothing that
    /// is not needed.
    fn assert_tidy(&self) {
        let (maps, slot) = (&self.maps, self.maps.slot());
        for (key, policy) in &maps.pods {
            assert_eq!(maps.pods.get(&PodKey { slot: 1 - key.slot, ..*key }), Some(policy));
        }
        let netns: BTreeSet<u64> = maps.pods.keys().map(|key| key.netns).collect();
        assert!(netns.iter().eq(self.in_force.keys()), "pods that are gone stay");
        let in_force = maps.pods.iter().filter(|(key, _)| key.slot as usize == slot);
        let enrolled = in_force.filter(|(_, policy)| policy.flags & policy_flag::ENROLLED != 0);
        let tables: BTreeSet<u32> = enrolled.map(|(_, policy)| policy.table).collect();
        let mut sets = BTreeSet::new();
        for (key, value) in &maps.prefixes {
            assert!(tables.contains(&key.table), "{key:?} is of a table that no pod has");
            assert_eq!(value.set[0], value.set[1], "{key:?}");
            sets.insert(value.set[slot]);
            let Some(compiled) = self.planner.tables.get(key.table) else { continue };
            let named = |(prefix, _): &(_, _)| agent_model::compile::Prefix::key(prefix, key.table);
            assert!(
                compiled.held.table.prefixes.iter().any(|prefix| named(prefix) == *key),
                "{key:?}"
            );
        }
        let wanted = self.in_force.iter().flat_map(|(netns, pod)| {
            pod.inbound.words().map(|(port, word)| ((*netns, port), word))
        });
        let wanted: BTreeMap<(u64, u16), InboundPort> = wanted.collect();
        for slot in [0, 1] {
            let held = maps.inbound.iter().filter(|(key, _)| key.slot == slot);
            let held: BTreeMap<_, _> =
                held.map(|(key, word)| ((key.netns, key.port), *word)).collect();
            assert_eq!(held, wanted, "what pods let in, in slot {slot}");
        }
        let held: BTreeSet<u32> = maps.rules.keys().map(|key| key.set).collect();
        assert_eq!(held, sets, "sets without a prefix, or prefixes without a set");
        self.assert_mirrored();
    }

    fn assert_mirrored(&self) {
        assert_eq!(self.planner.rules.count(), self.maps.rules.len());
        assert_eq!(self.planner.pods.entries().count(), self.maps.pods.len());
        assert_eq!(self.planner.inbound.entries().count(), self.maps.inbound.len());
        let mirrored: HashMap<PrefixKey, PrefixValue> = self.planner.prefixes.all().collect();
        assert_eq!(mirrored, self.maps.prefixes);
    }
}

fn never() -> bool {
    false
}

#[test]
fn no_write_ever_shows_half_a_generation() {
    for seed in 0..150 {
        let mut random = Rng::with_seed(seed);
        let mut world = World::new(&mut random);
        let mut agent = Agent::new();
        for _ in 0..20 {
            for _ in 0..=random.usize(..3) {
                world.change(&mut random);
            }
            let mut luck = random.fork();
            assert!(agent.publish(&world, &mut random, &mut never), "seed {seed}");
            agent.assert_tidy();
            if luck.u8(..8) == 0 {
                // The process is replaced by one that knows only the maps.
                agent.planner = Planner::new(agent.maps.found());
                agent.named = false;
                assert_eq!(
                    agent.planner.narrow(&mut Watched {
                        maps: &mut agent.maps,
                        refuses: &mut never,
                        after: &mut |_| panic!("seed {seed}: nothing has to go"),
                    }),
                    Ok(())
                );
            }
        }
    }
}

#[test]
fn a_failed_widening_leaves_the_generation_before_and_can_be_tried_again() {
    let (mut failed, mut done) = (0, 0);
    for seed in 0..150 {
        let mut random = Rng::with_seed(seed);
        let mut world = World::new(&mut random);
        let mut agent = Agent::new();
        let mut luck = random.fork();
        for _ in 0..20 {
            world.change(&mut random);
            // Fails at any write, those that undo or narrow included.
            let mut left = luck.usize(..40);
            let mut refuses = || {
                left = left.saturating_sub(1);
                left == 0 && luck.u8(..3) > 0
            };
            if agent.publish(&world, &mut random, &mut refuses) {
                done += 1;
            } else {
                failed += 1;
            }
            agent.assert_mirrored();
        }
        assert!(agent.publish(&world, &mut random, &mut never), "seed {seed}");
        agent.assert_tidy();
    }
    assert!(failed > 500 && done > 500, "{failed} failed, {done} done");
}

fn host(at: u32) -> IpNet {
    IpNet::new(Ipv4Addr::from(0x0a00_0000 + at * 4).into(), 32).unwrap()
}

/// Rules for so many hosts, each with a source of its own.
fn hosts(count: u32) -> Vec<Rule> {
    (0..count).map(|at| rule(host(at), 443, &source(&at.to_string()))).collect()
}

/// Takes every write.
impl MapWriter for Maps {
    type Error = Infallible;

    fn put_rule(&mut self, key: &RuleKey, value: &RuleValue) -> Result<(), Infallible> {
        self.rules.insert(*key, *value);
        Ok(())
    }
    fn remove_rule(&mut self, key: &RuleKey) -> Result<(), Infallible> {
        self.rules.remove(key);
        Ok(())
    }
    fn put_prefix(&mut self, key: &PrefixKey, value: &PrefixValue) -> Result<(), Infallible> {
        self.prefixes.insert(*key, *value);
        Ok(())
    }
    fn remove_prefix(&mut self, key: &PrefixKey) -> Result<(), Infallible> {
        self.prefixes.remove(key);
        Ok(())
    }
    fn put_pod(&mut self, key: &PodKey, value: &PodPolicy) -> Result<(), Infallible> {
        self.pods.insert(*key, *value);
        Ok(())
    }
    fn remove_pod(&mut self, key: &PodKey) -> Result<(), Infallible> {
        self.pods.remove(key);
        Ok(())
    }
    fn put_inbound(&mut self, key: &InboundKey, value: &InboundPort) -> Result<(), Infallible> {
        self.inbound.insert(*key, *value);
        Ok(())
    }
    fn remove_inbound(&mut self, key: &InboundKey) -> Result<(), Infallible> {
        self.inbound.remove(key);
        Ok(())
    }
}

/// Publishes; returns how many writes it took and how long planning did.
fn published(planner: &mut Planner, maps: &mut Maps, desired: &Desired) -> (usize, Duration) {
    let start = Instant::now();
    let plan = planner.plan(desired).unwrap();
    let time = start.elapsed();
    let writes = plan.writes();
    let Ok(()) = planner.widen(&plan, maps);
    maps.generation = plan.generation();
    planner.flipped(plan);
    let Ok(()) = planner.narrow(maps);
    (writes, time)
}

#[test]
fn the_names_of_rules_that_are_gone_stay_for_a_while() {
    let (mut planner, mut maps) = (Planner::new(Found::default()), Maps::default());
    let with = |name: &str| {
        let rules = RuleSet::new([rule(host(1), 443, &source(name))]);
        Desired::from([(7, pod(&Arc::new(rules)))])
    };
    published(&mut planner, &mut maps, &with("first"));
    let first = maps.rules.values().next().unwrap().rule;
    let names = planner.names();
    assert_eq!(names.get(first).unwrap().source.name, "first");
    for at in 0..4_096 {
        published(&mut planner, &mut maps, &with(&at.to_string()));
    }
    assert_eq!(names.get(first).unwrap().source.name, "first");
    published(&mut planner, &mut maps, &with("last"));
    assert_eq!(names.get(first), None);
    assert_eq!(names.get(0), None);
}

#[test]
fn a_process_that_takes_over_gives_no_number_out_again() {
    let (mut planner, mut maps) = (Planner::new(Found::default()), Maps::default());
    let rules = Arc::new(RuleSet::new(hosts(10)));
    let desired = Desired::from([(7, pod(&rules))]);
    published(&mut planner, &mut maps, &desired);
    let before: BTreeSet<u32> = maps.rules.values().map(|value: &RuleValue| value.rule).collect();
    let tables: BTreeSet<u32> = maps.prefixes.keys().map(|key| key.table).collect();
    let mut planner = Planner::new(maps.found());
    assert_eq!(planner.generation(), 1);
    published(&mut planner, &mut maps, &desired);
    assert_eq!(maps.generation, 2);
    assert!(maps.rules.values().all(|value| !before.contains(&value.rule)));
    assert!(maps.prefixes.keys().all(|key| !tables.contains(&key.table)));
    assert_eq!((maps.prefixes.len(), maps.rules.len(), maps.pods.len()), (10, 10, 2));
}

#[test]
#[should_panic(expected = "a plan is carried out before anything else")]
fn a_plan_made_before_the_last_write_is_refused() {
    let (mut planner, mut maps) = (Planner::new(Found::default()), Maps::default());
    let plan = planner.plan(&Desired::new()).unwrap();
    published(&mut planner, &mut maps, &Desired::new());
    let _: Result<(), Full> = planner
        .widen(&plan, &mut Watched { maps: &mut maps, refuses: &mut never, after: &mut |_| () });
}
