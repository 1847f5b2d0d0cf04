//! What several rooms of the agent need and none of them owns.
//!
//! ```text
//! error        an error with its causes, in one line
//! lock         a lock that a panic elsewhere does not spoil
//! file         a file that is replaced whole or not at all
//! sealed       a file for the next agent, with a checksum; on top of file
//! rate_limit   a bucket of tokens
//! laps         how long each phase of a change takes
//! ```
//!
//! Nothing here knows Kubernetes, the kernel's programs, or what an object means.

pub mod error;
pub mod file;
pub mod laps;
pub mod lock;
pub mod rate_limit;
pub mod sealed;
