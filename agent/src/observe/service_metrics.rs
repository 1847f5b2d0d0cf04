//! Requests and connections by who asked whom: Istio's standard metrics, of the client's side.
//!
//! ```text
//! FlowLog, proxy ─► queue ─► every 100 ms, and at each scrape ─► Table ─► /metrics
//! ```
//!
//! What serves a request puts a pointer into a queue and goes on. A queue that is full is emptied by
//! what finds it full, unless that is being done already: then the flow is lost here, and counted.
//! Series are bounded in number ([`table`]), and those of workloads that left the node go.

mod distribution;
mod labels;
mod table;
mod write;

use std::{
    collections::{HashMap, HashSet},
    net::IpAddr,
    sync::{
        Arc, Mutex, MutexGuard, TryLockError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use agent_abi::Verdict;
use agent_base::lock::lock;
use agent_model::{
    egress::RuleSource,
    pod::{PodId, WorkloadName},
};
use arc_swap::ArcSwap;
use tokio::{
    sync::mpsc,
    time::{Instant, MissedTickBehavior, interval},
};

use super::{
    flow_record::{Carried, FlowRecord, Layer, Protocol},
    flow_request::FlowRequest,
    flows::Subscriber,
    top::{Busy, TopRow},
};
use crate::members::Members;
use distribution::Distribution;
use labels::{Known, LabelSet};
use table::Table;
pub(crate) use write::FromServices;

/// Flows that wait to be counted: what 160,000 requests a second make in [`LOOK`].
const QUEUE: usize = 16_384;
const LOOK: Duration = Duration::from_millis(100);
const SWEEP: Duration = Duration::from_secs(30);
/// How long the series of a workload outlive its last pod here: several scrapes.
const GRACE: Duration = Duration::from_mins(5);
/// Label sets of requests, and of connections, where the command line says nothing.
pub(crate) const SETS: usize = 1_000;

/// A connection that the proxy begins to carry.
#[derive(Debug)]
pub(crate) struct Opened {
    /// Whose it is.
    pub(crate) workload: Option<Arc<WorkloadName>>,
    /// What let it out.
    pub(crate) rule: Option<Arc<RuleSource>>,
    /// Where it goes.
    pub(crate) upstream: IpAddr,
}

#[derive(Debug)]
enum Seen {
    Opened(Box<Opened>),
    Flow(Arc<FlowRecord>),
}

/// See the module.
#[derive(Debug)]
pub(crate) struct ServiceMetrics {
    queue: mpsc::Sender<Seen>,
    members: Arc<ArcSwap<Members>>,
    lost: AtomicU64,
    counted: Mutex<Counted>,
}

#[derive(Debug)]
struct Counted {
    inbox: mpsc::Receiver<Seen>,
    requests: Table<LabelSet, Requests>,
    connections: Table<LabelSet, Connections>,
    /// By pod and service; without a pod where its namespace is no known pod's.
    busy: Table<(Option<PodId>, String), Busy>,
    /// Workloads without a pod here, and since when.
    gone: HashMap<Arc<WorkloadName>, Instant>,
}

#[derive(Debug, Default)]
struct Requests {
    duration: Distribution,
    sent: Distribution,
    received: Distribution,
}

#[derive(Debug, Default)]
struct Connections {
    opened: u64,
    closed: u64,
    /// From the client.
    sent: u64,
    received: u64,
}

impl Default for ServiceMetrics {
    fn default() -> Self {
        Self::new(Arc::default(), SETS)
    }
}

impl ServiceMetrics {
    /// Of a node's pods, with so many label sets of requests and of connections each.
    pub(crate) fn new(members: Arc<ArcSwap<Members>>, sets: usize) -> Self {
        let (queue, inbox) = mpsc::channel(QUEUE);
        let (requests, connections) = (Table::new(sets), Table::new(sets));
        let busy = Table::new(sets);
        let counted = Counted { inbox, requests, connections, busy, gone: HashMap::new() };
        Self { queue, members, lost: AtomicU64::new(0), counted: Mutex::new(counted) }
    }

    /// Counts a connection that the proxy begins to carry.
    pub(crate) fn opened(&self, opened: Opened) {
        self.put(Seen::Opened(Box::new(opened)));
    }

    /// Counts what waits, now and then, until the future is dropped.
    pub(crate) async fn run(&self) {
        let mut looks = interval(LOOK);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut swept = Instant::now();
        loop {
            let now = looks.tick().await;
            let mut counted = lock(&self.counted);
            self.drain(&mut counted);
            if now - swept >= SWEEP {
                swept = now;
                self.sweep(&mut counted, now);
            }
        }
    }

    /// What each pod asked of each service.
    pub(crate) fn top(&self) -> Vec<TopRow> {
        let mut counted = lock(&self.counted);
        self.drain(&mut counted);
        let one = |((pod, service), busy): (&(Option<PodId>, String), &Busy)| {
            TopRow::of(pod.as_ref(), service, busy)
        };
        let mut rows: Vec<TopRow> = counted.busy.series().map(one).collect();
        let (others, count) = counted.busy.overflow();
        rows.extend((count > 0).then(|| TopRow::of(None, "(others)", others)));
        rows
    }

    fn put(&self, seen: Seen) {
        let Err(error) = self.queue.try_send(seen) else { return };
        let again = self.emptied().is_some() && self.queue.try_send(error.into_inner()).is_ok();
        if !again {
            self.lost.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Empties the queue, unless that is being done.
    fn emptied(&self) -> Option<()> {
        let mut counted = match self.counted.try_lock() {
            Ok(counted) => counted,
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            Err(TryLockError::WouldBlock) => return None,
        };
        self.drain(&mut counted);
        Some(())
    }

    fn drain(&self, counted: &mut MutexGuard<'_, Counted>) {
        let members = self.members.load();
        let now = Instant::now();
        for _ in 0..QUEUE {
            let Ok(seen) = counted.inbox.try_recv() else { return };
            counted.take(&seen, &members, now);
        }
    }

    /// Drops the series of workloads whose last pod left this node some time ago.
    fn sweep(&self, counted: &mut Counted, now: Instant) {
        let members = self.members.load();
        let here: HashSet<_> = members.pods.all().map(|pod| Arc::clone(&pod.workload)).collect();
        let Counted { requests, connections, busy, gone, .. } = counted;
        let labels = requests.series().map(|it| it.0).chain(connections.series().map(|it| it.0));
        let known: HashSet<_> = labels.filter_map(|labels| labels.source.clone()).collect();
        gone.retain(|workload, _| known.contains(workload) && !here.contains(workload));
        for workload in known.difference(&here) {
            gone.entry(Arc::clone(workload)).or_insert(now);
        }
        let is_wanted = |labels: &LabelSet| {
            let since = labels.source.as_ref().and_then(|source| gone.get(source));
            since.is_none_or(|since| now - *since < GRACE)
        };
        requests.sweep(now, is_wanted);
        connections.sweep(now, is_wanted);
        busy.sweep(now, |(pod, _)| pod.as_ref().is_none_or(|pod| members.pods.of(pod).is_some()));
    }
}

impl Subscriber for ServiceMetrics {
    fn hear(&self, record: &Arc<FlowRecord>) {
        if Kind::of(record).is_some() {
            self.put(Seen::Flow(Arc::clone(record)));
        }
    }
}

/// What a flow means for the metrics.
enum Kind<'a> {
    Request(&'a FlowRequest),
    Opened,
    Closed(Carried),
}

impl<'a> Kind<'a> {
    fn of(record: &'a FlowRecord) -> Option<Self> {
        if let Some(request) = &record.request {
            return Some(Self::Request(request));
        }
        if record.protocol != Protocol::TCP {
            return None;
        }
        match (record.layer, record.verdict, record.carried) {
            (Layer::Connect, Verdict::Direct, None) => record.connection.map(|_| Self::Opened),
            (Layer::Connect, Verdict::Direct, Some(carried)) => Some(Self::Closed(carried)),
            // The proxy tells of the beginning itself. Where it dialled nothing there was none, and a
            // connection whose requests were served dialled nothing itself.
            (Layer::Proxy, _, Some(carried)) => record.upstream.map(|_| Self::Closed(carried)),
            _ => None,
        }
    }
}

impl Counted {
    fn take(&mut self, seen: &Seen, members: &Members, now: Instant) {
        match seen {
            Seen::Opened(opened) => {
                let Opened { workload, rule, upstream } = &**opened;
                let known = Known { rule: rule.as_deref(), is_sent: true, ..Known::default() };
                let labels = LabelSet {
                    source: workload.clone(),
                    to: known.destination(members.workload_at(*upstream)),
                    ..LabelSet::stream("-")
                };
                self.connections.of(labels, now).opened += 1;
            }
            Seen::Flow(record) => self.flow(record, members, now),
        }
    }

    fn flow(&mut self, record: &FlowRecord, members: &Members, now: Instant) {
        let Some(kind) = Kind::of(record) else { return };
        let workload = labels::sent_to(record).and_then(|to| members.workload_at(to));
        let to = Known::of(record).destination(workload);
        let source = record.workload.clone();
        match kind {
            Kind::Request(request) => {
                let carried = record.carried.unwrap_or_default();
                let who = (record.pod.clone(), to.shown().to_owned());
                self.busy.of(who, now).take(request, &carried);
                let labels = LabelSet { source, to, ..LabelSet::request(request) };
                self.requests.of(labels, now).observe(&carried);
            }
            Kind::Opened => {
                let labels = LabelSet { source, to, ..LabelSet::stream("-") };
                self.connections.of(labels, now).opened += 1;
            }
            Kind::Closed(carried) => {
                let labels = LabelSet { source, to, ..LabelSet::stream(labels::flags_of(record)) };
                let connections = self.connections.of(labels, now);
                connections.closed += 1;
                connections.sent += carried.bytes_sent;
                connections.received += carried.bytes_received;
            }
        }
    }
}

impl Requests {
    #[expect(clippy::cast_precision_loss, reason = "sums of metrics are approximate")]
    fn observe(&mut self, carried: &Carried) {
        self.duration.observe(carried.duration_us as f64 / 1_000.0);
        self.sent.observe(carried.bytes_sent as f64);
        self.received.observe(carried.bytes_received as f64);
    }
}

#[cfg(test)]
mod tests;
