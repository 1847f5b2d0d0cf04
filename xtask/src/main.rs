//! `cargo xtask VERB`: everything that is done to this tree, a file per verb.

mod agent;
mod bench;
mod cgroup;
mod chart;
mod check;
mod command;
mod crds;
mod database;
mod demo;
mod docs;
mod e2e;
mod ebpf;
mod image;
mod interrupt;
mod place;
/// The same file that the build script of agent-kernel uses: one way to build the kernel programs.
#[path = "../../agent/kernel/build/programs.rs"]
mod programs;
mod setup;
mod test;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

#[derive(Debug, Parser)]
#[command(name = "cargo xtask", about = "Set up, build, check, test and show sekisho")]
struct Arguments {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Install what the build, the tests and the demo need, where it is missing
    Setup(setup::Options),
    /// Build the kernel programs alone and print their sizes
    Ebpf(ebpf::Options),
    /// Format, lints, documentation, licences, and which room may know which
    Check(check::Options),
    /// Build everything and run every test (as root: kernel tests make namespaces of their own)
    Test(test::Options),
    /// Show a database refused, then allowed, in namespaces of the demo's own (as root)
    Demo(demo::Options),
    /// Measure, against no agent, in one interleaved run (as root)
    Bench(bench::Options),
    /// Write the Helm chart's templates from deploy/base
    Chart(chart::Options),
    /// Write docs/reference from the program's own tables
    Docs(docs::Options),
    /// Write the custom resource definitions in deploy/crds from the types
    Crds(crds::Options),
    /// Try everything on a cluster of two nodes (as root)
    E2e(e2e::Options),
    /// Make the container image, as an OCI archive
    Image(image::Options),
    /// A side of the load that `bench` makes
    #[command(hide = true)]
    Load(bench::load::Options),
}

fn main() -> ExitCode {
    match run(Arguments::parse().verb) {
        Ok(()) => ExitCode::SUCCESS,
        Err(problem) => {
            // Without anyhow's backtrace: what failed is another program, and its words are here.
            eprintln!("xtask: {problem:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(verb: Verb) -> anyhow::Result<()> {
    match verb {
        Verb::Setup(options) => setup::run(&options),
        Verb::Ebpf(options) => ebpf::run(&options),
        Verb::Check(options) => check::run(&options),
        Verb::Test(options) => test::run(&options),
        Verb::Demo(options) => demo::run(&options),
        Verb::Bench(options) => bench::run(&options),
        Verb::Chart(options) => chart::run(&options),
        Verb::Docs(options) => docs::run(&options),
        Verb::Crds(options) => crds::run(&options),
        Verb::E2e(options) => e2e::run(&options),
        Verb::Image(options) => image::run(&options),
        Verb::Load(options) => bench::load::run(&options),
    }
}
