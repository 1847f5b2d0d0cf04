//! Who a pod is: its name, the certificates that prove it, who signs them, and how long each lives.
//!
//! Bottom to top, pure but for the last three:
//!
//! ```text
//! spiffe      names of workloads            facts      what a certificate says of itself
//! key         private keys                  bundle     roots, and chains that lead to them
//! leaf        a certificate that may be used
//! request     what is asked to be signed    dates, material, signer   an authority
//! authorise   who gets a certificate        schedule   when one is asked for, renewed, dropped
//! kept        certificates on a tmpfs       life       runs the schedule
//! ca_dir      an authority in a directory
//! ```
//!
//! Nothing here knows Kubernetes' API, and no key is ever printed. TLS takes certificates from
//! [`life::Identities::certified`] and roots from [`life::Identities::bundle`].

pub mod authorise;
pub mod bundle;
pub mod ca_dir;
mod dates;
pub mod facts;
pub mod kept;
pub mod key;
pub mod leaf;
pub mod life;
pub mod material;
pub mod request;
pub mod schedule;
pub mod signer;
pub mod spiffe;
