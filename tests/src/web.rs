//! A small web server that says its version, in a thread inside a host's namespace, also over TLS.
//!
//! ```text
//! /show      200, and the request's head as it came
//! /half      200, and the connection breaks off in the middle of the body
//! /gone      the connection ends without an answer
//! /silent    no answer
//! /tls       200, and what TLS was agreed on: server name, protocol, whose certificate the client has
//! /NNN       that status, where NNN is a number
//! anything   200
//! ```
//!
//! Every other answer's body is the version, and for a request with a body the body's length as well.

use std::{sync::Arc, time::Duration};

use anyhow::Result;
use rustls::{ServerConfig, ServerConnection};
use socket2::SockRef;
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    task::JoinSet,
};
use tokio_rustls::{TlsAcceptor, server::TlsStream};

use crate::{served::Served, world::Host};

/// See the module; it ends when this is dropped.
#[derive(Debug)]
pub struct Web {
    _served: Served,
}

impl Web {
    /// Serves on a port of a host, in both families.
    pub fn start(host: &Host, port: u16, version: &'static str) -> Result<Self> {
        Self::of(host, port, Says { version, tls: None })
    }

    /// The same over TLS.
    pub fn secured(
        host: &Host,
        port: u16,
        version: &'static str,
        tls: Arc<ServerConfig>,
    ) -> Result<Self> {
        Self::of(host, port, Says { version, tls: Some(tls) })
    }

    fn of(host: &Host, port: u16, says: Says) -> Result<Self> {
        let served = Served::start(host, port, move |listener| accept(listener, says.clone()))?;
        Ok(Self { _served: served })
    }
}

/// What a server says, and over what.
#[derive(Clone, Debug)]
struct Says {
    version: &'static str,
    tls: Option<Arc<ServerConfig>>,
}

async fn accept(listener: TcpListener, says: Says) {
    let mut streams = JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        let says = says.clone();
        streams.spawn(async move {
            match says.tls {
                None => serve(stream, says.version).await,
                Some(tls) => {
                    if let Ok(stream) = TlsAcceptor::from(tls).accept(stream).await {
                        serve(stream, says.version).await;
                    }
                }
            }
        });
        while streams.try_join_next().is_some() {}
    }
}

/// A client's connection.
trait Stream: AsyncRead + AsyncWrite + Unpin {
    fn tcp(&self) -> &TcpStream;

    fn tls(&self) -> Option<&ServerConnection>;
}

impl Stream for TcpStream {
    fn tcp(&self) -> &TcpStream {
        self
    }

    fn tls(&self) -> Option<&ServerConnection> {
        None
    }
}

impl Stream for TlsStream<TcpStream> {
    fn tcp(&self) -> &TcpStream {
        self.get_ref().0
    }

    fn tls(&self) -> Option<&ServerConnection> {
        Some(self.get_ref().1)
    }
}

fn agreed(stream: &impl Stream) -> String {
    let Some(tls) = stream.tls() else { return "none".to_owned() };
    let name = tls.server_name().unwrap_or("-");
    let protocol = tls.alpn_protocol().map_or("-".into(), String::from_utf8_lossy);
    let client = tls.peer_certificates().map_or(0, <[_]>::len);
    format!("{name} {protocol} {client}")
}

/// Answers requests one after the other, as long as they come.
async fn serve(mut stream: impl Stream, version: &'static str) {
    let mut bytes = Vec::new();
    loop {
        let Some(end) = find(&bytes, b"\r\n\r\n") else {
            match stream.read_buf(&mut bytes).await {
                Ok(1..) => continue,
                _ => return,
            }
        };
        let head: Vec<u8> = bytes.drain(..end + 4).collect();
        let head = String::from_utf8_lossy(&head).into_owned();
        let length = field(&head, "content-length").and_then(|value| value.parse().ok());
        let length = length.unwrap_or(0);
        while bytes.len() < length {
            match stream.read_buf(&mut bytes).await {
                Ok(1..) => {}
                _ => return,
            }
        }
        bytes.drain(..length);
        let path = head.split(' ').nth(1).unwrap_or_default();
        let answer = match path {
            "/gone" => return,
            "/silent" => return tokio::time::sleep(Duration::from_mins(1)).await,
            "/half" => {
                let half = format!("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{version}");
                let _ = stream.write_all(half.as_bytes()).await;
                tokio::time::sleep(Duration::from_millis(50)).await;
                let _ = SockRef::from(stream.tcp()).set_linger(Some(Duration::ZERO));
                return;
            }
            "/show" => answer(200, &head),
            "/tls" => answer(200, &agreed(&stream)),
            path => {
                let status = path.trim_start_matches('/').parse().unwrap_or(200);
                let body =
                    if length == 0 { version.to_owned() } else { format!("{version} {length}") };
                answer(status, &body)
            }
        };
        if stream.write_all(answer.as_bytes()).await.is_err() {
            return;
        }
    }
}

fn answer(status: u16, body: &str) -> String {
    format!("HTTP/1.1 {status} Fine\r\nContent-Length: {}\r\n\r\n{body}", body.len())
}

fn find(bytes: &[u8], what: &[u8]) -> Option<usize> {
    bytes.windows(what.len()).position(|window| window == what)
}

/// The value of a field of a head.
pub fn field<'h>(head: &'h str, name: &str) -> Option<&'h str> {
    let mut fields = head.lines().skip(1).filter_map(|line| line.split_once(": "));
    fields.find(|(own, _)| own.eq_ignore_ascii_case(name)).map(|(_, value)| value)
}
