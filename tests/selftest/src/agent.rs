//! The program under test: started on a node of a world, asked through its own command line.

use std::{
    fs,
    io::{Read as _, Write as _},
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
    process::{Command, Output},
    sync::{Mutex, PoisonError},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail, ensure};
use rustix::{
    fs::statfs,
    mount::{MountFlags, mount},
    process::{Pid, Signal, kill_process},
};
use serde_json::Value;

use crate::{
    manifest::{Config, Mirror, NODE},
    name,
    process::{Process, built},
    world::World,
};

/// It starts in less than a second; two processors and a disk may be shared with several builds.
pub const PATIENCE: Duration = Duration::from_mins(2);
const PAUSE: Duration = Duration::from_millis(10);

/// An agent, its files, and its process while it runs. Dropped, it leaves nothing in the kernel.
#[derive(Debug)]
pub struct Agent {
    program: PathBuf,
    arguments: Vec<String>,
    files: PathBuf,
    pins: PathBuf,
    config: Config,
    kubeconfig: Option<PathBuf>,
    node: PathBuf,
    process: Option<Process>,
}

impl Agent {
    /// The files of an agent that does not run yet.
    pub fn new(world: &World) -> Result<Self> {
        Self::of(world, built("sekisho")?)
    }

    /// The same, of a program elsewhere.
    pub fn of(world: &World, program: PathBuf) -> Result<Self> {
        mount_bpf()?;
        let name = name::unique();
        let files = std::env::temp_dir().join(&name);
        fs::create_dir_all(files.join("run"))?;
        Ok(Self {
            program,
            arguments: vec![
                "--node-name".into(),
                NODE.into(),
                "--cgroup".into(),
                world.cgroup().path().display().to_string(),
            ],
            config: Config::new(files.join("config"))?,
            pins: Path::new(name::BPF_DIR).join(&name),
            files,
            kubeconfig: None,
            node: world.node().path(),
            process: None,
        })
    }

    /// Adds to its command line, or overrides what is there.
    #[must_use]
    pub fn with(mut self, option: &str, value: &str) -> Self {
        self.set(option, value);
        self
    }

    /// The same, from its next start on.
    pub fn set(&mut self, option: &str, value: &str) {
        let place = self.arguments.iter().position(|argument| argument == option);
        match place {
            Some(place) => value.clone_into(&mut self.arguments[place + 1]),
            None => self.arguments.extend([option.to_owned(), value.to_owned()]),
        }
    }

    /// Follows an API server from its next start on, and not its directory.
    pub fn follow_server(&mut self, kubeconfig: PathBuf) {
        self.kubeconfig = Some(kubeconfig);
    }

    /// The same, of a server that has what its directory has.
    pub fn follow_mirror(&mut self, kubeconfig: PathBuf, mirror: Box<dyn Mirror>) {
        self.follow_server(kubeconfig);
        self.config.set_mirror(mirror);
    }

    /// Another build of the program from here on.
    pub fn replace_program(&mut self, program: PathBuf) {
        self.program = program;
    }

    /// Its manifests.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// Where its maps and links are pinned.
    pub fn pins(&self) -> &Path {
        &self.pins
    }

    /// Where its socket and state lie.
    pub fn run_dir(&self) -> PathBuf {
        self.files.join("run")
    }

    /// The command that starts it, for tests that change more of it.
    pub fn command(&self) -> Command {
        let mut command = Command::new(&self.program);
        command.arg("agent").args(&self.arguments);
        match &self.kubeconfig {
            // Its pods are the harness's, of which no container runtime knows.
            Some(kubeconfig) => {
                command.args(["--pod-namespaces", "annotation", "--kubeconfig"]).arg(kubeconfig)
            }
            None => command.arg("--config-dir").arg(self.config.directory()),
        };
        command.arg("--run-dir").arg(self.run_dir());
        command.arg("--pin-dir").arg(&self.pins);
        command
    }

    /// Starts it on the node and waits until it says that it is ready.
    pub fn start(&mut self, world: &World) -> Result<()> {
        let command = self.command();
        self.start_command(command, world)
    }

    /// Starts it by a command made from [`Agent::command`].
    pub fn start_command(&mut self, command: Command, world: &World) -> Result<()> {
        self.process = Some(Process::start(command, world.agent_place())?);
        self.wait_until("the agent is ready", |agent| {
            Ok(agent.status()?["state"]["state"] == "ready")
        })
    }

    /// Starts it on the node and does not wait for anything.
    pub fn launch(&mut self, world: &World) -> Result<()> {
        self.process = Some(Process::start(self.command(), world.agent_place())?);
        Ok(())
    }

    /// Has a new process take over, and waits until that one is ready: the one before, which serves what
    /// it has to its end.
    pub fn succeed(&mut self, world: &World) -> Result<Process> {
        let before = self.process.take().context("the agent does not run")?;
        let mut command = self.command();
        command.arg("--take-over");
        let process = Process::start(command, world.agent_place())?;
        let pid = process.pid().to_string();
        self.process = Some(process);
        // Until then the one before answers.
        self.wait_until("the agent has taken over", |agent| {
            let holder = fs::read_to_string(agent.run_dir().join("agent.lock"))?;
            Ok(holder.trim() == pid && agent.status()?["state"]["state"] == "ready")
        })?;
        Ok(before)
    }

    /// Takes back a process of it.
    pub fn adopt(&mut self, process: Process) {
        self.process = Some(process);
    }

    /// Its process, which the caller ends.
    pub fn let_go(&mut self) -> Result<Process> {
        self.process.take().context("the agent does not run")
    }

    /// Its process's number.
    pub fn pid(&self) -> Option<u32> {
        self.process.as_ref().map(Process::pid)
    }

    /// Ends it as `kill -9` does.
    pub fn kill(&mut self) -> Result<()> {
        self.process.take().context("the agent does not run")?.kill()
    }

    /// Stops its process, as a debugger would: the kernel judges on, and nothing is mended.
    pub fn pause(&self) -> Result<()> {
        self.signal(Signal::STOP)
    }

    /// Lets its process go on.
    pub fn resume(&self) -> Result<()> {
        self.signal(Signal::CONT)
    }

    fn signal(&self, signal: Signal) -> Result<()> {
        let pid = i32::try_from(self.pid().context("the agent does not run")?)?;
        Ok(kill_process(Pid::from_raw(pid).context("no process has the number 0")?, signal)?)
    }

    /// Runs one of its other verbs against it.
    pub fn ask(&self, arguments: &[&str]) -> Result<Output> {
        let output = self.verb(arguments).output();
        output.with_context(|| format!("sekisho {}", arguments.join(" ")))
    }

    /// The command for one of its other verbs.
    pub fn verb(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.program);
        command.args(arguments).arg("--run-dir").arg(self.run_dir());
        command
    }

    /// What it says of itself, asked at its socket: a process for each question would load the
    /// machine more than what is tested.
    pub fn status(&self) -> Result<Value> {
        Ok(serde_json::from_str(&self.get("/status")?)?)
    }

    /// Its recent flows.
    pub fn flows(&self) -> Result<Vec<Value>> {
        self.get("/flows")?.lines().map(|line| Ok(serde_json::from_str(line)?)).collect()
    }

    /// `/metrics`, over the agent's socket.
    pub fn metrics(&self) -> Result<String> {
        self.get("/metrics")
    }

    fn get(&self, path: &str) -> Result<String> {
        let mut stream = UnixStream::connect(self.run_dir().join("admin.sock"))?;
        // By HTTP/1.0, which ends the answer with the connection.
        write!(stream, "GET {path} HTTP/1.0\r\nHost: agent\r\n\r\n")?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        let (head, body) = answer.split_once("\r\n\r\n").context("no answer")?;
        ensure!(head.starts_with("HTTP/1.0 200"), "{path}: {answer}");
        Ok(body.to_owned())
    }

    /// The generation in force.
    pub fn generation(&self) -> Result<u64> {
        self.status()?["generation"].as_u64().context("no generation in the status")
    }

    /// `sekisho flows --follow`, as it runs.
    pub fn follow(&self, world: &World) -> Result<Process> {
        Process::start(self.verb(&["flows", "--follow", "-o", "json"]), world.agent_place())
    }

    /// How a pod is enrolled, as `sekisho status` has it.
    pub fn enrolment(&self, pod: &str) -> Result<String> {
        Ok(self.pod(pod)?["enrolment"].as_str().unwrap_or("unknown").to_owned())
    }

    /// A pod's entry in `sekisho status`, null where it has none.
    pub fn pod(&self, name: &str) -> Result<Value> {
        let mut status = self.status()?;
        let pods = status["pods"].as_array_mut().context("no pods in the status")?;
        Ok(pods.iter_mut().find(|pod| pod["name"] == name).map(Value::take).unwrap_or_default())
    }

    /// Asks until the answer is yes. Says at the end what the agent had to say.
    pub fn wait_until(
        &mut self,
        what: &str,
        mut holds: impl FnMut(&Self) -> Result<bool>,
    ) -> Result<()> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let outcome = holds(self);
            if matches!(outcome, Ok(true)) {
                return Ok(());
            }
            let ended = self.process.as_mut().is_none_or(|process| !process.is_running());
            if ended || Instant::now() > deadline {
                let detail = outcome.err().map(|error| format!("{error:#}")).unwrap_or_default();
                let how = if ended { "the agent has ended, before" } else { "not yet so:" };
                let state = self.status().map(|s| s.to_string()).unwrap_or_default();
                bail!("{how} {what}; {detail}\n{}\n{state}", self.words());
            }
            thread::sleep(PAUSE);
        }
    }

    /// What it has written lately.
    pub fn words(&self) -> String {
        self.process.as_ref().map_or_else(String::new, |process| {
            format!("{}\n{}", process.pending().join("\n"), process.complaints())
        })
    }

    /// Removes from the kernel what it put there.
    pub fn uninstall(&self) -> Result<Output> {
        let verb = self.verb(&["uninstall"]);
        // Filters are removed in the namespace that they are attached in, which may have gone already.
        let mut command = if self.node.exists() {
            let mut inside = Command::new("nsenter");
            inside.arg(format!("--net={}", self.node.display()));
            inside.arg(verb.get_program()).args(verb.get_args());
            inside
        } else {
            verb
        };
        command.arg("--pin-dir").arg(&self.pins);
        let output = command.output()?;
        ensure!(output.status.success(), "uninstall: {}", String::from_utf8_lossy(&output.stderr));
        Ok(output)
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        drop(self.process.take());
        if self.pins.exists()
            && let Err(error) = self.uninstall()
        {
            eprintln!("{error:#}");
            // A link that is only unpinned goes with its last holder, and there is none.
            let _ = fs::remove_dir_all(&self.pins);
        }
        if let Err(error) = fs::remove_dir_all(&self.files) {
            eprintln!("could not remove {}: {error}", self.files.display());
        }
    }
}

// Two tests may find it missing at once: the second mount would hide the first's pins.
static MOUNTING: Mutex<()> = Mutex::new(());

/// Mounts the BPF file system where every system has it, if it is not mounted yet.
pub fn mount_bpf() -> Result<()> {
    let _guard = MOUNTING.lock().unwrap_or_else(PoisonError::into_inner);
    if statfs(name::BPF_DIR).is_ok_and(|fs| fs.f_type == libc::BPF_FS_MAGIC) {
        return Ok(());
    }
    mount("bpf", name::BPF_DIR, "bpf", MountFlags::empty(), None)
        .context("mounting the BPF file system")
}
