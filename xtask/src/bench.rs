//! `cargo xtask bench`: measurements against no agent, on this machine, in one run.

mod datapath;
mod hooks;
pub(crate) mod load;
mod manifests;
mod node;
mod sample;
mod stage;

use std::path::PathBuf;

use clap::{Args, Subcommand};

#[derive(Debug, Args)]
pub(crate) struct Options {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Connect rate, round trip and throughput of direct and proxied connections; the cost of each
    /// hook; the time until a changed rule is enforced; memory
    Datapath(DatapathOptions),
    /// On a cluster: what the CNI plugin adds to a pod's start, the time until a pod is enrolled,
    /// memory and CPU of the agent with many pods, the image's size
    Node(NodeOptions),
}

#[derive(Debug, Args)]
pub(crate) struct NodeOptions {
    /// How many pods the node has
    #[arg(long, default_value_t = 100)]
    pods: usize,
    /// How many more are started one after the other
    #[arg(long, default_value_t = 30)]
    single: usize,
    /// Take this image instead of making one
    #[arg(long, value_name = "FILE")]
    image: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct DatapathOptions {
    /// How often every case is measured in turn
    #[arg(long, default_value_t = 15)]
    rounds: usize,
    /// How long one measurement takes, in milliseconds
    #[arg(long, default_value_t = 300)]
    millis: u64,
    /// Measure this program instead of building one
    #[arg(long, value_name = "PATH")]
    program: Option<PathBuf>,
}

pub(crate) fn run(options: &Options) -> anyhow::Result<()> {
    match &options.what {
        What::Datapath(options) => datapath::run(options),
        What::Node(options) => node::run(options),
    }
}
