//! Puts the kernel programs where `aya::include_bytes_aligned!` finds them: `OUT_DIR/sekisho`.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::ExitCode,
};

#[path = "build/programs.rs"]
mod programs;

use programs::Layout;

fn main() -> ExitCode {
    let manifest_dir = PathBuf::from(variable("CARGO_MANIFEST_DIR"));
    let workspace =
        manifest_dir.ancestors().nth(2).expect("the crate lies two deep in the workspace");
    let out_dir = PathBuf::from(variable("OUT_DIR"));
    watch(workspace);
    match programs::build(workspace, target_dir(&out_dir), layout()) {
        Ok(object) => {
            fs::copy(object, out_dir.join("sekisho")).expect("OUT_DIR is writable");
            ExitCode::SUCCESS
        }
        Err(problem) => {
            for line in problem.to_string().lines() {
                println!("cargo::error={line}");
            }
            ExitCode::FAILURE
        }
    }
}

fn variable(name: &str) -> String {
    env::var(name).expect("cargo sets it for build scripts")
}

fn layout() -> Layout {
    if env::var_os("CARGO_FEATURE_NEXT_LAYOUT").is_some() { Layout::Next } else { Layout::Current }
}

/// `OUT_DIR` is `<target>[/<triple>]/<profile>/build/<crate>-<hash>/out`. The kernel programs are the
/// same for every profile and triple, and are built once for all of them.
fn target_dir(out_dir: &Path) -> &Path {
    let of_profile = out_dir.ancestors().nth(4).expect("cargo nests OUT_DIR four deep");
    match of_profile.parent() {
        Some(target) if of_profile.ends_with(variable("TARGET")) => target,
        _ => of_profile,
    }
}

fn watch(workspace: &Path) {
    for path in
        ["agent-ebpf", "agent-abi", "agent/kernel/build", "agent/kernel/build.rs", "Cargo.lock"]
    {
        println!("cargo::rerun-if-changed={}", workspace.join(path).display());
    }
}
