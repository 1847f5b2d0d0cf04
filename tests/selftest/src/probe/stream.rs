//! TCP, by every way that a connection can begin.

use std::{io, thread, time::Duration};

use crate::{errand::Errand, sys};
use socket2::{Protocol, SockAddr, Socket, Type};

use super::{Attempt, exchange};

/// From `linux/tcp.h`: the SYN waits for the first write.
const TCP_FASTOPEN_CONNECT: i32 = 30;
/// How long a kernel worker takes at most to open a subflow that was announced to it.
const JOIN: Duration = Duration::from_millis(300);

pub(crate) fn connect(errand: &Errand, protocol: Protocol) -> io::Result<Attempt> {
    let socket = exchange::socket(errand, Type::STREAM, protocol)?;
    dial(socket, &errand.target().into())
}

/// Connects a socket and keeps it for another exchange.
pub(crate) fn dial(socket: Socket, to: &SockAddr) -> io::Result<Attempt> {
    if !exchange::connect(&socket, to)? {
        return Ok(Attempt { answered: false, again: None });
    }
    Attempt::new(move || exchange::stream(&socket))
}

pub(crate) fn fast_open(errand: &Errand) -> io::Result<Attempt> {
    let socket = exchange::socket(errand, Type::STREAM, Protocol::TCP)?;
    let sent =
        socket.send_to_with_flags(exchange::MESSAGE, &errand.target().into(), libc::MSG_FASTOPEN);
    match sent {
        Err(error) if error.raw_os_error() == Some(libc::EINPROGRESS) => {
            return Ok(Attempt { answered: false, again: None });
        }
        other => other?,
    };
    // The echo of the SYN's own data, then the socket is like any other.
    let answered = exchange::datagram(&socket, |_| Ok(0))?;
    Ok(Attempt { answered, again: Some(Box::new(move || exchange::stream(&socket))) })
}

pub(crate) fn fast_open_connect(errand: &Errand) -> io::Result<Attempt> {
    let socket = exchange::socket(errand, Type::STREAM, Protocol::TCP)?;
    sys::set_option(&socket, libc::IPPROTO_TCP, TCP_FASTOPEN_CONNECT, 1)?;
    socket.connect(&errand.target().into())?;
    let answered = match exchange::stream(&socket) {
        Err(error) if error.raw_os_error() == Some(libc::EINPROGRESS) => false,
        other => other?,
    };
    Ok(Attempt { answered, again: Some(Box::new(move || exchange::stream(&socket))) })
}

pub(crate) fn reconnect(errand: &Errand) -> io::Result<Attempt> {
    let socket = exchange::socket(errand, Type::STREAM, Protocol::TCP)?;
    if !exchange::connect(&socket, &errand.dial(errand.door).into())? {
        return Err(io::Error::other("the allowed address does not answer"));
    }
    socket.connect(&sys::no_address()?)?;
    dial(socket, &errand.target().into())
}

/// A multipath connection to the allowed address, and time for the kernel to open the subflow to
/// the address that the far end announces. The exchange itself always works.
pub(crate) fn join(errand: &Errand) -> io::Result<Attempt> {
    let socket = exchange::socket(errand, Type::STREAM, Protocol::MPTCP)?;
    let mut attempt = dial(socket, &errand.dial(errand.door).into())?;
    thread::sleep(JOIN);
    let mut again = attempt.again.take();
    Ok(Attempt {
        answered: attempt.answered,
        again: again.take().map(|mut send| -> super::Again {
            Box::new(move || {
                // Enough data for the scheduler to use both subflows.
                for _ in 0..16 {
                    send()?;
                }
                Ok(true)
            })
        }),
    })
}
