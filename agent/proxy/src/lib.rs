//! The user-space data path: what happens to a connection that a rule sends to the proxy.
//!
//! ```text
//! listener (inside the pod's namespace)
//!    │ accept            serve       one loop for every listener; bounds and draining
//!    ▼
//! origin                 origin      what the pod dialled; none found is refused
//!    ▼
//! ruling                 judge       what the rule and the policy say about it
//!    ▼
//! route                  route       pure: carry or refuse, and the protocol to speak
//!    ▼
//! server name            first       where names of TLS are told apart: hello reads them
//!    ▼
//! upstream               dial, reach a socket in the same namespace, and TLS on it (tls); race several
//!    ▼
//! bytes both ways        carry       half-close, back-pressure, reset on failure
//!  to routes' shares     stream      clusters: where the model says
//!  or requests           exchange    http1, clusters: each where the model says
//!    ▼
//! record                 record      one a connection, also when it is cut short
//! ```
//!
//! The crate knows neither Kubernetes nor BPF. The program gives it five seams: [`Origins`],
//! [`Judge`], [`Dial`], [`Files`] and [`Records`]. It never decides what is allowed: it does what the
//! [`Ruling`] says, and refuses with a reset where there is none.

mod addrs;
mod carry;
mod cluster;
mod clusters;
mod connection;
mod dial;
mod drain;
mod exchange;
mod failure;
mod first;
mod hello;
pub mod http1;
pub mod http2;
mod inbound;
mod judge;
mod limits;
mod mesh;
mod origin;
mod peers;
mod proxy_header;
mod race;
mod reach;
mod record;
mod reset_stream;
mod route;
mod seams;
mod serve;
mod share;
mod stream;
mod tls;
mod tunnel;
mod wire;

pub use addrs::{OriginalDst, PeerAddr, UpstreamAddr, WorkloadId};
pub use connection::Proxy;
pub use dial::{Dial, DialError, Dialling};
pub use drain::{Drain, DrainTrigger};
pub use exchange::{Exchanged, Flag, Flags, RequestProtocol, Span, Tracing};
pub use failure::{Blame, Failure};
pub use inbound::Rejected;
pub use judge::{Judge, Ruling};
pub use limits::Limits;
pub use mesh::{Mesh, MeshProtocol};
pub use origin::{Origin, OriginError, Origins};
pub use peers::{MeshError, Peers};
pub use record::{Opened, Received, Record, Records};
pub use route::Protocol;
pub use seams::Seams;
pub use serve::{Side, Workload, serve};
pub use tls::{Files, Stamp, Tls, TlsError};

#[cfg(test)]
mod tests;
