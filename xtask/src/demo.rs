//! `cargo xtask demo`: a real database, refused and then allowed; `cargo xtask demo requests`: Bookinfo,
//! whose requests are shifted, broken and tried again. On this machine and within a minute; every
//! namespace, process and file of it is gone at the end, however it ends.

mod bookinfo;
mod manifests;
mod requests;
mod story;
mod telling;

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use crate::{agent, interrupt, place, setup};
use agent::Profile;

/// A story.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum Story {
    /// A database that is refused, then allowed
    Egress,
    /// Bookinfo's requests: split by weights that shift, led by a header, broken, tried again
    Requests,
}

#[derive(Debug, Args)]
pub(crate) struct Options {
    /// What is shown
    #[arg(value_enum, default_value = "egress")]
    story: Story,
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
    let told = match options.story {
        Story::Egress => story::tell(program, options.keep),
        Story::Requests => requests::tell(program, options.keep),
    };
    told.map_err(|problem| interrupt::check().err().unwrap_or(problem))
}
