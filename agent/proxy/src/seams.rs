//! What the program lends to the proxy.

use std::{fmt, sync::Arc};

use crate::{Dial, Judge, Mesh, Origins, Records, Tls, Tracing};

/// What the program lends to the proxy.
#[derive(Clone)]
pub struct Seams {
    /// Original destinations.
    pub origins: Arc<dyn Origins>,
    /// The configuration.
    pub judge: Arc<dyn Judge>,
    /// Upstream sockets.
    pub dial: Arc<dyn Dial>,
    /// TLS towards destinations.
    pub tls: Arc<Tls>,
    /// The mesh's TLS; none where this node has no CA.
    pub mesh: Option<Arc<Mesh>>,
    /// What became of connections.
    pub records: Arc<dyn Records>,
    /// Which requests have a span; none where no one takes spans.
    pub tracing: Option<Tracing>,
}

impl fmt::Debug for Seams {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Seams").finish_non_exhaustive()
    }
}
