//! The program as an image holds it: static, so that the image needs no C library, and without the
//! paths of the machine that built it.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::bail;

use super::{Arch, Profile};
use crate::{
    command::{cargo, quiet, show, target_dir, workspace},
    programs::places,
};

/// Builds it and says where it is.
///
/// The C library is linked in whole (`crt-static`), as glibc permits where no name service is
/// asked: in a cluster the API server is known by its address, and names are resolved by our own
/// resolver. musl would do as well, but its standard library has to be fetched by rustup.
pub(super) fn build(arch: Arch, profile: Profile) -> anyhow::Result<PathBuf> {
    let triple = triple(arch);
    let mut command = cargo();
    command.args(["build", "--quiet", "--profile", profile.name()]);
    command.args(["--package", "agent", "--target", triple]);
    command.env("CARGO_ENCODED_RUSTFLAGS", flags()).envs(toolchain(arch)?);
    println!("image: building the static program for {triple}, profile {}", profile.name());
    show(&mut command)?;
    let program = target_dir().join(triple).join(profile.name()).join("sekisho");
    let root = workspace();
    // A constant that cargo tells (`CARGO_MANIFEST_DIR`) is none of the paths that are renamed.
    if root != Path::new(places::WORKSPACE) && tells(&fs::read(&program)?, &root) {
        bail!("the program names {}, where it was built", root.display());
    }
    Ok(program)
}

fn tells(program: &[u8], place: &Path) -> bool {
    let place = place.as_os_str().as_encoded_bytes();
    program.windows(place.len()).any(|part| part == place)
}

fn triple(arch: Arch) -> &'static str {
    match arch {
        Arch::Amd64 => "x86_64-unknown-linux-gnu",
        Arch::Arm64 => "aarch64-unknown-linux-gnu",
    }
}

fn flags() -> String {
    let mut flags = vec!["-Ctarget-feature=+crt-static".to_owned()];
    flags.extend(places::flags(&workspace(), rustc));
    flags.join("\u{1f}")
}

fn rustc() -> Command {
    Command::new("rustc")
}

/// What cargo has to be told for the other kind of machine. It needs the standard library and a
/// linker that finds the C library; all that is missing is named at once.
pub(super) fn toolchain(arch: Arch) -> anyhow::Result<Vec<(String, &'static str)>> {
    if arch == Arch::of_this_machine() {
        return Ok(Vec::new());
    }
    let triple = triple(arch);
    let (linker, packages) = match arch {
        Arch::Amd64 => ("x86_64-linux-gnu-gcc", "gcc-x86-64-linux-gnu libc6-dev-amd64-cross"),
        Arch::Arm64 => ("aarch64-linux-gnu-gcc", "gcc-aarch64-linux-gnu libc6-dev-arm64-cross"),
    };
    let mut missing = Vec::new();
    if !has_standard_library(triple)? {
        missing.push(format!("`rustup target add {triple}`"));
    }
    if !links_static_programs(linker) {
        missing.push(format!("`apt-get install {packages}`"));
    }
    if !missing.is_empty() {
        bail!("no toolchain for {}: {}", arch.name(), missing.join(" and "));
    }
    let variable = triple.to_uppercase().replace('-', "_");
    Ok(vec![
        (format!("CARGO_TARGET_{variable}_LINKER"), linker),
        (format!("CC_{}", triple.replace('-', "_")), linker),
    ])
}

fn has_standard_library(triple: &str) -> anyhow::Result<bool> {
    let place = quiet(rustc().args(["--print", "target-libdir", "--target", triple]))?;
    Ok(Path::new(place.trim()).is_dir())
}

/// A compiler may be there without its C library, which Debian only recommends with it; of a file
/// that it does not find it prints the bare name.
fn links_static_programs(linker: &str) -> bool {
    quiet(Command::new(linker).arg("-print-file-name=libc.a"))
        .is_ok_and(|place| Path::new(place.trim()).is_file())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_does_not_tell_where_it_was_built() -> anyhow::Result<()> {
        let folder = tempfile::tempdir()?;
        let source = folder.path().join("main.rs");
        let program = folder.path().join("program");
        // Both panic with a place: its own, and one of the standard library's.
        let text = "fn main() { std::thread::spawn(|| std::env::args().nth(9).unwrap()); }";
        fs::write(&source, text)?;
        let flags = places::flags(folder.path(), rustc);
        quiet(rustc().arg(&source).arg("-O").arg("-o").arg(&program).args(flags))?;
        let bytes = fs::read(program)?;
        let sysroot = quiet(rustc().args(["--print", "sysroot"]))?;
        assert!(tells(&bytes, &Path::new(places::WORKSPACE).join("main.rs")));
        for place in [folder.path(), &Path::new(sysroot.trim()).join("lib/rustlib")] {
            assert!(!tells(&bytes, place), "{}", place.display());
        }
        Ok(())
    }
}
