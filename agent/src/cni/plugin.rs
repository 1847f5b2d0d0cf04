//! The process that the runtime starts. It says one thing on its standard output: a result, or an error
//! that the runtime understands.
//!
//! - ADD fails with code 11 ("try again later") when the agent is away, does not know that UID yet, or
//!   cannot judge the pod by the deadline. The kubelet then makes the sandbox again.
//! - ADD passes at once what the agent says is not enrolled, containers that are no pods, and namespaces
//!   that the configuration excludes.
//! - DEL never fails, whatever it is given: an agent that misses it finds the namespace gone. A failure
//!   would keep the pod from going for as long as the runtime tries again.
//! - STATUS never fails either. A runtime makes its whole node `NotReady` of that, and running pods are
//!   evicted; those are judged without an agent.

use std::{
    collections::BTreeMap,
    io::{self, Read as _, Write as _},
    path::{Path, PathBuf},
    process::ExitCode,
    time::Duration,
};

use agent_pods::sandboxes::{self, Sandbox};
use serde::{Serialize, de::DeserializeOwned};
use tokio::time::{Instant, sleep, timeout_at};

use super::{
    answer::{self, Code, Failure},
    call::{self, Asked, Call, Environment, Verb},
    talk::{Admission, Alive, Goodbye, Question},
};
use crate::admin::client::{Client, ClientError};

/// The name by which the runtime starts this program.
pub(crate) const NAME: &str = "sekisho-cni";
/// An agent that is being replaced is back soon.
const PAUSE: Duration = Duration::from_millis(50);
/// The agent is given this much less than we wait, so that it can say why.
const MARGIN: Duration = Duration::from_millis(200);

/// Answers one call of the runtime's.
pub(crate) fn run(variables: impl Iterator<Item = (String, String)>) -> ExitCode {
    let environment: BTreeMap<_, _> =
        variables.filter(|(name, _)| name.starts_with("CNI_")).collect();
    let mut input = Vec::new();
    let read = io::stdin().read_to_end(&mut input).map_err(|error| {
        Failure::new(Code::Io, format!("cannot read the standard input: {error}"), "")
    });
    let asked = call::version_of(&input);
    let said = if call::is_del(&environment) {
        say_goodbye(&environment, &input);
        Ok(String::new())
    } else {
        read.and_then(|_| answer(&environment, &input, asked.as_deref()))
    };
    let (text, code) = match said {
        Ok(text) => (text, ExitCode::SUCCESS),
        Err(failure) => {
            let version = asked.as_deref().unwrap_or(answer::NEWEST);
            (failure.text(version), ExitCode::FAILURE)
        }
    };
    let mut stdout = io::stdout().lock();
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        Ok(()) => code,
        Err(_) if text.is_empty() => code,
        Err(_) => ExitCode::FAILURE,
    }
}

/// Tells the agent that a sandbox goes, as far as the call says which one, and to whom.
fn say_goodbye(environment: &Environment, input: &[u8]) {
    let Some(call::Del { id, socket, deadline }) = call::del(environment, input) else { return };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let Ok(runtime) = runtime else { return };
    let agent = Agent { client: Client::at(&socket), deadline: Instant::now() + deadline };
    // Without an agent it is found out by the next one, since the namespace goes.
    let _ = runtime.block_on(agent.once::<_, ()>("/del", &Goodbye { id }));
}

fn answer(
    environment: &Environment,
    input: &[u8],
    version: Option<&str>,
) -> Result<String, Failure> {
    if environment.get("CNI_COMMAND").is_some_and(|command| command == "VERSION") {
        return Ok(answer::versions(version));
    }
    let call = call::read(environment, input)?;
    let socket = call.config.socket.clone().ok_or_else(|| {
        let message = "the agent's socket is not named";
        Failure::new(Code::Config, message, "set socket: <run-dir>/cni.sock in our entry")
    })?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime =
        runtime.map_err(|error| Failure::new(Code::Io, format!("cannot start: {error}"), ""))?;
    runtime.block_on(carry_out(call, &socket))
}

async fn carry_out(call: Call, socket: &Path) -> Result<String, Failure> {
    let agent =
        Agent { client: Client::at(socket), deadline: Instant::now() + call.config.deadline() };
    let excluded = |asked: &Asked| call.config.exclude_namespaces.contains(&asked.namespace);
    match call.verb {
        Verb::Add { sandbox, before } => {
            if let Some(asked) = sandbox.filter(|asked| !excluded(asked)) {
                agent.ask_about("/add", asked, Code::TryAgain).await?;
            }
            Ok(answer::result(&call.version, &before))
        }
        Verb::Check { sandbox } => {
            if let Some(asked) = sandbox.filter(|asked| !excluded(asked)) {
                agent.ask_about("/check", asked, Code::NotJudged).await?;
            }
            Ok(String::new())
        }
        Verb::Gc { ids } => {
            agent.patiently::<_, ()>("/gc", &Alive { ids }, Code::TryAgain).await?;
            Ok(String::new())
        }
        // A runtime makes its whole node `NotReady` of a failure, and its pods are evicted: the agent
        // is away for ADD, which says so for the pod that it is about.
        Verb::Status => Ok(String::new()),
    }
}

/// The path without links on its way: `/var/run` is one on most nodes, and not in the agent's image.
/// Its last part may be a link of the kernel's own, in `/proc`, which leads nowhere by name.
fn plain(netns: &Path) -> PathBuf {
    let directory = netns.parent().and_then(|directory| directory.canonicalize().ok());
    match (directory, netns.file_name()) {
        (Some(directory), Some(name)) => directory.join(name),
        _ => netns.to_owned(),
    }
}

/// The agent, for as long as the configuration gives it.
struct Agent {
    client: Client,
    deadline: Instant,
}

impl Agent {
    async fn ask_about(&self, path: &str, asked: Asked, code: Code) -> Result<Admission, Failure> {
        let asked = Asked { netns: plain(&asked.netns), ..asked };
        let identity = sandboxes::identity(&asked.netns).map_err(|error| {
            let message = format!("cannot open CNI_NETNS {}: {error}", asked.netns.display());
            Failure::new(Code::Environment, message, "the sandbox's namespace is to be there")
        })?;
        let Asked { namespace, name, uid, id, netns, addresses } = asked;
        let patience = self.deadline.saturating_duration_since(Instant::now());
        let patience = patience.saturating_sub(MARGIN).as_millis();
        let question = Question {
            sandbox: Sandbox { namespace, name, uid, id, netns, identity, addresses },
            patience_ms: u64::try_from(patience).unwrap_or(u64::MAX),
        };
        self.patiently(path, &question, code).await
    }

    /// Waits for an agent that is away, and for its answer, until the deadline. A refusal has a
    /// code of its own; that no agent answers is for another time.
    async fn patiently<Q: Serialize + Sync, A: DeserializeOwned>(
        &self,
        path: &str,
        question: &Q,
        refused: Code,
    ) -> Result<A, Failure> {
        loop {
            let error = match self.once(path, question).await {
                Ok(answer) => return Ok(answer),
                Err(Some(ClientError::Refused { message, .. })) => {
                    let details = "sekisho status tells more on the node";
                    return Err(Failure::new(refused, message, details));
                }
                Err(error) => error,
            };
            if Instant::now() + PAUSE >= self.deadline {
                let why = error.map_or("no answer in time".to_owned(), |error| error.to_string());
                let details = "the DaemonSet sekisho runs the agent; pods start once it answers";
                return Err(Failure::new(
                    Code::TryAgain,
                    format!("the agent is away: {why}"),
                    details,
                ));
            }
            sleep(PAUSE).await;
        }
    }

    /// One try; an error without words is the deadline.
    async fn once<Q: Serialize + Sync, A: DeserializeOwned>(
        &self,
        path: &str,
        question: &Q,
    ) -> Result<A, Option<ClientError>> {
        let answer = timeout_at(self.deadline, self.client.tell(path, question)).await;
        answer.map_err(|_| None)?.map_err(Some)
    }
}
