//! `cargo xtask bench sync`: what an agent costs in a large cluster, and how soon it follows.
//!
//! A real API server is filled; then one agent follows it, with pods in namespaces of its own. All
//! of them share this machine's processors, so latencies hold the server's own work.

mod api;
mod cost;
mod objects;
mod stage;
mod writers;

use std::{
    fs,
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, bail};

pub(super) use self::objects::Sizes;
use self::{
    api::Api,
    stage::Stage,
    writers::{Churn, Office, World},
};
use super::{
    SyncOptions,
    sample::Tail,
    usage::{self, Memory},
};
use crate::{
    agent::{self, Profile},
    interrupt, setup,
};

/// How long the agent may take to be ready.
const PATIENCE: Duration = Duration::from_mins(2);
/// Between the changes that are timed, so that each meets an agent that has nothing to do.
const PAUSE: Duration = Duration::from_millis(100);
/// How long processor time is counted at rest.
const REST: Duration = Duration::from_secs(20);
/// How long the elected agent may write: ten conditions a second.
const WRITTEN: Duration = Duration::from_mins(40);
/// The port of the timed rules.
const PORT: u16 = 7001;

/// The agent's phases by name: how often, and how many seconds in all.
type Phases = std::collections::BTreeMap<String, (f64, f64)>;

pub(super) fn run(options: &SyncOptions) -> anyhow::Result<()> {
    setup::run(&setup::Options::default())?;
    let profile = if options.debug { Profile::Debug } else { Profile::Release };
    let program = match &options.program {
        Some(program) => program.clone(),
        None => agent::build(profile)?,
    };
    interrupt::watch()?;
    let sizes = options.sizes();
    let slices: Arc<[_]> = objects::slices(sizes).into();
    let mut stage = Stage::set(&program, options.pods)?;
    load_average("before")?;
    let begun = Instant::now();
    let count = writers::fill(&stage.socket, sizes, &slices)?;
    stage.create_pods()?;
    let office = Office::take(&stage.socket)?;
    let took = begun.elapsed().as_secs_f64();
    println!("{count} objects ({sizes:?}, {} slices) in {took:.0} s", slices.len());
    let world = World { socket: stage.socket.clone(), sizes, slices };
    start(&mut stage, "the first start", options.pods)?;
    memory(&stage, "ready")?;
    rest(&stage)?;
    memory(&stage, "at rest")?;
    latencies(&mut stage, options.samples, (0, "at rest"))?;
    let churn = Churn::start(&world, options.churn);
    let outcome = latencies(&mut stage, options.samples, (1, "while objects change"));
    let pace = churn.stop()?;
    outcome?;
    println!("    objects changed a second: {pace:.0}");
    memory(&stage, "after the changes")?;
    // What is in force is written a few seconds later.
    thread::sleep(Duration::from_secs(10));
    stage.agent.kill()?;
    start(&mut stage, "a start with what was saved", options.pods)?;
    memory(&stage, "ready again")?;
    office.leave()?;
    println!("\nas the one agent of the cluster that writes what becomes of its objects");
    rest(&stage)?;
    memory(&stage, "as that one")?;
    if options.settled {
        settle(&stage)?;
        rest(&stage)?;
        memory(&stage, "as that one, with nothing to write")?;
    }
    load_average("after")
}

/// Starts the agent; prints how long it takes to be ready, and what comes from the server for it.
fn start(stage: &mut Stage, what: &str, pods: u32) -> anyhow::Result<()> {
    let begun = Instant::now();
    stage.agent.launch(&stage.world)?;
    while !is_ready(stage, pods) {
        interrupt::check()?;
        if begun.elapsed() > PATIENCE {
            bail!("the agent is not ready:\n{}", stage.agent.words());
        }
        thread::sleep(Duration::from_millis(20));
    }
    println!("\n{what}");
    println!("    until ready: {:.2} s", begun.elapsed().as_secs_f64());
    println!("    from the API server: {:.1} MB", received(stage)? / 1e6);
    println!("    processor time: {:.2} s", usage::processor(process(stage)?)?);
    phases("    phases until then", &Phases::new(), &cost::phases(&stage.agent)?);
    Ok(())
}

/// By the metrics: the status has all findings in it.
fn is_ready(stage: &Stage, pods: u32) -> bool {
    let Ok(metrics) = stage.agent.metrics() else { return false };
    let enrolled = format!("sekisho_pods_enrolment{{state=\"enrolled\"}} {pods}");
    let has = |line: &str| metrics.lines().any(|found| found == line);
    has("sekisho_agent_ready 1") && has(&enrolled)
}

fn process(stage: &Stage) -> anyhow::Result<u32> {
    stage.agent.pid().context("the agent runs")
}

fn received(stage: &Stage) -> anyhow::Result<f64> {
    cost::received(process(stage)?, &stage.world.node().path().display().to_string())
}

fn memory(stage: &Stage, when: &str) -> anyhow::Result<()> {
    let Memory { resident, anonymous, highest } = Memory::of(process(stage)?)?;
    println!(
        "    memory, {when}: {:.1} MB (VmRSS; its own {:.1} MB; {:.1} MB at the most)",
        resident / 1e6,
        anonymous / 1e6,
        highest / 1e6
    );
    Ok(())
}

/// Waits until the elected agent writes no conditions any more.
fn settle(stage: &Stage) -> anyhow::Result<()> {
    let written = || -> anyhow::Result<Option<u64>> {
        Ok(stage.agent.status()?["status_writer"]["conditions"].as_u64())
    };
    let (begun, mut before) = (Instant::now(), None);
    loop {
        let now = written()?;
        if now == before {
            break;
        }
        if begun.elapsed() > WRITTEN {
            bail!("conditions are still written after {WRITTEN:?}");
        }
        before = now;
        interrupt::check()?;
        thread::sleep(REST);
    }
    let took = begun.elapsed().as_secs();
    println!("\n{} conditions in all, after {took} s more", before.unwrap_or_default());
    Ok(())
}

/// Processor time and bytes of an agent that has nothing to do.
fn rest(stage: &Stage) -> anyhow::Result<()> {
    // What is in force is saved within a few seconds of the start, and an office is taken.
    thread::sleep(Duration::from_secs(15));
    let process = process(stage)?;
    let (before, bytes) = (usage::processor(process)?, received(stage)?);
    thread::sleep(REST);
    let share = (usage::processor(process)? - before) / REST.as_secs_f64();
    println!("\nat rest, for {} s", REST.as_secs());
    println!("    processor: {:.2} %", share * 100.0);
    println!("    from the API server: {:.0} bytes", received(stage)? - bytes);
    Ok(())
}

/// From the moment that a write is sent until the first call of a pod is judged by it: for rules
/// that come, and for the same rules as they go.
fn latencies(stage: &mut Stage, samples: u32, (run, when): (u32, &str)) -> anyhow::Result<()> {
    let mut api = Api::connect(&stage.socket)?;
    let before =
        (cost::phases(&stage.agent)?, usage::processor(process(stage)?)?, received(stage)?);
    let begun = Instant::now();
    let (mut come, mut gone) = (Vec::new(), Vec::new());
    for number in 0..samples {
        let at = format!("2001:db8:{}::{:x}", run + 1, number + 1);
        let (path, rule) = objects::timed(run * samples + number, &at, PORT);
        let dialled = format!("[{at}]:{PORT}");
        come.push(timed(stage, &format!("until-let-out {dialled}"), || {
            api.create(&rule.collection, &rule.object)
        })?);
        gone.push(timed(stage, &format!("until-held-back {dialled}"), || api.delete(&path))?);
    }
    let seconds = begun.elapsed().as_secs_f64();
    println!("\nmilliseconds from a write to its being enforced, {when}, {samples} times each");
    println!("    a rule added:   {}", Tail::of(&come));
    println!("    a rule removed: {}", Tail::of(&gone));
    phases("    phases", &before.0, &cost::phases(&stage.agent)?);
    let share = (usage::processor(process(stage)?)? - before.1) / seconds;
    println!("    processor: {:.1} %", share * 100.0);
    println!(
        "    from the API server: {:.1} kB a second",
        (received(stage)? - before.2) / seconds / 1e3
    );
    Ok(())
}

fn timed(
    stage: &mut Stage,
    order: &str,
    change: impl FnOnce() -> anyhow::Result<()>,
) -> anyhow::Result<f64> {
    stage.give(order)?;
    // The client is knocking by now.
    thread::sleep(PAUSE);
    let begun = Instant::now();
    change()?;
    stage.answer()?;
    Ok(begun.elapsed().as_secs_f64() * 1e3)
}

fn phases(title: &str, before: &Phases, after: &Phases) {
    println!("{title}, mean milliseconds (times)");
    for (name, (count, seconds)) in after {
        let (count_before, seconds_before) = before.get(name).copied().unwrap_or_default();
        let (count, seconds) = (count - count_before, seconds - seconds_before);
        if count > 0.0 {
            println!("        {name:<10} {:>8.2} ({count:.0})", seconds / count * 1e3);
        }
    }
}

/// What else the machine has to do.
fn load_average(when: &str) -> anyhow::Result<()> {
    let load = fs::read_to_string("/proc/loadavg")?;
    let processors = thread::available_parallelism()?;
    println!("\nload average {when}: {} on {processors} processors", load.trim());
    Ok(())
}
