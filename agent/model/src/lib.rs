//! What the objects of a cluster mean for one node. Pure: no I/O, no clock, no kernel.
//!
//! ```text
//! resource/   objects as on the wire           knows Istio, App Mesh, Kubernetes
//! translate/  objects + node -> Snapshot       the only place that knows dialects
//! egress      rules and policies               knows no dialect
//! names       what names resolve to, as an input
//! registry    what is declared, who sees it    knows no dialect
//! compile     a rule set -> a prefix table     what the kernel's maps are filled from
//! tables      compiled tables as the kernel asks
//! analyze     what can be told of manifests without a cluster
//! explain     why a connection is allowed or not
//! requests    where requests lead         knows no dialect
//! ```

pub mod analyze;
pub mod compile;
pub mod egress;
pub mod explain;
pub mod names;
pub mod registry;
pub mod requests;
pub mod resource;
pub mod snapshot;
pub mod tables;
pub mod translate;
#[cfg(test)]
mod universe;
