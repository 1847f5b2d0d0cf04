//! Requests as spans, at a real receiver of OTLP.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use rstest::rstest;
use sekisho_tests::collector::{Collector, Received};

use crate::{
    marks::header,
    scene::{Net, Scene},
};

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const SPAN: &str = "00f067aa0ba902b7";

fn traced(net: Net, percent: &str) -> Result<(Scene, Collector)> {
    let mut collector = None;
    let scene = Scene::prepared(net, |world, agent| {
        let started = Collector::start(world.node())?;
        let endpoint = format!("http://{}", started.address());
        collector = Some(started);
        Ok(agent.with("--otlp-endpoint", &endpoint).with("--trace-sampling", percent))
    })?;
    Ok((scene, collector.context("it was started")?))
}

fn span_of(collector: &Collector, id: &str) -> Result<Received> {
    for _ in 0..1_000 {
        let found = collector.spans().into_iter().find(|one| one.text("guid:x-request-id") == id);
        if let Some(found) = found {
            return Ok(found);
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    anyhow::bail!("no span of {id} in {:?}", collector.spans())
}

#[rstest]
fn a_request_is_a_span_and_the_parent_of_what_follows(
    #[values(Net::V4, Net::V6)] net: Net,
) -> Result<()> {
    let (mut scene, collector) = traced(net, "100")?;
    let parent = format!("traceparent: 00-{TRACE}-{SPAN}-01");
    let lines = ["GET /show HTTP/1.1", &parent, "tracestate: a=b", "X-Request-Id: one"];
    let seen = scene.ask(&lines)?;
    let span = span_of(&collector, "one")?;
    ensure!(span.trace == TRACE && span.parent == SPAN, "{span:?}");
    ensure!(header(&seen, "traceparent")? == format!("00-{TRACE}-{}-01", span.id), "{seen}");
    ensure!(header(&seen, "tracestate")? == "a=b", "{seen}");
    ensure!(span.name == "reviews.shop.svc.cluster.local:9080/*" && !span.is_error, "{span:?}");
    for (key, wanted) in [
        ("http.request.method", "GET"),
        ("url.path", "/show"),
        ("http.response.status_code", "200"),
        ("network.peer.port", "9080"),
        ("response_flags", "-"),
        ("service.name", "shop.shop"),
        ("k8s.pod.name", "app"),
    ] {
        ensure!(span.text(key) == wanted, "{key} of {span:?}");
    }
    ensure!(span.nanos > 0 && span.nanos < 10_000_000_000, "{span:?}");
    // Without a parent it is the first of its trace.
    let seen = scene.ask(&["GET /show HTTP/1.1", "X-Request-Id: two"])?;
    let root = span_of(&collector, "two")?;
    ensure!(root.parent.is_empty(), "{root:?}");
    let sent = format!("00-{}-{}-01", root.trace, root.id);
    ensure!(header(&seen, "traceparent")? == sent, "{seen}");
    // In the words that came.
    let b3 = format!("b3: {TRACE}-{SPAN}-1");
    let seen = scene.ask(&["GET /show HTTP/1.1", &b3, "X-Request-Id: three"])?;
    let child = span_of(&collector, "three")?;
    ensure!(child.parent == SPAN, "{child:?}");
    ensure!(header(&seen, "b3")? == format!("{TRACE}-{}-1-{SPAN}", child.id), "{seen}");
    ensure!(!seen.contains("traceparent"), "{seen}");
    // A query may be a secret.
    scene.send(&["GET /fine?secret=1 HTTP/1.1", "X-Request-Id: five"], 1)?;
    ensure!(span_of(&collector, "five")?.text("url.path") == "/fine");
    scene.send(&["GET /503 HTTP/1.1", "X-Request-Id: four"], 1)?;
    ensure!(span_of(&collector, "four")?.is_error);
    Ok(())
}

#[test]
fn the_parents_word_counts_and_a_collector_that_is_away_costs_spans_alone() -> Result<()> {
    let (mut scene, collector) = traced(Net::V4, "0")?;
    let unsampled = format!("traceparent: 00-{TRACE}-{SPAN}-00");
    let seen = scene.ask(&["GET /show HTTP/1.1", &unsampled, "X-Request-Id: not"])?;
    ensure!(header(&seen, "traceparent")? == unsampled[13..], "{seen}");
    scene.ask(&["GET /show HTTP/1.1", "X-Request-Id: nor"])?;
    let sampled = format!("traceparent: 00-{TRACE}-{SPAN}-01");
    scene.ask(&["GET /show HTTP/1.1", &sampled, "X-Request-Id: yes"])?;
    span_of(&collector, "yes")?;
    ensure!(collector.spans().len() == 1, "{:?}", collector.spans());
    drop(collector);
    let said = scene.send(&["GET / HTTP/1.1", &sampled], 20)?;
    ensure!(said.of("200 v1") == 20, "{said:?}");
    scene.is_counted(&["sekisho_observe_spans_lost_total"], 20.0)
}
