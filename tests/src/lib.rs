//! The harness of the kernel suites: the world and the probe of `sekisho selftest`, under the names
//! that they have there, and what only the suites need.
//!
//! ```text
//! dns, named                     a name server that says what a test tells it, and who asks it
//! stage, client                  a pod, a far host, an agent, and a client to talk through them
//! pod, burden                    what else runs inside a pod, such as many connections at once
//! kubernetes                     its programs, and whether tests with it were left out
//! control_plane, gate, scene     a real API server with its etcd, what stands before it, and a stage
//!                                whose agent follows it
//! app_mesh                       a pod in App Mesh's mesh, and the names there
//! skip                           tests that are skipped, and say so
//! service                        a Service whose versions are hosts
//! shared                         one such server for cases that run on either source
//! chain, runtime                 a CNI chain, and a container runtime that lists what a test tells it
//! attached                       what the kernel says is attached to a hook
//! maps                           the agent's own maps, written behind its back
//! linked, spare                  a pod whose links change while it runs, and such links
//! stranger                       other owners' programs on the same hooks
//! pace                           limits of wall time, held against a control in the same run
//! web, calls                     servers that say their version: HTTP/1.1, also over TLS; HTTP/2, gRPC
//! reviews                        two versions of a service, and clients of all kinds at a steady rate
//! authority                      signs certificates
//! raw                            the few calls that need `unsafe`
//! ```

pub mod app_mesh;
pub mod attached;
pub mod authority;
pub mod burden;
pub mod calls;
pub mod chain;
pub mod client;
pub mod collector;
pub mod control_plane;
pub mod dns;
pub mod gate;
pub mod gated;
pub mod kubernetes;
pub mod linked;
pub mod maps;
pub mod named;
pub mod pace;
pub mod pod;
pub mod raw;
pub mod reviews;
pub mod runtime;
pub mod scene;
mod served;
pub mod service;
pub mod shared;
pub mod skip;
pub mod spare;
pub mod stage;
pub mod stranger;
pub mod web;

pub use sekisho_selftest::{
    agent, capture, cgroup, errand, frame, ground, links, manifest, name, netns, packet, posture,
    probe, process, serve, sys, way, world,
};
