//! Spans of requests, sent to a collector by OTLP over gRPC.
//!
//! What serves a request puts a pointer into a bounded queue and goes on. Spans leave in batches, those
//! of one pod as one resource. What finds the queue full, or was not taken by the collector, is lost
//! and counted: a collector that is away costs spans and nothing else.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use agent_base::lock::lock;
use opentelemetry_proto::tonic::{
    collector::trace::v1::{ExportTraceServiceRequest, trace_service_client::TraceServiceClient},
    common::v1::{AnyValue, InstrumentationScope, KeyValue, any_value::Value},
    resource::v1::Resource,
    trace::v1::{ResourceSpans, ScopeSpans, Span, Status, span::SpanKind, status::StatusCode},
};
use thiserror::Error;
use tokio::{sync::mpsc, time::timeout};
use tonic::transport::{Channel, Endpoint};

use super::{flow_record::FlowRecord, flow_request::FlowRequest, flows::Subscriber};

/// Spans that wait to be sent.
const QUEUE: usize = 8_192;
/// Spans that are sent at once.
const BATCH: usize = 512;
/// How long a span waits for others.
const GATHER: Duration = Duration::from_secs(1);
/// How long a collector may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// Why spans cannot be sent.
#[derive(Debug, Error)]
pub(crate) enum TracesError {
    /// It is no address.
    #[error(
        "--otlp-endpoint does not take {given:?}: give http://HOST:PORT of a collector's OTLP/gRPC port, usually 4317"
    )]
    Endpoint {
        /// What was given.
        given: String,
    },
}

/// Takes the spans of requests that ended.
#[derive(Debug)]
pub(crate) struct Traces {
    queue: mpsc::Sender<Arc<FlowRecord>>,
    lost: Arc<AtomicU64>,
    /// Until [`Self::run`] takes it.
    inbox: Mutex<Option<mpsc::Receiver<Arc<FlowRecord>>>>,
    channel: Channel,
    node: String,
}

impl Traces {
    /// For a collector. It is dialled when there is something to send, and again whenever it was lost.
    /// Must be called within a runtime.
    pub(crate) fn new(endpoint: &str, node: &str) -> Result<Self, TracesError> {
        let unusable = || TracesError::Endpoint { given: endpoint.to_owned() };
        let is_plain = endpoint.starts_with("http://");
        let parsed = Endpoint::from_shared(endpoint.to_owned()).ok().filter(|_| is_plain);
        let channel = parsed.ok_or_else(unusable)?.connect_timeout(PATIENCE).connect_lazy();
        let (queue, inbox) = mpsc::channel(QUEUE);
        let inbox = Mutex::new(Some(inbox));
        Ok(Self { queue, lost: Arc::default(), inbox, channel, node: node.to_owned() })
    }

    /// Spans that were not sent.
    pub(crate) fn lost(&self) -> Arc<AtomicU64> {
        Arc::clone(&self.lost)
    }

    /// Sends spans until the future is dropped.
    pub(crate) async fn run(&self) {
        let Some(mut inbox) = lock(&self.inbox).take() else { return };
        let mut client = TraceServiceClient::new(self.channel.clone());
        let mut was_taken = true;
        let mut batch = Vec::with_capacity(BATCH);
        while let Some(first) = inbox.recv().await {
            batch.push(first);
            let gather = async {
                while batch.len() < BATCH {
                    let Some(next) = inbox.recv().await else { return };
                    batch.push(next);
                }
            };
            // What has been gathered by then goes.
            let _ = timeout(GATHER, gather).await;
            let count = batch.len() as u64;
            let request = request(&batch, &self.node);
            batch.clear();
            let outcome = timeout(PATIENCE, client.export(request)).await;
            let why = match outcome {
                Ok(Ok(_)) => None,
                Ok(Err(status)) => Some(status.to_string()),
                Err(_) => Some("no answer in time".to_owned()),
            };
            if let Some(why) = &why {
                self.lost.fetch_add(count, Ordering::Relaxed);
                // Once each time that it goes away.
                if was_taken {
                    tracing::warn!(why, "the collector took no spans");
                }
            }
            was_taken = why.is_none();
        }
    }
}

impl Subscriber for Traces {
    fn hear(&self, record: &Arc<FlowRecord>) {
        let is_traced = record.request.as_ref().is_some_and(|request| request.span.is_some());
        if is_traced && self.queue.try_send(Arc::clone(record)).is_err() {
            self.lost.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// The spans of requests, by their pods.
fn request(batch: &[Arc<FlowRecord>], node: &str) -> ExportTraceServiceRequest {
    let mut by_pod = BTreeMap::<_, (&FlowRecord, Vec<Span>)>::new();
    for record in batch.iter().map(Arc::as_ref) {
        let Some(span) = record.request.as_ref().and_then(|request| span(record, request)) else {
            continue;
        };
        by_pod.entry(&record.pod).or_insert_with(|| (record, Vec::new())).1.push(span);
    }
    let scope = InstrumentationScope {
        name: "sekisho".to_owned(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        ..InstrumentationScope::default()
    };
    let resource_spans = by_pod.into_values().map(|(one, spans)| ResourceSpans {
        resource: Some(Resource { attributes: resource(one, node), ..Resource::default() }),
        scope_spans: vec![ScopeSpans {
            scope: Some(scope.clone()),
            spans,
            ..ScopeSpans::default()
        }],
        ..ResourceSpans::default()
    });
    ExportTraceServiceRequest { resource_spans: resource_spans.collect() }
}

/// Whose spans they are.
fn resource(record: &FlowRecord, node: &str) -> Vec<KeyValue> {
    let service = record.workload.as_ref().map_or_else(
        || "unknown".to_owned(),
        |workload| format!("{}.{}", workload.canonical_service, workload.namespace),
    );
    let mut attributes = vec![text("service.name", &service), text("k8s.node.name", node)];
    if let Some(pod) = &record.pod {
        attributes.push(text("k8s.namespace.name", &pod.namespace));
        attributes.push(text("k8s.pod.name", &pod.name));
    }
    attributes
}

fn span(record: &FlowRecord, request: &FlowRequest) -> Option<Span> {
    let span = request.span?;
    let took = Duration::from_micros(record.carried.unwrap_or_default().duration_us);
    let nanos = |time: jiff::Timestamp| u64::try_from(time.as_nanosecond()).unwrap_or_default();
    let failed = matches!(request.status, 0 | 500..);
    let code = if failed { StatusCode::Error } else { StatusCode::Unset };
    Some(Span {
        trace_id: span.trace.to_be_bytes().to_vec(),
        span_id: span.id.to_be_bytes().to_vec(),
        parent_span_id: span.parent.map(|id| id.to_be_bytes().to_vec()).unwrap_or_default(),
        name: name(request),
        kind: SpanKind::Client.into(),
        start_time_unix_nano: nanos(record.time - took),
        end_time_unix_nano: nanos(record.time),
        attributes: attributes(record, request),
        status: Some(Status { code: code.into(), ..Status::default() }),
        ..Span::default()
    })
}

/// As Istio names the operation of a client: the service and its port.
fn name(request: &FlowRequest) -> String {
    let cluster = request.cluster.as_deref().unwrap_or_default();
    let mut parts = cluster.split('|').skip(1);
    match (parts.next(), parts.nth(1)) {
        (Some(port), Some(service)) => format!("{service}:{port}/*"),
        _ => request.method.clone(),
    }
}

/// The words of OpenTelemetry's conventions, and those of Envoy that people look for. What follows the
/// path in a query may be a secret.
fn attributes(record: &FlowRecord, request: &FlowRequest) -> Vec<KeyValue> {
    let carried = record.carried.unwrap_or_default();
    let path = request.path.split('?').next().unwrap_or_default();
    let mut attributes = vec![
        text("http.request.method", &request.method),
        text("server.address", &request.host),
        text("url.path", path),
        number("http.response.status_code", request.status.into()),
        number("http.request.size", carried.bytes_sent),
        number("http.response.size", carried.bytes_received),
        text("response_flags", &request.flags),
        text("guid:x-request-id", &request.request_id),
    ];
    attributes.extend(request.cluster.as_ref().map(|cluster| text("upstream_cluster", cluster)));
    if let Some(upstream) = record.upstream {
        attributes.push(text("network.peer.address", &upstream.ip().to_string()));
        attributes.push(number("network.peer.port", upstream.port().into()));
    }
    attributes
}

fn text(key: &str, value: &str) -> KeyValue {
    attribute(key, Value::StringValue(value.to_owned()))
}

fn number(key: &str, value: u64) -> KeyValue {
    attribute(key, Value::IntValue(i64::try_from(value).unwrap_or(i64::MAX)))
}

fn attribute(key: &str, value: Value) -> KeyValue {
    let value = Some(AnyValue { value: Some(value) });
    KeyValue { key: key.to_owned(), value, ..KeyValue::default() }
}
