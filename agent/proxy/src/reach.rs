//! A connection to an upstream: from the socket in the workload's network to what is spoken on.

use std::time::Duration;

use agent_model::requests::policy::ClientPolicy;

use crate::{DialError, Seams, UpstreamAddr, WorkloadId, reset_stream::ResetStream};

/// How an upstream is reached.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Reach<'a> {
    pub(crate) seams: &'a Seams,
    /// Whose connection it is.
    pub(crate) from: WorkloadId,
    /// What its destination asks for; `None` where it is whatever the client dialled.
    pub(crate) policy: Option<&'a ClientPolicy>,
    /// How long dialling may take where the destination does not say.
    pub(crate) patience: Duration,
}

impl Reach<'_> {
    /// Connects.
    pub(crate) async fn connect(&self, to: UpstreamAddr) -> Result<ResetStream, DialError> {
        let limits = self.policy.map(|policy| &policy.limits);
        let patience = limits.map_or(self.patience, |limits| limits.connect_timeout);
        let probes = limits.and_then(|limits| limits.keepalive).unwrap_or_default();
        let dialled = self.seams.dial.dial(self.from, to, patience).await?;
        ResetStream::dialled(dialled, probes).map_err(|error| DialError::Local(error.into()))
    }
}
