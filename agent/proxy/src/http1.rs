//! HTTP/1 as bytes: what a head says, which bytes are a body's, and how both are written again.
//!
//! ```text
//! head       bytes -> a head by places in them    limits, refusals
//! request    head -> method, target, Host, framing
//! response   head -> status, framing
//! fields     what several fields of a head say together
//! body       framing -> which of the next bytes are the body's
//! chunked    the chunked coding, byte by byte
//! edit       what routes change of fields
//! write      a head that is passed on, with framing of our own
//! ```
//!
//! Pure: no I/O, no clock. Received framing is never passed on: the writer of a message writes one
//! `Content-Length` or chunks of its own. What two servers could read differently is refused
//! ([`Refusal`]) and never repaired (RFC 9112, sections 2.2, 5 and 6; RFC 9110, section 7.6.1).

pub mod body;
pub mod chunked;
pub mod edit;
mod fields;
pub mod head;
mod refusal;
pub mod request;
pub mod response;
pub mod write;

#[cfg(test)]
mod tests;

pub use refusal::Refusal;
