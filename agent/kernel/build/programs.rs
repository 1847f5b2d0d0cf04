//! Builds the kernel programs for the BPF target, with the toolchain that `cargo xtask setup` made.
//!
//! The build script of `agent-kernel` and `cargo xtask ebpf` both include this file, so there is one way to
//! build them. It must stay within the standard library.
//!
//! They get a target directory of their own: the outer cargo holds the lock of the common one for
//! as long as a build script runs. Each set of features gets its own too, so that two builds at a
//! time never copy each other's result.

/// `cargo xtask image` builds the agent itself by the same.
pub(crate) mod places;

use std::{
    fmt, io,
    path::{Path, PathBuf},
    process::{Command, Output},
};

/// A rustup toolchain that has the standard library's source, whichever road `setup` took to it.
pub(crate) const TOOLCHAIN: &str = "sekisho-bpf";
/// What the README and every message say to run.
pub(crate) const ADVICE: &str = "run `cargo xtask setup`";

const PACKAGE: &str = "agent-ebpf";
const BINARY: &str = "sekisho-ebpf";
const TARGET: &str = "bpfel-unknown-none";

/// Which kernel programs are wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Layout {
    /// The map layout of this version.
    Current,
    /// Another one, for the tests that upgrade an agent across layouts.
    Next,
}

/// Why there are no kernel programs.
#[derive(Debug)]
pub(crate) enum BuildError {
    ToolchainMissing,
    LinkerMissing,
    Spawn(io::Error),
    Compile(String),
}

impl fmt::Display for BuildError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ToolchainMissing => {
                write!(f, "the rustup toolchain {TOOLCHAIN} with rust-src is missing: {ADVICE}")
            }
            Self::LinkerMissing => write!(f, "bpf-linker is missing: {ADVICE}"),
            Self::Spawn(_) => write!(f, "rustup could not be started: {ADVICE}"),
            Self::Compile(messages) => {
                write!(f, "the kernel programs do not compile:\n{messages}")
            }
        }
    }
}

impl std::error::Error for BuildError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Spawn(cause) => Some(cause),
            Self::ToolchainMissing | Self::LinkerMissing | Self::Compile(_) => None,
        }
    }
}

impl Layout {
    fn name(self) -> &'static str {
        match self {
            Self::Current => "current-layout",
            Self::Next => "next-layout",
        }
    }
}

/// Compiles and links the programs and returns the path of the object file.
pub(crate) fn build(
    workspace: &Path,
    target_dir: &Path,
    layout: Layout,
) -> Result<PathBuf, BuildError> {
    if library_source().is_none() {
        return Err(BuildError::ToolchainMissing);
    }
    if Command::new("bpf-linker").arg("--version").output().is_err() {
        return Err(BuildError::LinkerMissing);
    }
    let target_dir = target_dir.join("ebpf").join(layout.name());
    let output = cargo_build(workspace, &target_dir, layout).map_err(BuildError::Spawn)?;
    if !output.status.success() {
        return Err(BuildError::Compile(String::from_utf8_lossy(&output.stderr).into_owned()));
    }
    Ok(target_dir.join(TARGET).join("release").join(BINARY))
}

/// Where the toolchain keeps the source of `core`, if it is really there.
pub(crate) fn library_source() -> Option<PathBuf> {
    places::library(rustc).map(|library| library.join("library/core")).filter(|core| core.is_dir())
}

fn rustc() -> Command {
    let mut command = Command::new("rustup");
    command.args(["run", TOOLCHAIN, "rustc"]);
    command
}

fn cargo_build(workspace: &Path, target_dir: &Path, layout: Layout) -> io::Result<Output> {
    let mut command = Command::new("rustup");
    command
        .args(["run", TOOLCHAIN, "cargo", "build", "--release"])
        .args(["--package", PACKAGE, "--bin", BINARY, "--target", TARGET])
        // The target has no compiled `core`; building it is unstable outside a nightly.
        .args(["-Z", "build-std=core"])
        .arg("--target-dir")
        .arg(target_dir)
        .current_dir(workspace)
        .env("RUSTC_BOOTSTRAP", "1")
        .env("CARGO_ENCODED_RUSTFLAGS", rust_flags(workspace));
    if layout == Layout::Next {
        command.args(["--features", "next-layout"]);
    }
    // The outer cargo's choices of compiler, wrapper and target must not reach the inner one.
    for name in ["RUSTC", "RUSTDOC", "RUSTC_WRAPPER", "RUSTC_WORKSPACE_WRAPPER", "RUSTFLAGS"] {
        command.env_remove(name);
    }
    command.env_remove("CARGO_BUILD_TARGET").env_remove("CARGO_TARGET_DIR").output()
}

/// The linker turns debug information into BTF, which the loader needs; aya picks the layout of
/// `pt_regs` by the machine's architecture.
fn rust_flags(workspace: &Path) -> String {
    let architecture = format!("--cfg=bpf_target_arch=\"{}\"", std::env::consts::ARCH);
    let mut flags = vec![architecture, "-Cdebuginfo=2".to_owned(), "-Clink-arg=--btf".to_owned()];
    flags.extend(places::flags(workspace, rustc));
    flags.join("\u{1f}")
}
