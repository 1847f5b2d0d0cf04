//! What a far host answers: echo over TCP (plain and multipath) and UDP, from whatever address it
//! was asked at.

use std::{
    fs,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    thread::{self, JoinHandle},
};

use anyhow::{Context as _, Result};
use socket2::{Domain, Protocol, Socket, Type};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream, UdpSocket},
    runtime::{Builder, Runtime},
    sync::oneshot,
    task::JoinSet,
};

use crate::{netns::Netns, sys, world::Host};

/// Echo servers on one port of a host; they end when this is dropped.
#[derive(Debug)]
pub struct Echo {
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

/// As many as a burst of the heaviest suite leaves waiting.
const BACKLOG: i32 = 4_096;

impl Echo {
    /// Echoes on `port` of `host`: TCP at every address, UDP at each of `addresses`.
    pub fn start(host: &Host, port: u16, addresses: &[IpAddr]) -> Result<Self> {
        Self::inside(host.netns(), port, addresses, "")
    }

    /// As above, but the server speaks first, as a database does.
    pub fn with_greeting(host: &Host, port: u16, greeting: &'static str) -> Result<Self> {
        Self::inside(host.netns(), port, &[], greeting)
    }

    fn inside(
        netns: &Netns,
        port: u16,
        addresses: &[IpAddr],
        greeting: &'static str,
    ) -> Result<Self> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let (streams, datagrams) = netns.enter(|| {
            // Data in the SYN, without a cookie (Documentation/networking/ip-sysctl.rst).
            fs::write("/proc/sys/net/ipv4/tcp_fastopen", "1539")?;
            let streams = [
                listen(SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), port))?,
                listen(SocketAddr::new(Ipv6Addr::UNSPECIFIED.into(), port))?,
            ];
            let datagrams = addresses.iter().map(|&address| bind(SocketAddr::new(address, port)));
            Ok((streams, datagrams.collect::<Result<Vec<_>>>()?))
        })?;
        let (stop, stopped) = oneshot::channel();
        let thread = thread::spawn(move || run(&runtime, streams, datagrams, (stopped, greeting)));
        Ok(Self { stop: Some(stop), thread: Some(thread) })
    }
}

impl Drop for Echo {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // A panic there has been printed; the test fails for want of answers.
            let _ = thread.join();
        }
    }
}

/// A multipath listener takes plain TCP as well.
fn listen(address: SocketAddr) -> Result<std::net::TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::MPTCP))?;
    socket.set_reuse_address(true)?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    sys::set_option(&socket, libc::IPPROTO_TCP, libc::TCP_FASTOPEN, 64)?;
    socket.bind(&address.into()).with_context(|| format!("listening at {address}"))?;
    socket.listen(BACKLOG)?;
    socket.set_nonblocking(true)?;
    Ok(socket.into())
}

fn bind(address: SocketAddr) -> Result<std::net::UdpSocket> {
    let socket =
        std::net::UdpSocket::bind(address).with_context(|| format!("binding {address}"))?;
    socket.set_nonblocking(true)?;
    Ok(socket)
}

fn run(
    runtime: &Runtime,
    streams: [std::net::TcpListener; 2],
    datagrams: Vec<std::net::UdpSocket>,
    (stopped, greeting): (oneshot::Receiver<()>, &'static str),
) {
    runtime.block_on(async {
        let mut tasks = JoinSet::new();
        for listener in streams {
            if let Ok(listener) = TcpListener::from_std(listener) {
                tasks.spawn(accept(listener, greeting));
            }
        }
        for socket in datagrams {
            if let Ok(socket) = UdpSocket::from_std(socket) {
                tasks.spawn(answer(socket));
            }
        }
        // The sender is only ever dropped, which is the signal.
        let _ = stopped.await;
    });
}

async fn accept(listener: TcpListener, greeting: &'static str) {
    let mut streams = JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        streams.spawn(echo(stream, greeting));
        while streams.try_join_next().is_some() {}
    }
}

/// Echoes until the peer sends no more, then says so too.
async fn echo(mut stream: TcpStream, greeting: &'static str) {
    if stream.write_all(greeting.as_bytes()).await.is_err() {
        return;
    }
    let mut buffer = vec![0; 16_384];
    while let Ok(length @ 1..) = stream.read(&mut buffer).await {
        if stream.write_all(&buffer[..length]).await.is_err() {
            return;
        }
    }
}

async fn answer(socket: UdpSocket) {
    let mut buffer = vec![0; 65_536];
    loop {
        // An ICMP error about an earlier answer shows up here and is of no interest.
        if let Ok((length, peer)) = socket.recv_from(&mut buffer).await {
            let _ = socket.send_to(&buffer[..length], peer).await;
        }
    }
}
