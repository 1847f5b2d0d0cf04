//! The compiler for the kernel programs: a rustup toolchain with the source of `core`.
//!
//! Two roads lead there. A nightly of rustup's with `rust-src` is the usual one; where rustup cannot
//! fetch it, Debian packages a compiler with its source. Either way the result is linked under one
//! name, so the build asks for no more.

use std::{
    fmt,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, bail};

use super::{Road, apt, linker::Llvm};
use crate::{
    command::{quiet, succeeds},
    programs::TOOLCHAIN,
};

/// The last one that was tried. Later ones carry an LLVM that the linker may not read, and a
/// compiler that changes every day makes programs that the verifier may one day refuse.
const NIGHTLY: &str = "nightly-2026-05-20";
/// Debian's compiler lives in the system's own prefix.
const DEBIAN_SYSROOT: &str = "/usr";
/// rustup waits much longer for a server that does not answer.
const PATIENCE_SECONDS: &str = "180";

/// A compiler that is there, as the reader should know it.
#[derive(Debug)]
pub(super) struct Compiler {
    road: Road,
    version: String,
}

impl fmt::Display for Compiler {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let road = match self.road {
            Road::Rustup => "rustup's nightly",
            Road::Debian => "Debian's packages",
        };
        write!(f, "{road} ({})", self.version)
    }
}

/// Finds the compiler, or makes it by the first road that is open.
pub(super) fn ensure(road: Option<Road>, linker: Llvm) -> anyhow::Result<Compiler> {
    if road.is_none()
        && let Some(compiler) = usable(linker)
    {
        return Ok(compiler);
    }
    if road != Some(Road::Debian) {
        match by_rustup(linker) {
            Ok(compiler) => return Ok(compiler),
            Err(problem) if road.is_some() => return Err(problem),
            Err(problem) => println!("setup: not by rustup: {problem:#}"),
        }
    }
    by_debian(linker)
}

/// The linked toolchain, if it has the source and the linker understands it.
fn usable(linker: Llvm) -> Option<Compiler> {
    let sysroot = sysroot(TOOLCHAIN)?;
    let described = describe(&sysroot)?;
    (has_source(&sysroot) && linker.reads(described.llvm)).then(|| Compiler {
        road: if sysroot == Path::new(DEBIAN_SYSROOT) { Road::Debian } else { Road::Rustup },
        version: described.version,
    })
}

fn by_rustup(linker: Llvm) -> anyhow::Result<Compiler> {
    if !sysroot(NIGHTLY).is_some_and(|sysroot| has_source(&sysroot)) {
        println!("setup: asking rustup for {NIGHTLY} with rust-src");
        let install = ["toolchain", "install", NIGHTLY, "--profile", "minimal"];
        let source = ["--component", "rust-src", "--no-self-update"];
        let mut rustup = Command::new("timeout");
        quiet(rustup.args([PATIENCE_SECONDS, "rustup"]).args(install).args(source))?;
    }
    let sysroot = sysroot(NIGHTLY).context("rustup has no such nightly")?;
    link(&sysroot)?;
    usable(linker).context("that nightly lacks rust-src, or its LLVM is newer than the linker's")
}

fn by_debian(linker: Llvm) -> anyhow::Result<Compiler> {
    let packages = ["rustc-web", "cargo-web", "rust-web-src"];
    if !packages.iter().all(|package| apt::offers(package)) {
        bail!(
            "no road to a compiler for the kernel programs: rustup has no rust-src, apt no {}",
            packages[0]
        );
    }
    apt::ensure_packages(&packages)?;
    link(Path::new(DEBIAN_SYSROOT))?;
    usable(linker).context("Debian's compiler was installed, but lacks its source")
}

fn link(sysroot: &Path) -> anyhow::Result<()> {
    quiet(Command::new("rustup").args(["toolchain", "link", TOOLCHAIN]).arg(sysroot)).map(drop)
}

fn has_source(sysroot: &Path) -> bool {
    sysroot.join("lib/rustlib/src/rust/library/core").is_dir()
        && succeeds(Command::new(sysroot.join("bin/cargo")).arg("--version"))
}

fn sysroot(toolchain: &str) -> Option<PathBuf> {
    // `rustup run` would install a toolchain that is missing, unless told not to.
    let path = quiet(
        Command::new("rustup")
            .args(["run", toolchain, "rustc", "--print", "sysroot"])
            .env("RUSTUP_AUTO_INSTALL", "0"),
    )
    .ok()?;
    Some(PathBuf::from(path.trim()))
}

#[derive(Debug, PartialEq, Eq)]
struct Described {
    version: String,
    llvm: u32,
}

fn describe(sysroot: &Path) -> Option<Described> {
    parse_version(&quiet(Command::new(sysroot.join("bin/rustc")).arg("-vV")).ok()?)
}

fn parse_version(text: &str) -> Option<Described> {
    let field = |name: &str| text.lines().find_map(|line| line.strip_prefix(name));
    let llvm = field("LLVM version: ")?.split('.').next()?.parse().ok()?;
    Some(Described { version: text.lines().next()?.to_owned(), llvm })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_compiler_says_which_llvm_it_carries() {
        let said = "rustc 1.96.0 (Debian)\nbinary: rustc\nLLVM version: 22.1.8\n";
        let expected = Described { version: "rustc 1.96.0 (Debian)".to_owned(), llvm: 22 };
        assert_eq!(parse_version(said), Some(expected));
        assert_eq!(parse_version("rustc 1.96.0\n"), None);
    }
}
