//! What `/metrics` says of requests and connections.

use std::{
    collections::HashMap,
    fmt,
    sync::{Arc, atomic::Ordering},
};

use agent_base::lock::lock;
use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric as _, MetricEncoder},
    metrics::{MetricType, counter::ConstCounter, gauge::ConstGauge},
};

use super::{
    Connections, Requests, ServiceMetrics, distribution::Distribution, labels::LabelSet,
    table::Table,
};

/// What `/metrics` says of them.
#[derive(Debug)]
pub(crate) struct FromServices(pub(crate) Arc<ServiceMetrics>);

impl Collector for FromServices {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let mut counted = lock(&self.0.counted);
        self.0.drain(&mut counted);
        let mut out = Writer(&mut encoder);
        out.requests(&counted.requests)?;
        out.connections(&counted.connections)?;
        let [requests, connections] =
            [counted.requests.overflow().1, counted.connections.overflow().1];
        let sets = (counted.requests.len() + counted.connections.len()) as u64;
        out.own(sets, requests + connections, self.0.lost.load(Ordering::Relaxed))
    }
}

struct Writer<'a, 'b>(&'a mut DescriptorEncoder<'b>);

impl Writer<'_, '_> {
    fn requests(&mut self, table: &Table<LabelSet, Requests>) -> fmt::Result {
        let overflow = LabelSet::overflow("http", true);
        let name = ("istio_requests", "Requests that the proxy served");
        self.family((name, MetricType::Counter), (table, &overflow), |one, to| {
            ConstCounter::new(one.duration.count()).encode(to)
        })?;
        let name = ("istio_request_duration_milliseconds", "How long requests took");
        self.distribution(name, (table, &overflow), |one| &one.duration)?;
        let name = ("istio_request_bytes", "Bytes of requests with their heads");
        self.distribution(name, (table, &overflow), |one| &one.sent)?;
        let name = ("istio_response_bytes", "Bytes of answers with their heads");
        self.distribution(name, (table, &overflow), |one| &one.received)
    }

    fn connections(&mut self, table: &Table<LabelSet, Connections>) -> fmt::Result {
        type Value = fn(&Connections) -> u64;
        let families: [(&str, &str, Value); 4] = [
            (
                "istio_tcp_connections_opened",
                "TCP connections whose requests are not served, as they were let out",
                |one| one.opened,
            ),
            ("istio_tcp_connections_closed", "The same, at their end", |one| one.closed),
            // Istio sees both from the server.
            ("istio_tcp_sent_bytes", "Bytes to the client, at the end of a connection", |one| {
                one.received
            }),
            (
                "istio_tcp_received_bytes",
                "Bytes from the client, at the end of a connection",
                |one| one.sent,
            ),
        ];
        let overflow = LabelSet::overflow("tcp", false);
        for (name, help, value) in families {
            let kind = MetricType::Counter;
            self.family(((name, help), kind), (table, &overflow), |one, to| {
                ConstCounter::new(value(one)).encode(to)
            })?;
        }
        Ok(())
    }

    fn own(&mut self, sets: u64, overflowed: u64, lost: u64) -> fmt::Result {
        let (name, help) = ("sekisho_observe_label_sets", "Label sets of requests and connections");
        let gauge = self.0.encode_descriptor(name, help, None, MetricType::Gauge)?;
        ConstGauge::new(sets).encode(gauge)?;
        let name = "sekisho_observe_label_sets_overflowed";
        let help = "Requests and connections that found no label set of their own";
        let counter = self.0.encode_descriptor(name, help, None, MetricType::Counter)?;
        ConstCounter::new(overflowed).encode(counter)?;
        let name = "sekisho_observe_flows_lost";
        let help = "Flows that came faster than they could be counted by service";
        let counter = self.0.encode_descriptor(name, help, None, MetricType::Counter)?;
        ConstCounter::new(lost).encode(counter)
    }

    fn distribution<V: Default>(
        &mut self,
        name: (&str, &str),
        from: (&Table<LabelSet, V>, &LabelSet),
        of: impl Fn(&V) -> &Distribution,
    ) -> fmt::Result {
        self.family((name, MetricType::Histogram), from, |one, mut to| {
            let one = of(one);
            let none = None::<&HashMap<usize, NoExemplar>>;
            to.encode_histogram(one.sum(), one.count(), &one.buckets(), none)
        })
    }

    fn family<V: Default>(
        &mut self,
        ((name, help), kind): ((&str, &str), MetricType),
        (table, overflow): (&Table<LabelSet, V>, &LabelSet),
        write: impl Fn(&V, MetricEncoder<'_>) -> fmt::Result,
    ) -> fmt::Result {
        let mut family = self.0.encode_descriptor(name, help, None, kind)?;
        for (labels, value) in table.series() {
            write(value, family.encode_family(&labels.pairs())?)?;
        }
        match table.overflow() {
            (_, 0) => Ok(()),
            (value, _) => write(value, family.encode_family(&overflow.pairs())?),
        }
    }
}

type NoExemplar =
    prometheus_client::metrics::exemplar::Exemplar<[(&'static str, &'static str); 0], f64>;
