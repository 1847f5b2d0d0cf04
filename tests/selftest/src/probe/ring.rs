//! The same calls through `io_uring`, which makes them from other places in the kernel.
#![expect(unsafe_code, reason = "submissions point at buffers that the kernel reads later")]

use std::{io, os::fd::AsRawFd as _};

use crate::errand::Errand;
use io_uring::{IoUring, opcode, squeue, types};
use socket2::{MsgHdr, Protocol, SockAddr, Type};

use super::{
    Attempt,
    exchange::{self, MESSAGE, PATIENCE},
};

/// How long the polling thread sleeps not, in milliseconds.
const POLL_IDLE: u32 = 50;

pub(crate) fn connect(errand: &Errand, polled: bool) -> io::Result<Attempt> {
    let socket = exchange::socket(errand, Type::STREAM, Protocol::TCP)?;
    // Leaked: a connection without an answer is still the ring's when this function returns.
    let to: &'static SockAddr = Box::leak(Box::new(errand.target().into()));
    let file = types::Fd(socket.as_raw_fd());
    let entry = opcode::Connect::new(file, to.as_ptr().cast(), to.len()).build();
    if submit(&entry, polled)?.is_none() {
        return Ok(Attempt { answered: false, again: None });
    }
    Attempt::new(move || exchange::stream(&socket))
}

pub(crate) fn send(errand: &Errand) -> io::Result<Attempt> {
    let socket = exchange::socket(errand, Type::DGRAM, Protocol::UDP)?;
    let to: SockAddr = errand.target().into();
    Attempt::new(move || {
        let parts = [io::IoSlice::new(MESSAGE)];
        let message = MsgHdr::new().with_addr(&to).with_buffers(&parts);
        exchange::datagram(&socket, |socket| {
            // `MsgHdr` is a transparent wrapper of `msghdr`.
            let header = (&raw const message).cast::<libc::msghdr>();
            let entry = opcode::SendMsg::new(types::Fd(socket.as_raw_fd()), header).build();
            let sent = submit(&entry, false)?;
            sent.ok_or_else(|| io::Error::other("a datagram was never sent"))
        })
    })
}

/// Submits one operation and returns its result; none when it is still under way after
/// [`PATIENCE`].
fn submit(entry: &squeue::Entry, polled: bool) -> io::Result<Option<usize>> {
    let mut builder = IoUring::builder();
    if polled {
        builder.setup_sqpoll(POLL_IDLE);
    }
    let mut ring: IoUring = builder.build(4)?;
    // SAFETY: what the entry points at lives until the completion: the callers keep it across
    // this call or have leaked it.
    unsafe { ring.submission().push(entry) }.map_err(io::Error::other)?;
    let patience = types::Timespec::from(PATIENCE);
    let arguments = types::SubmitArgs::new().timespec(&patience);
    let completion = loop {
        match ring.submitter().submit_with_args(1, &arguments) {
            Err(error) if error.raw_os_error() == Some(libc::ETIME) => return Ok(None),
            // A wait ends early when the kernel has work of its own for this task.
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            other => {
                other?;
            }
        }
        if let Some(completion) = ring.completion().next() {
            break completion;
        }
    };
    match usize::try_from(completion.result()) {
        Ok(count) => Ok(Some(count)),
        Err(_) => Err(io::Error::from_raw_os_error(-completion.result())),
    }
}
