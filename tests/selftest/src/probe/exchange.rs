//! One message out, and its echo back.

use std::{
    io::{self, Read as _, Write as _},
    mem::MaybeUninit,
    time::Duration,
};

use crate::errand::Errand;
use socket2::{Domain, Protocol, SockAddr, Socket, Type};

/// How long an answer, or a connection, is waited for. Less than the second in which a refusal
/// must come, and less than TCP's first retransmission of a SYN.
pub(crate) const PATIENCE: Duration = Duration::from_millis(800);

/// What is sent; the echo is the same bytes.
pub(crate) const MESSAGE: &[u8] = b"sekisho leak probe";

/// A socket of the errand's family that never waits longer than [`PATIENCE`].
pub(crate) fn socket(errand: &Errand, kind: Type, protocol: Protocol) -> io::Result<Socket> {
    patient(Socket::new(Domain::for_address(errand.target()), kind, Some(protocol))?)
}

/// Makes a socket wait no longer than [`PATIENCE`].
pub(crate) fn patient(socket: Socket) -> io::Result<Socket> {
    socket.set_read_timeout(Some(PATIENCE))?;
    socket.set_write_timeout(Some(PATIENCE))?;
    Ok(socket)
}

/// Writes the message to a stream and reads its echo; false when none comes in time. A stream that
/// the far end has closed counts as reset.
pub(crate) fn stream(mut socket: &Socket) -> io::Result<bool> {
    socket.write_all(MESSAGE)?;
    let mut echo = [0; MESSAGE.len()];
    match socket.read_exact(&mut echo) {
        Ok(()) => Ok(echo == MESSAGE),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
            Err(io::Error::from_raw_os_error(libc::ECONNRESET))
        }
        Err(error) => no_answer(error),
    }
}

/// Sends one datagram by `send` and reads an echo from anywhere.
pub(crate) fn datagram(
    socket: &Socket,
    send: impl FnOnce(&Socket) -> io::Result<usize>,
) -> io::Result<bool> {
    send(socket)?;
    let mut answer = [MaybeUninit::uninit(); 256];
    loop {
        return match socket.recv(&mut answer) {
            // The end of an io_uring interrupts the task that had it.
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => no_answer(error),
            Ok(_) => Ok(true),
        };
    }
}

/// Connects; false when no answer comes in time, which is never `EAGAIN`.
pub(crate) fn connect(socket: &Socket, to: &SockAddr) -> io::Result<bool> {
    match socket.connect(to) {
        Ok(()) => Ok(true),
        Err(error) if error.raw_os_error() == Some(libc::EINPROGRESS) => Ok(false),
        Err(error) if error.kind() == io::ErrorKind::TimedOut => Ok(false),
        Err(error) => Err(error),
    }
}

/// A wait that has ended without an answer is no error.
fn no_answer(error: io::Error) -> io::Result<bool> {
    match error.kind() {
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => Ok(false),
        _ => Err(error),
    }
}
