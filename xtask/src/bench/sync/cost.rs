//! What a process costs: memory, processor time, bytes from the API server, and its own metrics.

use std::{collections::BTreeMap, fs, process::Command};

use anyhow::Context as _;
use sekisho_tests::agent::Agent;

use crate::command::quiet;

/// In bytes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Memory {
    pub(super) resident: f64,
    pub(super) anonymous: f64,
    pub(super) highest: f64,
}

impl Memory {
    pub(super) fn of(process: u32) -> anyhow::Result<Self> {
        let status = fs::read_to_string(format!("/proc/{process}/status"))?;
        let field = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name));
            let kibibytes = line.and_then(|line| line.split_whitespace().nth(1));
            let kibibytes = kibibytes.with_context(|| format!("a process has {name}"))?;
            anyhow::Ok(kibibytes.parse::<f64>()? * 1024.0)
        };
        Ok(Self {
            resident: field("VmRSS")?,
            anonymous: field("RssAnon")?,
            highest: field("VmHWM")?,
        })
    }
}

/// Processor time of a process so far, in seconds.
pub(super) fn processor(process: u32) -> anyhow::Result<f64> {
    /// `USER_HZ`, which proc(5) counts in: 100 on every architecture that Linux has today.
    const HERTZ: f64 = 100.0;
    let stat = fs::read_to_string(format!("/proc/{process}/stat"))?;
    // The name, in parentheses, may hold anything.
    let (_, rest) = stat.rsplit_once(") ").context("stat has a name")?;
    let fields: Vec<&str> = rest.split(' ').collect();
    let ticks = |at: usize| fields.get(at).context("stat has fourteen fields and more");
    Ok((ticks(11)?.parse::<f64>()? + ticks(12)?.parse::<f64>()?) / HERTZ)
}

/// Bytes that came on a process's connections to the API server so far, as TCP counts them: with
/// TLS around them.
pub(super) fn received(process: u32, netns: &str) -> anyhow::Result<f64> {
    let netns = format!("--net={netns}");
    let sockets = quiet(Command::new("nsenter").args([
        &netns,
        "ss",
        "-tinpH",
        "state",
        "established",
        "dport",
        "=",
        ":6443",
    ]))?;
    let process = format!("pid={process},");
    let lines: Vec<&str> = sockets.lines().collect();
    // A line of who it is, and one of how it is.
    let its = lines.chunks(2).filter(|pair| pair[0].contains(&process));
    let bytes = its.flatten().flat_map(|line| line.split_whitespace());
    let bytes = bytes.filter_map(|word| word.strip_prefix("bytes_received:"));
    bytes.map(|number| Ok(number.parse::<f64>()?)).sum()
}

/// How often each phase of a change has run, and how many seconds that took, as the agent's
/// metrics have it.
pub(super) fn phases(agent: &Agent) -> anyhow::Result<BTreeMap<String, (f64, f64)>> {
    let mut phases: BTreeMap<String, (f64, f64)> = BTreeMap::new();
    for line in agent.metrics()?.lines() {
        let Some((name, rest)) = line.split_once("{phase=\"") else { continue };
        let Some((phase, value)) = rest.split_once("\"} ") else { continue };
        let entry = phases.entry(phase.to_owned()).or_default();
        match name {
            "sekisho_sync_phase_seconds_count" => entry.0 = value.parse()?,
            "sekisho_sync_phase_seconds_sum" => entry.1 = value.parse()?,
            _ => {}
        }
    }
    Ok(phases)
}
