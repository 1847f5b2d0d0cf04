//! `cargo xtask bench http`: what requests cost by the node's proxy, beside `HAProxy`, Envoy and
//! no proxy at all, in one run.
//!
//! ```text
//! wrk, h2load ─► the agent's proxy ─► nginx     the client dials the Service; eBPF redirects it
//! wrk, h2load ─► HAProxy, Envoy    ─► nginx     the client dials the proxy, which spares a redirect
//! wrk, h2load ───────────────────────► nginx    no proxy
//! ```
//!
//! Each proxy has the pod's namespace, two threads and the same two routes. All share the machine's
//! processors with client and server: only ratios within a round tell anything.

mod client;
mod peers;
mod stage;

use std::process::Command;

use anyhow::{Context as _, ensure};

use self::{
    client::{Asked, MEASURES, Measure, Said},
    stage::{Case, Stage},
};
use super::{
    HttpOptions, load,
    sample::Spread,
    usage::{self, Memory},
};
use crate::{
    agent::{self, Profile},
    command::succeeds,
    interrupt, place, setup,
};

/// Connections that wait at a proxy while its memory is looked at.
const IDLE: u32 = 5_000;

const KIB: f64 = 1024.0;
const MIB: f64 = 1024.0 * KIB;

/// By measure, case and round.
type Numbers = Vec<Vec<Vec<Measured>>>;

/// What a client said, and what the proxy used meanwhile.
#[derive(Clone, Copy, Debug)]
struct Measured {
    said: Said,
    /// In microseconds of a processor for each request; not for those without a proxy.
    processor: Option<f64>,
}

pub(super) fn run(options: &HttpOptions) -> anyhow::Result<()> {
    setup::run(&setup::Options::default())?;
    setup::packages(&["wrk", "nghttp2-client", "curl"])?;
    servers_are_there()?;
    let program = match &options.program {
        Some(program) => program.clone(),
        None => agent::build(Profile::Release)?,
    };
    let load = load::build()?;
    if options.envoy.is_none() {
        println!("bench: without Envoy, since --envoy names no program");
    }
    interrupt::watch()?;
    place::sweep("http");
    let mut stage = Stage::set(&program, options.envoy.as_deref(), &load)?;
    println!("bench: {} rounds of {} s each measure", options.rounds, options.seconds);
    let numbers = measure(&stage, options)?;
    report(&stage, &numbers);
    report_memory(&mut stage)
}

/// Their packages are not installed from here: Debian's start servers of the machine's own.
fn servers_are_there() -> anyhow::Result<()> {
    for (program, package) in [("nginx", "nginx-light"), ("haproxy", "haproxy")] {
        ensure!(
            succeeds(Command::new(program).arg("-v")),
            "{program} is needed: apt-get install {package}. That starts a server on this machine"
        );
    }
    Ok(())
}

fn chosen(options: &HttpOptions) -> impl Iterator<Item = &'static Measure> + '_ {
    let is_chosen =
        |name: &str| options.only.is_empty() || options.only.iter().any(|one| one == name);
    MEASURES.iter().filter(move |measure| is_chosen(measure.name))
}

fn measure(stage: &Stage, options: &HttpOptions) -> anyhow::Result<Numbers> {
    let cases = stage.cases.len();
    let mut numbers: Numbers = vec![vec![Vec::new(); cases]; MEASURES.len()];
    for round in 0..=options.rounds {
        for measure in chosen(options) {
            // Each round starts with another case, so that none always comes after the same one.
            for index in (0..cases).map(|index| (index + round) % cases) {
                interrupt::check()?;
                let case = &stage.cases[index];
                let found = once(stage, case, (measure, options.seconds))
                    .with_context(|| format!("{} of {}", measure.name, case.name))?;
                // The first round only warms caches, pools and neighbour tables.
                if round > 0 {
                    numbers[measure.index()][index].push(found);
                }
            }
        }
    }
    Ok(numbers)
}

fn once(
    stage: &Stage,
    case: &Case,
    (measure, seconds): (&Measure, u32),
) -> anyhow::Result<Measured> {
    let before = case.proxy().map(usage::processor).transpose()?;
    let said = measure.run(&Asked { stage, case, seconds })?;
    let after = case.proxy().map(usage::processor).transpose()?;
    let used = before.zip(after).map(|(before, after)| after - before);
    Ok(Measured { said, processor: used.map(|seconds| seconds * 1e6 / said.requests) })
}

fn report(stage: &Stage, numbers: &Numbers) {
    println!(
        "\nmedian (quartiles), the ratio to no proxy within each round, and the proxy's processor"
    );
    for (measure, of_cases) in MEASURES.iter().zip(numbers) {
        if of_cases[0].is_empty() {
            continue;
        }
        println!("\n  {}: {}", measure.name, measure.what);
        let of = |index: usize, value: fn(&Said) -> f64| -> Vec<f64> {
            of_cases[index].iter().map(|one: &Measured| value(&one.said)).collect()
        };
        for (index, case) in stage.cases.iter().enumerate() {
            let line = |unit: &str, value: fn(&Said) -> f64| {
                let (own, base) = (of(index, value), of(0, value));
                let (spread, ratio) = (Spread::of(&own), Spread::of_ratios(&own, &base));
                format!("{spread:>30.0} {unit}   x {ratio:.2}")
            };
            let used: Vec<f64> = of_cases[index].iter().filter_map(|one| one.processor).collect();
            let used = match &used[..] {
                [] => String::new(),
                used => format!("   {:.1} us/request", Spread::of(used)),
            };
            println!("    {:<12} {}{used}", case.name, line("/s", |said| said.rate));
            if measure.tells_latency() {
                println!("    {:<12} {}", "  p50", line("us", |said| said.median));
                println!("    {:<12} {}", "  p99", line("us", |said| said.high));
            }
        }
    }
}

fn report_memory(stage: &mut Stage) -> anyhow::Result<()> {
    println!(
        "\nmemory of the proxy's process (VmRSS): at rest, and for each of {IDLE} idle connections"
    );
    for case in &mut stage.cases {
        let Some(process) = case.proxy() else { continue };
        let rest = Memory::of(process)?.resident;
        case.load.order(&format!("hold {IDLE} {}", case.port))?;
        let each = (Memory::of(process)?.resident - rest) / f64::from(IDLE);
        case.load.order("release")?;
        println!("    {:<12} {:>8.1} MiB   {:>6.1} KiB", case.name, rest / MIB, each / KIB);
    }
    Ok(())
}
