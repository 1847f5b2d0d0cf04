//! Asks a running agent over its socket.

use std::{
    io,
    path::{Path, PathBuf},
};

use http_body_util::{BodyExt, Full};
use hyper::{
    Method, Request, Response, StatusCode,
    body::{Bytes, Incoming},
    client::conn::http1,
    header,
};
use hyper_util::rt::TokioIo;
use serde::{Serialize, de::DeserializeOwned};
use tokio::{net::UnixStream, task::JoinSet};

pub(crate) use super::follow::Line;
use super::rundir;

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ClientError {
    /// No agent listens.
    #[error(
        "no agent answers on {}; start one with `sekisho agent`, or say which with \
         --run-dir", socket.display()
    )]
    NoAgent {
        /// The socket.
        socket: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
    /// The socket is another user's.
    #[error("{} is not for this user: run as root, as the agent does", socket.display())]
    NotAllowed {
        /// The socket.
        socket: PathBuf,
    },
    /// The conversation broke off.
    #[error("the agent broke off its answer")]
    Broken(#[from] hyper::Error),
    /// The agent refused the question.
    #[error("{message}")]
    Refused {
        /// Its code.
        status: StatusCode,
        /// Its words.
        message: String,
    },
    /// The answer is not what this version expects.
    #[error("the agent's answer is not understood; is it of another version?")]
    Unreadable(#[source] serde_json::Error),
}

/// A running agent, as far as a command needs to know.
#[derive(Clone, Debug)]
pub(crate) struct Client {
    socket: PathBuf,
}

impl Client {
    /// The agent with this run directory.
    pub(crate) fn new(run_dir: &Path) -> Self {
        Self { socket: rundir::socket(run_dir) }
    }

    /// What listens on a socket.
    pub(crate) fn at(socket: &Path) -> Self {
        Self { socket: socket.to_owned() }
    }

    /// One answer, whole. `path` has to be a valid request target.
    pub(crate) async fn ask<T: DeserializeOwned>(&self, path: &str) -> Result<T, ClientError> {
        self.whole(path, Request::new(Full::default())).await
    }

    /// Sends something as JSON, and gets one answer, whole.
    pub(crate) async fn tell<Q: Serialize, A: DeserializeOwned>(
        &self,
        path: &str,
        question: &Q,
    ) -> Result<A, ClientError> {
        let body = serde_json::to_vec(question).map_err(ClientError::Unreadable)?;
        let mut request = Request::new(Full::from(body));
        *request.method_mut() = Method::POST;
        let json = header::HeaderValue::from_static("application/json");
        request.headers_mut().insert(header::CONTENT_TYPE, json);
        self.whole(path, request).await
    }

    async fn whole<A: DeserializeOwned>(
        &self,
        path: &str,
        request: Request<Full<Bytes>>,
    ) -> Result<A, ClientError> {
        let (response, _connection) = self.send(path, request).await?;
        let body = response.into_body().collect().await?.to_bytes();
        serde_json::from_slice(&body).map_err(ClientError::Unreadable)
    }

    /// A stream of flows. `take` says whether to go on.
    pub(crate) async fn lines(
        &self,
        path: &str,
        mut take: impl FnMut(Line) -> bool,
    ) -> Result<(), ClientError> {
        let (mut response, _connection) = self.send(path, Request::new(Full::default())).await?;
        let mut text = Vec::new();
        while let Some(frame) = response.frame().await {
            let Ok(data) = frame?.into_data() else { continue };
            text.extend_from_slice(&data);
            while let Some(end) = text.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = text.drain(..=end).collect();
                let line = serde_json::from_slice(&line).map_err(ClientError::Unreadable)?;
                if !take(line) {
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    /// Sends a request. The set drives the connection and ends it when dropped.
    async fn send(
        &self,
        path: &str,
        mut request: Request<Full<Bytes>>,
    ) -> Result<(Response<Incoming>, JoinSet<()>), ClientError> {
        let stream = UnixStream::connect(&self.socket).await.map_err(|source| {
            let socket = self.socket.clone();
            match source.kind() {
                io::ErrorKind::PermissionDenied => ClientError::NotAllowed { socket },
                _ => ClientError::NoAgent { socket, source },
            }
        })?;
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        let mut driver = JoinSet::new();
        driver.spawn(async move {
            // A broken connection shows in the response, where it can be reported.
            let _ = connection.await;
        });
        *request.uri_mut() = path.parse().map_err(|_| ClientError::Refused {
            status: StatusCode::BAD_REQUEST,
            message: format!("{path} cannot be asked for"),
        })?;
        request.headers_mut().insert(header::HOST, header::HeaderValue::from_static("sekisho"));
        let response = sender.send_request(request).await?;
        if response.status().is_success() {
            return Ok((response, driver));
        }
        let status = response.status();
        let body = response.into_body().collect().await?.to_bytes();
        let message = String::from_utf8_lossy(&body).trim().to_owned();
        Err(ClientError::Refused { status, message })
    }
}
