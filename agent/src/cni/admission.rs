//! The agent's side of the CNI plugin. A pod is admitted once the live tables judge it, and not
//! before; else the plugin is told why not.
//!
//! ```text
//! plugin ─► Server ─ Request ─► Queue (the publisher's): store, publish, judge
//!              ▲                   │
//!              └──── Progress ─────┘
//! ```
//!
//! A request carries the channel by which it is answered. The server waits for the decision until
//! the plugin's deadline, and then hands on what the publisher said last.

use std::{io, sync::Arc, time::Duration};

use agent_pods::sandboxes::{Sandbox, Sandboxes};
use axum::{Json, Router, extract::State, http::StatusCode, routing::post};
use tokio::{
    net::UnixListener,
    sync::{mpsc, watch},
    task::spawn_blocking,
    time::{Instant, timeout_at},
};

use super::talk::{Admission, Alive, Goodbye, Question};

mod queue;
#[cfg(test)]
mod tests;

pub(crate) use queue::{InForce, Queue};

/// What the publisher is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verb {
    /// To see to it that the pod is judged, and to say so.
    Admit,
    /// To say how it is now.
    Check,
}

/// A question about a sandbox.
#[derive(Debug)]
struct Request {
    verb: Verb,
    sandbox: Sandbox,
    reply: watch::Sender<Progress>,
}

/// How far the answer to a request is.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Progress {
    /// It cannot be given yet, and why.
    Pending(String),
    /// It is given.
    Decided(Admission),
    /// It will not be given.
    Failed(String),
}

impl Progress {
    fn is_pending(&self) -> bool {
        matches!(self, Self::Pending(_))
    }
}

/// Connects a server with the queue of its requests.
pub(crate) fn channel(sandboxes: Arc<Sandboxes>) -> (Server, Queue) {
    // Not bounded: as many as calls of the plugin are open.
    let (requests, arriving) = mpsc::unbounded_channel();
    (Server { requests, sandboxes }, Queue::new(arriving))
}

/// What answers the plugin.
#[derive(Clone, Debug)]
pub(crate) struct Server {
    requests: mpsc::UnboundedSender<Request>,
    sandboxes: Arc<Sandboxes>,
}

type Refusal = (StatusCode, String);

/// Answers until the future is dropped.
pub(crate) async fn serve(listener: UnixListener, server: Server) -> io::Result<()> {
    let routes = Router::new()
        .route("/add", post(add))
        .route("/check", post(check))
        .route("/del", post(del))
        .route("/gc", post(gc))
        .with_state(server);
    axum::serve(listener, routes).await
}

async fn add(
    State(server): State<Server>,
    Json(question): Json<Question>,
) -> Result<Json<Admission>, Refusal> {
    server.ask(Verb::Admit, question).await.map(Json)
}

async fn check(
    State(server): State<Server>,
    Json(question): Json<Question>,
) -> Result<Json<Admission>, Refusal> {
    server.ask(Verb::Check, question).await.map(Json)
}

async fn del(
    State(server): State<Server>,
    Json(goodbye): Json<Goodbye>,
) -> Result<Json<()>, Refusal> {
    server.write(move |sandboxes| sandboxes.forget(&goodbye.id)).await.map(Json)
}

async fn gc(State(server): State<Server>, Json(alive): Json<Alive>) -> Result<Json<()>, Refusal> {
    server.write(move |sandboxes| sandboxes.keep(&alive.ids)).await.map(Json)
}

/// What is said until the publisher has looked at a request.
const BUSY: &str = "the agent is busy with what was asked of it before";

fn refusal(why: impl Into<String>) -> Refusal {
    (StatusCode::SERVICE_UNAVAILABLE, why.into())
}

impl Server {
    /// Asks the publisher, and waits for its decision until the deadline.
    async fn ask(&self, verb: Verb, question: Question) -> Result<Admission, Refusal> {
        let deadline = Instant::now() + Duration::from_millis(question.patience_ms);
        let pod = question.sandbox.pod();
        let (reply, mut progress) = watch::channel(Progress::Pending(BUSY.into()));
        let request = Request { verb, sandbox: question.sandbox, reply };
        self.requests.send(request).map_err(|_| refusal("the agent ends"))?;
        let decision = async {
            match verb {
                Verb::Admit => progress.wait_for(|progress| !progress.is_pending()).await.is_ok(),
                Verb::Check => progress.changed().await.is_ok(),
            }
        };
        let _ = timeout_at(deadline, decision).await;
        let progress = progress.borrow().clone();
        match (progress, verb) {
            (Progress::Decided(admission), _) => Ok(admission),
            (Progress::Pending(why), Verb::Admit) => {
                Err(refusal(format!("Pod {pod} cannot be judged yet: {why}")))
            }
            (Progress::Pending(why), Verb::Check) | (Progress::Failed(why), _) => Err(refusal(why)),
        }
    }

    /// Changes what is known of sandboxes; no pod start waits for the write to the disk.
    async fn write(
        &self,
        change: impl FnOnce(&Sandboxes) -> io::Result<()> + Send + 'static,
    ) -> Result<(), Refusal> {
        let sandboxes = Arc::clone(&self.sandboxes);
        let written = spawn_blocking(move || change(&sandboxes)).await;
        let written = written.unwrap_or_else(|panicked| Err(io::Error::other(panicked)));
        written.map_err(|error| refusal(unwritten(&error)))
    }
}

fn unwritten(error: &io::Error) -> String {
    format!("the agent cannot write its run directory: {error}")
}
