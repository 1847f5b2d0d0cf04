//! What hears of connections and requests: the log of flows, metrics, the access log, spans.

use std::sync::Arc;

use arc_swap::ArcSwap;
use tokio::signal::unix::{SignalKind, signal};

use super::Tasks;
use crate::{
    args::AgentArgs,
    members::Members,
    observe::{
        access_log::{AccessLog, End},
        flows::{FlowLog, Subscriber},
        log::FlowLines,
        metrics::{Lost, Metrics},
        service_metrics::ServiceMetrics,
        traces::Traces,
    },
};

/// See the module.
pub(super) struct Observing {
    /// What the pods are that things are heard of.
    pub(super) members: Arc<ArcSwap<Members>>,
    pub(super) flows: Arc<FlowLog>,
    pub(super) services: Arc<ServiceMetrics>,
    pub(super) access_log: Arc<AccessLog>,
    pub(super) metrics: Arc<Metrics>,
}

impl Observing {
    /// Starts it. The other value ends the access log.
    pub(super) fn start(args: &AgentArgs, tasks: &mut Tasks) -> anyhow::Result<(Self, End)> {
        let (access_log, end) = AccessLog::start(args.access_log.clone().into())?;
        let access_log = Arc::new(access_log);
        reopen_on_hangup(tasks, Arc::clone(&access_log))?;
        let mut lost = Lost { access_log: access_log.lost(), ..Lost::default() };
        let members: Arc<ArcSwap<Members>> = Arc::default();
        let services = Arc::new(ServiceMetrics::new(Arc::clone(&members), args.metric_label_sets));
        let counting = Arc::clone(&services);
        tasks.spawn(async move {
            counting.run().await;
            Ok(())
        });
        let mut subscribers: Vec<Arc<dyn Subscriber>> =
            vec![Arc::new(FlowLines::default()), Arc::clone(&services) as _];
        if let Some(traces) = send_spans(tasks, args)? {
            lost.spans = traces.lost();
            subscribers.push(traces);
        }
        let flows = Arc::new(FlowLog::new(subscribers));
        let metrics = Arc::new(Metrics::new(Arc::clone(&services), lost));
        Ok((Self { members, flows, services, access_log, metrics }, end))
    }
}

/// A program that rotates logs says so by SIGHUP.
fn reopen_on_hangup(tasks: &mut Tasks, log: Arc<AccessLog>) -> anyhow::Result<()> {
    let mut hangups = signal(SignalKind::hangup())?;
    tasks.spawn(async move {
        while hangups.recv().await.is_some() {
            log.reopen();
        }
        Ok(())
    });
    Ok(())
}

/// Sends the spans of requests to a collector, where there is one.
fn send_spans(tasks: &mut Tasks, args: &AgentArgs) -> anyhow::Result<Option<Arc<Traces>>> {
    let Some(endpoint) = &args.otlp_endpoint else { return Ok(None) };
    let traces = Arc::new(Traces::new(endpoint, &args.node_name)?);
    let sending = Arc::clone(&traces);
    tasks.spawn(async move {
        sending.run().await;
        Ok(())
    });
    Ok(Some(traces))
}
