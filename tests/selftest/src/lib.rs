//! What `sekisho selftest` runs, and all that the program takes from the tests: a small world of
//! namespaces, the ways out that a pod may try, and what should come of each.
//!
//! ```text
//! name, netns, cgroup, process   guards for what a run makes; each undoes itself when dropped
//! world                          a node, its pods, and hosts far away, connected
//! way, errand                    a way out of a pod, and what the probe is told about it
//! probe                          what runs inside a pod and tries
//! packet, frame, capture         frames: built by the probe, read at the far end
//! serve                          what the far hosts answer
//! agent, manifest, links         the program under test, its configuration, its hooks
//! ground, posture                where every way out is tried at once, and what should come of it
//! matrix                         all of it, as a check of one machine
//! sys                            the few calls that need `unsafe`
//! ```
//!
//! The machine's own network namespace is never touched, and everything has a name that starts
//! with `skt-` and the process's number, so that what a killed run left behind can be told from
//! what a live one uses (see [`name`]).

pub mod agent;
pub mod capture;
pub mod cgroup;
pub mod errand;
pub mod frame;
pub mod ground;
pub mod links;
pub mod manifest;
pub mod matrix;
pub mod name;
pub mod netns;
pub mod packet;
pub mod posture;
pub mod probe;
pub mod process;
pub mod serve;
pub mod sys;
pub mod way;
pub mod world;
