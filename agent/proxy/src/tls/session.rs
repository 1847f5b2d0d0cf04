//! One connection's TLS, on a socket that does not wait. Whatever would wait says so
//! ([`io::ErrorKind::WouldBlock`]), as the socket itself does.

use std::{
    io::{self, BufRead as _, IoSlice, Read, Write},
    net::SocketAddr,
    sync::Arc,
};

use rustls::{
    ClientConfig, ClientConnection, Connection, ServerConfig, ServerConnection,
    pki_types::{CertificateDer, ServerName},
};
use socket2::SockRef;
use tokio::net::TcpStream;

/// The most that waits to be sent: what is taken from a writer while its reader is slow.
const MOST_WAITING: usize = 64 * 1024;

/// What TLS begins with.
#[derive(Debug)]
pub(crate) enum Secured {
    /// As a client.
    Client {
        config: Arc<ClientConfig>,
        /// The server's name.
        name: ServerName<'static>,
    },
    /// As a server.
    Server(Arc<ServerConfig>),
}

/// What both ends have agreed on.
#[derive(Debug)]
pub(crate) struct Agreed {
    /// By ALPN.
    pub(crate) protocol: Option<Vec<u8>>,
    /// The name that the client asks for; told to the server alone.
    pub(crate) asked: Option<String>,
    /// The certificates that the other end has shown.
    pub(crate) peer: Vec<CertificateDer<'static>>,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Session {
    inner: Connection,
    /// The other end: a socket that was reset does not know any more.
    pub(crate) peer: SocketAddr,
}

/// A socket by way of the runtime, which learns what would wait.
struct Watched<'a>(&'a TcpStream);

impl Read for Watched<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.try_read(buffer)
    }
}

impl Write for Watched<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.try_write(bytes)
    }

    fn write_vectored(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        self.0.try_write_vectored(slices)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A socket as the kernel has it: the runtime may not have heard yet.
struct Bare<'a>(SockRef<'a>);

impl Read for Bare<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        (&*self.0).read(buffer)
    }
}

impl Session {
    /// Agrees on TLS with the other end of a socket.
    pub(crate) async fn begin(tcp: &TcpStream, how: Secured) -> io::Result<Self> {
        let mut inner: Connection = match how {
            Secured::Client { config, name } => {
                ClientConnection::new(config, name).map_err(io::Error::other)?.into()
            }
            Secured::Server(config) => {
                ServerConnection::new(config).map_err(io::Error::other)?.into()
            }
        };
        inner.set_buffer_limit(Some(MOST_WAITING));
        let mut session = Self { inner, peer: tcp.peer_addr()? };
        loop {
            match session.flush(tcp) {
                Ok(()) if !session.inner.is_handshaking() => return Ok(session),
                Ok(()) => match session.receive(&mut Watched(tcp)) {
                    Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                    Ok(_) => session.look(tcp)?,
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                        tcp.readable().await?;
                    }
                    Err(error) => return Err(error),
                },
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => tcp.writable().await?,
                Err(error) => return Err(error),
            }
        }
    }

    fn receive(&mut self, from: &mut dyn Read) -> io::Result<usize> {
        self.inner.read_tls(from)
    }

    /// Looks at what was received. What is wrong with it is told to the other end, too.
    fn look(&mut self, tcp: &TcpStream) -> io::Result<()> {
        match self.inner.process_new_packets() {
            Ok(_) => Ok(()),
            Err(error) => {
                // The other end has to be told, but need not listen.
                let _ = self.flush(tcp);
                Err(io::Error::new(io::ErrorKind::InvalidData, error))
            }
        }
    }

    /// What both ends have agreed on.
    pub(crate) fn agreed(&self) -> Agreed {
        let asked = match &self.inner {
            Connection::Client(_) => None,
            Connection::Server(server) => server.server_name().map(str::to_owned),
        };
        Agreed {
            protocol: self.inner.alpn_protocol().map(<[u8]>::to_vec),
            asked,
            peer: self.inner.peer_certificates().map(<[_]>::to_vec).unwrap_or_default(),
        }
    }

    /// Whether there is something to read already, or the end.
    pub(crate) fn is_ready(&mut self) -> bool {
        let filled = self.inner.reader().fill_buf().map(<[u8]>::len);
        !filled.is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock)
    }

    /// Whether there is something to read, or the end, once what has come is looked at.
    pub(crate) fn has_heard(&mut self, tcp: &TcpStream) -> bool {
        while !self.is_ready() {
            let received = self.receive(&mut Watched(tcp));
            if received.as_ref().is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock) {
                return false;
            }
            // The next read says what is wrong.
            if received.is_err() || self.look(tcp).is_err() {
                return true;
            }
        }
        true
    }

    /// Reads what there is; 0 is the end that the other end has said. An end that it has not said is an
    /// error: the stream may have been cut short.
    pub(crate) fn read(&mut self, tcp: &TcpStream, buffer: &mut [u8]) -> io::Result<usize> {
        self.read_from(&mut Watched(tcp), tcp, buffer)
    }

    fn read_from(
        &mut self,
        from: &mut dyn Read,
        tcp: &TcpStream,
        buffer: &mut [u8],
    ) -> io::Result<usize> {
        loop {
            match self.inner.reader().read(buffer) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                read => return read,
            }
            // At the end, the reader says which end it is.
            self.receive(from)?;
            self.look(tcp)?;
            // A change of keys is answered. The next write says what is wrong there.
            let _ = self.flush(tcp);
        }
    }

    /// Whether nothing has come but what TLS says to itself, not even the end.
    pub(crate) fn is_quiet(&mut self, tcp: &TcpStream) -> bool {
        let mut byte = [0];
        let read = self.read_from(&mut Bare(SockRef::from(tcp)), tcp, &mut byte);
        read.is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock)
    }

    /// Takes some of what is to be written; what was taken before has been sent by then.
    pub(crate) fn write(&mut self, tcp: &TcpStream, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        self.flush(tcp)?;
        let taken = self.inner.writer().write_vectored(slices)?;
        match self.flush(tcp) {
            Err(error) if error.kind() != io::ErrorKind::WouldBlock => Err(error),
            _ => Ok(taken),
        }
    }

    /// Sends what was taken.
    pub(crate) fn flush(&mut self, tcp: &TcpStream) -> io::Result<()> {
        while self.inner.wants_write() {
            if self.inner.write_tls(&mut Watched(tcp))? == 0 {
                return Err(io::ErrorKind::WriteZero.into());
            }
        }
        Ok(())
    }

    /// Says that no more will be written; it has to be flushed.
    pub(crate) fn finish(&mut self) {
        self.inner.send_close_notify();
    }
}
