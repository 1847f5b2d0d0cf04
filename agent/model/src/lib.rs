//! What the objects of a cluster mean for one node. Pure: no I/O, no clock, no kernel.
//!
//! The modules from bottom to top. Each may use those above it in this list and no others;
//! `cargo xtask check` holds them to it.
//!
//! ```text
//! address     addresses as manifests write them
//! pattern     regular expressions as manifests write them
//! object      kind, key and metadata of an object
//! finding     what a person should know about an object, and its code
//! pod         how a pod is named
//! names       what names resolve to, as an input
//! resource    objects as on the wire              knows Istio, App Mesh, Kubernetes
//! egress      rules and policies                  knows no dialect
//! endpoints   where a service is
//! registry    what is declared, and who sees it   knows no dialect
//! compile     a rule set -> a prefix table        what the kernel's maps are filled from
//! inbound     which ports of a pod refuse plaintext
//! tables      compiled tables as the kernel asks
//! requests    where requests lead                 knows no dialect
//! snapshot    what one generation says about a node
//! explain     why a connection is allowed or not
//! translate   objects + node -> Snapshot          the only other place that knows dialects
//! analyze     what can be told of manifests without a cluster
//! ```

mod address;
pub mod analyze;
pub mod compile;
pub mod egress;
pub mod endpoints;
pub mod explain;
pub mod finding;
pub mod inbound;
pub mod names;
pub mod object;
pub mod pattern;
pub mod pod;
pub mod registry;
pub mod requests;
pub mod resource;
pub mod snapshot;
pub mod tables;
pub mod translate;
#[cfg(test)]
mod universe;
