//! A connection as `h2` wants it: bytes that were read already come first, and what is carried is
//! counted.

use std::{
    io,
    pin::Pin,
    sync::atomic::Ordering,
    task::{Context, Poll, ready},
};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::{record::Tally, reset_stream::ResetStream};

/// See the module.
#[derive(Debug)]
pub(crate) struct Wire<'a, S> {
    stream: S,
    first: Vec<u8>,
    tally: Option<&'a Tally>,
}

impl<'a, S: AsRef<ResetStream>> Wire<'a, S> {
    /// A client's connection of which `first` was read already, or an upstream's. What is read counts
    /// as sent by the client.
    pub(crate) const fn new(stream: S, first: Vec<u8>, tally: Option<&'a Tally>) -> Self {
        Self { stream, first, tally }
    }
}

impl<S: AsRef<ResetStream> + Unpin> AsyncRead for Wire<'_, S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if !self.first.is_empty() {
            let length = self.first.len().min(buffer.remaining());
            buffer.put_slice(&self.first[..length]);
            self.first.drain(..length);
            return Poll::Ready(Ok(()));
        }
        loop {
            let stream = self.stream.as_ref();
            match stream.try_read(buffer.initialize_unfilled()) {
                Ok(length) => {
                    if let Some(tally) = self.tally {
                        tally.sent.fetch_add(length as u64, Ordering::Relaxed);
                    }
                    buffer.advance(length);
                    return Poll::Ready(Ok(()));
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    ready!(stream.poll_read_ready(context))?;
                }
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
    }
}

impl<S: AsRef<ResetStream> + Unpin> AsyncWrite for Wire<'_, S> {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(context, &[io::IoSlice::new(bytes)])
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        loop {
            let stream = self.stream.as_ref();
            match stream.try_write(slices) {
                Ok(length) => {
                    if let Some(tally) = self.tally {
                        tally.received.fetch_add(length as u64, Ordering::Relaxed);
                    }
                    return Poll::Ready(Ok(length));
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    ready!(stream.poll_write_ready(context))?;
                }
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.stream.as_ref().poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.stream.as_ref().poll_finish_writing(context)
    }
}
