//! What one workload has towards its upstreams, as if it had a proxy of its own.

use crate::{choose::Load, pool::Pool};

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Upstreams {
    /// Connections that wait.
    pub(crate) pool: Pool,
    /// Requests under way.
    pub(crate) load: Load,
}
