//! Where objects come from, and what names resolve to.
//!
//! A source says which objects each of its places holds; the store keeps the last good form of each
//! object and decides which one counts.
//!
//! ```text
//! directory ─ scan ─► manifest: documents of a file ─► object ─► Statement ─┐
//!                                                                           ├─► Store ─► Observed
//! API server ─ list and watch ───────────────────────► object ─► Statement ─┘       (watch channel)
//! ```
//!
//! Bottom to top:
//!
//! ```text
//! code, note, spots  what is wrong, and where   debounce   gathers a burst of changes
//! statement          what a place says          inventory  which generations a server has
//! observed           what a source says         watcher    changes of a directory, from the kernel
//! object             reads one object           announce   logs what is newly wrong, and publishes
//! manifest           reads a file of objects    scan, directory   a directory
//! store              the last good form of each cluster    an API server
//! resolvers          name servers by resolv.conf  resolve  what names resolve to, kept up to date
//! ```
//!
//! Nothing here knows what an object means, or that there is a kernel.

mod announce;
pub mod cluster;
pub mod code;
mod debounce;
pub mod directory;
pub mod inventory;
pub mod manifest;
pub mod note;
pub mod object;
pub mod observed;
pub mod resolve;
pub mod resolvers;
pub mod scan;
pub mod spots;
pub mod statement;
pub mod store;
mod watcher;
