//! Who speaks the mesh's TLS, and why it cannot be spoken.

use std::net::IpAddr;

use agent_identity::{life::NoCertificate, spiffe::SpiffeId};
use agent_model::requests::MeshPeer;
use thiserror::Error;

use crate::WorkloadId;

/// Who speaks the mesh's TLS.
pub trait Peers: Send + Sync {
    /// As whom a workload of this node speaks; `None` where it has no identity.
    fn own(&self, workload: WorkloadId) -> Option<SpiffeId>;

    /// The pod in the mesh that has an address.
    fn at(&self, address: IpAddr) -> Option<MeshPeer>;
}

/// Why the mesh's TLS cannot be spoken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum MeshError {
    /// This node has no CA.
    #[error("this node's pods have no certificates: give the agents a CA (--ca or --ca-dir)")]
    Off,
    /// The workload has no name.
    #[error("the workload has no identity: its ServiceAccount is not known")]
    Nameless,
    /// Nothing says who is at the address.
    #[error("identity-unknown: no pod of the mesh is known at the address")]
    Unknown,
    /// There is no certificate.
    #[error("the workload has no certificate: {0}")]
    Certificate(#[from] NoCertificate),
    /// What there is cannot be used.
    #[error("the workload's certificate cannot be used")]
    Unusable,
}
