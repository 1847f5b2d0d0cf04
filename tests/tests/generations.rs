//! A change is seen whole or not at all: under a storm of connects, two rule sets that contradict
//! each other take turns, and within one generation every verdict is of one of them.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::atomic::Ordering,
    thread,
    time::{Duration, Instant},
};

use agent_abi::policy_default;
use anyhow::{Context as _, Result, bail};
use rstest::rstest;
use sekisho_tests::{
    manifest::listed,
    maps,
    pace::{STEP, Strain, TURN},
    pod::load::{Load, Tally},
    process::{Process, probe},
    serve::Echo,
    stage::{DENIED, DIRECT, Net, Stage},
};
use serde_json::Value;

const SECONDS: u64 = 8;
/// To each of the two destinations.
const RATE: u32 = 1_500;
/// A hundred a second.
const FLIP: Duration = Duration::from_millis(10);
/// A port that only the last connect of a test goes to.
const LAST: u16 = 7_009;
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
    let right = SocketAddr::new(net.of(&other), DIRECT);
    let mut follower = stage.agent.follow(&stage.world)?;

    let (mut storm, strain) = (storm(&stage, left, right)?, Strain::start(STEP));
    let (mut flips, start) = (0_usize, Instant::now());
    while start.elapsed() < Duration::from_secs(SECONDS) {
        let before = stage.agent.generation()?;
        flips += 1;
        stage.agent.config().service_entry("far", &sides[flips % 2], &ports)?;
        stage.agent.wait_until("a new generation", |agent| Ok(agent.generation()? > before))?;
    }
    let slowdown = strain.end()?;
    let tally: Tally = storm.answer(READY + Duration::from_secs(SECONDS))?;
    let lines = read_all(&stage, &mut follower)?;
    let (generations, lost) = read(&lines, [left.ip(), right.ip()])?;

    let events: u64 = generations.values().map(Said::count).sum();
    println!(
        "{net:?}: {flips} flips, {events} verdicts, {lost} not followed, {tally:?}; {slowdown:?}"
    );
    for (generation, said) in &generations {
        let agrees = said.left.len() <= 1
            && said.right.len() <= 1
            && (said.left.is_empty() || said.left.keys().ne(said.right.keys()));
        assert!(agrees, "generation {generation} contradicts itself: {said:?}");
    }
    let both = generations.values().filter(|s| !s.left.is_empty() && !s.right.is_empty()).count();
    // A follower that has too little of a busy machine misses some, and of what it misses nothing is
    // seen.
    let expected = flips as u64 / 2 * events / (events + lost).max(1);
    assert!(both as u64 >= expected, "only {both} of {flips} generations were seen at work");
    assert!(flips as u64 >= slowdown.shrink(40), "only {flips} flips in {SECONDS} s");
    assert!(events >= slowdown.shrink(5_000), "only {events} verdicts");
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
    let (mut storm, strain) = (storm(&stage, denied, denied)?, Strain::start(TURN));
    let start = Instant::now();
    let mut flips = 0_u32;
    while start.elapsed() < Duration::from_secs(SECONDS) {
        flips += 1;
        // By the clock, so that a flip that comes late delays no other.
        thread::sleep((FLIP * flips).saturating_sub(start.elapsed()));
        word.get().store(first + u64::from(flips), Ordering::Release);
    }
    let slowdown = strain.end()?;
    storm.line(READY + Duration::from_secs(SECONDS))?;
    let lines = read_all(&stage, &mut follower)?;
    let (generations, lost) = read(&lines, [denied.ip(), denied.ip()])?;
    let events: u64 = generations.values().map(Said::count).sum();
    let seen = generations.len() as u64;
    println!(
        "{net:?}: {flips} flips in {SECONDS} s, {seen} seen, {events} verdicts, {lost} not followed; \
         {slowdown:?}"
    );
    for (generation, said) in &generations {
        let wanted = if generation & 1 == denying { "deny" } else { "direct" };
        let all = said.left.keys().all(|verdict| verdict == wanted);
        assert!(all, "generation {generation} is to say {wanted}: {said:?}");
    }
    assert!(u64::from(flips) >= 90 * SECONDS, "only {flips} flips in {SECONDS} s");
    assert!(seen >= slowdown.shrink(500), "only {seen} generations were seen at work");
    assert!(events >= slowdown.shrink(5_000), "only {events} verdicts");
    Ok(())
}

/// While they have no reader, events are lost and counted, and verdicts go on.
#[test]
fn a_full_ring_counts_what_it_loses() -> Result<()> {
    let stage = Stage::ready()?;
    let (allowed, denied) = (stage.at(Net::V4, DIRECT), stage.at(Net::V4, DENIED));
    let lost = || stage.agent.status()?["counters"]["events_lost"].as_u64().context("no count");
    assert_eq!(lost()?, 0);
    stage.agent.pause()?;
    let mut storm = storm(&stage, allowed, denied)?;
    let tally: Tally = storm.answer(READY + Duration::from_secs(SECONDS))?;
    stage.agent.resume()?;
    let lost = lost()?;
    println!("{lost} events lost, {tally:?}");
    assert!(lost > 0, "{tally:?}");
    assert_eq!((tally.leaked, tally.wrong), (0, 0), "{tally:?}");
    stage.check_verdicts()
}

/// Connects at a high rate, which have begun when this returns.
fn storm(stage: &Stage, allowed: SocketAddr, denied: SocketAddr) -> Result<Process> {
    let load = Load { allowed, denied, streams: 0, rate: RATE, seconds: SECONDS };
    let mut command = probe()?;
    command.arg("load").arg(serde_json::to_string(&load)?);
    let mut storm = stage.pod.run(command)?;
    storm.line(READY)?;
    Ok(storm)
}

/// What is followed up to now. A connect that only this test makes comes after everything before it; it
/// is made again, since what is followed may leave some out.
fn read_all(stage: &Stage, follower: &mut Process) -> Result<Vec<String>> {
    let (mut client, mut lines) = (stage.client()?, Vec::new());
    let deadline = Instant::now() + READY;
    while Instant::now() < deadline {
        client.dial(stage.at(Net::V4, LAST))?;
        let next = Instant::now() + Duration::from_secs(1);
        while Instant::now() < next {
            let read = lines.len();
            lines.extend(follower.pending());
            if lines[read..].iter().any(|line| line.contains(&format!("\"dst_port\":{LAST},"))) {
                return Ok(lines);
            }
            thread::sleep(Duration::from_millis(10));
        }
    }
    bail!("the last connect is not among {} lines; {}", lines.len(), follower.complaints())
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
        if flow["event"] != "verdict" || flow["layer"] != "connect" || flow["dst_port"] == LAST {
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
