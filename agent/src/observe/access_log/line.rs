//! A line of the access log: Envoy's default text, or JSON with Istio's keys.

use std::{
    fmt,
    io::Write as _,
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use clap::ValueEnum;
use serde::Serialize;

use crate::observe::{flow_record::FlowRecord, flow_request::FlowRequest};

/// How a line looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// Envoy's default text
    Text,
    /// One JSON object a line, with Istio's keys
    Json,
}

impl Format {
    /// Appends the line of a request, with its end.
    pub(super) fn write(self, record: &FlowRecord, to: &mut Vec<u8>) {
        let Some(request) = &record.request else { return };
        let line = Line::of(record, request);
        // A vector takes everything.
        let _ = match self {
            Self::Text => write!(to, "{line}"),
            Self::Json => serde_json::to_writer(&mut *to, &line).map_err(Into::into),
        };
        to.push(b'\n');
    }
}

/// What a line says.
#[derive(Debug, Serialize)]
struct Line<'a> {
    start_time: String,
    method: &'a str,
    path: &'a str,
    protocol: &'static str,
    response_code: u16,
    response_flags: &'a str,
    bytes_received: u64,
    bytes_sent: u64,
    /// In milliseconds.
    duration: u64,
    x_forwarded_for: Option<&'a str>,
    user_agent: Option<&'a str>,
    request_id: &'a str,
    authority: &'a str,
    upstream_host: Option<SocketAddr>,
    upstream_cluster: Option<&'a str>,
    route_name: &'a str,
    tries: u32,
    /// What the pod dialled.
    downstream_local_address: SocketAddr,
    /// Its own address; none while it is not known.
    downstream_remote_address: Option<IpAddr>,
    source_pod: Option<&'a str>,
    source_workload: Option<&'a str>,
    source_namespace: Option<&'a str>,
}

impl<'a> Line<'a> {
    fn of(record: &'a FlowRecord, request: &'a FlowRequest) -> Self {
        let carried = record.carried.unwrap_or_default();
        let took = Duration::from_micros(carried.duration_us);
        let workload = record.workload.as_deref();
        let dialled = &record.destination;
        Self {
            start_time: (record.time - took).strftime("%Y-%m-%dT%H:%M:%S%.3fZ").to_string(),
            method: &request.method,
            path: &request.path,
            protocol: if request.protocol == "http" { "HTTP/1.1" } else { "HTTP/2" },
            response_code: request.status,
            response_flags: &request.flags,
            // Seen from the proxy: what it received from the client.
            bytes_received: carried.bytes_sent,
            bytes_sent: carried.bytes_received,
            duration: carried.duration_us / 1_000,
            x_forwarded_for: request.forwarded_for.as_deref(),
            user_agent: request.user_agent.as_deref(),
            request_id: &request.request_id,
            authority: &request.host,
            upstream_host: record.upstream,
            upstream_cluster: request.cluster.as_deref(),
            route_name: &request.route,
            tries: request.tries,
            downstream_local_address: SocketAddr::new(
                dialled.address,
                dialled.port.unwrap_or_default(),
            ),
            downstream_remote_address: record.source.address,
            source_pod: record.pod.as_ref().map(|pod| pod.name.as_str()),
            source_workload: workload.map(|workload| workload.name.as_str()),
            source_namespace: record.pod.as_ref().map(|pod| pod.namespace.as_str()),
        }
    }
}

/// Envoy's default format. How long the upstream took by its own account is not asked for.
impl fmt::Display for Line<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { start_time, method, path, protocol, response_code, response_flags, .. } = self;
        let Self { bytes_received, bytes_sent, duration, request_id, authority, .. } = self;
        let (method, path, authority) = (Quoted(method), Quoted(path), Quoted(authority));
        write!(
            f,
            "[{start_time}] \"{method} {path} {protocol}\" {response_code} {response_flags} "
        )?;
        write!(f, "{bytes_received} {bytes_sent} {duration} - ")?;
        let [forwarded, agent] =
            [self.x_forwarded_for, self.user_agent].map(|text| Quoted(text.unwrap_or("-")));
        write!(f, "\"{forwarded}\" \"{agent}\" \"{}\" \"{authority}\" ", Quoted(request_id))?;
        match self.upstream_host {
            Some(upstream) => write!(f, "\"{upstream}\""),
            None => f.write_str("\"-\""),
        }
    }
}

/// A client's text between quotes: none of it ends them, or the line.
struct Quoted<'a>(&'a str);

impl fmt::Display for Quoted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = if self.0.is_empty() { "-" } else { self.0 };
        text.chars().try_for_each(|c| match c {
            '"' | '\\' => write!(f, "\\{c}"),
            c if c.is_control() => write!(f, "\\x{:02x}", u32::from(c)),
            c => write!(f, "{c}"),
        })
    }
}
