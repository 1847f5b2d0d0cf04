//! bpf-linker: links LLVM bitcode, so it must be built on an LLVM no older than the compiler's.

use std::{fmt, path::Path, process::Command};

use anyhow::bail;

use super::apt;
use crate::command::{quiet, show, succeeds};

/// What was tried with this tree.
const VERSION: &str = "0.13.0";
const LLVM: u32 = 22;
const LLVM_PREFIX: &str = "/usr/lib/llvm-22";

/// The LLVM that a linker carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Llvm {
    /// Linked to the system's library of this major version.
    Shared(u32),
    /// Within the program, as in the published binaries: no telling which, but the newest.
    Static,
}

impl Llvm {
    /// Whether it reads the bitcode of a compiler with this major version of LLVM.
    pub(super) fn reads(self, compiler: u32) -> bool {
        match self {
            Self::Shared(major) => major >= compiler,
            Self::Static => true,
        }
    }
}

impl fmt::Display for Llvm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Shared(major) => write!(f, "LLVM {major}"),
            Self::Static => write!(f, "LLVM within"),
        }
    }
}

/// Finds the linker, or installs it by the first road that is open.
pub(super) fn ensure() -> anyhow::Result<Llvm> {
    if let Some(llvm) = present() {
        return Ok(llvm);
    }
    install()?;
    match present() {
        Some(llvm) => Ok(llvm),
        None => bail!("bpf-linker was installed but does not start: is ~/.cargo/bin on the PATH?"),
    }
}

fn present() -> Option<Llvm> {
    if !succeeds(Command::new("bpf-linker").arg("--version")) {
        return None;
    }
    let path = quiet(Command::new("sh").args(["-c", "command -v bpf-linker"])).ok()?;
    let libraries = quiet(Command::new("ldd").arg(path.trim())).unwrap_or_default();
    Some(shared_llvm(&libraries).map_or(Llvm::Static, Llvm::Shared))
}

/// `libLLVM.so.22.1 => /usr/lib/…` gives 22.
fn shared_llvm(libraries: &str) -> Option<u32> {
    let after = libraries.split("libLLVM").nth(1)?;
    let digits = after.trim_start_matches(|letter: char| !letter.is_ascii_digit());
    digits.split(|letter: char| !letter.is_ascii_digit()).next()?.parse().ok()
}

fn install() -> anyhow::Result<()> {
    if !Path::new(LLVM_PREFIX).join("lib/cmake").exists() && !apt::offers("llvm-22-dev") {
        return install_published();
    }
    apt::ensure_packages(&[
        "build-essential",
        "libclang-22-dev",
        "libpolly-22-dev",
        "libzstd-dev",
        "llvm-22-dev",
        "zlib1g-dev",
    ])?;
    println!("setup: building bpf-linker {VERSION} with the system's LLVM {LLVM}");
    quiet(
        Command::new("cargo")
            .args(["install", "bpf-linker", "--version", VERSION, "--locked", "--force"])
            .args(["--no-default-features", "--features", "llvm-22"])
            .current_dir("/")
            .env("LLVM_PREFIX", LLVM_PREFIX)
            .env_remove("CARGO_TARGET_DIR"),
    )?;
    Ok(())
}

/// Where the distribution has no LLVM that is new enough, the project's own binaries carry one.
fn install_published() -> anyhow::Result<()> {
    println!("setup: installing bpf-linker {VERSION} as published (no llvm-22-dev here)");
    if !succeeds(Command::new("cargo").args(["binstall", "-V"])) {
        show(Command::new("cargo").args(["install", "cargo-binstall", "--locked"]))?;
    }
    show(Command::new("cargo").args(["binstall", "--no-confirm", &format!("bpf-linker@{VERSION}")]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shared_llvm_is_told_by_its_major_version() {
        let listed = "\tlibLLVM.so.22.1 => /usr/lib/llvm-22/lib/libLLVM.so.22.1 (0x00007f)\n";
        assert_eq!(shared_llvm(listed), Some(22));
        assert_eq!(shared_llvm("\tlibLLVM-15.so.1 => /usr/lib (0x00)"), Some(15));
        assert_eq!(shared_llvm("\tlibc.so.6 => /lib/libc.so.6 (0x00)"), None);
    }

    #[test]
    fn a_linker_reads_bitcode_of_its_own_llvm_and_older() {
        assert!(Llvm::Shared(22).reads(22));
        assert!(Llvm::Shared(22).reads(21));
        assert!(!Llvm::Shared(22).reads(23));
    }
}
