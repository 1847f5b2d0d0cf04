//! Helm, with which a test renders the chart. It is not among Debian's packages; its Go module is
//! built once, into the target directory.

use std::{fs, path::PathBuf, process::Command};

use anyhow::Context as _;

use crate::command::{quiet, succeeds, target_dir};

/// What was tried with this tree.
const MODULE: &str = "helm.sh/helm/v3/cmd/helm@v3.22.0";

/// Finds Helm, or builds it.
pub(super) fn ensure() -> anyhow::Result<PathBuf> {
    if succeeds(Command::new("helm").arg("version")) {
        return Ok("helm".into());
    }
    let tools = target_dir().join("tools");
    let helm = tools.join("helm");
    if !helm.exists() {
        fs::create_dir_all(&tools)?;
        println!("setup: building Helm from its Go module");
        let mut install = Command::new("go");
        // The module asks for its own version of Go, which an older one fetches by itself.
        install.args(["install", MODULE]).env("GOBIN", &tools).current_dir(&tools);
        quiet(&mut install).context(
            "Helm is not here and cannot be built: install Helm 3, or Go 1.21 or newer, or leave \
             the chart's test out with `cargo xtask test --without-kubernetes`",
        )?;
    }
    Ok(helm)
}
