//! What each hook costs: the kernel's own count of runs and nanoseconds, while the load runs.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::Context as _;
use serde_json::Value;

use crate::command::quiet;

const SWITCH: &str = "/proc/sys/kernel/bpf_stats_enabled";

/// Has the kernel count while it lives; counting itself costs time, so nothing else is measured
/// meanwhile.
pub(super) struct Counting {
    before: String,
}

impl Counting {
    pub(super) fn start() -> anyhow::Result<Self> {
        let before = fs::read_to_string(SWITCH).context("this kernel counts no program's time")?;
        fs::write(SWITCH, "1")?;
        Ok(Self { before })
    }
}

impl Drop for Counting {
    fn drop(&mut self) {
        if let Err(problem) = fs::write(SWITCH, self.before.trim()) {
            eprintln!("{SWITCH} is left at 1: {problem}");
        }
    }
}

/// Runs and nanoseconds of a program since it was loaded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Cost {
    pub(super) runs: u64,
    pub(super) nanos: u64,
}

impl Cost {
    pub(super) fn since(self, before: Self) -> Self {
        Self { runs: self.runs - before.runs, nanos: self.nanos - before.nanos }
    }
}

/// The cost of every program that an agent pinned a link of, by the program's name.
pub(super) fn read(pins: &Path) -> anyhow::Result<BTreeMap<String, Cost>> {
    let mut costs: BTreeMap<String, Cost> = BTreeMap::new();
    for link in files(&pins.join("links"))? {
        let link = bpftool(&["link", "show", "pinned", &link.to_string_lossy()])?;
        let id = link["prog_id"].as_u64().context("a link has a program")?;
        let program = bpftool(&["prog", "show", "id", &id.to_string()])?;
        let name = program["name"].as_str().context("a program has a name")?.to_owned();
        let number = |field: &str| program[field].as_u64().unwrap_or_default();
        let cost = costs.entry(name).or_default();
        cost.runs = cost.runs.max(number("run_cnt"));
        cost.nanos = cost.nanos.max(number("run_time_ns"));
    }
    Ok(costs)
}

fn bpftool(arguments: &[&str]) -> anyhow::Result<Value> {
    let text = quiet(Command::new("bpftool").arg("--json").args(arguments))?;
    Ok(serde_json::from_str(&text)?)
}

/// All files below a directory.
fn files(directory: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    let entries = fs::read_dir(directory);
    for entry in entries.with_context(|| directory.display().to_string())? {
        let path = entry?.path();
        if path.is_dir() {
            found.extend(files(&path)?);
        } else {
            found.push(path);
        }
    }
    Ok(found)
}
