//! `cargo xtask test`: everything that can be proven on this machine, a suite at a time.
//!
//! ```text
//! suites   the test programs that cargo has built, and the documentation's examples
//! shard    which of them a part runs
//! tally    what came of one, counted from its own lines
//! report   a table of them all, and the line at the end
//! ```
//!
//! Kernel tests start the agent, so both builds of it exist before the first test runs: the
//! current one where cargo puts it, the one with another map layout under `target/next-layout`.

mod report;
mod shard;
mod suites;
mod tally;

use std::{fs, path::PathBuf, time::Instant};

use anyhow::{Context as _, bail};
use clap::Args;

use crate::{
    command::{build_programs, target_dir},
    setup,
};
use report::Row;
use shard::Shard;

/// Runs every suite, prints how long each took, and ends with how many tests passed, failed and were
/// skipped.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// Leave out the tests against a Kubernetes API server: they count as skipped
    #[arg(long)]
    without_kubernetes: bool,
    /// Run also the suites that take minutes and few changes concern, and cases that repeat others in
    /// one more setting; without it they count as skipped
    #[arg(long)]
    long: bool,
    /// Run one part of several, such as 1/3: each suite is in just one of them, and the parts take
    /// about the same time
    #[arg(long, value_name = "PART/PARTS")]
    shard: Option<Shard>,
    /// Run only tests whose name contains this
    filter: Option<String>,
}

pub(crate) fn run(options: &Options) -> anyhow::Result<()> {
    let started = Instant::now();
    setup::run(&setup::Options::default())?;
    // What is missing is said before anything is built.
    let mut variables = kubernetes(options)?;
    if options.long {
        variables.push(("SEKISHO_LONG", "1".into()));
    }
    build_agents()?;
    println!("test: building the tests");
    let mut suites = suites::build()?;
    if let Some(shard) = options.shard {
        suites = shard.of(suites);
    }
    println!("test: {} suites, {} s after the start", suites.len(), started.elapsed().as_secs());
    let mut rows = Vec::new();
    for suite in suites {
        let before = Instant::now();
        let is_left_out = suite.is_long() && !options.long && options.filter.is_none();
        let tally = if is_left_out {
            suite.leave_out()?
        } else {
            suite.run(options.filter.as_deref(), &variables)?
        };
        rows.push(Row { suite: suite.name, tally, took: before.elapsed() });
    }
    print!("{}", report::table(&mut rows));
    println!("test: {} s in all", started.elapsed().as_secs());
    let sum = report::sum(&rows);
    println!("{sum}");
    if sum.failed > 0 {
        bail!("not every test passed");
    }
    Ok(())
}

/// The other layout goes first: both builds leave their result at the same place, and the current
/// one must be what stays there.
fn build_agents() -> anyhow::Result<()> {
    println!("test: building the agent with another map layout");
    build_programs(&["agent/next-layout"])?;
    let built = target_dir().join("debug/sekisho");
    let kept = target_dir().join("next-layout/debug");
    fs::create_dir_all(&kept)?;
    fs::copy(&built, kept.join("sekisho"))
        .with_context(|| format!("{} is not there", built.display()))?;
    println!("test: building the agent");
    build_programs(&[])
}

/// What the tests against a server need, by the variables in which they look for it, or that they
/// are left out.
fn kubernetes(options: &Options) -> anyhow::Result<Vec<(&'static str, PathBuf)>> {
    if options.without_kubernetes {
        return Ok(vec![("SEKISHO_WITHOUT_KUBERNETES", "1".into())]);
    }
    Ok(vec![("HELM", setup::helm()?), ("KUBEBUILDER_ASSETS", setup::kubernetes()?)])
}
