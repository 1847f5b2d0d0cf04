//! What the objects of a cluster mean for requests, in no dialect's words: which names a workload
//! may dial and where they lead, what a gateway serves, what a workload accepts.
//!
//! ```text
//! Outbound ─► Listener ─┬─ hosts: VirtualHost ─► Route ─► Forward ─► Weighted ─► Target
//!                       ├─ tls:   StreamRoute (by server name) ─────────────────► Target
//!                       └─ tcp:   StreamRoute ──────────────────────────────────► Target
//! Target ─► Backend = service, port, subset: endpoints and policy, or Missing: it fails, and how
//! ```
//!
//! Everything is said: a default is a value here, so two dialects that mean the same give equal
//! models. Nothing here says where it was said, for the same reason.

pub mod backend;
pub mod change;
mod find;
pub mod gateway;
pub mod host;
pub mod outbound;
pub mod policy;
pub mod route;
pub mod server;
pub mod text;

pub use find::{Request, Verdict};
