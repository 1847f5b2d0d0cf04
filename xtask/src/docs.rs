//! `cargo xtask docs`: the pages of `docs/reference`, which the program writes of its own tables.

use std::{fs, process::Command};

use anyhow::ensure;
use clap::Args;

use crate::command::{build_programs, quiet, target_dir, workspace};

#[derive(Debug, Args)]
pub(crate) struct Options {
    /// Write nothing; fail where a page is not what the program says
    #[arg(long)]
    check: bool,
}

const FOLDER: &str = "docs/reference";
const PAGES: [&str; 5] = ["annotations", "cli", "finding-codes", "log-fields", "metrics"];

pub(crate) fn run(options: &Options) -> anyhow::Result<()> {
    if options.check {
        return check();
    }
    let folder = workspace().join(FOLDER);
    fs::create_dir_all(&folder)?;
    build_programs(&[])?;
    for page in PAGES {
        fs::write(folder.join(format!("{page}.md")), written(page)?)?;
    }
    println!("{} pages in {FOLDER}", PAGES.len());
    Ok(())
}

/// For `cargo xtask check`.
pub(crate) fn check() -> anyhow::Result<()> {
    build_programs(&[])?;
    for page in PAGES {
        let path = format!("{FOLDER}/{page}.md");
        let there = fs::read_to_string(workspace().join(&path)).unwrap_or_default();
        ensure!(
            there == written(page)?,
            "{path} is not what the program says: run `cargo xtask docs`"
        );
    }
    Ok(())
}

fn written(page: &str) -> anyhow::Result<String> {
    quiet(Command::new(target_dir().join("debug/sekisho")).args(["reference", page]))
}
