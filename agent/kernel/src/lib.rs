//! The kernel's side of the agent: its programs, the maps they read, the links they are attached by,
//! and the one writer's plan of what the maps hold.
//!
//! ```text
//! sys          the one door to bpf(2)              netlink     links and sockets of a namespace
//! netns        namespaces, and who enters them     sock_diag   dumps and resets sockets
//! hooks        where each program is attached      preflight   what this machine lacks
//! load         programs, on maps that outlive us   maps, pins  what is under which key
//! links        keeps programs attached; clsact where there is no tcx
//! rule_names   what rule numbers stand for         plan        which entries to write; found reads and writes
//! event_ring   what the programs hand to us        mending     what others took away and was put back
//! canary       whether the hooks see the agent     lifecycle   open, attach, mend, uninstall
//! reuse_port   which of two listeners on a port gets new connections
//! ```
//!
//! It knows pods by the cookies of their namespaces alone, and neither Kubernetes nor a source of
//! objects. With the canary's packets it has the only `unsafe` of the agent's rooms.
#![expect(unsafe_code, reason = "bpf(2) and shared maps have no safe wrapper; see each SAFETY")]

mod canary;
mod clsact;
pub mod event_ring;
pub mod found;
pub mod hooks;
pub mod lifecycle;
pub mod links;
pub mod load;
pub mod maps;
pub mod mending;
pub mod netlink;
pub mod netns;
mod pins;
pub mod plan;
pub mod preflight;
pub mod reuse_port;
pub mod rule_names;
pub mod sock_diag;
pub mod sys;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
