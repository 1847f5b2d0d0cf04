//! HTTP/2: its heads as those of HTTP/1 and the other way round. Frames, streams and flow control are
//! `h2`'s.
//!
//! ```text
//! request    a request's head: checked, to HTTP/1, to HTTP/2
//! response   an answer's head: to HTTP/1, to HTTP/2
//! trailers   what follows a body
//! ```
//!
//! Pure. HTTP/2 has no reason phrases, no case of names and no chunks, and what HTTP/1 says of its own
//! connection has no place in it (RFC 9113, section 8.2.2).

pub mod request;
pub mod response;
pub mod trailers;

use std::io;

/// Bytes that may come of one stream, and of all, before they were passed on.
pub(crate) const STREAM_WINDOW: u32 = 256 * 1024;
/// See [`STREAM_WINDOW`].
pub(crate) const CONNECTION_WINDOW: u32 = 1024 * 1024;
/// Bytes that wait to be sent on one stream.
pub(crate) const SEND_BUFFER: usize = 256 * 1024;

/// Why a connection or a stream broke, as a socket would say it.
pub(crate) fn as_io(error: h2::Error) -> io::Error {
    if error.is_io() {
        error.into_io().unwrap_or_else(|| io::ErrorKind::BrokenPipe.into())
    } else {
        io::Error::other(error)
    }
}

#[cfg(test)]
mod tests;
