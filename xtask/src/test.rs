//! `cargo xtask test`: everything that can be proven on this machine.
//!
//! Kernel tests start the agent, so both builds of it exist before the first test runs: the
//! current one where cargo puts it, the one with another map layout under `target/next-layout`.

use std::{
    fs,
    io::{BufRead as _, BufReader},
    path::PathBuf,
    process::{Command, ExitStatus, Stdio},
    time::Instant,
};

use anyhow::{Context as _, bail};
use clap::Args;

use crate::{
    command::{cargo, show, target_dir, workspace},
    setup,
};

#[derive(Debug, Args)]
pub(crate) struct Options {
    /// Leave out the tests against a Kubernetes API server
    #[arg(long)]
    without_kubernetes: bool,
    /// Run only tests whose name contains this
    filter: Option<String>,
}

/// What the lines of cargo's test runs add up to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Tally {
    passed: u64,
    failed: u64,
    ignored: u64,
}

pub(crate) fn run(options: &Options) -> anyhow::Result<()> {
    let started = Instant::now();
    setup::run(&setup::Options::default())?;
    // What is missing is said before anything is built.
    let programs = kubernetes(options)?;
    build_agents()?;
    let (status, tally) = run_tests(options, programs)?;
    let Tally { passed, failed, ignored } = tally;
    println!(
        "{passed} passed, {failed} failed, {ignored} ignored, in {} s",
        started.elapsed().as_secs()
    );
    if !status.success() || failed > 0 {
        bail!("not every test passed");
    }
    Ok(())
}

/// The other layout goes first: both builds leave their result at the same place, and the current
/// one must be what stays there.
fn build_agents() -> anyhow::Result<()> {
    println!("test: building the agent with another map layout");
    show(cargo().args(["build", "--quiet", "--package", "agent", "--features", "next-layout"]))?;
    let built = target_dir().join("debug/sekisho");
    let kept = target_dir().join("next-layout/debug");
    fs::create_dir_all(&kept)?;
    fs::copy(&built, kept.join("sekisho"))
        .with_context(|| format!("{} is not there", built.display()))?;
    println!("test: building the agent and the tests");
    show(cargo().args(["build", "--quiet", "--workspace", "--exclude", "agent-ebpf", "--bins"]))
}

/// What the tests against a server need, by the variables in which they look for it, or that they
/// are left out.
fn kubernetes(options: &Options) -> anyhow::Result<Vec<(&'static str, PathBuf)>> {
    if options.without_kubernetes {
        return Ok(vec![("SEKISHO_WITHOUT_KUBERNETES", "1".into())]);
    }
    Ok(vec![("HELM", setup::helm()?), ("KUBEBUILDER_ASSETS", setup::kubernetes()?)])
}

/// A failed test in one crate does not hide those of the next.
fn run_tests(
    options: &Options,
    programs: Vec<(&'static str, PathBuf)>,
) -> anyhow::Result<(ExitStatus, Tally)> {
    let mut command: Command = cargo();
    command.args(["test", "--workspace", "--exclude", "agent-ebpf", "--no-fail-fast"]);
    command.envs(programs);
    command.args(&options.filter);
    command.current_dir(workspace()).stdin(Stdio::null()).stdout(Stdio::piped());
    let mut child = command.spawn().context("cargo test could not be started")?;
    let output = child.stdout.take().expect("it is piped");
    let mut tally = Tally::default();
    for line in BufReader::new(output).lines() {
        let line = line?;
        println!("{line}");
        tally.add(&line);
    }
    Ok((child.wait()?, tally))
}

impl Tally {
    /// Counts a line such as `test result: ok. 3 passed; 0 failed; 1 ignored; …`.
    fn add(&mut self, line: &str) {
        let Some(counts) = line.strip_prefix("test result: ") else { return };
        let words: Vec<&str> = counts.split([' ', ';', '.']).collect();
        for pair in words.windows(2) {
            let Ok(count) = pair[0].parse::<u64>() else { continue };
            match pair[1] {
                "passed" => self.passed += count,
                "failed" => self.failed += count,
                "ignored" => self.ignored += count,
                _ => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn result_lines_add_up_and_others_do_not() {
        let mut tally = Tally::default();
        tally.add("test result: ok. 3 passed; 0 failed; 1 ignored; 0 measured; 2 filtered out");
        tally.add("test result: FAILED. 10 passed; 2 failed; 0 ignored; 0 measured");
        tally.add("test 5 failed tests are counted ... ok");
        assert_eq!(tally, Tally { passed: 13, failed: 2, ignored: 1 });
    }
}
