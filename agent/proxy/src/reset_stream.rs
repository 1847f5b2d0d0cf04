//! A TCP stream that ends with a reset unless it is closed on purpose.
//!
//! The kernel closes the sockets of a process that dies as if they had been closed in good order,
//! and a stream that was cut short would look whole to its reader. So the reset is arranged for
//! when the stream is taken on, and called off only once both ends have said that they are done.

use std::{
    io,
    net::Shutdown,
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use agent_model::requests::policy::Keepalive;
use socket2::{SockRef, TcpKeepalive};
use tokio::{io::Interest, net::TcpStream};

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

/// See the module.
#[derive(Debug)]
pub(crate) struct ResetStream(TcpStream);

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
        Ok(Self(stream))
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

    pub(crate) fn stream(&self) -> &TcpStream {
        &self.0
    }

    /// Waits until the other end has reset the connection (or it has broken otherwise). Does not
    /// look at what may still be read.
    pub(crate) async fn broken(&self) -> io::Error {
        let error = match self.0.ready(Interest::ERROR).await {
            Ok(_) => self.0.take_error(),
            Err(error) => return error,
        };
        // A reader that was quicker has taken the error; the connection is gone all the same.
        error.ok().flatten().unwrap_or_else(|| io::ErrorKind::ConnectionReset.into())
    }

    /// Reads what there is, after waiting for it; 0 is the end. Nothing is lost when it is given up.
    pub(crate) async fn read_some(&self, inbox: &mut Vec<u8>) -> io::Result<usize> {
        loop {
            let room = if inbox.capacity() > SMALL { LARGE } else { SMALL };
            inbox.reserve(room);
            match self.0.try_read_buf(inbox) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    // A buffer is held only while there is something in it.
                    if inbox.is_empty() {
                        *inbox = Vec::new();
                    }
                    self.0.readable().await?;
                }
                read => return read,
            }
        }
    }

    /// Waits until there is something to read, or the end. Readiness alone may be a false alarm.
    pub(crate) async fn heard(&self) -> io::Result<()> {
        self.0.peek(&mut [0]).await.map(drop)
    }

    /// Writes all of it, and counts what is written.
    pub(crate) async fn write_all(&self, mut rest: &[u8], carried: &AtomicU64) -> io::Result<()> {
        while !rest.is_empty() {
            match self.0.try_write(rest) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(written) => {
                    carried.fetch_add(written as u64, Ordering::Relaxed);
                    rest = &rest[written..];
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.0.writable().await?;
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Says that no more will be written; what was written still arrives.
    pub(crate) fn finish_writing(&self) -> io::Result<()> {
        SockRef::from(&self.0).shutdown(Shutdown::Write)
    }

    /// Closes in good order: what is still on its way arrives.
    pub(crate) fn close(self) -> io::Result<()> {
        SockRef::from(&self.0).set_linger(None)
    }
}
