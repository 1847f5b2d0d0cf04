//! `cargo xtask bench datapath`: what an agent costs a connection.

use std::time::{Duration, Instant};

use sekisho_tests::stranger;

use super::{
    DatapathOptions, hooks, load, manifests,
    sample::Spread,
    stage::{CHANGING, Case, Stage, Way},
    usage::Memory,
};
use crate::{
    agent::{self, Agent, Profile},
    interrupt, place,
    place::address,
    setup,
};

/// What a client is told to do, what its answers are called, and the factor to the unit shown.
const MEASURES: [(&str, &str, f64); 3] = [
    ("connect", "connects/s", 1.0),
    ("echo", "round trips/s", 1.0),
    ("send", "throughput, Gbit/s", 8e-9),
];
/// How often the rule comes and goes.
const CHANGES: usize = 10;

/// Numbers by measure, case and round.
type Numbers = Vec<Vec<Vec<f64>>>;

pub(super) fn run(options: &DatapathOptions) -> anyhow::Result<()> {
    setup::run(&setup::Options::default())?;
    setup::packages(&["bpftool"])?;
    let program = match &options.program {
        Some(program) => program.clone(),
        None => agent::build(Profile::Release)?,
    };
    let load = load::build()?;
    interrupt::watch()?;
    place::sweep("bench");
    let mut stage = Stage::set(&program, &load)?;
    println!("bench: {} rounds of {} ms", options.rounds, options.millis);
    let numbers = measure(&mut stage, options)?;
    report(&stage, &numbers);
    report_hooks(&mut stage, options)?;
    report_memory(&stage)?;
    report_changes(&mut stage)
}

fn measure(stage: &mut Stage, options: &DatapathOptions) -> anyhow::Result<Numbers> {
    let cases = stage.cases.len();
    let mut numbers = vec![vec![Vec::new(); cases]; MEASURES.len()];
    for round in 0..=options.rounds {
        for (measure, (order, _, factor)) in MEASURES.iter().enumerate() {
            // Each round starts with another case, so that none always comes after the same one.
            for index in (0..cases).map(|index| (index + round) % cases) {
                let order = format!("{order} {}", options.millis);
                let number = stage.cases[index].client.order(&order)? * factor;
                // The first round only warms caches and neighbour tables.
                if round > 0 {
                    numbers[measure][index].push(number);
                }
            }
        }
    }
    Ok(numbers)
}

fn report(stage: &Stage, numbers: &Numbers) {
    println!("\nmedian (quartiles), and the ratio to no agent within each round");
    for ((_, unit, _), of_cases) in MEASURES.iter().zip(numbers) {
        println!("\n  {unit}");
        for (case, of_rounds) in stage.cases.iter().zip(of_cases) {
            let spread = Spread::of(of_rounds);
            let ratio = Spread::of_ratios(of_rounds, &of_cases[0]);
            println!("    {:<12} {spread:>32.1}   {ratio:.3}", case.name);
        }
    }
}

/// Under the load of all measures at once, for each case that has an agent. To count costs time,
/// too: programs that do nothing, on the same hooks, tell how much of a number is that.
fn report_hooks(stage: &mut Stage, options: &DatapathOptions) -> anyhow::Result<()> {
    println!("\nnanoseconds a run of each hook, with kernel.bpf_stats_enabled");
    let _counting = hooks::Counting::start()?;
    for case in &mut stage.cases {
        let Some(agent) = &case.agent else { continue };
        let pins = agent.path("bpf/pins");
        let before = hooks::read(&pins)?;
        let empty = stranger::on_node(case.cgroup.path(), &[])?;
        for (order, _, _) in MEASURES {
            case.client.order(&format!("{order} {}", options.millis))?;
        }
        println!("\n  {}", case.name);
        for (name, cost) in hooks::read(&pins)? {
            let cost = cost.since(before.get(&name).copied().unwrap_or_default());
            if let Some(mean) = cost.nanos.checked_div(cost.runs) {
                println!("    {name:<16} {mean:>8} ns  {:>10} runs", cost.runs);
            }
        }
        for program in empty {
            let (runs, nanos) = program.cost()?;
            if let Some(mean) = nanos.checked_div(runs) {
                let hook = program.hook.name;
                println!("    (nothing at all  {mean:>7} ns  {runs:>10} runs, on {hook})");
            }
        }
    }
    Ok(())
}

fn report_memory(stage: &Stage) -> anyhow::Result<()> {
    println!("\nmemory of the agent's process, idle (VmRSS)");
    for case in &stage.cases {
        if let Some(process) = case.agent.as_ref().and_then(Agent::pid) {
            println!("    {:<12} {:>8.1} MB", case.name, Memory::of(process)?.resident / 1e6);
        }
    }
    Ok(())
}

/// From the moment that a file is in place until the first connection is judged by it.
fn report_changes(stage: &mut Stage) -> anyhow::Result<()> {
    println!("\nmilliseconds from a changed file to its being enforced, {CHANGES} times each");
    for case in &mut stage.cases {
        if let (Way::Direct(count), Some(agent)) = (case.way, case.agent.take()) {
            let (added, removed) = changes(case, &agent)?;
            println!("    one rule added to {count:>6}      {added:>24.1}");
            println!("    one rule removed from {count:>6}  {removed:>24.1}");
            case.agent = Some(agent);
        }
    }
    Ok(())
}

fn changes(case: &mut Case, agent: &Agent) -> anyhow::Result<(Spread, Spread)> {
    let destination = format!("{}:7001", address(CHANGING));
    let entry = manifests::direct("changing", &[address(CHANGING).into()]);
    let (mut added, mut removed) = (Vec::new(), Vec::new());
    for _ in 0..CHANGES {
        added.push(timed(case, &format!("until-open {destination}"), || {
            agent.write("changing.yaml", &entry).map(drop)
        })?);
        removed.push(timed(case, &format!("until-refused {destination}"), || {
            agent.remove("changing.yaml")
        })?);
    }
    Ok((Spread::of(&added), Spread::of(&removed)))
}

fn timed(
    case: &mut Case,
    order: &str,
    change: impl FnOnce() -> anyhow::Result<()>,
) -> anyhow::Result<f64> {
    case.client.give(order)?;
    // The client is dialling by now; what it is told before the change does not count.
    std::thread::sleep(Duration::from_millis(50));
    let started = Instant::now();
    change()?;
    case.client.answer()?;
    Ok(started.elapsed().as_secs_f64() * 1e3)
}
