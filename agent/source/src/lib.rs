//! Where objects come from. A source says which objects each of its places holds; the store keeps
//! the last good form of each object and decides which one counts.
//!
//! ```text
//! directory ─ scan ─► manifest (one file) ─► Statement ─┐
//!                                                       ├─► Store ─► Observed (watch channel)
//! API server ─ list and watch ─► Statement ─────────────┘
//! ```
//!
//! Nothing here knows what an object means.

mod announce;
pub(crate) mod census;
pub(crate) mod cluster;
pub(crate) mod debounce;
pub(crate) mod directory;
pub(crate) mod manifest;
pub(crate) mod note;
pub(crate) mod observed;
pub(crate) mod resolvers;
pub(crate) mod scan;
pub(crate) mod spots;
pub(crate) mod store;
mod watcher;

pub(crate) use observed::{Observed, Reader};
