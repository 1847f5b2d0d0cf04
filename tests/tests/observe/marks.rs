//! What tells requests from others on their whole way.

use anyhow::{Context as _, Result, ensure};
use rstest::rstest;

use crate::scene::{Net, Scene};

const TRACE: [&str; 8] = [
    "traceparent: 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
    "tracestate: vendor=a,other=b",
    "b3: 80f198ee56343ba864fe8b2a57d3eff7-e457b5a2e4d86bd1-1",
    "X-B3-TraceId: 80f198ee56343ba864fe8b2a57d3eff7",
    "X-B3-SpanId: e457b5a2e4d86bd1",
    "X-B3-ParentSpanId: 05e3ac9a4f6e3b90",
    "X-B3-Sampled: 1",
    "baggage: user=jason",
];

/// The value of a header in a head as a server saw it; it must be there once.
pub(crate) fn header(seen: &str, name: &str) -> Result<String> {
    let mut found = seen.lines().filter_map(|line| {
        let (own, value) = line.split_once(':')?;
        own.eq_ignore_ascii_case(name).then(|| value.trim().to_owned())
    });
    let value = found.next().with_context(|| format!("no {name} in {seen}"))?;
    ensure!(found.next().is_none(), "{name} twice in {seen}");
    Ok(value)
}

#[rstest]
fn a_request_has_an_id_on_its_way_and_in_what_is_told_of_it(
    #[values(Net::V4, Net::V6)] net: Net,
) -> Result<()> {
    let mut scene = Scene::new(net)?;
    let made = header(&scene.ask(&["GET /show HTTP/1.1"])?, "x-request-id")?;
    let again = header(&scene.ask(&["GET /show HTTP/1.1"])?, "x-request-id")?;
    ensure!(made.len() == 36 && made != again, "{made} and {again}");
    let kept =
        header(&scene.ask(&["GET /show HTTP/1.1", "X-Request-ID: my own"])?, "x-request-id")?;
    ensure!(kept == "my own", "{kept}");
    scene.agent.wait_until("flows with the ids", |agent| {
        let flows = agent.flows()?;
        let is_told = |id: &str| flows.iter().any(|flow| flow["request"]["request_id"] == id);
        Ok(is_told(&made) && is_told(&again) && is_told("my own"))
    })
}

#[test]
fn a_trace_goes_on_as_it_came_where_nothing_takes_spans() -> Result<()> {
    let mut scene = Scene::new(Net::V4)?;
    let seen = scene.ask(&[&["GET /show HTTP/1.1"], &TRACE[..]].concat())?;
    for line in TRACE {
        ensure!(seen.lines().filter(|own| *own == line).count() == 1, "{line} in {seen}");
    }
    let bare = scene.ask(&["GET /show HTTP/1.1"])?;
    ensure!(!bare.to_lowercase().contains("traceparent"), "{bare}");
    Ok(())
}
