//! Metrics in the `OpenMetrics` text format, named `sekisho_<room>_<noun>_<unit>`, and beside them those
//! of [`super::service_metrics`] under Istio's names.
//!
//! What the agent's [`Status`] already knows is read from it at each scrape, so that both never
//! disagree; only durations are collected as they happen. Label values are from fixed lists, kinds
//! of objects or names of the node's pods, never text from traffic.

use std::{
    fmt,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use agent_base::{laps::Laps, lock::lock};
use agent_model::finding::Severity;
use jiff::Timestamp;
use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric, text},
    metrics::{
        MetricType,
        counter::ConstCounter,
        family::Family,
        gauge::ConstGauge,
        histogram::{Histogram, exponential_buckets},
    },
    registry::{Registry, Unit},
};

use super::{
    service_metrics::{FromServices, ServiceMetrics},
    status::{Enrolment, Pod, State, Status},
    top::TopRow,
};

/// The content type of [`Metrics::text`].
pub(crate) const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// All metrics of an agent.
#[derive(Debug)]
pub(crate) struct Metrics {
    registry: Registry,
    services: Arc<ServiceMetrics>,
    publish: Histogram,
    phases: Phases,
    /// What the collector reads during a scrape.
    scraped: Arc<Mutex<Status>>,
}

/// By the name of the phase.
type Phases = Family<[(&'static str, &'static str); 1], Histogram>;

impl Default for Metrics {
    fn default() -> Self {
        Self::new(Arc::default(), Lost::default())
    }
}

impl Metrics {
    /// Of an agent, with what it counts by service.
    pub(crate) fn new(services: Arc<ServiceMetrics>, lost: Lost) -> Self {
        let mut all = Registry::default();
        all.register_collector(Box::new(FromServices(Arc::clone(&services))));
        let registry = all.sub_registry_with_prefix("sekisho");
        // A millisecond to half a minute: a small change up to 100,000 rules on a busy node.
        let publish = Histogram::new(exponential_buckets(0.001, 2.0, 15));
        registry.register_with_unit(
            "sync_publish",
            "Time from a change of objects to the generation in force",
            Unit::Seconds,
            publish.clone(),
        );
        let phases =
            Phases::new_with_constructor(|| Histogram::new(exponential_buckets(0.0005, 4.0, 9)));
        registry.register_with_unit(
            "sync_phase",
            "Time of each phase of a change, from its arrival on",
            Unit::Seconds,
            phases.clone(),
        );
        registry.register_collector(Box::new(lost));
        let scraped = Arc::new(Mutex::new(Status::default()));
        registry.register_collector(Box::new(FromStatus(Arc::clone(&scraped))));
        Self { registry: all, services, publish, phases, scraped }
    }

    /// What each pod asked of each service.
    pub(crate) fn top(&self) -> Vec<TopRow> {
        self.services.top()
    }

    /// Counts a generation that took this long to be in force.
    pub(crate) fn published(&self, took: Duration) {
        self.publish.observe(took.as_secs_f64());
    }

    /// Counts the phases of a change.
    pub(crate) fn phases(&self, laps: &Laps) {
        for (phase, took) in laps.ended() {
            self.phases.get_or_create(&[("phase", phase.name())]).observe(took.as_secs_f64());
        }
    }

    /// Everything as text, the agent being in this state.
    pub(crate) fn text(&self, status: Status) -> Result<String, fmt::Error> {
        *lock(&self.scraped) = status;
        let mut text = String::new();
        text::encode(&mut text, &self.registry)?;
        Ok(text)
    }
}

/// What did not reach those who wanted it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Lost {
    /// Lines of the access log.
    pub(crate) access_log: Arc<AtomicU64>,
    /// Spans of requests.
    pub(crate) spans: Arc<AtomicU64>,
}

impl Collector for Lost {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let lines =
            "Lines of the access log that were not written: its reader is slow, or its disk full";
        let spans = "Spans of requests that the collector did not take";
        for (name, help, count) in [
            ("observe_access_log_lost", lines, &self.access_log),
            ("observe_spans_lost", spans, &self.spans),
        ] {
            let lost = ConstCounter::new(count.load(Ordering::Relaxed));
            lost.encode(encoder.encode_descriptor(name, help, None, MetricType::Counter)?)?;
        }
        Ok(())
    }
}

#[derive(Debug)]
struct FromStatus(Arc<Mutex<Status>>);

impl Collector for FromStatus {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let status = lock(&self.0);
        let mut out = Writer(&mut encoder);
        out.counters(&status)?;
        out.gauges(&status)?;
        out.links(&status)?;
        out.certificates(&status)?;
        out.canaries(&status)
    }
}

/// Values under one label.
struct LabelledFamily<'a> {
    name: &'a str,
    help: &'a str,
    label: &'a str,
}

struct Writer<'a, 'b>(&'a mut DescriptorEncoder<'b>);

impl Writer<'_, '_> {
    fn counters(&mut self, status: &Status) -> fmt::Result {
        let lost = status.counters.get("events_lost").copied().unwrap_or(0);
        let outcomes: Vec<_> = status
            .counters
            .iter()
            .filter(|(name, _)| *name != "events_lost")
            .map(|(name, count)| (name.as_str(), *count))
            .collect();
        let help = "Verdicts of the kernel's hooks by outcome";
        self.family(
            &LabelledFamily { name: "kernel_verdicts", help, label: "outcome" },
            MetricType::Counter,
            &outcomes,
        )?;
        let name = "kernel_events_lost";
        let lost = ConstCounter::new(lost);
        let help = "Events that found the ring full";
        lost.encode(self.0.encode_descriptor(name, help, None, MetricType::Counter)?)?;
        let help = "Hooks that another program took away and that were put back";
        let mended = ConstCounter::new(status.mended.count);
        let name = "kernel_hooks_mended";
        mended.encode(self.0.encode_descriptor(name, help, None, MetricType::Counter)?)?;
        let help = "Times that more was said of links than could be heard, and they were looked at instead";
        let overruns = ConstCounter::new(status.link_overruns);
        let name = "pods_link_overruns";
        overruns.encode(self.0.encode_descriptor(name, help, None, MetricType::Counter)?)
    }

    /// What the canaries show, by pod: there are a few hundred on a node at the most.
    fn canaries(&mut self, status: &Status) -> fmt::Result {
        let proofs = || status.pods.iter().filter_map(|pod| Some((pod, pod.canary.as_ref()?)));
        let help = "The generation by which every hook refused a pod's canary last";
        let judged_by = proofs().filter_map(|(pod, canary)| Some((pod, canary.generation?)));
        self.by_pod("pods_proved_generation", help, judged_by)?;
        let help = "When every hook refused a pod's canary last, in seconds of the Unix time";
        let proved = proofs().filter_map(|(pod, canary)| {
            Some((pod, u64::try_from(canary.proved?.as_second()).unwrap_or(0)))
        });
        self.by_pod("pods_proved_timestamp_seconds", help, proved)?;
        let help = "1 when something did not refuse a pod's last canary";
        let failing = proofs().map(|(pod, canary)| (pod, u64::from(canary.failing.is_some())));
        self.by_pod("pods_canary_failing", help, failing)
    }

    fn by_pod<'p>(
        &mut self,
        name: &str,
        help: &str,
        values: impl Iterator<Item = (&'p Pod, u64)>,
    ) -> fmt::Result {
        let mut family = self.0.encode_descriptor(name, help, None, MetricType::Gauge)?;
        for (pod, value) in values {
            let labels = [("namespace", pod.namespace.as_str()), ("pod", pod.name.as_str())];
            ConstGauge::new(value).encode(family.encode_family(&labels)?)?;
        }
        Ok(())
    }

    fn gauges(&mut self, status: &Status) -> fmt::Result {
        let ready = u64::from(status.state == State::Ready);
        self.gauge("agent_ready", "1 when the newest configuration is in force", ready)?;
        self.gauge("sync_generation", "The generation in force", status.generation)?;
        self.gauge("sync_rules", "Rules of all policies", status.rules)?;
        self.gauge("sync_prefixes", "Prefixes in the kernel's table", status.prefixes)?;
        let count = |wanted: fn(&Enrolment) -> bool| {
            status.pods.iter().filter(|pod| wanted(&pod.enrolment)).count() as u64
        };
        let pods = [
            ("enrolled", count(|enrolment| matches!(enrolment, Enrolment::Enrolled))),
            ("not-enrolled", count(|enrolment| matches!(enrolment, Enrolment::NotEnrolled { .. }))),
            ("pending", count(|enrolment| matches!(enrolment, Enrolment::Pending { .. }))),
            (
                "unenrollable",
                count(|enrolment| matches!(enrolment, Enrolment::Unenrollable { .. })),
            ),
            ("failing", count(|enrolment| matches!(enrolment, Enrolment::Failing { .. }))),
        ];
        self.family(
            &LabelledFamily { name: "pods_enrolment", help: "Pods of this node", label: "state" },
            MetricType::Gauge,
            &pods,
        )?;
        let missing = status
            .hooks
            .iter()
            .chain(status.pods.iter().flat_map(|pod| &pod.hooks))
            .filter(|hook| !hook.attached)
            .count() as u64;
        self.gauge("kernel_hooks_missing", "Hooks that should be attached and are not", missing)?;
        let kinds: Vec<_> =
            status.objects.iter().map(|(kind, count)| (kind.as_str(), *count)).collect();
        self.family(
            &LabelledFamily { name: "source_objects", help: "Objects in force", label: "kind" },
            MetricType::Gauge,
            &kinds,
        )?;
        let (known, unknown): (Vec<_>, Vec<_>) =
            status.names.iter().partition(|name| !name.addresses.is_empty());
        let failing = known.iter().filter(|name| name.error.is_some()).count();
        let names = [
            ("resolved", (known.len() - failing) as u64),
            ("stale", failing as u64),
            ("unresolved", unknown.len() as u64),
        ];
        let help = "Names that rules follow from";
        self.family(
            &LabelledFamily { name: "resolve_names", help, label: "state" },
            MetricType::Gauge,
            &names,
        )?;
        let count =
            |wanted| status.findings.iter().filter(|note| note.severity == wanted).count() as u64;
        let severities = [Severity::Error, Severity::Warning, Severity::Info];
        let findings = severities.map(|severity| (severity.name(), count(severity)));
        self.family(
            &LabelledFamily { name: "source_findings", help: "Findings", label: "severity" },
            MetricType::Gauge,
            &findings,
        )
    }

    /// The links of judged pods, by what judges them.
    fn links(&mut self, status: &Status) -> fmt::Result {
        let links = || status.pods.iter().flat_map(|pod| &pod.links);
        let count = |name| links().filter(|link| link.coverage.name() == name).count() as u64;
        let coverage = ["layer-3", "below", "inside", "nothing"].map(|name| (name, count(name)));
        let help = "Links of judged pods by what judges the frames that leave by them";
        self.family(
            &LabelledFamily { name: "pods_links", help, label: "coverage" },
            MetricType::Gauge,
            &coverage,
        )
    }

    /// What becomes of requests for certificates, and how long those live that are held.
    fn certificates(&mut self, status: &Status) -> fmt::Result {
        let Some(identity) = &status.identity else { return Ok(()) };
        let outcomes: Vec<_> =
            identity.fetches.iter().map(|(name, count)| (name.as_ref(), *count)).collect();
        let help = "Requests for certificates by what became of them";
        self.family(
            &LabelledFamily { name: "identity_fetches", help, label: "result" },
            MetricType::Counter,
            &outcomes,
        )?;
        let seconds = |end: Timestamp| end.duration_since(identity.now).as_secs();
        let help = "Seconds until the certificate of an identity ends, negative when it has";
        let name = "identity_expiry_seconds";
        let mut family = self.0.encode_descriptor(name, help, None, MetricType::Gauge)?;
        for certificate in &identity.certificates {
            if let Some(end) = certificate.expires {
                let labels = [("identity", certificate.identity.as_str())];
                ConstGauge::new(seconds(end)).encode(family.encode_family(&labels)?)?;
            }
        }
        let missing = identity.certificates.iter().filter(|one| one.state != "valid").count();
        let help = "Identities of this node's pods without a certificate that is valid";
        self.gauge("identity_missing", help, missing as u64)?;
        if let Some(end) = identity.roots_end {
            let help = "Seconds until the last root of the mesh ends";
            let gauge = ConstGauge::new(seconds(end));
            let name = "ca_expiry_seconds";
            gauge.encode(self.0.encode_descriptor(name, help, None, MetricType::Gauge)?)?;
        }
        Ok(())
    }

    fn gauge(&mut self, name: &str, help: &str, value: u64) -> fmt::Result {
        let gauge = ConstGauge::new(value);
        gauge.encode(self.0.encode_descriptor(name, help, None, MetricType::Gauge)?)
    }

    fn family(
        &mut self,
        family: &LabelledFamily<'_>,
        kind: MetricType,
        values: &[(&str, u64)],
    ) -> fmt::Result {
        let LabelledFamily { name, help, label } = *family;
        let mut family = self.0.encode_descriptor(name, help, None, kind)?;
        for (word, value) in values {
            let labels = [(label, *word)];
            let metric = family.encode_family(&labels)?;
            match kind {
                MetricType::Counter => ConstCounter::new(*value).encode(metric)?,
                _ => ConstGauge::new(*value).encode(metric)?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
