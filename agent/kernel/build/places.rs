//! Keeps the places of the machine that builds out of what is built, so that the same tree and
//! toolchain give the same bytes in any folder and under any home.
//!
//! It must stay within the standard library.

use std::{
    env,
    path::{Path, PathBuf},
    process::Command,
};

/// What the workspace's root is called in what is built.
pub(crate) const WORKSPACE: &str = "/sekisho";

/// The compiler's flags for it; `rustc` starts that compiler.
pub(crate) fn flags(workspace: &Path, rustc: impl Fn() -> Command) -> Vec<String> {
    let renamed = [
        Some((workspace.to_path_buf(), WORKSPACE.to_owned())),
        cargo_home().map(|home| (home, "/cargo".to_owned())),
        library_by_commit(rustc),
    ];
    let flag =
        |(from, to): (PathBuf, String)| format!("--remap-path-prefix={}={to}", from.display());
    renamed.into_iter().flatten().map(flag).collect()
}

fn cargo_home() -> Option<PathBuf> {
    let home = env::var_os("CARGO_HOME").map(PathBuf::from);
    home.or_else(|| Some(Path::new(&env::var_os("HOME")?).join(".cargo")))
}

/// A compiler that finds the source of its standard library (`rust-src`) names it by where it lies,
/// and one without it by the commit: the latter is the same everywhere.
fn library_by_commit(rustc: impl Fn() -> Command) -> Option<(PathBuf, String)> {
    let described = answer(rustc().arg("-vV"))?;
    let commit = described.lines().find_map(|line| line.strip_prefix("commit-hash: "))?;
    Some((library(rustc)?, format!("/rustc/{commit}")))
}

/// Where a compiler looks for the source of its standard library; it need not be there.
pub(crate) fn library(rustc: impl Fn() -> Command) -> Option<PathBuf> {
    let sysroot = answer(rustc().args(["--print", "sysroot"]))?;
    Some(Path::new(sysroot.trim()).join("lib/rustlib/src/rust"))
}

fn answer(command: &mut Command) -> Option<String> {
    let output = command.output().ok().filter(|output| output.status.success())?;
    String::from_utf8(output.stdout).ok()
}
