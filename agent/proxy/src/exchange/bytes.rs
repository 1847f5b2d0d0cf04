//! Bytes of messages from one connection to another: read where there are any, framed again, written
//! before more is read. A buffer is held only while there is something in it.

use std::{
    io,
    sync::atomic::{AtomicBool, Ordering},
};

use crate::{http1::Refusal, http2::trailers::Trailers, reset_stream::ResetStream};

/// One read: most messages fit.
const SMALL: usize = 8 * 1024;
/// One read of a body that keeps coming.
const LARGE: usize = 64 * 1024;

/// The most of a request's body that is kept for another try.
pub(super) const MOST_KEPT: usize = 64 * 1024;

/// Why a message did not get across.
#[derive(Debug)]
pub(super) enum Broken {
    /// Where it comes from ended or failed.
    Source(io::Error),
    /// It is malformed.
    Malformed(Refusal),
    /// Where it goes failed.
    Sink(io::Error),
}

/// Reads what there is, after waiting for it; 0 is the end. Nothing is lost when it is given up.
pub(super) async fn read_some(from: &ResetStream, inbox: &mut Vec<u8>) -> io::Result<usize> {
    loop {
        match try_read(from, inbox) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                if inbox.is_empty() {
                    *inbox = Vec::new();
                }
                from.stream().readable().await?;
            }
            read => return read,
        }
    }
}

fn try_read(from: &ResetStream, inbox: &mut Vec<u8>) -> io::Result<usize> {
    let room = if inbox.capacity() > SMALL { LARGE } else { SMALL };
    inbox.reserve(room);
    from.stream().try_read_buf(inbox)
}

/// What is kept of a body for another try.
pub(super) struct Kept<'a> {
    /// What was taken so far; `None` once it was too long.
    pub(super) body: &'a mut Option<Vec<u8>>,
    /// Says so to who cannot look at it meanwhile.
    pub(super) is_lost: &'a AtomicBool,
    /// What followed the body, once it was taken whole.
    pub(super) end: &'a mut Option<Trailers>,
}

impl Kept<'_> {
    pub(super) fn keep(&mut self, data: &[u8]) {
        let fits = self.body.as_ref().is_some_and(|all| all.len() + data.len() <= MOST_KEPT);
        match &mut self.body {
            Some(all) if fits => all.extend_from_slice(data),
            _ => {
                *self.body = None;
                self.is_lost.store(true, Ordering::Relaxed);
            }
        }
    }
}
