//! What requests are called on their way, and of which trace they are.

use agent_model::requests::route::Route;

use super::{
    rig::Rig,
    talk::{FINE, accept, hear, say},
    way::{dialled, routed, traced},
};
use crate::{Exchanged, Tracing};

const BARE: &str = "GET /old HTTP/1.1\r\nHost: reviews\r\n\r\n";
const PARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

/// What the upstream saw of a request, and what was told of it.
async fn sent(rig: &mut Rig, request: &str) -> (String, Exchanged) {
    let mut client = rig.dial().await;
    say(&mut client, request).await;
    let mut server = accept(rig).await;
    let seen = hear(&mut server, "\r\n\r\n").await;
    say(&mut server, FINE).await;
    hear(&mut client, "hi").await;
    (seen, rig.exchanged().await)
}

#[tokio::test]
async fn a_request_is_told_of_by_the_id_that_it_was_sent_with() {
    let mut rig = routed(|_| {}).await;
    let (seen, told) = sent(&mut rig, BARE).await;
    assert_eq!(
        seen.matches(&format!("x-request-id: {}\r\n", told.request_id)).count(),
        1,
        "{seen}"
    );
    assert_eq!((told.request_id.len(), told.span), (36, None));
}

#[tokio::test]
async fn a_route_has_the_last_word_on_an_id() {
    let remove = |route: &mut Route| {
        route.headers.request.remove.push("x-request-id".into());
    };
    let mut rig = dialled(|_| {}, remove).await;
    let (seen, _) = sent(&mut rig, BARE).await;
    assert!(!seen.contains("x-request-id"), "{seen}");
    let set = |route: &mut Route| {
        route.headers.request.set.insert("x-request-id".into(), "theirs".into());
    };
    let mut rig = dialled(|_| {}, set).await;
    let (seen, _) = sent(&mut rig, BARE).await;
    assert_eq!(seen.matches("x-request-id").count(), 1, "{seen}");
    assert!(seen.contains("x-request-id: theirs\r\n"), "{seen}");
}

#[tokio::test]
async fn what_is_sent_on_is_the_child_of_the_span_that_is_told_of() {
    let request = BARE.replace("\r\n\r\n", &format!("\r\nTraceParent: {PARENT}\r\n\r\n"));
    let mut plain = routed(|_| {}).await;
    let (seen, told) = sent(&mut plain, &request).await;
    assert!(seen.contains(&format!("TraceParent: {PARENT}\r\n")) && told.span.is_none(), "{seen}");
    let mut rig = traced(Tracing { share: 0 }).await;
    let (seen, told) = sent(&mut rig, &request).await;
    let span = told.span.unwrap();
    let child = format!("00-{:032x}-{:016x}-01", span.trace, span.id);
    assert!(seen.contains(&format!("traceparent: {child}\r\n")), "{seen}");
    assert!(!seen.contains(PARENT) && PARENT.contains(&format!("{:016x}", span.parent.unwrap())));
}
