//! The CA of a cluster.
//!
//! ```text
//! wire        the protocol, which istiod, istio-csr and ztunnel speak too
//! client      asks such a CA for a certificate
//! known_pods  the pods of the cluster, as a watch has them
//! reviews     what the API server says of tokens, for a minute
//! keys        what the CA signs with, in a Secret; its roots, in a ConfigMap
//! desk        answers a request, or says why not
//! server      TLS and HTTP/2 around it
//! ```
//!
//! Who gets a certificate is decided in `agent_identity::authorise`.

pub mod client;
pub mod desk;
pub mod keys;
pub mod known_pods;
pub mod reviews;
pub mod server;
pub mod wire;
