//! A TCP stream that ends with a reset unless it is closed on purpose.
//!
//! The kernel closes the sockets of a process that dies as if they had been closed in good order,
//! and a stream that was cut short would look whole to its reader. So the reset is arranged for
//! when the stream is taken on, and called off only once both ends have said that they are done.
//!
//! This is the one seam where TLS is put around a stream, or where it is one of several in a tunnel
//! (HBONE): whatever reads and writes beyond it does not know.

use std::{
    future::poll_fn,
    io::{self, IoSlice},
    mem::MaybeUninit,
    net::{Shutdown, SocketAddr},
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll, ready},
    time::Duration,
};

use agent_model::requests::policy::Keepalive;
use socket2::{SockRef, TcpKeepalive};
use tokio::{io::Interest, net::TcpStream};

use crate::{
    tls::{Agreed, Secured, Session},
    tunnel::Tunnel,
};

/// One read: most messages fit.
const SMALL: usize = 8 * 1024;
/// One read of what keeps coming.
const LARGE: usize = 64 * 1024;

/// The first probe of an idle upstream. Clients cannot probe it: theirs end at the proxy. Short
/// enough to keep the state of the usual balancers and NATs (350 s on AWS) alive.
const KEEPALIVE: Duration = Duration::from_mins(1);

/// Between probes that go unanswered.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(10);

/// So many of them end a connection.
const KEEPALIVE_PROBES: u32 = 9;

/// See the module. What is read and written is what is inside of its TLS, where it has one.
#[derive(Debug)]
pub(crate) struct ResetStream(Carrier);

/// What carries the bytes. Boxed where most connections have none.
#[derive(Debug)]
enum Carrier {
    Tcp(TcpStream),
    Tls(TcpStream, Box<Mutex<Session>>),
    Tunnel(Box<Mutex<Tunnel>>),
}

/// How long who is refused has to read why, and how much of what was sent meanwhile is thrown away: a
/// reset would throw away the alert instead.
const GOODBYE: Duration = Duration::from_millis(500);
const MOST_THROWN_AWAY: usize = 64 * 1024;

/// Ends a connection whose other end was told that no TLS is agreed on.
async fn say_goodbye(tcp: &TcpStream) {
    let socket = SockRef::from(tcp);
    // One that has gone needs no goodbye.
    if socket.set_linger(None).is_err() || socket.shutdown(Shutdown::Write).is_err() {
        return;
    }
    let mut thrown_away = 0;
    let mut buffer = [0; 1024];
    let drained = async {
        while thrown_away < MOST_THROWN_AWAY && tcp.readable().await.is_ok() {
            match tcp.try_read(&mut buffer) {
                Ok(0) => return,
                Ok(length) => thrown_away += length,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(_) => return,
            }
        }
    };
    // One that is slower is reset.
    let _ = tokio::time::timeout(GOODBYE, drained).await;
}

fn lock<T>(shared: &Mutex<T>) -> MutexGuard<'_, T> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

impl AsRef<Self> for ResetStream {
    fn as_ref(&self) -> &Self {
        self
    }
}

impl ResetStream {
    /// Takes on an accepted connection.
    pub(crate) fn accepted(stream: TcpStream) -> io::Result<Self> {
        let socket = SockRef::from(&stream);
        socket.set_linger(Some(Duration::ZERO))?;
        socket.set_tcp_nodelay(true)?;
        Ok(Self(Carrier::Tcp(stream)))
    }

    /// Takes on a connection that was dialled; what `probes` leaves out is as usual.
    pub(crate) fn dialled(stream: TcpStream, probes: Keepalive) -> io::Result<Self> {
        let keepalive = TcpKeepalive::new()
            .with_time(probes.time.unwrap_or(KEEPALIVE))
            .with_interval(probes.interval.unwrap_or(KEEPALIVE_INTERVAL))
            .with_retries(probes.probes.unwrap_or(KEEPALIVE_PROBES));
        SockRef::from(&stream).set_tcp_keepalive(&keepalive)?;
        Self::accepted(stream)
    }

    /// A stream in a tunnel.
    pub(crate) fn tunnelled(tunnel: Tunnel) -> Self {
        Self(Carrier::Tunnel(Box::new(Mutex::new(tunnel))))
    }

    /// The same with TLS on it.
    pub(crate) async fn secured(self, how: Secured) -> io::Result<Self> {
        let Carrier::Tcp(tcp) = self.0 else { return Err(io::ErrorKind::Unsupported.into()) };
        let is_server = matches!(how, Secured::Server(_));
        match Session::begin(&tcp, how).await {
            Ok(session) => Ok(Self(Carrier::Tls(tcp, Box::new(Mutex::new(session))))),
            Err(error) => {
                if is_server {
                    say_goodbye(&tcp).await;
                }
                Err(error)
            }
        }
    }

    /// The socket, where the stream has one of its own. What is read and written there is in no TLS.
    pub(crate) fn socket(&self) -> Option<&TcpStream> {
        match &self.0 {
            Carrier::Tcp(tcp) | Carrier::Tls(tcp, _) => Some(tcp),
            Carrier::Tunnel(_) => None,
        }
    }

    /// What both ends of its TLS have agreed on.
    pub(crate) fn agreed(&self) -> Option<Agreed> {
        match &self.0 {
            Carrier::Tls(_, session) => Some(lock(session).agreed()),
            Carrier::Tcp(_) | Carrier::Tunnel(_) => None,
        }
    }

    /// The other end of its TLS.
    pub(crate) fn secured_peer(&self) -> Option<SocketAddr> {
        match &self.0 {
            Carrier::Tls(_, session) => Some(lock(session).peer),
            Carrier::Tcp(_) | Carrier::Tunnel(_) => None,
        }
    }

    /// Waits until the other end has reset the connection (or it has broken otherwise). Does not
    /// look at what may still be read.
    pub(crate) async fn broken(&self) -> io::Error {
        let tcp = match &self.0 {
            Carrier::Tcp(tcp) | Carrier::Tls(tcp, _) => tcp,
            Carrier::Tunnel(tunnel) => {
                return poll_fn(|context| lock(tunnel).poll_broken(context)).await;
            }
        };
        let error = match tcp.ready(Interest::ERROR).await {
            Ok(_) => tcp.take_error(),
            Err(error) => return error,
        };
        // A reader that was quicker has taken the error; the connection is gone all the same.
        error.ok().flatten().unwrap_or_else(|| io::ErrorKind::ConnectionReset.into())
    }

    /// Waits until there may be something to read.
    pub(crate) async fn readable(&self) -> io::Result<()> {
        // What came with what was read before waits in the session, and the socket has heard of it.
        if let Carrier::Tls(_, session) = &self.0
            && lock(session).is_ready()
        {
            return Ok(());
        }
        self.arrival().await
    }

    /// Waits until something has come that was not looked at.
    async fn arrival(&self) -> io::Result<()> {
        match &self.0 {
            Carrier::Tcp(tcp) | Carrier::Tls(tcp, _) => tcp.readable().await,
            Carrier::Tunnel(tunnel) => poll_fn(|context| lock(tunnel).poll_readable(context)).await,
        }
    }

    /// The same for who polls; one at a time.
    pub(crate) fn poll_read_ready(&self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &self.0 {
            Carrier::Tcp(tcp) | Carrier::Tls(tcp, _) => tcp.poll_read_ready(context),
            Carrier::Tunnel(tunnel) => lock(tunnel).poll_readable(context),
        }
    }

    /// Waits until something may be written.
    pub(crate) fn poll_write_ready(&self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &self.0 {
            Carrier::Tcp(tcp) | Carrier::Tls(tcp, _) => tcp.poll_write_ready(context),
            Carrier::Tunnel(tunnel) => lock(tunnel).poll_writable(context),
        }
    }

    async fn writable(&self) -> io::Result<()> {
        match &self.0 {
            Carrier::Tcp(tcp) | Carrier::Tls(tcp, _) => tcp.writable().await,
            Carrier::Tunnel(tunnel) => poll_fn(|context| lock(tunnel).poll_writable(context)).await,
        }
    }

    /// Waits until there is something to read, or the end. Readiness alone may be a false alarm.
    pub(crate) async fn heard(&self) -> io::Result<()> {
        match &self.0 {
            Carrier::Tcp(tcp) => tcp.peek(&mut [0]).await.map(drop),
            Carrier::Tls(tcp, session) => loop {
                if lock(session).has_heard(tcp) {
                    return Ok(());
                }
                tcp.readable().await?;
            },
            Carrier::Tunnel(_) => self.arrival().await,
        }
    }

    /// Whether nothing has come, not even the end. Asked of the kernel: the runtime may not have heard.
    pub(crate) fn is_quiet(&self) -> bool {
        match &self.0 {
            Carrier::Tcp(tcp) => {
                let mut byte = [MaybeUninit::uninit()];
                let peeked = SockRef::from(tcp).peek(&mut byte);
                peeked.is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock)
            }
            Carrier::Tls(tcp, session) => lock(session).is_quiet(tcp),
            Carrier::Tunnel(tunnel) => lock(tunnel).is_quiet(),
        }
    }

    /// Reads what there is; 0 is the end.
    pub(crate) fn try_read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        match &self.0 {
            Carrier::Tcp(tcp) => tcp.try_read(buffer),
            Carrier::Tls(tcp, session) => lock(session).read(tcp, buffer),
            Carrier::Tunnel(tunnel) => lock(tunnel).read(buffer),
        }
    }

    /// The same, into the room that a buffer has left.
    pub(crate) fn try_read_buf(&self, buffer: &mut Vec<u8>) -> io::Result<usize> {
        if let Carrier::Tcp(tcp) = &self.0 {
            return tcp.try_read_buf(buffer);
        }
        let length = buffer.len();
        buffer.resize(buffer.capacity(), 0);
        let read = self.try_read(&mut buffer[length..]);
        buffer.truncate(length + read.as_ref().map_or(0, |read| *read));
        read
    }

    /// Reads what there is, after waiting for it; 0 is the end. Nothing is lost when it is given up.
    pub(crate) async fn read_some(&self, inbox: &mut Vec<u8>) -> io::Result<usize> {
        loop {
            let room = if inbox.capacity() > SMALL { LARGE } else { SMALL };
            inbox.reserve(room);
            match self.try_read_buf(inbox) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    // A buffer is held only while there is something in it.
                    if inbox.is_empty() {
                        *inbox = Vec::new();
                    }
                    self.arrival().await?;
                }
                read => return read,
            }
        }
    }

    /// Writes some.
    pub(crate) fn try_write(&self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        match &self.0 {
            Carrier::Tcp(tcp) => tcp.try_write_vectored(slices),
            Carrier::Tls(tcp, session) => lock(session).write(tcp, slices),
            Carrier::Tunnel(tunnel) => lock(tunnel).write(slices),
        }
    }

    /// Writes all of it, and counts what is written.
    pub(crate) async fn write_all(&self, mut rest: &[u8], carried: &AtomicU64) -> io::Result<()> {
        while !rest.is_empty() {
            match self.try_write(&[IoSlice::new(rest)]) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(written) => {
                    carried.fetch_add(written as u64, Ordering::Relaxed);
                    rest = &rest[written..];
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.writable().await?;
                }
                Err(error) => return Err(error),
            }
        }
        poll_fn(|context| self.poll_flush(context)).await
    }

    /// Sends what TLS has taken and holds.
    pub(crate) fn poll_flush(&self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Carrier::Tls(tcp, session) = &self.0 else { return Poll::Ready(Ok(())) };
        loop {
            let flushed = lock(session).flush(tcp);
            match flushed {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    ready!(tcp.poll_write_ready(context))?;
                }
                other => return Poll::Ready(other),
            }
        }
    }

    /// Says that no more will be written; what was written still arrives.
    pub(crate) fn poll_finish_writing(&self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &self.0 {
            Carrier::Tcp(tcp) => Poll::Ready(SockRef::from(tcp).shutdown(Shutdown::Write)),
            Carrier::Tls(tcp, session) => {
                lock(session).finish();
                ready!(self.poll_flush(context))?;
                Poll::Ready(SockRef::from(tcp).shutdown(Shutdown::Write))
            }
            Carrier::Tunnel(tunnel) => Poll::Ready(lock(tunnel).finish()),
        }
    }

    /// The same.
    pub(crate) async fn finish_writing(&self) -> io::Result<()> {
        poll_fn(|context| self.poll_finish_writing(context)).await
    }

    /// Closes in good order: what is still on its way arrives.
    pub(crate) fn close(self) -> io::Result<()> {
        match self.0 {
            Carrier::Tcp(tcp) => SockRef::from(&tcp).set_linger(None),
            Carrier::Tls(tcp, session) => {
                let mut session = lock(&session);
                session.finish();
                // One that takes no more is not told, and sees the end all the same.
                let _ = session.flush(&tcp);
                SockRef::from(&tcp).set_linger(None)
            }
            Carrier::Tunnel(tunnel) => {
                let tunnel = tunnel.into_inner().unwrap_or_else(PoisonError::into_inner);
                tunnel.close()
            }
        }
    }
}
