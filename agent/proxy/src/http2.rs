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

#[cfg(test)]
mod tests;
