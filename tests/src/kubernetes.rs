//! Kubernetes as the tests find it: its programs, what of it is in this tree, and whether tests with it
//! were left out.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Result, ensure};

use crate::skip;

/// Where the programs are, as envtest names it.
const ASSETS: &str = "KUBEBUILDER_ASSETS";
/// Set by `cargo xtask test --without-kubernetes`.
const LEFT_OUT: &str = "SEKISHO_WITHOUT_KUBERNETES";

/// Whether tests against a server were left out on purpose. Each of them asks once, which says so.
pub fn is_left_out() -> bool {
    let left_out = std::env::var_os(LEFT_OUT).is_some_and(|value| !value.is_empty());
    if left_out {
        skip::say(&format!("{LEFT_OUT} is set"));
    }
    left_out
}

/// The root of the workspace.
pub fn tree() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// The folder with `kube-apiserver`, `etcd` and `kubectl`: what the environment names (as `cargo
/// xtask test` does, which builds them where there is none), else what the folder `shared/k8s`
/// beside the workspace has.
pub fn assets() -> Result<PathBuf> {
    if let Some(folder) = std::env::var_os(ASSETS).filter(|folder| !folder.is_empty()) {
        return complete(PathBuf::from(folder));
    }
    let script = tree().join("../shared/k8s/cluster");
    ensure!(
        script.exists(),
        "no Kubernetes to test with: set {ASSETS} to a folder with kube-apiserver, etcd and \
         kubectl, or let `cargo xtask test` build them, or leave these tests out with \
         `cargo xtask test --without-kubernetes`"
    );
    let output = Command::new(&script).arg("assets").output()?;
    ensure!(
        output.status.success(),
        "{}: {}",
        script.display(),
        String::from_utf8_lossy(&output.stderr)
    );
    complete(PathBuf::from(String::from_utf8_lossy(&output.stdout).trim()))
}

fn complete(folder: PathBuf) -> Result<PathBuf> {
    for program in ["kube-apiserver", "etcd", "kubectl"] {
        ensure!(folder.join(program).exists(), "{} has no {program}", folder.display());
    }
    Ok(folder)
}
