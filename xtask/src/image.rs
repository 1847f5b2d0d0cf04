//! `cargo xtask image`: the agent as an OCI archive that `ctr images import`, `kind load
//! image-archive` and `docker load` take. One static program and nothing else; the same tree and
//! toolchain give the same bytes.

pub(crate) mod archive;
mod program;

use std::{fs, path::PathBuf};

use anyhow::Context as _;
use clap::{Args, ValueEnum};

use self::archive::Entry;
use crate::{command::target_dir, setup};

const NAME: &str = "sekisho:dev";
/// The program's place in the image.
const PROGRAM: &str = "usr/local/bin/sekisho";
/// What volumes are mounted on: the root is read-only where it runs.
const MOUNT_POINTS: [&str; 2] = ["run", "tmp"];

#[derive(Debug, Args)]
pub(crate) struct Options {
    /// The machines that it runs on [default: this one's kind]
    #[arg(long, value_enum)]
    arch: Option<Arch>,
    /// The image's name and tag
    #[arg(long, value_name = "NAME:TAG", default_value = NAME)]
    name: String,
    /// How the program is built
    #[arg(long, value_enum, default_value_t = Profile::Release)]
    profile: Profile,
    /// Where the archive goes [default: target/image/sekisho.oci.tar]
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Build the static program alone, into target/image/sekisho, as deploy/Containerfile does
    #[arg(long, conflicts_with = "out")]
    program_only: bool,
}

impl Options {
    /// An image for this machine, under its usual name and at its usual place.
    pub(crate) fn of(profile: Profile) -> Self {
        Self { arch: None, name: NAME.to_owned(), profile, out: None, program_only: false }
    }

    fn arch(&self) -> Arch {
        self.arch.unwrap_or_else(Arch::of_this_machine)
    }
}

/// How the program is built, by the names of Cargo's profiles.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Profile {
    /// As it is released: small and fast, after minutes of link-time optimization
    Release,
    /// For `cargo xtask e2e`: slower and larger, and built in less time
    ImageTest,
}

impl Profile {
    /// The profile's name in Cargo.toml, and of the folder that Cargo builds into.
    const fn name(self) -> &'static str {
        match self {
            Self::Release => "release",
            Self::ImageTest => "image-test",
        }
    }
}

/// Kinds of machines, by the names that images use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Arch {
    Amd64,
    Arm64,
}

impl Arch {
    pub(crate) fn of_this_machine() -> Self {
        if cfg!(target_arch = "aarch64") { Self::Arm64 } else { Self::Amd64 }
    }

    /// As an image's configuration spells it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Amd64 => "amd64",
            Self::Arm64 => "arm64",
        }
    }
}

pub(crate) fn run(options: &Options) -> anyhow::Result<()> {
    // What setup lacks takes minutes to install; what only a person can install is asked for first.
    program::toolchain(options.arch())?;
    setup::build()?;
    make(options).map(drop)
}

/// Makes what the options say and returns its path.
pub(crate) fn make(options: &Options) -> anyhow::Result<PathBuf> {
    let directory = target_dir().join("image");
    fs::create_dir_all(&directory)?;
    let arch = options.arch();
    let program = program::build(arch, options.profile)?;
    if options.program_only {
        let place = directory.join("sekisho");
        fs::copy(&program, &place)?;
        println!("image: {}", place.display());
        return Ok(place);
    }
    let out = options.out.clone().unwrap_or_else(|| directory.join("sekisho.oci.tar"));
    let bytes = fs::read(&program).with_context(|| program.display().to_string())?;
    let entry = Entry { path: PROGRAM.to_owned(), bytes };
    let unpacked = entry.bytes.len();
    let image = archive::pack(&options.name, arch.name(), &[entry], &MOUNT_POINTS)?;
    fs::write(&out, &image.bytes).with_context(|| out.display().to_string())?;
    println!(
        "image: {} for {} in {}: {:.1} MB, {:.1} MB unpacked, {}",
        options.name,
        arch.name(),
        out.display(),
        megabytes(image.bytes.len()),
        megabytes(unpacked),
        image.digest,
    );
    Ok(out)
}

#[expect(clippy::cast_precision_loss, reason = "for people, to a tenth of a megabyte")]
fn megabytes(bytes: usize) -> f64 {
    bytes as f64 / 1e6
}
