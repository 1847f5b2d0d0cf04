//! The status writer: tells the authors of objects what the nodes make of them, where they look. Events
//! on an object that is refused, and conditions in its status that say whether it is accepted and how
//! many nodes enforce which generation of it.
//!
//! ```text
//! every agent   Publisher ─► report ─► the node's own Lease: digests of what is in force
//! the elected   nodes ◄── watch of those Leases
//!               inventory, notes, analysis ─┴─► writer ─► conditions, Events
//! ```
//!
//! One agent writes: the leader, who holds a Lease. Nothing that judges waits for any of this, and what
//! cannot be written is told by `sekisho status`.
//!
//! ```text
//! answer            a request's answer, or what is in its way
//! state             what is said of all this in the status; how often a node writes
//! findings          what is to be said of each object        conditions  the two conditions of an object
//! events            which Events are due                     node_report a node's report, in its Lease
//! leader_election   who writes                               nodes       what the nodes reported
//! writer            what is written, at a bounded rate       status_writer  the tasks
//! ```
//!
//! It knows the API server and the source's inventory; nothing of the kernel or of this node's pods.

mod answer;
mod conditions;
mod events;
mod findings;
mod leader_election;
mod node_report;
mod nodes;
pub mod state;
pub mod status_writer;
mod writer;
