//! The log: how it is set up, which fields its lines carry, and how often a denial may speak.
//!
//! Targets: `access` one line a connection (debug), `deny` refused calls and packets (info, at
//! most [`RateLimit::DENIALS`]), `config` one line a generation, else the module's path. A message
//! is constant and lower case; data goes into fields named `conn.id src.addr src.workload
//! src.namespace dst.addr dst.original dst.service upstream.addr protocol direction verdict reason
//! rule generation bytes.sent bytes.received duration_ms error`.

use std::{
    io::{self, IsTerminal},
    time::{Duration, Instant},
};

use tracing_subscriber::{EnvFilter, filter::ParseError};

use super::flows::FlowRecord;
use crate::args::LogFormat;

/// The log could not be set up.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LogError {
    /// `--log` is no filter.
    #[error(
        "--log does not take {filter:?}: give a level (error, warn, info, debug, trace) or target=level,..."
    )]
    Filter {
        /// What was given.
        filter: String,
        /// What is wrong with it.
        #[source]
        source: ParseError,
    },
    /// There is one already.
    #[error("the log is set up already")]
    Twice,
}

/// Starts the log on the standard error, in colour only when that is a terminal and the user does
/// not object (`NO_COLOR`).
pub(crate) fn start(filter: &str, format: LogFormat, no_color: bool) -> Result<(), LogError> {
    let filter = EnvFilter::try_new(filter)
        .map_err(|source| LogError::Filter { filter: filter.to_owned(), source })?;
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(io::stderr);
    let ansi = !no_color && io::stderr().is_terminal();
    let result = match format {
        LogFormat::Text => builder.with_ansi(ansi).try_init(),
        LogFormat::Json => builder.json().flatten_event(true).try_init(),
    };
    result.map_err(|_| LogError::Twice)
}

/// Writes the line of a denial, and of those that were not written since the last one.
pub(super) fn denied(record: &FlowRecord, suppressed: u64) {
    tracing::info!(
        target: "deny",
        { src.workload = record.pod.as_deref().unwrap_or("unknown"),
        dst.addr = %std::net::SocketAddr::new(record.dst, record.port),
        protocol = %record.protocol,
        verdict = %record.verdict,
        reason = %record.reason,
        layer = %record.layer,
        generation = record.generation,
        suppressed },
        "not allowed"
    );
}

/// Writes the line of a connection.
pub(super) fn access(record: &FlowRecord) {
    let carried = record.carried.unwrap_or_default();
    tracing::debug!(
        target: "access",
        { event = %record.event,
        src.workload = record.pod.as_deref().unwrap_or("unknown"),
        dst.addr = %std::net::SocketAddr::new(record.dst, record.port),
        protocol = %record.protocol,
        verdict = %record.verdict,
        reason = %record.reason,
        rule = record.rule.as_deref(),
        generation = record.generation,
        bytes.sent = carried.bytes_sent,
        bytes.received = carried.bytes_received,
        duration_ms = carried.duration_us / 1_000 },
        "flow"
    );
}

/// A bucket of tokens: lines may come in a burst, then at a rate.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RateLimit {
    burst: u32,
    every: Duration,
    tokens: u32,
    refilled: Option<Instant>,
    suppressed: u64,
}

impl RateLimit {
    /// A pod in a retry loop must not fill the disk: twenty lines at once, then five a second. The
    /// flows themselves are all in the ring and counted.
    pub(crate) const DENIALS: Self = Self::new(20, Duration::from_millis(200));

    /// A full bucket of `burst` that gets one back `every` so often.
    pub(crate) const fn new(burst: u32, every: Duration) -> Self {
        Self { burst, every, tokens: burst, refilled: None, suppressed: 0 }
    }

    /// Whether a line may be written now; with it the number of those that were not.
    pub(crate) fn take(&mut self, now: Instant) -> Option<u64> {
        let refilled = *self.refilled.get_or_insert(now);
        let periods = now.duration_since(refilled).as_nanos() / self.every.as_nanos().max(1);
        let periods = u32::try_from(periods).unwrap_or(u32::MAX);
        if periods > 0 {
            self.tokens = self.tokens.saturating_add(periods).min(self.burst);
            // The remainder of a period counts on, save when the bucket has overflowed.
            self.refilled = refilled.checked_add(self.every.saturating_mul(periods)).or(Some(now));
        }
        if self.tokens == 0 {
            self.suppressed += 1;
            return None;
        }
        self.tokens -= 1;
        Some(std::mem::take(&mut self.suppressed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_passes_then_the_rate_holds_and_the_rest_is_counted() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let mut limit = RateLimit::new(2, Duration::from_millis(100));
        assert_eq!(limit.take(at(0)), Some(0));
        assert_eq!(limit.take(at(0)), Some(0));
        assert_eq!(limit.take(at(50)), None);
        assert_eq!(limit.take(at(99)), None);
        assert_eq!(limit.take(at(100)), Some(2));
        assert_eq!(limit.take(at(150)), None);
        assert_eq!(limit.take(at(10_000)), Some(1));
        assert_eq!(limit.take(at(10_000)), Some(0));
        assert_eq!(limit.take(at(10_000)), None);
    }

    #[test]
    fn over_a_long_time_the_rate_is_exact() {
        let start = Instant::now();
        let mut limit = RateLimit::new(1, Duration::from_millis(70));
        let passed = (0..7_000_u64)
            .filter(|ms| limit.take(start + Duration::from_millis(*ms)).is_some())
            .count();
        assert_eq!(passed, 100);
        // What is left of a period counts on: looking every 30 ms loses nothing of 70.
        let mut limit = RateLimit::new(1, Duration::from_millis(70));
        let passed = (0..7_000_u64)
            .step_by(30)
            .filter(|ms| limit.take(start + Duration::from_millis(*ms)).is_some())
            .count();
        assert_eq!(passed, 100);
    }

    #[test]
    fn a_filter_that_means_nothing_is_named() {
        let error = start("deny=loud", LogFormat::Text, true).unwrap_err();
        assert!(error.to_string().contains("deny=loud"), "{error}");
    }
}
