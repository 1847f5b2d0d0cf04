//! The proxy's sockets inside a pod's namespace: listeners on its loopback, and the sockets by
//! which the proxy dials on the pod's behalf.
//!
//! A socket is made inside the namespace by the [`Worker`] and marked as the agent's own before
//! anything else is done with it, so no hook ever sees an unmarked one of ours.
//!
//! A fresh port is bound alone, so that one which a process of the pod has is never taken for free,
//! not even when both would share it (`SO_REUSEPORT`). Once it is ours it may be shared: the next
//! agent binds it ([`Port::TakeOver`]) while this one still serves, and the bind hooks keep the pod off
//! it. From the moment that the next one listens, new connections are all its own.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream as StdStream},
    ops::RangeInclusive,
    os::fd::AsFd,
    sync::Arc,
    time::Duration,
};

use agent_kernel::{
    maps::Mark,
    netns::{NetNs, NetNsError, Worker},
    reuse_port,
};
use rustix::io::Errno;
use socket2::{Domain, Protocol, Socket, Type};
use thiserror::Error;
use tokio::net::{TcpListener, TcpSocket, TcpStream};

#[cfg(test)]
mod tests;

/// The ports that the proxy's listeners may take in a pod's namespace.
pub(crate) const PORTS: RangeInclusive<u16> = 15_001..=15_099;

/// Connections that wait to be accepted; the kernel caps it at `net.core.somaxconn` (4,096).
const BACKLOG: i32 = 4_096;

/// Where agents of other nodes reach the pods of this one: HBONE's.
const INBOUND_PORT: u16 = 15_008;

/// Why a socket inside a namespace could not be had.
#[derive(Debug, Error)]
pub enum SocketError {
    /// The namespace cannot be entered.
    #[error("the pod's namespace cannot be entered")]
    Namespace(#[from] NetNsError),
    /// A call failed.
    #[error("{call} failed in the pod's namespace")]
    Call {
        /// The call.
        call: &'static str,
        /// Why.
        source: io::Error,
    },
    /// The socket cannot be marked, and an unmarked one would be judged as the pod's.
    #[error("cannot mark a socket as the agent's own")]
    Mark {
        /// Why.
        source: io::Error,
    },
    /// The namespace's loopback has no address, mostly because it has never been up.
    #[error("127.0.0.1 does not exist in the pod's namespace: its loopback is not up")]
    NoLoopback,
    /// Every port of `PORTS` is taken.
    #[error("the pod itself listens on every port of {}-{}", PORTS.start(), PORTS.end())]
    NoPort,
    /// The port to be taken over is another user's, or the pod's.
    #[error("port {port} of the pod's loopback cannot be taken over from the agent before")]
    Taken {
        /// The port.
        port: u16,
    },
    /// The far end refused or is unreachable.
    #[error("cannot connect to {addr}")]
    Connect {
        /// The far end.
        addr: SocketAddr,
        /// Why.
        source: io::Error,
    },
    /// The far end did not answer in time.
    #[error("no answer from {addr} within {after:?}")]
    TimedOut {
        /// The far end.
        addr: SocketAddr,
        /// The time that it had.
        after: Duration,
    },
}

/// Which port the listeners take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Port {
    /// The first of `PORTS` that is free in both families.
    FirstFree,
    /// The one that the agent before listens on, or listened on until it died.
    TakeOver(u16),
}

/// The proxy's listeners in one namespace: one port, both families.
#[derive(Debug)]
pub struct Listeners {
    /// The port of both.
    pub port: u16,
    /// On 127.0.0.1.
    pub v4: TcpListener,
    /// On `::1`; `None` where the namespace has no IPv6.
    pub v6: Option<TcpListener>,
}

/// The proxy's port in one namespace, and sockets that are bound to it.
#[derive(Debug)]
pub struct Reserved {
    /// The port of both.
    pub port: u16,
    /// Whether an agent before may still listen on it.
    is_shared: bool,
    v4: Socket,
    v6: Option<Socket>,
}

impl Reserved {
    /// Listens. From here on new connections come here and not to the agent before.
    pub fn listen(self) -> Result<Listeners, SocketError> {
        let Self { port, is_shared, v4, v6 } = self;
        let listen = |socket: Socket| {
            match socket.listen(BACKLOG) {
                Err(error) if is(&error, Errno::ADDRINUSE) => {
                    return Err(SocketError::Taken { port });
                }
                listening => listening.map_err(failed("listen()"))?,
            }
            if is_shared && let Err(error) = reuse_port::prefer_second(socket.as_fd()) {
                tracing::warn!(%error, port, "the agent before still gets some of new connections");
            }
            let listener = TcpListener::from_std(socket.into());
            listener.map_err(failed("registering the listener"))
        };
        Ok(Listeners { port, v4: listen(v4)?, v6: v6.map(listen).transpose()? })
    }
}

/// Reserves the proxy's port inside a namespace. A fresh one is listened on at once, so that no one else
/// can have it.
pub async fn reserve(
    worker: &Worker,
    namespace: &NetNs,
    port: Port,
    mark: Arc<dyn Mark>,
) -> Result<Reserved, SocketError> {
    worker.run(namespace, move || bind_pair(port, &*mark)).await?
}

/// Reserves [`INBOUND_PORT`] on all addresses of a namespace, beside an agent before that may have it.
pub async fn reserve_inbound(
    worker: &Worker,
    namespace: &NetNs,
    mark: Arc<dyn Mark>,
) -> Result<Reserved, SocketError> {
    let bind_both = move || {
        let port = INBOUND_PORT;
        let bound = |address: IpAddr| bind(SocketAddr::new(address, port), true, &*mark);
        let v4 = match bound(Ipv4Addr::UNSPECIFIED.into())? {
            Bind::Bound(v4) => v4,
            Bind::InUse | Bind::NoSuchFamily => return Err(SocketError::Taken { port }),
        };
        let v6 = match bound(Ipv6Addr::UNSPECIFIED.into())? {
            Bind::Bound(v6) => Some(v6),
            Bind::NoSuchFamily => None,
            Bind::InUse => return Err(SocketError::Taken { port }),
        };
        Ok(Reserved { port, is_shared: true, v4, v6 })
    };
    worker.run(namespace, bind_both).await?
}

/// Connects to an address from inside a namespace, by a socket that is marked as the agent's own.
pub async fn dial(
    worker: &Worker,
    namespace: &NetNs,
    addr: SocketAddr,
    mark: &dyn Mark,
    patience: Duration,
) -> Result<TcpStream, SocketError> {
    let domain = Domain::for_address(addr);
    let socket = worker.run(namespace, move || new_socket(domain)).await??;
    mark.mark(socket.as_fd()).map_err(|source| SocketError::Mark { source })?;
    socket.set_tcp_nodelay(true).map_err(failed("TCP_NODELAY"))?;
    let connecting = TcpSocket::from_std_stream(StdStream::from(socket)).connect(addr);
    match tokio::time::timeout(patience, connecting).await {
        Ok(connected) => connected.map_err(|source| SocketError::Connect { addr, source }),
        Err(_) => Err(SocketError::TimedOut { addr, after: patience }),
    }
}

fn bind_pair(port: Port, mark: &dyn Mark) -> Result<Reserved, SocketError> {
    let (candidates, is_shared) = match port {
        Port::FirstFree => (PORTS, false),
        Port::TakeOver(port) => (port..=port, true),
    };
    for candidate in candidates {
        let v4 = SocketAddr::from((Ipv4Addr::LOCALHOST, candidate));
        let v6 = SocketAddr::from((Ipv6Addr::LOCALHOST, candidate));
        let reserved = |v4, v6| Reserved { port: candidate, is_shared, v4, v6 };
        match bind(v4, is_shared, mark)? {
            Bind::Bound(v4) => match bind(v6, is_shared, mark)? {
                Bind::Bound(v6) => return Ok(reserved(v4, Some(v6))),
                Bind::NoSuchFamily => return Ok(reserved(v4, None)),
                Bind::InUse => {}
            },
            Bind::NoSuchFamily => return Err(SocketError::NoLoopback),
            Bind::InUse => {}
        }
    }
    match port {
        Port::FirstFree => Err(SocketError::NoPort),
        Port::TakeOver(port) => Err(SocketError::Taken { port }),
    }
}

/// What came of binding a listener.
enum Bind {
    Bound(Socket),
    InUse,
    /// The namespace lacks the family, or its loopback lacks the address.
    NoSuchFamily,
}

fn bind(addr: SocketAddr, share: bool, mark: &dyn Mark) -> Result<Bind, SocketError> {
    let socket = match new_socket(Domain::for_address(addr)) {
        Ok(socket) => socket,
        Err(SocketError::Call { source, .. }) if is(&source, Errno::AFNOSUPPORT) => {
            return Ok(Bind::NoSuchFamily);
        }
        Err(error) => return Err(error),
    };
    mark.mark(socket.as_fd()).map_err(|source| SocketError::Mark { source })?;
    // Connections of an agent before that linger in TIME_WAIT must not keep the port.
    socket.set_reuse_address(true).map_err(failed("SO_REUSEADDR"))?;
    socket.set_reuse_port(share).map_err(failed("SO_REUSEPORT"))?;
    if addr.is_ipv6() {
        socket.set_only_v6(true).map_err(failed("IPV6_V6ONLY"))?;
    }
    let bound = socket.bind(&addr.into());
    // The second listener of a port that SO_REUSEADDR let two sockets bind is told by listen().
    let listening = bound.and_then(|()| if share { Ok(()) } else { socket.listen(BACKLOG) });
    match listening.and_then(|()| socket.set_reuse_port(true)) {
        Ok(()) => Ok(Bind::Bound(socket)),
        Err(error) if is(&error, Errno::ADDRINUSE) => Ok(Bind::InUse),
        Err(error) if is(&error, Errno::ADDRNOTAVAIL) => Ok(Bind::NoSuchFamily),
        Err(source) => Err(SocketError::Call { call: "binding a listener", source }),
    }
}

fn new_socket(domain: Domain) -> Result<Socket, SocketError> {
    let kind = Type::STREAM.nonblocking().cloexec();
    Socket::new(domain, kind, Some(Protocol::TCP)).map_err(failed("socket()"))
}

fn failed(call: &'static str) -> impl Fn(io::Error) -> SocketError {
    move |source| SocketError::Call { call, source }
}

fn is(error: &io::Error, errno: Errno) -> bool {
    error.raw_os_error() == Some(errno.raw_os_error())
}
