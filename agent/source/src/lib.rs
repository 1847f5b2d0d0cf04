//! Where objects come from, and what names resolve to.
//!
//! A source says which objects each of its places holds; the store keeps the last good form of each
//! object and decides which one counts.
//!
//! ```text
//! directory ─ scan ─► manifest (one file) ─► Statement ─┐
//!                                                       ├─► Store ─► Observed (watch channel)
//! API server ─ list and watch ─► Statement ─────────────┘
//! ```
//!
//! ```text
//! note, spots   what is wrong, and where       manifest     one text, or one object, as a statement
//! inventory     which generations a server has directory    a directory; scan, watcher and debounce
//! observed      what a source says             cluster      an API server
//! store         the last good form of each     announce     logs what is newly wrong, and publishes
//! resolvers     name servers by resolv.conf    resolve      what names resolve to, kept up to date
//! ```
//!
//! Nothing here knows what an object means, or that there is a kernel.

mod announce;
pub mod cluster;
mod debounce;
pub mod directory;
pub mod inventory;
pub mod manifest;
pub mod note;
pub mod observed;
pub mod resolve;
pub mod resolvers;
pub mod scan;
pub mod spots;
pub mod store;
mod watcher;
