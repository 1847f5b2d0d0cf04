//! `cargo xtask setup`: what the build, the tests and the demo need, installed where it is missing.
//!
//! It looks at what is really there, never at a stamp, so the second time takes a second and a
//! half-removed toolchain is found.

mod apt;
mod helm;
mod kubernetes;
mod linker;
mod toolchain;

use clap::{Args, ValueEnum};

use crate::command::{quiet, succeeds};
use std::{path::PathBuf, process::Command};

#[derive(Debug, Default, Args)]
pub(crate) struct Options {
    /// Take only this road to the compiler for the kernel programs, and build it again
    #[arg(long)]
    road: Option<Road>,
    /// Also find or build the API server and etcd for the tests, and say where they are
    #[arg(long)]
    kubernetes: bool,
}

/// Where the compiler for the kernel programs comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Road {
    /// A nightly with rust-src, by rustup
    Rustup,
    /// Debian's own packages
    Debian,
}

/// Programs that the tests and the demo start, each with the Debian package that brings it.
const PROGRAMS: [(&str, &str); 4] = [
    ("ip", "iproute2"),
    ("psql", "postgresql-client"),
    ("pg_ctlcluster", "postgresql"),
    ("/usr/lib/cni/ptp", "containernetworking-plugins"),
];

pub(crate) fn run(options: &Options) -> anyhow::Result<()> {
    components()?;
    compiler(options.road)?;
    apt::ensure_programs(&PROGRAMS)?;
    if options.kubernetes {
        println!("setup: Kubernetes for the tests in {}", kubernetes()?.display());
    }
    Ok(())
}

/// What a build alone needs, without what checks, tests and the demo need besides.
pub(crate) fn build() -> anyhow::Result<()> {
    compiler(None)
}

/// Packages that one verb alone needs.
pub(crate) fn packages(names: &[&str]) -> anyhow::Result<()> {
    apt::ensure_packages(names)
}

/// Helm, which the test of the chart alone needs.
pub(crate) fn helm() -> anyhow::Result<PathBuf> {
    helm::ensure()
}

/// The folder with the programs of Kubernetes that the suites start.
pub(crate) fn kubernetes() -> anyhow::Result<PathBuf> {
    kubernetes::ensure()
}

fn compiler(road: Option<Road>) -> anyhow::Result<()> {
    let linker = linker::ensure()?;
    let compiler = toolchain::ensure(road, linker)?;
    println!("setup: kernel programs by {compiler}, linked by bpf-linker ({linker})");
    Ok(())
}

/// The host's toolchain has these in rustup's default profile, but not in its minimal one.
fn components() -> anyhow::Result<()> {
    for (component, program) in [("rustfmt", "fmt"), ("clippy", "clippy")] {
        if !succeeds(Command::new("cargo").args([program, "--version"])) {
            println!("setup: adding the component {component}");
            quiet(Command::new("rustup").args(["component", "add", component]))?;
        }
    }
    Ok(())
}
