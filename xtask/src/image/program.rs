//! The program as an image holds it: static, so that the image needs no C library, and without the
//! paths of the machine that built it.

use std::{env, path::PathBuf, process::Command};

use anyhow::bail;

use super::Arch;
use crate::command::{cargo, quiet, show, target_dir, workspace};

/// Builds it and says where it is.
///
/// The C library is linked in whole (`crt-static`), as glibc permits where no name service is
/// asked: in a cluster the API server is known by its address, and names are resolved by our own
/// resolver. musl would do as well, but its standard library has to be fetched by rustup.
pub(super) fn build(arch: Arch) -> anyhow::Result<PathBuf> {
    let triple = match arch {
        Arch::Amd64 => "x86_64-unknown-linux-gnu",
        Arch::Arm64 => "aarch64-unknown-linux-gnu",
    };
    let mut command = cargo();
    command.args(["build", "--quiet", "--release", "--package", "agent", "--target", triple]);
    command.env("RUSTFLAGS", flags());
    if arch != Arch::of_this_machine() {
        command.envs(cross(arch, triple)?);
    }
    println!("image: building the static program for {triple}");
    show(&mut command)?;
    Ok(target_dir().join(triple).join("release/sekisho"))
}

fn flags() -> String {
    let mut flags = vec!["-Ctarget-feature=+crt-static".to_owned()];
    let home = env::var("CARGO_HOME").ok();
    let home = home.or_else(|| Some(format!("{}/.cargo", env::var("HOME").ok()?)));
    let places = [(Some(workspace().display().to_string()), "/sekisho"), (home, "/cargo")];
    for (from, to) in places {
        flags.extend(from.map(|from| format!("--remap-path-prefix={from}={to}")));
    }
    flags.join(" ")
}

/// What cargo needs for the other kind of machine: the standard library and a linker.
fn cross(arch: Arch, triple: &str) -> anyhow::Result<Vec<(String, &'static str)>> {
    let (linker, package) = match arch {
        Arch::Amd64 => ("x86_64-linux-gnu-gcc", "gcc-x86-64-linux-gnu"),
        Arch::Arm64 => ("aarch64-linux-gnu-gcc", "gcc-aarch64-linux-gnu"),
    };
    let mut rustc = Command::new("rustc");
    let libraries = quiet(rustc.args(["--print", "target-libdir", "--target", triple]))?;
    if !PathBuf::from(libraries.trim()).is_dir() {
        bail!("no standard library for {triple}: `rustup target add {triple}`");
    }
    if quiet(Command::new(linker).arg("--version")).is_err() {
        bail!(
            "no linker for {triple}: `apt-get install {package} libc6-dev-{arch}-cross`",
            arch = arch.name()
        );
    }
    let variable = triple.to_uppercase().replace('-', "_");
    Ok(vec![
        (format!("CARGO_TARGET_{variable}_LINKER"), linker),
        (format!("CC_{}", triple.replace('-', "_")), linker),
    ])
}
