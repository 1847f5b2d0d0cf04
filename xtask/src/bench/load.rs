//! Both sides of the load: processes that `bench` starts in the namespaces of its hosts.
//!
//! A client takes orders on its standard input, one a line, and answers each with a number, so
//! that it is started once and measured in turn with the others.

use std::{
    io::{self, Read as _, Write as _},
    net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    path::PathBuf,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, bail, ensure};
use clap::{Args, Subcommand};
use socket2::{Domain, SockRef, Socket, Type};

use crate::command::{cargo, show, target_dir};

/// Accepts and closes.
const ACCEPT: u16 = 7001;
/// Sends back what it gets.
const ECHO: u16 = 7002;
/// Reads and forgets.
const SINK: u16 = 7003;
/// What a proxied client dials: the same ports, by rules that change the port.
pub(super) const PROXIED_OFFSET: u16 = 1000;
pub(super) const PORTS: [u16; 3] = [ACCEPT, ECHO, SINK];

/// Bytes that go out, or come in, with one call.
const CHUNK: u32 = 128 * 1024;
const PATIENCE: Duration = Duration::from_secs(10);
/// For an agent that has a cluster's changes to take in.
const LONG_PATIENCE: Duration = Duration::from_secs(30);
/// A connection that is on its way: the number is the same on every architecture that we build for.
const EINPROGRESS: i32 = 115;

/// The load comes from an optimised build of this program: its own cost hides the difference.
pub(super) fn build() -> anyhow::Result<PathBuf> {
    show(cargo().args(["build", "--quiet", "--release", "--package", "xtask"]))?;
    Ok(target_dir().join("release/xtask"))
}

#[derive(Debug, Args)]
pub(crate) struct Options {
    #[command(subcommand)]
    side: Side,
}

#[derive(Debug, Subcommand)]
enum Side {
    /// Listens until it is ended
    Server,
    /// Takes orders from the standard input
    Client {
        /// Where the server is
        address: IpAddr,
        /// Added to the server's ports
        #[arg(long, default_value_t = 0)]
        offset: u16,
    },
}

pub(crate) fn run(options: &Options) -> anyhow::Result<()> {
    match options.side {
        Side::Server => serve(),
        Side::Client { address, offset } => take_orders(address, offset),
    }
}

fn serve() -> anyhow::Result<()> {
    let jobs: [(u16, fn(TcpStream)); 3] = [(ACCEPT, drop), (ECHO, echo), (SINK, sink)];
    for (port, job) in jobs {
        let listener = listen(port)?;
        let threaded = port != ACCEPT;
        thread::spawn(move || accept(&listener, job, threaded));
    }
    println!("ready");
    // Until the one that started us closes our standard input, or ends.
    io::stdin().lines().for_each(drop);
    Ok(())
}

fn listen(port: u16) -> anyhow::Result<TcpListener> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
    socket.set_reuse_address(true)?;
    socket.bind(&SocketAddr::from((Ipv4Addr::UNSPECIFIED, port)).into())?;
    socket.listen(4096)?;
    Ok(socket.into())
}

fn accept(listener: &TcpListener, job: fn(TcpStream), threaded: bool) {
    for stream in listener.incoming().flatten() {
        if threaded {
            thread::spawn(move || job(stream));
        } else {
            job(stream);
        }
    }
}

fn echo(mut stream: TcpStream) {
    // A small answer must not wait for the acknowledgement of the one before.
    let _ = stream.set_nodelay(true);
    let mut byte = [0];
    while stream.read_exact(&mut byte).is_ok() && stream.write_all(&byte).is_ok() {}
}

fn sink(mut stream: TcpStream) {
    let mut buffer = vec![0; CHUNK as usize];
    while matches!(stream.read(&mut buffer), Ok(length) if length > 0) {}
}

fn take_orders(address: IpAddr, offset: u16) -> anyhow::Result<()> {
    let at = |port: u16| SocketAddr::from((address, port + offset));
    let mut held = Vec::new();
    println!("ready");
    for line in io::stdin().lines() {
        let line = line?;
        let words: Vec<&str> = line.split(' ').collect();
        let number = match words[..] {
            ["connect", millis] => connects(at(ACCEPT), duration(millis)?),
            ["echo", millis] => echoes(at(ECHO), duration(millis)?),
            ["send", millis] => sends(at(SINK), duration(millis)?),
            ["hold", count, port] => {
                hold(&mut held, count.parse()?, SocketAddr::from((address, port.parse()?)))
            }
            ["release"] => {
                held.clear();
                Ok(0.0)
            }
            ["until-open", address] => until(address.parse()?, true),
            ["until-refused", address] => until(address.parse()?, false),
            ["until-let-out", address] => until_judged(address.parse()?, true),
            ["until-held-back", address] => until_judged(address.parse()?, false),
            _ => bail!("not an order: {line}"),
        };
        let number =
            number.with_context(|| format!("{line}, of {address} with offset {offset}"))?;
        println!("{number}");
    }
    Ok(())
}

fn duration(millis: &str) -> anyhow::Result<Duration> {
    Ok(Duration::from_millis(millis.parse()?))
}

/// Connections a second, one after the other. Each is reset at its end, so that ports are free at
/// once and no round starts with the leftovers of the last.
fn connects(at: SocketAddr, time: Duration) -> anyhow::Result<f64> {
    let started = Instant::now();
    let mut count = 0_u32;
    while started.elapsed() < time {
        let stream = TcpStream::connect(at).with_context(|| format!("connect to {at}"))?;
        SockRef::from(&stream).set_linger(Some(Duration::ZERO))?;
        count += 1;
    }
    Ok(f64::from(count) / started.elapsed().as_secs_f64())
}

/// Round trips of one byte a second, on one connection.
fn echoes(at: SocketAddr, time: Duration) -> anyhow::Result<f64> {
    let mut stream = TcpStream::connect(at)?;
    stream.set_nodelay(true)?;
    let mut byte = [7];
    stream.write_all(&byte)?;
    stream.read_exact(&mut byte)?;
    let started = Instant::now();
    let mut count = 0_u32;
    while started.elapsed() < time {
        stream.write_all(&byte)?;
        stream.read_exact(&mut byte)?;
        count += 1;
    }
    Ok(f64::from(count) / started.elapsed().as_secs_f64())
}

/// Bytes a second, on one connection.
fn sends(at: SocketAddr, time: Duration) -> anyhow::Result<f64> {
    let mut stream = TcpStream::connect(at)?;
    let chunk = vec![7; CHUNK as usize];
    // Slow start and the buffers fill outside the measured time.
    let warm = Instant::now();
    while warm.elapsed() < time / 6 {
        stream.write_all(&chunk)?;
    }
    let started = Instant::now();
    let mut count = 0_u32;
    while started.elapsed() < time {
        stream.write_all(&chunk)?;
        count += 1;
    }
    Ok(f64::from(count) * f64::from(CHUNK) / started.elapsed().as_secs_f64())
}

/// Opens connections that have one request of HTTP/1.1 each and then wait.
fn hold(held: &mut Vec<TcpStream>, count: usize, at: SocketAddr) -> anyhow::Result<f64> {
    let mut answer = [0; 4096];
    for _ in 0..count {
        let mut stream = TcpStream::connect(at).with_context(|| format!("connect to {at}"))?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.write_all(format!("GET / HTTP/1.1\r\nHost: {at}\r\n\r\n").as_bytes())?;
        let length = stream.read(&mut answer)?;
        ensure!(answer[..length].starts_with(b"HTTP/1.1 200"), "a request failed");
        held.push(stream);
    }
    Ok(f64::from(u32::try_from(held.len())?))
}

/// Dials until it works, or until the kernel refuses it, and says how many attempts that took.
fn until(at: SocketAddr, open: bool) -> anyhow::Result<f64> {
    let started = Instant::now();
    let mut attempts = 0_u32;
    while started.elapsed() < PATIENCE {
        attempts += 1;
        match TcpStream::connect(at) {
            Ok(stream) => {
                SockRef::from(&stream).set_linger(Some(Duration::ZERO))?;
                if open {
                    return Ok(f64::from(attempts));
                }
            }
            Err(problem) if problem.kind() == io::ErrorKind::PermissionDenied => {
                if !open {
                    return Ok(f64::from(attempts));
                }
            }
            // The change came while this one was on its way.
            Err(problem) if problem.kind() == io::ErrorKind::ConnectionAborted => {}
            Err(problem) => return Err(problem).with_context(|| format!("connect to {at}")),
        }
    }
    bail!("{at} did not change")
}

/// Knocks until the kernel lets a connection out, or does not any more, whether or not a server is
/// there: a thousand times a second, and how often.
fn until_judged(at: SocketAddr, out: bool) -> anyhow::Result<f64> {
    let started = Instant::now();
    let mut attempts = 0_u32;
    while started.elapsed() < LONG_PATIENCE {
        attempts += 1;
        let socket = Socket::new(Domain::for_address(at), Type::STREAM, None)?;
        socket.set_nonblocking(true)?;
        let is_out = match socket.connect(&at.into()) {
            Ok(()) => true,
            Err(problem) if problem.raw_os_error() == Some(EINPROGRESS) => true,
            Err(problem) if problem.kind() == io::ErrorKind::PermissionDenied => false,
            Err(problem) => return Err(problem).with_context(|| format!("connect to {at}")),
        };
        if is_out == out {
            return Ok(f64::from(attempts));
        }
        thread::sleep(Duration::from_millis(1));
    }
    bail!("{at} did not change")
}
