//! The suites: each test program that cargo has built, by its package and name, and the examples in
//! the documentation. Each is run on its own, so that its time and its lines are known to be its.

use std::{
    io::{BufRead as _, BufReader, Write as _},
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::Context as _;
use serde_json::Value;

use super::tally::{Count, Tally};
use crate::command::{cargo, quiet};

/// Of the kernel programs there is nothing to run here.
const EVERYTHING: [&str; 3] = ["--workspace", "--exclude", "agent-ebpf"];

/// What takes minutes and few changes concern: `--long` runs it, and so does a filter.
const LONG: [&str; 6] = [
    "sekisho-tests crds_agree",
    "sekisho-tests moved",
    "sekisho-tests object_status",
    "sekisho-tests server_faults",
    "sekisho-tests server_history",
    "sekisho-tests soak",
];

/// A suite.
#[derive(Debug)]
pub(crate) struct Suite {
    /// Its package and its own name.
    pub(crate) name: String,
    kind: Kind,
}

#[derive(Debug)]
enum Kind {
    /// A program, and the folder of its package, where cargo would run it.
    Program { program: PathBuf, package: PathBuf },
    /// The examples in the documentation, which rustdoc builds and runs.
    Examples,
}

/// Builds all of them.
pub(crate) fn build() -> anyhow::Result<Vec<Suite>> {
    let mut command = cargo();
    command.arg("test").args(EVERYTHING);
    let messages =
        quiet(command.args(["--no-run", "--message-format", "json-render-diagnostics"]))?;
    let mut suites = Vec::new();
    for line in messages.lines() {
        suites.extend(program(&serde_json::from_str(line)?)?);
    }
    suites.sort_by(|a, b| a.name.cmp(&b.name));
    suites.push(Suite { name: "examples in the documentation".to_owned(), kind: Kind::Examples });
    Ok(suites)
}

/// The suite of which a message of cargo's tells, if it is about one.
fn program(message: &Value) -> anyhow::Result<Option<Suite>> {
    if message["reason"] != "compiler-artifact" || message["profile"]["test"] != true {
        return Ok(None);
    }
    let Some(program) = message["executable"].as_str() else { return Ok(None) };
    let manifest = message["manifest_path"].as_str().map(Path::new);
    let package = manifest.and_then(Path::parent).context("a program of no package")?;
    let target = &message["target"];
    let (name, kind) = (target["name"].as_str(), target["kind"][0].as_str());
    let (name, kind) = name.zip(kind).context("a program without a name")?;
    let id = message["package_id"].as_str().context("a program of no package")?;
    let name = match kind {
        "test" => format!("{} {name}", package_name(id)),
        _ => format!("{} ({kind})", package_name(id)),
    };
    let (program, package) = (PathBuf::from(program), package.to_path_buf());
    Ok(Some(Suite { name, kind: Kind::Program { program, package } }))
}

/// From `path+file:///folder#name@0.1.0`, or `path+file:///folder/name#0.1.0` where both agree.
fn package_name(id: &str) -> &str {
    let (path, fragment) = id.rsplit_once('#').unwrap_or((id, ""));
    match fragment.split_once('@') {
        Some((name, _)) => name,
        None => path.rsplit('/').next().unwrap_or(path),
    }
}

impl Suite {
    /// Runs it, or those of its tests whose name contains `filter`; what it prints is printed.
    pub(crate) fn run(
        &self,
        filter: Option<&str>,
        variables: &[(&str, PathBuf)],
    ) -> anyhow::Result<Tally> {
        println!("\ntest: {}", self.name);
        let mut command = self.command();
        command.args(filter).envs(variables.iter().map(|(name, value)| (name, value)));
        command.stdin(Stdio::null()).stdout(Stdio::piped());
        let mut child = command.spawn().with_context(|| format!("starting {}", self.name))?;
        let output = child.stdout.take().expect("it is piped");
        let mut count = Count::default();
        for line in BufReader::new(output).split(b'\n') {
            let line = String::from_utf8_lossy(&line?).into_owned();
            println!("{line}");
            count.add(&line);
        }
        std::io::stdout().flush()?;
        Ok(count.end(child.wait()?.success()))
    }

    /// Whether only a long run has it.
    pub(crate) fn is_long(&self) -> bool {
        LONG.contains(&self.name.as_str())
    }

    /// Leaves it out: its tests count as skipped.
    pub(crate) fn leave_out(&self) -> anyhow::Result<Tally> {
        println!("\ntest: {}: left out; `cargo xtask test --long` runs it", self.name);
        let listed = quiet(self.command().arg("--list"))?;
        let tests = listed.lines().filter(|line| line.ends_with(": test")).count();
        Ok(Tally { skipped: u64::try_from(tests)?, ..Tally::default() })
    }

    fn command(&self) -> Command {
        match &self.kind {
            Kind::Program { program, package } => {
                let mut command = Command::new(program);
                command.current_dir(package).env("CARGO_MANIFEST_DIR", package);
                command
            }
            Kind::Examples => {
                let mut command = cargo();
                command.args(["test", "--doc", "--no-fail-fast", "--quiet"]).args(EVERYTHING);
                command
            }
        }
    }
}

#[cfg(test)]
impl Suite {
    /// One that is never run.
    pub(crate) fn named(name: String) -> Self {
        Self { name, kind: Kind::Examples }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(kind: &str, name: &str, id: &str) -> Value {
        serde_json::json!({
            "reason": "compiler-artifact",
            "package_id": id,
            "manifest_path": "/tree/tests/Cargo.toml",
            "target": {"kind": [kind], "name": name},
            "profile": {"test": true},
            "executable": "/tree/target/debug/deps/a",
        })
    }

    fn name(message: &Value) -> Option<String> {
        program(message).expect("cargo's form").map(|suite| suite.name)
    }

    #[test]
    fn a_suite_is_called_by_its_package_and_its_name() {
        let id = "path+file:///tree/tests#sekisho-tests@0.1.0";
        assert_eq!(name(&message("test", "cni", id)).as_deref(), Some("sekisho-tests cni"));
        let id = "path+file:///tree/xtask#0.1.0";
        assert_eq!(name(&message("bin", "xtask", id)).as_deref(), Some("xtask (bin)"));
    }

    #[test]
    fn what_is_built_beside_the_tests_is_no_suite() {
        let mut plain = message("bin", "sekisho", "path+file:///tree/agent#0.1.0");
        plain["profile"]["test"] = false.into();
        assert_eq!(name(&plain), None);
        assert_eq!(name(&serde_json::json!({"reason": "build-finished"})), None);
    }
}
