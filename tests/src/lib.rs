//! The harness of the kernel suites: guards for what a test makes, a small world of namespaces to
//! make it in, and the ways out that a pod may try.
//!
//! ```text
//! name, netns, cgroup, process   guards; each undoes itself when dropped
//! world                          a node, its pods, and hosts far away, wired up
//! way, errand                    a way out of a pod, and what the probe is told about it
//! probe                          what runs inside a pod and tries
//! packet, frame, capture         frames: built by the probe, read at the far end
//! serve                          what the far hosts answer
//! dns, named                     a name server that says what a test tells it, and who asks it
//! stage, client                  a pod, a far host, an agent, and somebody to talk through them
//! agent, manifest, links         the program under test, its configuration, its hooks
//! control_plane, gate, scene      a real API server with its etcd, what stands before it, and a stage
//!                                whose agent follows it
//! shared                         one such server for cases that run on either source
//! maps                           the agent's own maps, written behind its back
//! runtime                        a container runtime that lists what a test tells it
//! stranger                       somebody else's programs on the same hooks
//! ground, posture                where every way out is tried at once, and what should come of it
//! selftest                       all of it, as a check of one machine
//! sys                            the few calls that need `unsafe`
//! ```
//!
//! The machine's own network namespace is never touched, and everything has a name that starts
//! with `skt-` and the process's number, so that what a killed run left behind can be told from
//! what a live one uses (see [`name`]).

pub mod agent;
pub mod attached;
pub mod burden;
pub mod capture;
pub mod cgroup;
pub mod chain;
pub mod client;
pub mod control_plane;
pub mod dns;
pub mod errand;
pub mod frame;
pub mod gate;
pub mod gated;
pub mod ground;
pub mod links;
pub mod manifest;
pub mod maps;
pub mod name;
pub mod named;
pub mod netns;
pub mod packet;
pub mod pod;
pub mod posture;
pub mod probe;
pub mod process;
pub mod raw;
pub mod runtime;
pub mod scene;
pub mod selftest;
pub mod serve;
pub mod shared;
pub mod stage;
pub mod stranger;
pub mod sys;
pub mod way;
pub mod world;
