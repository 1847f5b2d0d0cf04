//! A child in a namespace and a group of the test's choice; killed when dropped.

use std::{
    io::{BufRead as _, BufReader, Read, Write as _},
    os::fd::{AsFd as _, OwnedFd},
    path::{Path, PathBuf},
    process::{Child, ChildStdin, Command, ExitStatus, Stdio},
    sync::{
        OnceLock,
        mpsc::{Receiver, RecvTimeoutError, channel},
    },
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};
use rustix::process::{Pid, Signal, kill_process};

use crate::{
    cgroup,
    netns::{self, Netns},
    sys,
};

/// Where a child runs. What is left out stays as it is for the test itself.
#[derive(Clone, Copy, Debug, Default)]
pub struct Place<'a> {
    /// The network namespace.
    pub netns: Option<&'a Netns>,
    /// The group of the v2 tree.
    pub cgroup: Option<&'a Path>,
}

impl Place<'_> {
    /// Makes `command` start here.
    pub fn prepare(&self, command: &mut Command) -> Result<()> {
        let netns: Option<OwnedFd> =
            self.netns.map(|n| n.as_fd().try_clone_to_owned()).transpose()?;
        let door = self.cgroup.map(cgroup::door).transpose()?;
        sys::before_exec(command, move || {
            if let Some(door) = &door {
                (&*door).write_all(b"0")?;
            }
            if let Some(netns) = &netns {
                netns::move_into(netns)?;
            }
            Ok(())
        });
        Ok(())
    }
}

/// A running child whose output is read line by line.
#[derive(Debug)]
pub struct Process {
    what: String,
    child: Child,
    input: Option<ChildStdin>,
    output: Receiver<String>,
    errors: Receiver<String>,
}

impl Process {
    /// Starts `command` at `place`, with its three streams piped.
    pub fn start(mut command: Command, place: Place<'_>) -> Result<Self> {
        place.prepare(&mut command)?;
        let what = format!("{command:?}");
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().with_context(|| format!("starting {what}"))?;
        let output = lines(child.stdout.take().context("no output pipe")?);
        let errors = lines(child.stderr.take().context("no error pipe")?);
        Ok(Self { what, input: child.stdin.take(), child, output, errors })
    }

    /// The process's number.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Writes a line to its input.
    pub fn say(&mut self, line: &str) -> Result<()> {
        let input = self.input.as_mut().context("the input is closed")?;
        writeln!(input, "{line}").with_context(|| format!("writing to {}", self.what))
    }

    /// The next line of its output.
    pub fn line(&mut self, patience: Duration) -> Result<String> {
        match self.output.recv_timeout(patience) {
            Ok(line) => Ok(line),
            Err(RecvTimeoutError::Timeout) => {
                bail!("{} said nothing for {patience:?}; {}", self.what, self.complaints())
            }
            Err(RecvTimeoutError::Disconnected) => {
                let status = self.child.wait()?;
                bail!("{} ended ({status}); {}", self.what, self.complaints())
            }
        }
    }

    /// The next line of its output, parsed.
    pub fn answer<T: serde::de::DeserializeOwned>(&mut self, patience: Duration) -> Result<T> {
        let line = self.line(patience)?;
        serde_json::from_str(&line).with_context(|| format!("{} said {line:?}", self.what))
    }

    /// Every line that has come and was not read yet.
    pub fn pending(&self) -> Vec<String> {
        self.output.try_iter().collect()
    }

    /// What it has written to its error stream since the last call.
    pub fn complaints(&self) -> String {
        self.errors.try_iter().collect::<Vec<_>>().join("\n")
    }

    /// Whether it has not ended yet.
    pub fn is_running(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// Sends SIGKILL, and waits for the end.
    pub fn kill(&mut self) -> Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }

    /// Sends SIGTERM.
    pub fn terminate(&self) -> Result<()> {
        let pid =
            Pid::from_raw(i32::try_from(self.pid())?).context("no process has the number 0")?;
        Ok(kill_process(pid, Signal::TERM)?)
    }

    /// Closes its input and waits for it to end by itself.
    pub fn finish(&mut self, patience: Duration) -> Result<ExitStatus> {
        drop(self.input.take());
        let deadline = Instant::now() + patience;
        loop {
            if let Some(status) = self.child.try_wait()? {
                return Ok(status);
            }
            if Instant::now() > deadline {
                bail!("{} did not end within {patience:?}; {}", self.what, self.complaints());
            }
            thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Both fail when it has ended already, which is what is wanted.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The one program that is both the agent and the probe, where the harness is part of it.
static ONE_FOR_ALL: OnceLock<PathBuf> = OnceLock::new();
/// The verb by which that program is the probe.
pub const PROBE_VERB: &str = "selftest-probe";

/// From here on the running program is what the harness starts, as agent and as probe.
pub fn be_every_program() -> Result<()> {
    let program = std::env::current_exe()?;
    ONE_FOR_ALL.get_or_init(|| program);
    Ok(())
}

/// A program that Cargo built beside the running test.
pub fn built(name: &str) -> Result<PathBuf> {
    if let Some(program) = ONE_FOR_ALL.get() {
        return Ok(program.clone());
    }
    let test = std::env::current_exe()?;
    let deps = test.parent().context("the test has no directory")?;
    let profile = if deps.ends_with("deps") { deps.parent().unwrap_or(deps) } else { deps };
    let path = profile.join(name);
    if !path.exists() {
        bail!("{} is missing: `cargo xtask test` builds it", path.display());
    }
    Ok(path)
}

/// The probe, with its arguments still to come.
pub fn probe() -> Result<Command> {
    let mut command = Command::new(built("skt-probe")?);
    if ONE_FOR_ALL.get().is_some() {
        command.arg(PROBE_VERB);
    }
    Ok(command)
}

fn lines(stream: impl Read + Send + 'static) -> Receiver<String> {
    let (sender, receiver) = channel();
    thread::spawn(move || {
        for line in BufReader::new(stream).lines().map_while(Result::ok) {
            if sender.send(line).is_err() {
                return;
            }
        }
    });
    receiver
}
