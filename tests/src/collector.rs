//! A receiver of OTLP over gRPC, in a thread inside a namespace.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
    thread::{self, JoinHandle},
};

use anyhow::Result;
use opentelemetry_proto::tonic::{
    collector::trace::v1::{
        ExportTraceServiceRequest, ExportTraceServiceResponse,
        trace_service_server::{TraceService, TraceServiceServer},
    },
    common::v1::{KeyValue, any_value::Value},
    trace::v1::status::StatusCode,
};
use tokio::{net::TcpListener, runtime::Builder, sync::oneshot};
use tonic::{
    Request, Response, Status,
    transport::{Server, server::TcpIncoming},
};

use crate::netns::Netns;

/// A span that came.
#[derive(Clone, Debug, Default)]
pub struct Received {
    /// The trace, in hexadecimal digits.
    pub trace: String,
    /// The span.
    pub id: String,
    /// The span that it is a part of; empty for the first.
    pub parent: String,
    /// Its name.
    pub name: String,
    /// Whether it says that something went wrong.
    pub is_error: bool,
    /// How long it took.
    pub nanos: u64,
    /// Its attributes, and those of whose it is.
    pub attributes: BTreeMap<String, String>,
}

impl Received {
    /// An attribute; empty where there is none.
    pub fn text(&self, key: &str) -> &str {
        self.attributes.get(key).map_or("", String::as_str)
    }
}

type Spans = Arc<Mutex<Vec<Received>>>;

/// See the module; it ends when this is dropped.
#[derive(Debug)]
pub struct Collector {
    address: SocketAddr,
    spans: Spans,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Collector {
    /// Listens on the loopback of a namespace.
    pub fn start(netns: &Netns) -> Result<Self> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let listener = netns.enter(|| {
            let listener = std::net::TcpListener::bind("127.0.0.1:0")?;
            listener.set_nonblocking(true)?;
            Ok(listener)
        })?;
        let address = listener.local_addr()?;
        let spans = Spans::default();
        let service = TraceServiceServer::new(Service(Arc::clone(&spans)));
        let (stop, stopped) = oneshot::channel::<()>();
        let thread = thread::spawn(move || {
            runtime.block_on(async {
                let Ok(listener) = TcpListener::from_std(listener) else { return };
                let serving = Server::builder().add_service(service);
                let serving = serving.serve_with_incoming(TcpIncoming::from(listener));
                tokio::select! {
                    _ = serving => {}
                    // The sender is only ever dropped, which is the signal.
                    _ = stopped => {}
                }
            });
        });
        Ok(Self { address, spans, stop: Some(stop), thread: Some(thread) })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What came so far.
    pub fn spans(&self) -> Vec<Received> {
        self.spans.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Drop for Collector {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // A panic there has been printed; the test fails for want of spans.
            let _ = thread.join();
        }
    }
}

struct Service(Spans);

#[tonic::async_trait]
impl TraceService for Service {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        let received = received(request.into_inner());
        self.0.lock().unwrap_or_else(PoisonError::into_inner).extend(received);
        Ok(Response::new(ExportTraceServiceResponse::default()))
    }
}

fn received(request: ExportTraceServiceRequest) -> Vec<Received> {
    let digits = |text: String, byte: &u8| text + &format!("{byte:02x}");
    let hex = |bytes: &[u8]| bytes.iter().fold(String::new(), digits);
    let mut all = Vec::new();
    for of_one in request.resource_spans {
        let whose = of_one.resource.unwrap_or_default().attributes;
        for span in of_one.scope_spans.into_iter().flat_map(|scope| scope.spans) {
            let status = span.status.unwrap_or_default();
            all.push(Received {
                trace: hex(&span.trace_id),
                id: hex(&span.span_id),
                parent: hex(&span.parent_span_id),
                name: span.name,
                is_error: status.code == i32::from(StatusCode::Error),
                nanos: span.end_time_unix_nano.saturating_sub(span.start_time_unix_nano),
                attributes: whose.iter().chain(&span.attributes).filter_map(attribute).collect(),
            });
        }
    }
    all
}

fn attribute(pair: &KeyValue) -> Option<(String, String)> {
    let value = match pair.value.as_ref()?.value.as_ref()? {
        Value::StringValue(text) => text.clone(),
        Value::IntValue(number) => number.to_string(),
        other => format!("{other:?}"),
    };
    Some((pair.key.clone(), value))
}
