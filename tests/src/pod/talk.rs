//! A client that does as it is told, a line of its input at a time, and answers each line.

use std::{
    io::{self, BufRead as _, Read as _, Write as _},
    net::{Shutdown, SocketAddr},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};
use serde::{Deserialize, Serialize};
use socket2::{Domain, Protocol, Socket, Type};

use crate::web::field;

/// A stranger's answer may take a while through a proxy; a test that waits longer has failed.
const PATIENCE: Duration = Duration::from_secs(5);

/// What the client says to one line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Said {
    /// The error number of the call that failed.
    pub errno: Option<i32>,
    /// What was read, or what went wrong.
    pub text: String,
    /// How long it took.
    pub took_ms: u64,
}

impl Said {
    /// Whether the call failed as a refusal does: with `EPERM`, at once.
    pub fn is_refused(&self) -> bool {
        self.errno == Some(libc::EPERM) && self.took_ms < 1_000
    }
}

/// ```text
/// dial ADDR:PORT   connect a new socket
/// udp ADDR:PORT    connect a new socket for datagrams
/// meet OWN PEER    connect a new socket for datagrams that is bound, and shares its port
/// bind ADDR:PORT   bind a new socket
/// send TEXT        write it
/// get PATH HOST    write a request of HTTP/1.1
/// answer           read the answer to one
/// read COUNT       read exactly so many bytes
/// rest             read to the end of the stream
/// shut             say that no more will be sent
/// names            getsockname() and getpeername()
/// close            close it
/// ask ADDR:PORT    send a datagram from a socket of its own, and read what comes back
/// ```
pub(super) fn run() -> Result<()> {
    let mut socket = None;
    for line in io::stdin().lock().lines() {
        let line = line?;
        let (verb, argument) = line.split_once(' ').unwrap_or((&line, ""));
        let start = Instant::now();
        let outcome = obey(&mut socket, verb, argument)?;
        let took_ms = u64::try_from(start.elapsed().as_millis())?;
        let said = match outcome {
            Ok(text) => Said { errno: None, text, took_ms },
            Err(error) => {
                let errno = error.raw_os_error().or(Some(libc::EPROTO));
                Said { errno, text: error.to_string(), took_ms }
            }
        };
        println!("{}", serde_json::to_string(&said)?);
    }
    Ok(())
}

fn obey(held: &mut Option<Socket>, verb: &str, argument: &str) -> Result<io::Result<String>> {
    if ["dial", "udp", "bind"].contains(&verb) {
        let address: SocketAddr = argument.parse()?;
        return Ok(open(verb, address).map(|socket| {
            *held = Some(socket);
            String::new()
        }));
    }
    if verb == "meet" {
        let (own, peer) = argument.split_once(' ').context("two addresses")?;
        return Ok(meet(own.parse()?, peer.parse()?).map(|socket| {
            *held = Some(socket);
            String::new()
        }));
    }
    if verb == "ask" {
        return Ok(ask(argument.parse()?));
    }
    if verb == "close" {
        drop(held.take());
        return Ok(Ok(String::new()));
    }
    let socket = held.as_mut().context("nothing is open")?;
    Ok(match verb {
        "send" => socket.write_all(argument.as_bytes()).map(|()| String::new()),
        "get" => {
            let (path, host) = argument.split_once(' ').context("a path and a host")?;
            let request = format!("GET {path} HTTP/1.1\r\nHost: {host}\r\n\r\n");
            socket.write_all(request.as_bytes()).map(|()| String::new())
        }
        "answer" => answer(socket),
        "read" => {
            let mut bytes = vec![0; argument.parse()?];
            socket.read_exact(&mut bytes).map(|()| text(&bytes))
        }
        "rest" => {
            let mut bytes = Vec::new();
            socket.read_to_end(&mut bytes).map(|_| text(&bytes))
        }
        "shut" => socket.shutdown(Shutdown::Write).map(|()| String::new()),
        "names" => names(socket),
        _ => bail!("unknown verb {verb:?}"),
    })
}

/// A head, and as much of a body as it says.
fn answer(socket: &mut Socket) -> io::Result<String> {
    let mut bytes = Vec::new();
    let mut length = None;
    while length.is_none_or(|length| bytes.len() < length) {
        let mut byte = [0];
        socket.read_exact(&mut byte)?;
        bytes.push(byte[0]);
        if length.is_none() && bytes.ends_with(b"\r\n\r\n") {
            let body = field(&text(&bytes), "content-length").and_then(|body| body.parse().ok());
            length = Some(bytes.len() + body.unwrap_or(0));
        }
    }
    Ok(text(&bytes))
}

fn open(verb: &str, address: SocketAddr) -> io::Result<Socket> {
    let (kind, protocol) = match verb {
        "udp" => (Type::DGRAM, Protocol::UDP),
        _ => (Type::STREAM, Protocol::TCP),
    };
    let socket = Socket::new(Domain::for_address(address), kind, Some(protocol))?;
    socket.set_read_timeout(Some(PATIENCE))?;
    socket.set_write_timeout(Some(PATIENCE))?;
    if verb == "bind" {
        socket.set_reuse_address(true)?;
        socket.bind(&address.into())?;
    } else {
        socket.connect(&address.into())?;
    }
    Ok(socket)
}

fn meet(own: SocketAddr, peer: SocketAddr) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(own), Type::DGRAM, Some(Protocol::UDP))?;
    if own.is_ipv6() {
        socket.set_only_v6(false)?;
    }
    socket.set_read_timeout(Some(PATIENCE))?;
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(true)?;
    socket.bind(&own.into())?;
    socket.connect(&peer.into())?;
    Ok(socket)
}

fn ask(to: SocketAddr) -> io::Result<String> {
    let any = if to.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
    let socket = std::net::UdpSocket::bind(any)?;
    socket.set_read_timeout(Some(PATIENCE))?;
    socket.send_to(b"hello", to)?;
    let mut answer = [0; 16];
    let (length, from) = socket.recv_from(&mut answer)?;
    if from != to {
        return Err(io::Error::other(format!("{from} answered")));
    }
    Ok(text(&answer[..length]))
}

fn names(socket: &Socket) -> io::Result<String> {
    let own = socket.local_addr()?.as_socket();
    let peer = socket.peer_addr()?.as_socket();
    match (own, peer) {
        (Some(own), Some(peer)) => Ok(format!("{} {peer}", own.ip())),
        _ => Err(io::Error::other("not an address of this family")),
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
