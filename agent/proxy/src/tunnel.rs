//! A stream of HBONE as a byte stream: a `CONNECT` of HTTP/2, after it was answered.
//!
//! An end of stream is one; a reset is one as well, so that an answer which was cut short is not taken for
//! whole.

use std::{
    io::{self, IoSlice},
    sync::Arc,
    task::{Context, Poll, Waker, ready},
};

use bytes::{Buf as _, Bytes, BytesMut};
use h2::{Reason, RecvStream, SendStream};

use crate::http2::as_io;

/// The most that is sent at once.
const MOST: usize = 64 * 1024;

/// A stream's place on its connection, given back when this goes.
pub(crate) type Place = Arc<()>;

/// See the module. Dropped before both ends were done, it resets the stream.
#[derive(Debug)]
pub(crate) struct Tunnel {
    send: SendStream<Bytes>,
    receive: RecvStream,
    /// What came and was not read.
    inbox: Bytes,
    /// Nothing more will come.
    has_ended: bool,
    /// Nothing more will be sent.
    is_finished: bool,
    /// Its place among those of its connection.
    _place: Place,
}

fn would_block() -> io::Error {
    io::ErrorKind::WouldBlock.into()
}

impl Tunnel {
    pub(crate) fn new(send: SendStream<Bytes>, receive: RecvStream, place: Place) -> Self {
        let (inbox, has_ended, is_finished) = (Bytes::new(), false, false);
        Self { send, receive, inbox, has_ended, is_finished, _place: place }
    }

    /// Waits until there is something to read, or the end.
    pub(crate) fn poll_readable(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.inbox.is_empty() && !self.has_ended {
            match ready!(self.receive.poll_data(context)) {
                Some(Ok(data)) => self.inbox = data,
                Some(Err(error)) => return Poll::Ready(Err(as_io(error))),
                None => self.has_ended = true,
            }
        }
        Poll::Ready(Ok(()))
    }

    /// Reads what there is; 0 is the end.
    pub(crate) fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        // Who is told that it would block waits next, and is woken then.
        match self.poll_readable(&mut Context::from_waker(Waker::noop())) {
            Poll::Pending => return Err(would_block()),
            Poll::Ready(ready) => ready?,
        }
        let length = buffer.len().min(self.inbox.len());
        self.inbox.copy_to_slice(&mut buffer[..length]);
        if length > 0 {
            self.receive.flow_control().release_capacity(length).map_err(as_io)?;
        }
        Ok(length)
    }

    /// Whether nothing has come, not even the end.
    pub(crate) fn is_quiet(&mut self) -> bool {
        self.poll_readable(&mut Context::from_waker(Waker::noop())).is_pending()
    }

    /// Waits until something may be written.
    pub(crate) fn poll_writable(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.send.capacity() == 0 {
            self.send.reserve_capacity(MOST);
            match ready!(self.send.poll_capacity(context)) {
                Some(Ok(_)) => {}
                Some(Err(error)) => return Poll::Ready(Err(as_io(error))),
                None => return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into())),
            }
        }
        Poll::Ready(Ok(()))
    }

    /// Writes some.
    pub(crate) fn write(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        let length = slices.iter().map(|slice| slice.len()).sum::<usize>().min(MOST);
        if length == 0 {
            return Ok(0);
        }
        match self.poll_writable(&mut Context::from_waker(Waker::noop())) {
            Poll::Pending => return Err(would_block()),
            Poll::Ready(ready) => ready?,
        }
        let length = length.min(self.send.capacity());
        let mut data = BytesMut::with_capacity(length);
        for slice in slices {
            let rest = length - data.len();
            data.extend_from_slice(&slice[..slice.len().min(rest)]);
        }
        self.send.send_data(data.freeze(), false).map_err(as_io)?;
        Ok(length)
    }

    /// Says that no more will be written.
    pub(crate) fn finish(&mut self) -> io::Result<()> {
        if std::mem::replace(&mut self.is_finished, true) {
            return Ok(());
        }
        self.send.send_data(Bytes::new(), true).map_err(as_io)
    }

    /// Ends in good order, whatever may still come.
    pub(crate) fn close(mut self) -> io::Result<()> {
        let finished = self.finish();
        self.has_ended = true;
        finished
    }

    /// Waits until the other end has reset the stream.
    pub(crate) fn poll_broken(&mut self, context: &mut Context<'_>) -> Poll<io::Error> {
        let reset = ready!(self.send.poll_reset(context));
        Poll::Ready(reset.map_or_else(as_io, |reason| match reason {
            Reason::CANCEL | Reason::NO_ERROR => io::ErrorKind::ConnectionReset.into(),
            other => io::Error::other(h2::Error::from(other)),
        }))
    }
}

impl Drop for Tunnel {
    fn drop(&mut self) {
        if !(self.has_ended && self.is_finished) {
            self.send.send_reset(Reason::CANCEL);
        }
    }
}
