//! `cargo xtask check`: everything that needs no kernel: format, lints, documentation, the
//! dependency tree, which room may know which.
//!
//! Every part runs, also after one has failed: a reader wants all of it at once.

mod modules;
mod rooms;
mod words;

use std::{fs, process::Command, time::Instant};

use anyhow::{Context as _, bail};
use clap::Args;

use crate::{
    command::{cargo, quiet, show, succeeds, target_dir, workspace},
    setup,
};

/// The command that the README names and that continuous integration runs.
const TEST_COMMAND: &str = "cargo xtask test";
/// Brings the format of `deny.toml`.
const DENY_VERSION: &str = "0.20.2";

#[derive(Debug, Args)]
pub(crate) struct Options {
    /// Only the part of this name
    part: Option<String>,
}

type Part = (&'static str, fn() -> anyhow::Result<()>);

const PARTS: [Part; 10] = [
    ("fmt", fmt),
    ("clippy", clippy),
    ("clippy-ebpf", clippy_ebpf),
    ("docs", docs),
    ("deny", deny),
    ("rooms", rooms::check),
    ("modules", modules::check),
    ("words", words::check),
    ("readme", readme),
    ("reference", crate::docs::check),
];

pub(crate) fn run(options: &Options) -> anyhow::Result<()> {
    setup::run(&setup::Options::default())?;
    let wanted = |name: &str| options.part.as_deref().is_none_or(|part| part == name);
    let mut failed = Vec::new();
    for (name, part) in PARTS.into_iter().filter(|(name, _)| wanted(name)) {
        let started = Instant::now();
        let result = part();
        let took = started.elapsed().as_secs();
        match result {
            Ok(()) => println!("check: {name}: ok, {took} s"),
            Err(problem) => {
                println!("check: {name}: {problem:#}");
                failed.push(name);
            }
        }
    }
    if !failed.is_empty() {
        bail!("check failed: {}", failed.join(", "));
    }
    Ok(())
}

fn fmt() -> anyhow::Result<()> {
    show(cargo().args(["fmt", "--all", "--check"]))
}

fn clippy() -> anyhow::Result<()> {
    let scope = ["--workspace", "--exclude", "agent-ebpf", "--all-targets"];
    show(cargo().args(["clippy", "--quiet"]).args(scope).args(["--", "-D", "warnings"]))
}

/// The kernel programs are linted for the host: a toolchain that can build for their target need
/// not bring clippy. They have no unwinding, which the host's profile has to be told, and thus a
/// target directory of their own.
fn clippy_ebpf() -> anyhow::Result<()> {
    let mut command = cargo();
    command.args(["clippy", "--quiet", "--package", "agent-ebpf", "--no-deps"]);
    command.args(["--", "-D", "warnings"]);
    command.env("CARGO_PROFILE_DEV_PANIC", "abort");
    show(command.env("CARGO_TARGET_DIR", target_dir().join("ebpf/clippy")))
}

fn docs() -> anyhow::Result<()> {
    let mut command = cargo();
    command.args(["doc", "--quiet", "--workspace", "--exclude", "agent-ebpf", "--no-deps"]);
    command.args(["--document-private-items"]);
    show(command.env("RUSTDOCFLAGS", "-D warnings"))
}

fn deny() -> anyhow::Result<()> {
    if !succeeds(Command::new("cargo").args(["deny", "--version"])) {
        println!("check: building cargo-deny {DENY_VERSION}, which takes minutes, once");
        let version = ["cargo-deny", "--version", DENY_VERSION, "--locked"];
        quiet(Command::new("cargo").arg("install").args(version).current_dir("/"))?;
    }
    let what = ["bans", "licenses", "sources"];
    // Its metadata is about all systems; a build has fetched what this one needs.
    show(cargo().args(["fetch", "--quiet", "--locked"]))?;
    show(cargo().args(["deny", "--offline", "--log-level", "error", "check"]).args(what))
}

/// What people are told to run is what is run.
fn readme() -> anyhow::Result<()> {
    for (file, line) in [("README.md", TEST_COMMAND), (".ci/run", TEST_COMMAND)] {
        let text = fs::read_to_string(workspace().join(file)).with_context(|| file.to_owned())?;
        if !text.lines().any(|found| found.split(" #").next().is_some_and(|c| c.trim() == line)) {
            bail!("{file} has no line `{line}`");
        }
    }
    Ok(())
}
