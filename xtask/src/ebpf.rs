//! `cargo xtask ebpf`: builds the kernel programs alone and prints the size of each.

mod listing;

use std::fs;

use anyhow::Context as _;
use clap::Args;

use crate::{
    command::{target_dir, workspace},
    programs::{self, Layout},
    setup,
};

#[derive(Debug, Args)]
pub(crate) struct Options {
    /// Build the other map layout, with which the tests try an upgrade
    #[arg(long)]
    next_layout: bool,
    /// Accepted for habit: the verifier refuses unoptimised programs, so every build is optimised
    #[arg(long)]
    release: bool,
}

pub(crate) fn run(options: &Options) -> anyhow::Result<()> {
    setup::build()?;
    let layout = if options.next_layout { Layout::Next } else { Layout::Current };
    let path = programs::build(&workspace(), &target_dir(), layout)?;
    let object = fs::read(&path).with_context(|| format!("{} is unreadable", path.display()))?;
    print!("{}", listing::list(&object)?);
    println!("{}: {} KiB", path.display(), object.len() / 1024);
    Ok(())
}
