//! The metrics, from a scrape of an agent in which each family has a sample.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use agent_abi::{Event, EventKind, LAYER_CONNECT, Reason, Verdict, counter, protocol};
use agent_base::laps::{Laps, Phase};
use anyhow::Context as _;
use jiff::Timestamp;

use super::{code, table};
use crate::observe::{
    flow_record::{FlowRecord, Known},
    flow_request::FlowRequest,
    flows::Subscriber as _,
    metrics::{Lost, Metrics},
    service_metrics::ServiceMetrics,
    status::{Canary, Certificate, Enrolment, Identity, Pod, Status},
};

pub(super) const ABOUT: &str = "`/metrics` on the agent's socket in `--run-dir`, and on `--admin`, \
    in the OpenMetrics format. The samples of a counter end in `_total`, those of a histogram in \
    `_bucket`, `_sum` and `_count`.";

/// Labels whose values are names of the cluster's objects.
const OPEN: [&str; 4] = ["identity", "kind", "namespace", "pod"];

/// The same, and what came of a request.
const OF_SERVICES: [&str; 3] = ["source_", "destination_", "response_"];

/// What a scrape says of a family.
#[derive(Debug, Default)]
struct Family {
    help: String,
    kind: String,
    labels: BTreeMap<String, BTreeSet<String>>,
}

pub(super) fn page() -> anyhow::Result<String> {
    let families = families(&scrape()?);
    let row = |(name, family): (&String, &Family)| {
        let labels = family.labels.iter().map(|(name, values)| label(name, values));
        let labels = labels.collect::<Vec<_>>().join("; ");
        [code(name), family.kind.clone(), labels, family.help.clone()]
    };
    Ok(table(["Name", "Type", "Labels", "Meaning"], families.iter().map(row)))
}

fn label(name: &str, values: &BTreeSet<String>) -> String {
    if OPEN.contains(&name) || OF_SERVICES.iter().any(|part| name.starts_with(part)) {
        return code(name);
    }
    let values: Vec<String> = values.iter().map(|value| code(value)).collect();
    format!("{}: {}", code(name), values.join(", "))
}

/// All there is to say, once.
fn scrape() -> anyhow::Result<String> {
    let services = Arc::new(ServiceMetrics::default());
    some_traffic(&services)?;
    let metrics = Metrics::new(services, Lost::default());
    metrics.published(Duration::ZERO);
    let mut laps = Laps::default();
    for phase in Phase::ALL {
        laps.end(phase);
    }
    metrics.phases(&laps);
    let pod = Pod {
        namespace: "namespace".into(),
        name: "name".into(),
        enrolment: Enrolment::Enrolled,
        addresses: Vec::new(),
        netns: None,
        default_action: None,
        rules: 0,
        proxied: 0,
        proxy_port: None,
        links: Vec::new(),
        hooks: Vec::new(),
        canary: Some(Canary {
            proved: Some(Timestamp::UNIX_EPOCH),
            generation: Some(1),
            ..Canary::default()
        }),
    };
    let fetches = ["ok", "unreachable", "refused", "unusable", "no-roots", "no-key"];
    let certificate =
        Certificate { expires: Some(Timestamp::UNIX_EPOCH), ..Certificate::default() };
    let identity = Identity {
        roots_end: Some(Timestamp::UNIX_EPOCH),
        fetches: fetches.map(|result| (result.into(), 0)).into(),
        certificates: vec![certificate],
        ..Identity::default()
    };
    let status = Status {
        identity: Some(identity),
        pods: vec![pod],
        counters: counter::NAMES.iter().map(|name| ((*name).to_owned(), 0)).collect(),
        objects: [("Pod".to_owned(), 1)].into(),
        ..Status::default()
    };
    Ok(metrics.text(status)?)
}

/// A request and a connection.
fn some_traffic(services: &ServiceMetrics) -> anyhow::Result<()> {
    let event = Event {
        kind: EventKind::CLOSE,
        layer: LAYER_CONNECT,
        verdict: Verdict::Direct as u32,
        reason: Reason::Rule as u32,
        protocol: protocol::TCP.into(),
        ..Event::default()
    };
    let ended = FlowRecord::from_event(&event, Timestamp::UNIX_EPOCH, Known::default());
    let ended = ended.context("an event of this version")?;
    for protocol in ["http", "grpc"] {
        let request = FlowRequest { protocol: protocol.into(), ..FlowRequest::default() };
        services.hear(&Arc::new(FlowRecord { request: Some(Box::new(request)), ..ended.clone() }));
    }
    services.hear(&Arc::new(ended));
    Ok(())
}

fn families(scrape: &str) -> BTreeMap<String, Family> {
    let mut families = BTreeMap::<String, Family>::new();
    let mut last = String::new();
    for line in scrape.lines() {
        let described = |what: &str| line.strip_prefix(what).and_then(|rest| rest.split_once(' '));
        if let Some((name, help)) = described("# HELP ") {
            name.clone_into(&mut last);
            help.trim_end_matches('.')
                .clone_into(&mut families.entry(last.clone()).or_default().help);
        } else if let Some((name, kind)) = described("# TYPE ") {
            kind.clone_into(&mut families.entry(name.to_owned()).or_default().kind);
        } else if let Some((_, rest)) = line.split_once('{').filter(|_| !line.starts_with('#')) {
            let labels = rest.split_once('}').map_or("", |(labels, _)| labels);
            let family = families.entry(last.clone()).or_default();
            for (name, value) in labels.split(',').filter_map(|label| label.split_once('=')) {
                if name != "le" {
                    let values = family.labels.entry(name.to_owned()).or_default();
                    values.insert(value.trim_matches('"').to_owned());
                }
            }
        }
    }
    families
}
