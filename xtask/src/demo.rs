//! `cargo xtask demo`: a real database, refused and then allowed, on this machine and within a
//! minute; every namespace, process and file of it is gone at the end, however it ends.

mod manifests;
mod story;

use std::path::PathBuf;

use clap::Args;

use crate::{agent, interrupt, place, setup};
use agent::Profile;

#[derive(Debug, Args)]
pub(crate) struct Options {
    /// Leave everything running at the end, and wait for Ctrl-C
    #[arg(long)]
    keep: bool,
    /// Show this program instead of building one
    #[arg(long, value_name = "PATH")]
    program: Option<PathBuf>,
}

pub(crate) fn run(options: &Options) -> anyhow::Result<()> {
    setup::run(&setup::Options::default())?;
    let program = match &options.program {
        Some(program) => program.clone(),
        None => agent::build(Profile::Debug)?,
    };
    interrupt::watch()?;
    place::sweep("demo");
    // Ctrl-C also ends what the demo waits for; the reader wants to read of the cause.
    story::tell(program, options.keep)
        .map_err(|problem| interrupt::check().err().unwrap_or(problem))
}
