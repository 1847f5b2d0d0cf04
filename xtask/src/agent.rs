//! An agent that a verb starts, asks and stops, with every file of it in one temporary directory.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, bail};
use tempfile::TempDir;

use crate::{
    cgroup,
    command::{cargo, quiet, show, succeeds, target_dir},
    interrupt,
    place::Place,
};

/// An agent starts in well under a second; a loaded machine may take longer.
const PATIENCE: Duration = Duration::from_secs(20);
const PAUSE: Duration = Duration::from_millis(10);

/// Which build of the agent.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Profile {
    Debug,
    Release,
}

/// Builds the program and returns its path.
pub(crate) fn build(profile: Profile) -> anyhow::Result<PathBuf> {
    println!("building the agent");
    let mut command = cargo();
    command.args(["build", "--quiet", "--package", "agent"]);
    let directory = match profile {
        Profile::Debug => "debug",
        Profile::Release => {
            command.arg("--release");
            "release"
        }
    };
    show(&mut command)?;
    Ok(target_dir().join(directory).join("sekisho"))
}

/// An agent's files, and its process while it runs.
#[derive(Debug)]
pub(crate) struct Agent {
    program: PathBuf,
    node: String,
    files: TempDir,
    process: Option<Child>,
}

impl Agent {
    /// Directories for an agent, with a BPF file system of its own: the machine's may be missing,
    /// and what is pinned there goes with it.
    pub(crate) fn prepare(program: PathBuf, node: &str) -> anyhow::Result<Self> {
        let files = tempfile::Builder::new().prefix(&format!("skt-agent-{node}-")).tempdir()?;
        for name in ["config", "run", "bpf"] {
            fs::create_dir(files.path().join(name))?;
        }
        let agent = Self { program, node: node.to_owned(), files, process: None };
        quiet(Command::new("mount").args(["-t", "bpf", "bpf"]).arg(agent.path("bpf")))?;
        Ok(agent)
    }

    /// The program that runs.
    pub(crate) fn program(&self) -> &Path {
        &self.program
    }

    /// A file or directory of this agent.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.files.path().join(name)
    }

    /// Writes a manifest as a careful tool does: whole, then renamed into place.
    pub(crate) fn write(&self, name: &str, manifest: &str) -> anyhow::Result<PathBuf> {
        let path = self.path("config").join(name);
        let draft = self.path("draft");
        fs::write(&draft, manifest)?;
        fs::rename(draft, &path)?;
        Ok(path)
    }

    pub(crate) fn remove(&self, name: &str) -> anyhow::Result<()> {
        Ok(fs::remove_file(self.path("config").join(name))?)
    }

    /// Starts the process in the node's namespace and waits until it says that it is ready. With a
    /// cgroup it judges that one's sockets only, and is in it: it wants to see its own.
    pub(crate) fn start(&mut self, place: &Place, cgroup: Option<&Path>) -> anyhow::Result<()> {
        let log = File::create(self.path("agent.log"))?;
        let mut command = match cgroup {
            Some(cgroup) => {
                let mut command = place.run("node", "sh");
                cgroup::enter(&mut command, cgroup).arg(&self.program);
                command
            }
            None => place.run("node", &self.program),
        };
        command.args(["agent", "--node-name", &self.node]);
        command.arg("--config-dir").arg(self.path("config"));
        command.arg("--run-dir").arg(self.path("run"));
        command.arg("--pin-dir").arg(self.path("bpf/pins"));
        if let Some(cgroup) = cgroup {
            command.arg("--cgroup").arg(cgroup);
        }
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        self.process = Some(command.spawn().context("the agent could not be started")?);
        self.wait_until("the agent is ready", |agent| succeeds(&mut agent.ask("status")))
    }

    /// The process, while it runs.
    pub(crate) fn pid(&self) -> Option<u32> {
        self.process.as_ref().map(Child::id)
    }

    /// Ends the process as `kill -9` does: it gets no chance to clean up.
    pub(crate) fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            // It may have ended by itself; then there is nothing to kill.
            let _ = process.kill();
            let _ = process.wait();
        }
    }

    /// A command of the same program, about this agent.
    pub(crate) fn ask(&self, verb: &str) -> Command {
        let mut command = Command::new(&self.program);
        command.arg(verb).arg("--run-dir").arg(self.path("run"));
        command
    }

    /// Removes everything from the kernel.
    pub(crate) fn uninstall(&self) -> anyhow::Result<String> {
        quiet(self.ask("uninstall").arg("--pin-dir").arg(self.path("bpf/pins")))
    }

    /// Asks until the answer is yes; fails with the agent's last words if it has ended.
    pub(crate) fn wait_until(
        &mut self,
        what: &str,
        mut holds: impl FnMut(&Self) -> bool,
    ) -> anyhow::Result<()> {
        let deadline = Instant::now() + PATIENCE;
        while !holds(self) {
            interrupt::check()?;
            let ended = self.process.as_mut().map(Child::try_wait).transpose()?.flatten();
            if let Some(status) = ended {
                bail!("the agent ended ({status}):\n{}", last_words(&self.path("agent.log")));
            }
            if Instant::now() > deadline {
                bail!("not yet so: {what}\n{}", last_words(&self.path("agent.log")));
            }
            thread::sleep(PAUSE);
        }
        Ok(())
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        self.kill();
        // Where the story ended early, what is pinned goes before the place where it is pinned.
        let _ = self.uninstall();
        if let Err(problem) = quiet(Command::new("umount").arg(self.path("bpf"))) {
            eprintln!("{} is left behind: {problem:#}", self.path("bpf").display());
        }
    }
}

fn last_words(log: &Path) -> String {
    const LINES: usize = 15;
    let text = fs::read_to_string(log).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(LINES)..].join("\n")
}
