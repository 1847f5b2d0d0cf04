//! A change is seen whole or not at all: under a storm of connects, two rule sets that contradict
//! each other take turns, and within one generation every verdict is of one of them.

use std::{
    collections::BTreeMap,
    sync::atomic::Ordering,
    thread,
    time::{Duration, Instant},
};

use agent_abi::policy_default;
use anyhow::{Context as _, Result};
use rstest::rstest;
use sekisho_tests::{
    manifest::listed,
    maps,
    pod::load::{Load, Tally},
    process::probe,
    serve::Echo,
    stage::{DENIED, DIRECT, Net, Stage},
};
use serde_json::Value;

const SECONDS: u64 = 8;
/// To each of the two destinations.
const RATE: u32 = 1_500;
const READY: Duration = Duration::from_secs(30);

/// What one generation said of the two destinations.
#[derive(Debug, Default)]
struct Said {
    left: BTreeMap<String, u64>,
    right: BTreeMap<String, u64>,
}

#[rstest]
fn each_verdict_is_of_the_generation_that_it_names(
    #[values(Net::V4, Net::V6)] net: Net,
) -> Result<()> {
    let mut stage = Stage::ready()?;
    let other = stage.world.far("other")?;
    let _echo = Echo::start(&other, DIRECT, &[])?;
    let sides = [listed(&stage.far.addresses()), listed(&other.addresses())];
    let ports = [(DIRECT, "TCP")];
    let left = stage.at(net, DIRECT);
    let right = std::net::SocketAddr::new(net.of(&other), DIRECT);
    let mut follower = stage.agent.follow(&stage.world)?;

    let load = Load { allowed: left, denied: right, streams: 0, rate: RATE, seconds: SECONDS };
    let mut command = probe()?;
    command.arg("load").arg(serde_json::to_string(&load)?);
    let mut storm = stage.pod.run(command)?;
    storm.line(READY)?;

    let (mut flips, start) = (0_usize, Instant::now());
    while start.elapsed() < Duration::from_secs(SECONDS) {
        let before = stage.agent.generation()?;
        flips += 1;
        stage.agent.config().service_entry("far", &sides[flips % 2], &ports)?;
        stage.agent.wait_until("a new generation", |agent| Ok(agent.generation()? > before))?;
    }
    let tally: Tally = storm.answer(READY + Duration::from_secs(SECONDS))?;
    // The last events are on their way through the agent.
    thread::sleep(Duration::from_millis(300));
    let (generations, lost) = read(&follower.pending(), [left.ip(), right.ip()])?;
    assert!(follower.is_running(), "{}", follower.complaints());

    let events: u64 = generations.values().map(Said::count).sum();
    println!("{net:?}: {flips} flips, {events} verdicts, {lost} not followed, {tally:?}");
    for (generation, said) in &generations {
        let agrees = said.left.len() <= 1
            && said.right.len() <= 1
            && (said.left.is_empty() || said.left.keys().ne(said.right.keys()));
        assert!(agrees, "generation {generation} contradicts itself: {said:?}");
    }
    let both = generations.values().filter(|s| !s.left.is_empty() && !s.right.is_empty()).count();
    assert!(both >= flips / 2, "only {both} of {flips} generations were seen at work");
    assert!(flips >= 40, "only {flips} flips in {SECONDS} s");
    assert!(events >= 5_000, "only {events} verdicts");
    Ok(())
}

/// As fast as a generation can be flipped: the agent's own word is stored to, a hundred times a
/// second, between a slot that denies and one that does not.
#[rstest]
fn a_hundred_flips_a_second_contradict_no_verdict(
    #[values(Net::V4, Net::V6)] net: Net,
) -> Result<()> {
    let mut stage = Stage::ready()?;
    let status = stage.agent.status()?;
    let netns = status["pods"][0]["netns"].as_u64().context("no cookie of the pod")?;
    let policies = maps::Policies::of(stage.agent.pins())?;
    stage.agent.wait_until("the generation is narrowed", |_| policies.agree(netns))?;
    let word = maps::generation(stage.agent.pins())?;
    let first = word.get().load(Ordering::Acquire);
    let denying = first & 1;
    policies.contradict(netns, u32::try_from(denying)?, policy_default::ALLOW_ANY)?;
    let mut follower = stage.agent.follow(&stage.world)?;

    let denied = stage.at(net, DENIED);
    let load = Load { allowed: denied, denied, streams: 0, rate: RATE, seconds: SECONDS };
    let mut command = probe()?;
    command.arg("load").arg(serde_json::to_string(&load)?);
    let mut storm = stage.pod.run(command)?;
    storm.line(READY)?;
    let start = Instant::now();
    let mut flips = 0_u64;
    while start.elapsed() < Duration::from_secs(SECONDS) {
        thread::sleep(Duration::from_millis(9));
        flips += 1;
        word.get().store(first + flips, Ordering::Release);
    }
    storm.line(READY + Duration::from_secs(SECONDS))?;
    thread::sleep(Duration::from_millis(300));
    let (generations, lost) = read(&follower.pending(), [denied.ip(), denied.ip()])?;
    let events: u64 = generations.values().map(Said::count).sum();
    println!("{net:?}: {flips} flips in {SECONDS} s, {events} verdicts, {lost} not followed");
    for (generation, said) in &generations {
        let wanted = if generation & 1 == denying { "deny" } else { "direct" };
        let all = said.left.keys().all(|verdict| verdict == wanted);
        assert!(all, "generation {generation} is to say {wanted}: {said:?}");
    }
    assert!(flips >= 90 * SECONDS, "only {flips} flips in {SECONDS} s");
    assert!(generations.len() >= 500, "only {} generations were seen at work", generations.len());
    assert!(events >= 5_000, "only {events} verdicts");
    assert!(follower.is_running(), "{}", follower.complaints());
    Ok(())
}

/// While nobody reads them, events are lost and counted, and verdicts go on.
#[test]
fn a_full_ring_counts_what_it_loses() -> Result<()> {
    let stage = Stage::ready()?;
    let (allowed, denied) = (stage.at(Net::V4, DIRECT), stage.at(Net::V4, DENIED));
    let lost = || stage.agent.status()?["counters"]["events_lost"].as_u64().context("no count");
    assert_eq!(lost()?, 0);
    stage.agent.pause()?;
    let load = Load { allowed, denied, streams: 0, rate: RATE, seconds: SECONDS };
    let mut command = probe()?;
    command.arg("load").arg(serde_json::to_string(&load)?);
    let mut storm = stage.pod.run(command)?;
    storm.line(READY)?;
    let tally: Tally = storm.answer(READY + Duration::from_secs(SECONDS))?;
    stage.agent.resume()?;
    let lost = lost()?;
    println!("{lost} events lost, {tally:?}");
    assert!(lost > 0, "{tally:?}");
    assert_eq!((tally.leaked, tally.wrong), (0, 0), "{tally:?}");
    stage.check_verdicts()
}

impl Said {
    fn count(&self) -> u64 {
        self.left.values().chain(self.right.values()).sum()
    }
}

/// The verdicts of connects among followed flows, by generation, and how many were not followed.
fn read(lines: &[String], sides: [std::net::IpAddr; 2]) -> Result<(BTreeMap<u64, Said>, u64)> {
    let mut generations: BTreeMap<u64, Said> = BTreeMap::new();
    let mut lost = 0;
    for line in lines {
        let flow: Value = serde_json::from_str(line).with_context(|| line.clone())?;
        if let Some(missed) = flow["missed"].as_u64() {
            lost += missed;
            continue;
        }
        if flow["event"] != "verdict" || flow["layer"] != "connect" {
            continue;
        }
        let generation = flow["generation"].as_u64().context("a verdict of no generation")?;
        let verdict = flow["verdict"].as_str().context("no verdict")?.to_owned();
        let said = generations.entry(generation).or_default();
        if flow["dst"] == *sides[0].to_string() {
            *said.left.entry(verdict).or_default() += 1;
        } else if flow["dst"] == *sides[1].to_string() {
            *said.right.entry(verdict).or_default() += 1;
        }
    }
    Ok((generations, lost))
}
