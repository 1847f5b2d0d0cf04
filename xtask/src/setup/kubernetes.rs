//! The API server, etcd and kubectl that the suites start: those that the environment names, those
//! that lie beside the workspace, or a build of the sources in `tests/kubernetes`.

use std::{
    env, fs,
    hash::{DefaultHasher, Hash as _, Hasher as _},
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, bail};

use crate::command::{quiet, target_dir, workspace};

/// The folder with the programs, as envtest names it.
const ASSETS: &str = "KUBEBUILDER_ASSETS";
const PROGRAMS: [&str; 3] = ["kube-apiserver", "etcd", "kubectl"];
/// One program that is all of them, by the name that it is called by.
const ALL: &str = "kubernetes";
/// The sources, and what decides what comes of them.
const SOURCES: [&str; 3] = ["main.go", "go.mod", "go.sum"];
/// Without it the server does not know which version it is.
const VERSION: &str = "k8s.io/component-base/version.gitVersion=v1.34.4";

/// The folder with all programs.
pub(super) fn ensure() -> anyhow::Result<PathBuf> {
    if let Some(folder) = env::var_os(ASSETS).filter(|folder| !folder.is_empty()) {
        let folder = PathBuf::from(folder);
        return match lacks(&folder) {
            Some(program) => bail!("{ASSETS} is {}, which has no {program}", folder.display()),
            None => Ok(folder),
        };
    }
    let beside = workspace().join("../shared/k8s/cluster");
    if beside.exists() {
        let folder = quiet(Command::new(&beside).arg("assets"))?;
        return Ok(PathBuf::from(folder.trim()));
    }
    build().context(format!(
        "there is no Kubernetes to test with. Either name a folder with {} in {ASSETS} \
         (`setup-envtest use -p path` makes one), or install Go 1.24 or newer, with which they are \
         built, or leave these tests out with `cargo xtask test --without-kubernetes`",
        PROGRAMS.join(", ")
    ))
}

fn lacks(folder: &Path) -> Option<&'static str> {
    PROGRAMS.into_iter().find(|program| !folder.join(program).exists())
}

/// Builds them where that was not done from these very sources.
fn build() -> anyhow::Result<PathBuf> {
    let sources = workspace().join("tests/kubernetes");
    let folder = target_dir().join("tools").join(format!("{ALL}-{}", fingerprint(&sources)?));
    if lacks(&folder).is_none() {
        return Ok(folder);
    }
    println!(
        "setup: building Kubernetes from its Go modules, once, in six minutes on two processors"
    );
    fs::create_dir_all(&folder)?;
    let mut go = Command::new("go");
    go.args(["build", "-trimpath", "-ldflags", &format!("-s -w -X {VERSION}"), "-o"]);
    go.arg(folder.join(ALL)).arg(".").current_dir(sources);
    // Modules that differ from `go.sum` are refused, and nothing is looked for by a workspace.
    go.env("CGO_ENABLED", "0").env("GOFLAGS", "-mod=readonly -buildvcs=false").env("GOWORK", "off");
    quiet(&mut go)?;
    for program in PROGRAMS {
        let link = folder.join(program);
        if !link.exists() {
            symlink(ALL, link)?;
        }
    }
    Ok(folder)
}

/// Another one for other sources.
fn fingerprint(sources: &Path) -> anyhow::Result<String> {
    let mut hasher = DefaultHasher::new();
    for name in SOURCES {
        let path = sources.join(name);
        let text = fs::read(&path).with_context(|| format!("reading {}", path.display()))?;
        text.hash(&mut hasher);
    }
    Ok(format!("{:016x}", hasher.finish()))
}
