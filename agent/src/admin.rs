//! The agent's answers to questions from outside: a Unix socket in the run directory for the
//! command line, and, where asked for, a TCP port with health and metrics only.
//!
//! ```text
//! sekisho status ─► client ─► <run-dir>/admin.sock ─► server ─► Answers (the agent)
//!                                                         └──► FlowLog, Metrics
//! kubelet, Prometheus ─────► --admin ADDR:PORT ───────► /healthz /readyz /metrics
//! ```
//!
//! It only reads: nothing that arrives here changes a verdict.

use std::{fmt, sync::Arc};

use agent_abi::{Flow, Judgement};
use agent_model::snapshot::Snapshot;

use crate::observe::{flows::FlowLog, metrics::Metrics, status::Status};

pub(crate) mod client;
pub(crate) mod config;
mod follow;
pub(crate) mod question;
pub(crate) mod request;
pub(crate) mod rundir;
pub(crate) mod server;
pub(crate) mod why;

/// What the agent knows about itself.
pub(crate) trait Answers: Send + Sync + 'static {
    /// Everything at this moment. Asked at every scrape and probe, so it must not block for long.
    fn status(&self) -> Status;

    /// What the live maps say about a flow now.
    fn judge(&self, flow: &Flow) -> Judgement;

    /// What the newest configuration means; `None` before the first was read.
    fn snapshot(&self) -> Option<Arc<Snapshot>>;
}

/// What the server reads from.
#[derive(Clone)]
pub(crate) struct Admin {
    /// The agent.
    pub(crate) answers: Arc<dyn Answers>,
    /// Recent flows.
    pub(crate) flows: Arc<FlowLog>,
    /// Durations; the rest is read from the status.
    pub(crate) metrics: Arc<Metrics>,
}

impl fmt::Debug for Admin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Admin").field("flows", &self.flows).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
