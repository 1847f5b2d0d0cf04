//! A small server of HTTP/2 and gRPC that says its version, in a thread inside a host's namespace.
//!
//! A request that is no call is answered with the version. A call is answered with it as a message, and
//! one for `/stream` with ten messages in a second; both end with `grpc-status: 0`.

use std::{io, time::Duration};

use anyhow::Result;
use h2::{RecvStream, server::SendResponse};
use http::{HeaderMap, HeaderValue, Request, Response};
use tokio::{
    net::{TcpListener, TcpStream},
    task::JoinSet,
    time::sleep,
};

use crate::{pod::steady::message, served::Served, world::Host};

/// Messages of a stream, and what is between them.
const MESSAGES: u32 = 10;
const PAUSE: Duration = Duration::from_millis(100);

type Part = io::Cursor<Vec<u8>>;

/// See the module; it ends when this is dropped.
#[derive(Debug)]
pub struct Calls {
    _served: Served,
}

impl Calls {
    /// Serves on a port of a host, in both families.
    pub fn start(host: &Host, port: u16, version: &'static str) -> Result<Self> {
        let served = Served::start(host, port, move |listener| accept(listener, version))?;
        Ok(Self { _served: served })
    }
}

async fn accept(listener: TcpListener, version: &'static str) {
    let mut connections = JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        connections.spawn(serve(stream, version));
        while connections.try_join_next().is_some() {}
    }
}

async fn serve(stream: TcpStream, version: &'static str) {
    let _ = stream.set_nodelay(true);
    let Ok(mut connection) = h2::server::Builder::new().handshake(stream).await else { return };
    let mut calls = JoinSet::new();
    while let Some(Ok((request, respond))) = connection.accept().await {
        calls.spawn(async move {
            // The client may have gone.
            let _ = answer(request, respond, version).await;
        });
        while calls.try_join_next().is_some() {}
    }
}

async fn answer(
    request: Request<RecvStream>,
    mut respond: SendResponse<Part>,
    version: &'static str,
) -> Result<(), h2::Error> {
    let (head, mut body) = request.into_parts();
    while let Some(part) = body.data().await {
        let length = part?.len();
        body.flow_control().release_capacity(length)?;
    }
    let mut answer = Response::new(());
    let Some(kind) = head.headers.get("content-type") else {
        let mut to = respond.send_response(answer, false)?;
        return to.send_data(Part::new(version.as_bytes().to_vec()), true);
    };
    answer.headers_mut().insert("content-type", kind.clone());
    let mut to = respond.send_response(answer, false)?;
    to.send_data(Part::new(message(version)), false)?;
    if head.uri.path() == "/stream" {
        for _ in 1..MESSAGES {
            sleep(PAUSE).await;
            to.send_data(Part::new(message(version)), false)?;
        }
    }
    let trailers = HeaderMap::from_iter([(
        http::HeaderName::from_static("grpc-status"),
        HeaderValue::from_static("0"),
    )]);
    to.send_trailers(trailers)
}
