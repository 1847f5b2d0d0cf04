//! TLS towards destinations that ask for it: with certificates that an object names.
//!
//! ```text
//! settings   from an object's words and files to what a connection needs; kept until a file changes
//! verify     whether a server's certificate is the right one
//! session    one connection's TLS on its socket
//! ```
//!
//! What cannot be read or is not right fails the connection. It is never made without TLS.

mod session;
mod settings;
mod verify;

pub(crate) use session::{Agreed, Secured, Session};
pub(crate) use settings::Speaks;
pub use settings::{Files, Stamp, Tls, TlsError};

#[cfg(test)]
pub(crate) mod tests;
