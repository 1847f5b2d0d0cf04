//! The server: listeners, routes, and nothing that a route could break.

use std::{
    fs, io,
    net::SocketAddr,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

use axum::{
    Json, Router,
    body::Body,
    extract::{Query, State},
    http::{StatusCode, header},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use serde::Deserialize;
use tokio::net::{TcpListener, UnixListener, UnixStream};

use super::{
    Admin, config as view, follow,
    question::{PodRef, PodRefError, Target},
    request::{self, RequestQuery},
    rundir::RunDir,
    why::{self, WhyError, WhyQuery},
};
use crate::observe::{
    flow_filter::FlowFilter,
    metrics::CONTENT_TYPE,
    status::{self, Status},
    top::TopRow,
};

/// Why the server cannot listen.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BindError {
    /// The socket in the run directory.
    #[error("cannot listen on {}", path.display())]
    Socket {
        /// The socket.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
    /// Another process answers there although the run directory's lock is free.
    #[error(
        "another agent answers on {}, although its lock was removed; stop that agent, or give \
         this one a --run-dir of its own", path.display()
    )]
    Answered {
        /// The socket.
        path: PathBuf,
    },
    /// The TCP port is taken.
    #[error("--admin {addr} is in use by another program; choose another port")]
    PortInUse {
        /// What was asked for.
        addr: SocketAddr,
    },
    /// The TCP port cannot be had.
    #[error("cannot listen on --admin {addr}")]
    Port {
        /// What was asked for.
        addr: SocketAddr,
        /// What the kernel said.
        source: io::Error,
    },
}

/// Opens the socket of a run directory.
pub(crate) async fn bind_socket(run_dir: &RunDir) -> Result<UnixListener, BindError> {
    bind(run_dir.socket()).await
}

/// Opens a socket for root alone. What a dead agent left there is replaced; a live one is not.
pub(crate) async fn bind(path: PathBuf) -> Result<UnixListener, BindError> {
    if UnixStream::connect(&path).await.is_ok() {
        return Err(BindError::Answered { path });
    }
    // It gets its mode under another name first: under its own, no other user can ever connect.
    let early = path.with_extension("new");
    bind_private(&early)
        .and_then(|listener| fs::rename(&early, &path).map(|()| listener))
        .map_err(|source| BindError::Socket { path, source })
}

fn bind_private(path: &Path) -> io::Result<UnixListener> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let listener = UnixListener::bind(path)?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o600))?;
    Ok(listener)
}

/// Opens `--admin`.
pub(crate) async fn bind_port(addr: SocketAddr) -> Result<TcpListener, BindError> {
    TcpListener::bind(addr).await.map_err(|source| match source.kind() {
        io::ErrorKind::AddrInUse => BindError::PortInUse { addr },
        _ => BindError::Port { addr, source },
    })
}

/// Answers on the Unix socket until the future is dropped.
pub(crate) async fn serve_socket(listener: UnixListener, admin: Admin) -> io::Result<()> {
    let questions = Router::new()
        .route("/status", get(status))
        .route("/flows", get(flows))
        .route("/top", get(top))
        .route("/why", get(why))
        .route("/route", post(route))
        .route("/config", get(config))
        .with_state(admin.clone());
    axum::serve(listener, questions.merge(probes(admin))).await
}

/// Answers on the TCP port until the future is dropped.
pub(crate) async fn serve_port(listener: TcpListener, admin: Admin) -> io::Result<()> {
    axum::serve(listener, probes(admin)).await
}

fn probes(admin: Admin) -> Router {
    Router::new()
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/readyz", get(readyz))
        .route("/metrics", get(metrics))
        .with_state(admin)
}

async fn status(State(admin): State<Admin>) -> Json<Status> {
    Json(admin.answers.status())
}

async fn readyz(State(admin): State<Admin>) -> (StatusCode, String) {
    match admin.answers.status().state {
        status::State::Ready => (StatusCode::OK, "ok\n".to_owned()),
        status::State::Starting => (StatusCode::SERVICE_UNAVAILABLE, "starting\n".to_owned()),
        status::State::Degraded { why } => (StatusCode::SERVICE_UNAVAILABLE, format!("{why}\n")),
    }
}

async fn metrics(State(admin): State<Admin>) -> Response {
    match admin.metrics.text(admin.answers.status()) {
        Ok(text) => ([(header::CONTENT_TYPE, CONTENT_TYPE)], text).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}

async fn flows(State(admin): State<Admin>, Query(filter): Query<FlowFilter>) -> Response {
    admin.flows.catch_up().await;
    let (kept, to_come) = admin.flows.follow();
    let lines = follow::Lines::new(kept, to_come, filter);
    ([(header::CONTENT_TYPE, "application/x-ndjson")], Body::new(lines)).into_response()
}

async fn top(State(admin): State<Admin>) -> Json<Vec<TopRow>> {
    Json(admin.metrics.top())
}

async fn why(State(admin): State<Admin>, Query(query): Query<WhyQuery>) -> Response {
    let Some((pod, to)) = query.words() else { return bad_pod() };
    let answers = &*admin.answers;
    let answer = match to {
        Target::Address(to) => why::answer(answers, &pod, to).map(|it| Json(it).into_response()),
        Target::Name { name, port, protocol } => {
            let answer = why::answer_name(answers, &pod, &name, port, protocol);
            answer.map(|it| Json(it).into_response())
        }
    };
    answer.unwrap_or_else(|error| refuse(&error))
}

async fn route(State(admin): State<Admin>, Json(query): Json<RequestQuery>) -> Response {
    let Ok(pod) = query.pod.parse::<PodRef>() else { return bad_pod() };
    let answer = request::answer(&*admin.answers, &query, &pod);
    answer.map_or_else(|error| refuse(&error), |it| Json(it).into_response())
}

#[derive(Debug, Deserialize)]
struct ConfigQuery {
    pod: String,
    view: view::View,
}

async fn config(State(admin): State<Admin>, Query(query): Query<ConfigQuery>) -> Response {
    let Ok(pod) = query.pod.parse::<PodRef>() else { return bad_pod() };
    let answer = view::answer(&*admin.answers, &pod, query.view);
    answer.map_or_else(|error| refuse(&error), |it| Json(it).into_response())
}

fn bad_pod() -> Response {
    (StatusCode::BAD_REQUEST, PodRefError.to_string()).into_response()
}

fn refuse(error: &WhyError) -> Response {
    let status = match error {
        WhyError::Starting => StatusCode::SERVICE_UNAVAILABLE,
        WhyError::NoSuchPod { .. } | WhyError::NameUnknown { .. } | WhyError::NoAddress { .. } => {
            StatusCode::NOT_FOUND
        }
        WhyError::Ambiguous { .. } => StatusCode::CONFLICT,
    };
    (status, error.to_string()).into_response()
}
