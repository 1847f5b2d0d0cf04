//! What an agent says and hears: bytes from the API server, and its own metrics.

use std::{collections::BTreeMap, process::Command};

use sekisho_tests::agent::Agent;

use crate::command::quiet;

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
