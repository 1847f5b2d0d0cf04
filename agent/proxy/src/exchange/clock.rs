//! How long a request may take.

use std::time::Duration;

use tokio::time::Instant;

use crate::http1::body::Framing;

/// How long the request may take, over all tries. It is counted from when the request was sent
/// whole.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Clock {
    timeout: Option<Duration>,
    pub(super) since: Option<Instant>,
}

impl Clock {
    /// For a request whose head has been read: without a body that is all of it.
    pub(super) fn new(timeout: Option<Duration>, framing: Framing) -> Self {
        Self { timeout, since: (framing == Framing::Empty).then(Instant::now) }
    }

    /// When the time is over, once it runs.
    pub(super) fn end(&self) -> Option<Instant> {
        self.timeout.zip(self.since).map(|(timeout, since)| since + timeout)
    }

    /// When the time is over, were it to run from a moment on unless it runs already.
    pub(super) fn end_from(&self, moment: Instant) -> Option<Instant> {
        self.timeout.map(|timeout| self.since.unwrap_or(moment) + timeout)
    }
}

/// Waits for a moment, if there is one.
pub(super) async fn until(limit: Option<(Instant, bool)>) -> bool {
    match limit {
        Some((at, one_try)) => {
            tokio::time::sleep_until(at).await;
            one_try
        }
        None => std::future::pending().await,
    }
}
