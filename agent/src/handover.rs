//! From one agent to the next, without a gap for what goes through the proxy.
//!
//! ```text
//! successor                           predecessor
//!   "take over"  ──────────────────►  ends its tasks, unlocks its directories; its proxy serves on
//!                ◄──────────────────  "released"
//!   locks the directories, publishes:
//!   new connections come to it
//!   "serving"    ──────────────────►  closes its listeners, and ends what it has in good order
//!   (the connection stays open)       waits for its own end, or that of its successor
//! ```
//!
//! At no time two agents write the kernel's maps. A successor that dies is seen by the end of the
//! connection.

use std::{
    io,
    path::{Path, PathBuf},
    time::Duration,
};

use tokio::{
    io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader},
    net::{UnixListener, UnixStream},
    time::{sleep, timeout},
};

use crate::admin::{
    rundir::{RunDir, RunDirError, handover_socket},
    server::{BindError, bind},
};

const TAKE_OVER: &str = "take over";
const RELEASED: &str = "released";
const SERVING: &str = "serving";

/// A publication may be under way, of which the predecessor does not let go.
const PATIENCE: Duration = Duration::from_secs(30);
/// Between two tries to have a directory that another agent has.
const RETRY: Duration = Duration::from_millis(100);

/// The agent before, which serves what it has.
#[derive(Debug)]
pub(crate) struct Predecessor {
    line: BufReader<UnixStream>,
    is_told: bool,
}

/// Takes a run directory. Where another agent has it and `takes_over` is set, that one is asked for it;
/// one that does not know of this is waited for.
pub(crate) async fn claim(
    path: &Path,
    takes_over: bool,
) -> Result<(RunDir, Option<Predecessor>), RunDirError> {
    let mut predecessor = None;
    let mut is_said = false;
    loop {
        match RunDir::claim(path) {
            Err(RunDirError::InUse { pid, .. }) if takes_over => {
                if !is_said {
                    tracing::info!(pid, "waiting for the agent before to hand over");
                    is_said = true;
                }
            }
            claimed => return Ok((claimed?, predecessor)),
        }
        match timeout(PATIENCE, Predecessor::ask(&handover_socket(path))).await {
            Ok(Ok(asked)) => predecessor = Some(asked),
            Ok(Err(_)) => sleep(RETRY).await,
            Err(_) => tracing::warn!("the agent before does not hand over; it is asked again"),
        }
    }
}

impl Predecessor {
    async fn ask(socket: &Path) -> io::Result<Self> {
        let mut line = BufReader::new(UnixStream::connect(socket).await?);
        say(&mut line, TAKE_OVER).await?;
        if hear(&mut line).await? != RELEASED {
            return Err(io::ErrorKind::InvalidData.into());
        }
        Ok(Self { line, is_told: false })
    }

    /// Tells it, once, that new connections come to this agent.
    pub(crate) async fn retire(&mut self) {
        if std::mem::replace(&mut self.is_told, true) {
            return;
        }
        // One that has ended meanwhile has nothing to close.
        if let Err(error) = say(&mut self.line, SERVING).await {
            tracing::debug!(%error, "the agent before has ended");
        }
    }
}

/// Where the next agent asks.
#[derive(Debug)]
pub(crate) struct Door(UnixListener);

impl Door {
    /// Opens it in the run directory.
    pub(crate) async fn open(run_dir: &RunDir) -> Result<Self, BindError> {
        bind(run_dir.handover()).await.map(Self)
    }

    /// Waits for an agent that is to take over.
    pub(crate) async fn successor(&self) -> Successor {
        loop {
            let Ok((stream, _)) = self.0.accept().await else {
                sleep(RETRY).await;
                continue;
            };
            let mut line = BufReader::new(stream);
            if let Ok(Ok(said)) = timeout(PATIENCE, hear(&mut line)).await
                && said == TAKE_OVER
            {
                return Successor(line);
            }
        }
    }
}

/// The agent that takes over.
#[derive(Debug)]
pub(crate) struct Successor(BufReader<UnixStream>);

impl Successor {
    /// Says that everything is its own from here on.
    pub(crate) async fn release(&mut self) -> io::Result<()> {
        say(&mut self.0, RELEASED).await
    }

    /// Waits until new connections come to it; false when it has died before.
    pub(crate) async fn serves(&mut self) -> bool {
        hear(&mut self.0).await.is_ok_and(|said| said == SERVING)
    }

    /// Waits until it has ended.
    pub(crate) async fn gone(&mut self) {
        // It says nothing more.
        while hear(&mut self.0).await.is_ok_and(|said| !said.is_empty()) {}
    }
}

/// Waits until no agent has a run directory.
pub(crate) async fn vacant(path: PathBuf) {
    while crate::admin::rundir::holder_of(&path).is_some() {
        sleep(RETRY).await;
    }
}

async fn say(line: &mut BufReader<UnixStream>, word: &str) -> io::Result<()> {
    line.write_all(format!("{word}\n").as_bytes()).await
}

/// The next word; an empty one is the end.
async fn hear(line: &mut BufReader<UnixStream>) -> io::Result<String> {
    let mut word = String::new();
    line.read_line(&mut word).await?;
    Ok(word.trim_end().to_owned())
}
