//! A cluster for tests, by the script that makes it.

use std::{
    env,
    fs::File,
    os::unix::process::CommandExt as _,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, bail};

use crate::{
    command::{quiet, target_dir, workspace},
    interrupt,
};

const SCRIPT: &str = "SEKISHO_CLUSTER";
const PAUSE: Duration = Duration::from_millis(100);

/// A running cluster, taken down when dropped unless it was there before or is to be kept.
#[derive(Debug)]
pub(crate) struct Cluster {
    script: PathBuf,
    keep: bool,
}

impl Cluster {
    /// Takes the one that is up, else starts one.
    pub(crate) fn up(nodes: u8, keep: bool) -> anyhow::Result<Self> {
        let script = env::var_os(SCRIPT)
            .map_or_else(|| workspace().join("../shared/k8s/cluster"), PathBuf::from);
        if !script.exists() {
            bail!("no cluster to try on: {SCRIPT} names the script that makes one");
        }
        let mut cluster = Self { script, keep: true };
        if cluster.kubectl(&["get", "--raw", "/readyz"]).is_ok() {
            println!("e2e: taking the cluster that is up");
            return Ok(cluster);
        }
        println!("e2e: starting a cluster of {nodes} nodes");
        quiet(cluster.verb("up").arg(nodes.to_string()))?;
        cluster.keep = keep;
        Ok(cluster)
    }

    fn verb(&self, verb: &str) -> Command {
        let mut command = Command::new(&self.script);
        command.arg(verb);
        command
    }

    /// The same for the words of a kubectl command.
    pub(crate) fn kubectl(&self, words: &[&str]) -> anyhow::Result<String> {
        quiet(self.verb("kubectl").args(words))
    }

    /// kubectl, not started yet.
    pub(crate) fn kubectl_command(&self, words: &[&str]) -> Command {
        let mut command = self.verb("kubectl");
        command.args(words);
        command
    }

    /// Applies manifests.
    pub(crate) fn apply(&self, manifests: &str) -> anyhow::Result<()> {
        self.feed(&["apply", "-f", "-"], manifests)
    }

    /// Deletes what manifests name.
    pub(crate) fn delete(&self, manifests: &str) -> anyhow::Result<()> {
        self.feed(&["delete", "--wait=false", "--ignore-not-found", "-f", "-"], manifests)
    }

    fn feed(&self, words: &[&str], manifests: &str) -> anyhow::Result<()> {
        feed(&mut self.kubectl_command(words), manifests)
    }

    /// Gives an image to every node.
    pub(crate) fn load(&self, archive: &Path) -> anyhow::Result<()> {
        quiet(self.verb("load").arg(archive)).map(drop)
    }

    /// What runs another command, its arguments, outside the cluster.
    pub(super) fn world(&self) -> Command {
        self.verb("world")
    }

    /// Runs a command on a node.
    pub(crate) fn enter(&self, node: &str, words: &[&str]) -> anyhow::Result<String> {
        quiet(&mut self.enter_command(node, words))
    }

    /// Writes a file on a node, whole.
    pub(crate) fn write(&self, node: &str, path: &str, text: &str) -> anyhow::Result<()> {
        let script = format!("cat >{path}.new && chmod 755 {path}.new && mv {path}.new {path}");
        feed(self.verb("enter").args([node, "sh", "-c", &script]), text)
    }

    /// Starts a program on a node that goes on by itself; `down` ends it with the node.
    pub(super) fn start(&self, node: &str, words: &[String]) -> anyhow::Result<()> {
        let name = Path::new(&words[0]).file_name().context("it has a name")?;
        let log = target_dir().join(format!("e2e-{node}-{}.log", name.display()));
        let log = File::create(&log).with_context(|| log.display().to_string())?;
        let mut command = self.verb("enter");
        command.arg(node).args(words).stdin(Stdio::null());
        command.stdout(log.try_clone()?).stderr(log).process_group(0).spawn()?;
        Ok(())
    }

    /// The same, not started yet.
    pub(super) fn enter_command(&self, node: &str, words: &[&str]) -> Command {
        let mut command = self.verb("enter");
        command.arg(node).args(words);
        command
    }

    /// Takes the API server away.
    pub(super) fn stop_api(&self) -> anyhow::Result<()> {
        quiet(&mut self.verb("stop-api")).map(drop)
    }

    /// Brings it back.
    pub(super) fn start_api(&self) -> anyhow::Result<()> {
        quiet(&mut self.verb("start-api")).map(drop)
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        if !self.keep {
            // What is left over shows in the next `up`, which says so.
            let _ = quiet(&mut self.verb("down"));
        }
    }
}

/// Waits until something is true; the last reason why it was not is the error.
pub(crate) fn eventually(
    patience: Duration,
    mut attempt: impl FnMut() -> anyhow::Result<()>,
) -> anyhow::Result<Duration> {
    let started = Instant::now();
    loop {
        interrupt::check()?;
        let Err(problem) = attempt() else { return Ok(started.elapsed()) };
        if started.elapsed() > patience {
            return Err(problem.context(format!("not within {} s", patience.as_secs())));
        }
        thread::sleep(PAUSE);
    }
}

/// Runs a command on a text.
fn feed(command: &mut Command, text: &str) -> anyhow::Result<()> {
    use std::io::Write as _;
    let mut child =
        command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn()?;
    child.stdin.take().context("it is piped")?.write_all(text.as_bytes())?;
    let output = child.wait_with_output()?;
    if !output.status.success() {
        bail!("{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    }
    Ok(())
}
