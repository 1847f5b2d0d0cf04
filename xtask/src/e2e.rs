//! `cargo xtask e2e`: the `DaemonSet` on a cluster of two nodes, with a database in the world outside
//! it: refused, allowed, revoked, through outages, a rolling update and the removal.
//!
//! The cluster is that of `SEKISHO_CLUSTER` (a script with the verbs `up`, `kubectl`, `world`,
//! `load`, `enter`, `stop-api`, `start-api` and `down`), else the one beside this tree.

mod bookinfo;
mod client;
pub(crate) mod cluster;
pub(crate) mod manifests;
mod neighbour;
mod probe;
mod stage;
mod story;

use std::{path::PathBuf, time::Instant};

use clap::Args;

use crate::{
    image::{self, Profile},
    interrupt, setup,
};
use cluster::Cluster;
use neighbour::Neighbour;
use stage::Stage;

#[derive(Debug, Args)]
pub(crate) struct Options {
    /// Take this image instead of making one
    #[arg(long, value_name = "FILE")]
    image: Option<PathBuf>,
    /// Build the image as it is released: the same steps, with minutes of optimization before them
    #[arg(long, conflicts_with = "image")]
    release: bool,
    /// Leave the cluster up at the end
    #[arg(long)]
    keep: bool,
    /// Run only the first steps, up to the one whose name contains this
    #[arg(long, value_name = "NAME")]
    until: Option<String>,
}

pub(crate) fn run(options: &Options) -> anyhow::Result<()> {
    setup::run(&setup::Options::default())?;
    setup::packages(&["bpftool", "busybox-static"])?;
    let archive = if let Some(archive) = &options.image {
        archive.clone()
    } else {
        let profile = if options.release { Profile::Release } else { Profile::ImageTest };
        image::make(&image::Options::of(profile))?
    };
    Neighbour::build()?;
    interrupt::watch()?;
    let cluster = Cluster::up(2, options.keep)?;
    cluster.load(&archive)?;
    let stage = Stage::set(cluster)?;
    let mut failed = 0;
    let mut passed = 0;
    for (name, step) in story::STEPS {
        interrupt::check()?;
        let started = Instant::now();
        match step(&stage) {
            Ok(said) => {
                passed += 1;
                println!("e2e: ok    {name} ({:.1} s) {said}", started.elapsed().as_secs_f32());
            }
            Err(problem) => {
                failed += 1;
                println!("e2e: FAILED {name}: {problem:#}");
                stage.explain();
                // What comes after builds on what failed.
                break;
            }
        }
        if options.until.as_ref().is_some_and(|until| name.contains(until.as_str())) {
            break;
        }
    }
    println!("{passed} passed, {failed} failed");
    anyhow::ensure!(failed == 0, "not every step passed");
    Ok(())
}
