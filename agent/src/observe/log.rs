//! The log: how it is set up, which fields its lines carry, and how often a denial may speak.
//!
//! Targets: `access` one line a connection or request (debug), `deny` refused calls and packets (info, at
//! most [`DENIALS`]), `config` one line a generation, else the module's path. A message is constant
//! and lower case; data goes into the fields that [`super::log_fields`] lists.

use std::{
    io::{self, IsTerminal},
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use agent_base::{lock::lock, rate_limit::RateLimit};
use clap::ValueEnum;
use tracing::field;
use tracing_subscriber::{EnvFilter, filter::ParseError};

use super::{
    flow_record::{End, FlowRecord},
    flow_request::FlowRequest,
    flow_view::FlowEvent,
    flows::Subscriber,
};

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

/// How the log is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum LogFormat {
    /// One line of text an event
    Text,
    /// One JSON object an event
    Json,
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
fn denied(record: &FlowRecord, suppressed: u64) {
    let FlowRecord { source, destination, .. } = record;
    tracing::info!(
        target: "deny",
        { conn.id = record.connection,
        direction = record.direction.name(),
        src.workload = record.pod.as_ref().map(field::display),
        src.addr = source.address.map(|address| field::display(End(address, source.port))),
        dst.addr = %End(destination.address, destination.port),
        dst.service = record.service(),
        protocol = %record.protocol,
        layer = record.layer.name(),
        verdict = record.verdict.name(),
        reason = record.reason.name(),
        rule = record.rule.as_deref().map(field::display),
        generation = record.generation,
        suppressed },
        "not allowed"
    );
}

/// Writes the line of a connection.
fn access(record: &FlowRecord) {
    let FlowRecord { source, destination, carried, .. } = record;
    tracing::debug!(
        target: "access",
        { event = FlowEvent::of(record).name(),
        conn.id = record.connection,
        direction = record.direction.name(),
        src.workload = record.pod.as_ref().map(field::display),
        src.addr = source.address.map(|address| field::display(End(address, source.port))),
        dst.addr = %End(destination.address, destination.port),
        dst.service = record.service(),
        upstream.addr = record.upstream.map(field::display),
        tls.server_name = record.server_name,
        tls.peer = record.peer,
        error = record.error,
        protocol = %record.protocol,
        layer = record.layer.name(),
        verdict = record.verdict.name(),
        reason = record.reason.name(),
        rule = record.rule.as_deref().map(field::display),
        generation = record.generation,
        bytes.sent = carried.map(|carried| carried.bytes_sent),
        bytes.received = carried.map(|carried| carried.bytes_received),
        duration_ms = carried.map(|carried| carried.duration_us / 1_000) },
        "flow"
    );
}

/// Writes the line of a request.
fn request(record: &FlowRecord, request: &FlowRequest) {
    let FlowRecord { source, destination, carried, .. } = record;
    tracing::debug!(
        target: "access",
        { event = FlowEvent::of(record).name(),
        src.workload = record.pod.as_ref().map(field::display),
        src.addr = source.address.map(|address| field::display(End(address, source.port))),
        dst.addr = %End(destination.address, destination.port),
        upstream.addr = record.upstream.map(field::display),
        error = record.error,
        http.method = request.method,
        http.host = request.host,
        http.path = request.path,
        http.route = request.route,
        http.cluster = request.cluster,
        http.status = request.status,
        http.flags = &*request.flags,
        http.tries = request.tries,
        generation = record.generation,
        bytes.sent = carried.map(|carried| carried.bytes_sent),
        bytes.received = carried.map(|carried| carried.bytes_received),
        duration_ms = carried.map(|carried| carried.duration_us / 1_000) },
        "request"
    );
}

/// A pod in a retry loop must not fill the disk: twenty lines at once, then five a second. The
/// flows themselves are all in the ring and counted.
const DENIALS: RateLimit = RateLimit::new(20, Duration::from_millis(200));

/// Writes the line that each flow deserves.
#[derive(Debug)]
pub(crate) struct FlowLines {
    denials: Mutex<RateLimit>,
}

impl Default for FlowLines {
    fn default() -> Self {
        Self { denials: Mutex::new(DENIALS) }
    }
}

impl Subscriber for FlowLines {
    fn hear(&self, record: &Arc<FlowRecord>) {
        if let Some(seen) = &record.request {
            request(record, seen);
        } else if !record.is_denied() {
            access(record);
        } else if let Some(suppressed) = { lock(&self.denials).take(Instant::now()) } {
            denied(record, suppressed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_filter_that_means_nothing_is_named() {
        let error = start("deny=loud", LogFormat::Text, true).unwrap_err();
        assert!(error.to_string().contains("deny=loud"), "{error}");
    }
}
