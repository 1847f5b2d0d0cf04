//! Requests over loopback, byte by byte: one route to one upstream, which the test plays itself.

use std::time::Duration;

use agent_model::requests::backend::{Missing, Target};
use tokio::io::AsyncReadExt as _;

use super::{
    rig::{end_of, reset, soon},
    talk::{FINE, GET, accept, hear, say},
    way::{eager, forward, routed},
};
use crate::Flag;

#[tokio::test]
async fn a_request_is_rewritten_and_its_answer_comes_back() {
    let mut rig = routed(|_| {}).await;
    let mut client = rig.dial().await;
    say(&mut client, GET).await;
    let mut server = accept(&rig).await;
    let seen = hear(&mut server, "\r\n\r\n").await;
    assert_eq!(seen, GET.replace("/old", "/new"));
    say(&mut server, FINE).await;
    assert_eq!(hear(&mut client, "hi").await, FINE);
    let told = rig.exchanged().await;
    assert_eq!((told.status, told.tries, told.route.as_str()), (200, 1, "main"));
    assert_eq!(told.flags.to_string(), "-");
    assert_eq!(told.cluster.unwrap(), format!("outbound|{}||reviews", told.origin.dst.0.port()));
}

#[tokio::test]
async fn a_connection_is_used_again_and_a_closed_one_is_not() {
    let rig = routed(|_| {}).await;
    let mut client = rig.dial().await;
    say(&mut client, GET).await;
    let mut server = accept(&rig).await;
    for _ in 0..3 {
        hear(&mut server, "\r\n\r\n").await;
        say(&mut server, FINE).await;
        hear(&mut client, "hi").await;
        say(&mut client, GET).await;
    }
    hear(&mut server, "\r\n\r\n").await;
    say(&mut server, FINE).await;
    hear(&mut client, "hi").await;
    drop(server);
    tokio::time::sleep(Duration::from_millis(50)).await;
    say(&mut client, GET).await;
    let mut server = accept(&rig).await;
    hear(&mut server, "\r\n\r\n").await;
    say(&mut server, FINE).await;
    hear(&mut client, "hi").await;
}

#[tokio::test]
async fn requests_that_come_at_once_are_answered_in_turn() {
    let rig = routed(|_| {}).await;
    let mut client = rig.dial().await;
    say(&mut client, &GET.repeat(3)).await;
    let mut server = accept(&rig).await;
    for number in 1..=3 {
        hear(&mut server, "\r\n\r\n").await;
        let body = format!("answer {number}");
        say(&mut server, &format!("HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\n{body}")).await;
        assert!(hear(&mut client, &body).await.ends_with(&body));
    }
}

#[tokio::test]
async fn chunks_are_framed_anew_and_trailers_stay() {
    let rig = routed(|_| {}).await;
    let mut client = rig.dial().await;
    say(&mut client, "POST / HTTP/1.1\r\nHost: reviews\r\nTransfer-Encoding: chunked\r\n\r\n")
        .await;
    say(&mut client, "3;ext=1\r\nabc\r\n").await;
    let mut server = accept(&rig).await;
    assert!(hear(&mut server, "3\r\nabc\r\n").await.contains("Transfer-Encoding: chunked\r\n\r\n"));
    say(&mut client, "0\r\nX-Sum: 1\r\n\r\n").await;
    assert_eq!(hear(&mut server, "\r\n\r\n").await, "0\r\nX-Sum: 1\r\n\r\n");
    // Without a length or chunks the server's end is the answer's: to this client as chunks.
    say(&mut server, "HTTP/1.1 200 OK\r\n\r\nhello").await;
    drop(server);
    let heard = hear(&mut client, "0\r\n\r\n").await;
    assert!(heard.ends_with("\r\n\r\n5\r\nhello\r\n0\r\n\r\n"), "{heard:?}");
}

#[tokio::test]
async fn an_older_client_gets_bytes_until_the_end() {
    let rig = routed(|_| {}).await;
    let mut client = rig.dial().await;
    say(&mut client, "GET / HTTP/1.0\r\nHost: reviews\r\n\r\n").await;
    let mut server = accept(&rig).await;
    hear(&mut server, "\r\n\r\n").await;
    say(&mut server, "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n").await;
    let mut heard = String::new();
    soon(client.read_to_string(&mut heard)).await.unwrap();
    assert_eq!(heard, "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nhello");
}

#[tokio::test]
async fn an_early_answer_arrives_whole_and_the_connection_ends() {
    let rig = routed(|_| {}).await;
    let mut client = rig.dial().await;
    say(&mut client, "POST / HTTP/1.1\r\nHost: reviews\r\nContent-Length: 1000000\r\n\r\nabc")
        .await;
    let mut server = accept(&rig).await;
    hear(&mut server, "abc").await;
    let early = "HTTP/1.1 413 Too Large\r\nContent-Length: 3\r\n\r\nbig";
    say(&mut server, early).await;
    assert_eq!(hear(&mut client, "big").await, early);
    say(&mut client, "some more of the body").await;
    assert_eq!(end_of(&mut client).await, (0, None), "the end, and no reset");
}

#[tokio::test]
async fn interim_answers_pass() {
    let rig = routed(|_| {}).await;
    let mut client = rig.dial().await;
    say(
        &mut client,
        "POST / HTTP/1.1\r\nHost: reviews\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n",
    )
    .await;
    let mut server = accept(&rig).await;
    assert!(hear(&mut server, "\r\n\r\n").await.contains("Expect: 100-continue"));
    say(&mut server, "HTTP/1.1 100 Continue\r\n\r\n").await;
    assert_eq!(hear(&mut client, "\r\n\r\n").await, "HTTP/1.1 100 Continue\r\n\r\n");
    say(&mut client, "ok").await;
    hear(&mut server, "ok").await;
    say(&mut server, FINE).await;
    assert_eq!(hear(&mut client, "hi").await, FINE);
}

#[tokio::test]
async fn an_upgrade_is_a_tunnel() {
    let rig = routed(|_| {}).await;
    let mut client = rig.dial().await;
    say(
        &mut client,
        "GET /chat HTTP/1.1\r\nHost: reviews\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n",
    )
    .await;
    let mut server = accept(&rig).await;
    assert!(
        hear(&mut server, "\r\n\r\n")
            .await
            .ends_with("Connection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
    );
    say(
        &mut server,
        "HTTP/1.1 101 Switching\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\nfirst",
    )
    .await;
    let heard = hear(&mut client, "first").await;
    assert!(heard.contains("Connection: Upgrade\r\nUpgrade: websocket\r\n\r\n"), "{heard}");
    say(&mut client, "ping").await;
    hear(&mut server, "ping").await;
    say(&mut server, "pong").await;
    hear(&mut client, "pong").await;
    drop(server);
    assert_eq!(end_of(&mut client).await, (0, None));
}

#[tokio::test]
async fn an_answer_that_breaks_off_breaks_off_for_the_client() {
    let mut rig = routed(|_| {}).await;
    let mut client = rig.dial().await;
    say(&mut client, GET).await;
    let mut server = accept(&rig).await;
    hear(&mut server, "\r\n\r\n").await;
    say(&mut server, "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf").await;
    hear(&mut client, "half").await;
    reset(server);
    assert!(end_of(&mut client).await.1.is_some(), "a reset");
    let told = rig.exchanged().await;
    assert!(told.flags.has(Flag::UpstreamConnectionTermination), "{told:?}");
}

#[tokio::test]
async fn an_upstream_that_leaves_without_an_answer_is_a_503() {
    let mut rig = routed(|_| {}).await;
    let mut client = rig.dial().await;
    say(&mut client, "POST / HTTP/1.1\r\nHost: reviews\r\nContent-Length: 1\r\n\r\nx").await;
    let mut server = accept(&rig).await;
    hear(&mut server, "x").await;
    drop(server);
    assert!(hear(&mut client, "answered").await.starts_with("HTTP/1.1 503 "));
    let told = rig.exchanged().await;
    assert_eq!((told.status, told.flags.to_string().as_str(), told.tries), (503, "UC", 1));
}

/// A server that closes an idle connection while a request is on its way to it.
#[tokio::test]
async fn a_request_that_met_a_closing_server_goes_once_more_if_it_may_be_repeated() {
    let mut rig = routed(|_| {}).await;
    let mut client = rig.dial().await;
    let post = "POST / HTTP/1.1\r\nHost: reviews\r\nContent-Length: 1\r\n\r\nx";
    for (request, end, repeats) in [(GET, "\r\n\r\n", true), (post, "x", false)] {
        say(&mut client, GET).await;
        let mut server = accept(&rig).await;
        hear(&mut server, "\r\n\r\n").await;
        say(&mut server, FINE).await;
        hear(&mut client, "hi").await;
        say(&mut client, request).await;
        hear(&mut server, end).await;
        drop(server);
        if repeats {
            let mut server = accept(&rig).await;
            hear(&mut server, end).await;
            say(&mut server, "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nhi")
                .await;
            hear(&mut client, "hi").await;
        } else {
            assert!(hear(&mut client, "pool's").await.starts_with("HTTP/1.1 503 "));
        }
    }
    let mut tries = Vec::new();
    for _ in 0..4 {
        tries.push(rig.exchanged().await.tries);
    }
    assert_eq!(tries, [1, 2, 1, 1]);
}

#[tokio::test]
async fn what_a_route_names_is_sent_again_with_its_body() {
    let mut rig = routed(|way| way.retries = Some(eager(2))).await;
    let mut client = rig.dial().await;
    let body = "x".repeat(20_000);
    say(
        &mut client,
        &format!("POST / HTTP/1.1\r\nHost: reviews\r\nContent-Length: 20000\r\n\r\n{body}"),
    )
    .await;
    let mut server = accept(&rig).await;
    hear(&mut server, &body).await;
    drop(server);
    let mut server = accept(&rig).await;
    hear(&mut server, &body).await;
    say(&mut server, "HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n").await;
    let mut server = accept(&rig).await;
    let third = hear(&mut server, &body).await;
    assert!(third.contains("Content-Length: 20000\r\n\r\nx"), "{third}");
    say(&mut server, FINE).await;
    assert_eq!(hear(&mut client, "hi").await, FINE);
    assert_eq!(rig.exchanged().await.tries, 3);
}

#[tokio::test]
async fn a_body_that_is_too_long_is_sent_once() {
    let mut rig = routed(|way| way.retries = Some(eager(2))).await;
    let mut client = rig.dial().await;
    let body = "x".repeat(100_000);
    say(
        &mut client,
        &format!("POST / HTTP/1.1\r\nHost: reviews\r\nContent-Length: 100000\r\n\r\n{body}"),
    )
    .await;
    let mut server = accept(&rig).await;
    hear(&mut server, &body).await;
    say(&mut server, "HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n").await;
    assert!(hear(&mut client, "\r\n\r\n").await.starts_with("HTTP/1.1 500 No\r\n"));
    assert_eq!(rig.exchanged().await.tries, 1);
}

#[tokio::test]
async fn a_server_that_is_too_slow_is_a_504() {
    let mut rig = routed(|way| way.timeout = Some(Duration::from_millis(100))).await;
    let mut client = rig.dial().await;
    say(&mut client, GET).await;
    let _server = accept(&rig).await;
    assert!(hear(&mut client, "timeout").await.starts_with("HTTP/1.1 504 "));
    assert_eq!(rig.exchanged().await.flags.to_string(), "UT");
}

#[tokio::test]
async fn nowhere_to_go_is_a_503() {
    let missing = Missing::Service("gone".into());
    let mut rig = routed(|way| *way = forward(Target::Missing(missing))).await;
    let mut client = rig.dial().await;
    say(&mut client, GET).await;
    assert!(hear(&mut client, "there").await.starts_with("HTTP/1.1 503 "));
    assert_eq!(rig.exchanged().await.flags.to_string(), "NC");
}

#[tokio::test]
async fn a_host_that_nobody_declares_is_a_502_and_the_connection_goes_on() {
    let mut rig = routed(|_| {}).await;
    let mut client = rig.dial().await;
    say(&mut client, "GET / HTTP/1.1\r\nHost: elsewhere\r\n\r\n").await;
    assert!(hear(&mut client, "host").await.starts_with("HTTP/1.1 502 "));
    assert!(rig.exchanged().await.is_denied);
    say(&mut client, GET).await;
    hear(&mut accept(&rig).await, "\r\n\r\n").await;
}

#[tokio::test]
async fn a_client_that_leaves_ends_its_request() {
    let mut rig = routed(|_| {}).await;
    let mut client = rig.dial().await;
    say(&mut client, GET).await;
    let mut server = accept(&rig).await;
    hear(&mut server, "\r\n\r\n").await;
    reset(client);
    assert!(end_of(&mut server).await.1.is_some(), "its upstream hears of it");
    let told = rig.exchanged().await;
    assert_eq!((told.status, told.flags.to_string().as_str()), (0, "DC"));
}

#[tokio::test]
async fn two_framings_are_refused_and_reach_nobody() {
    let mut rig = routed(|_| {}).await;
    let mut client = rig.dial().await;
    say(&mut client, "POST / HTTP/1.1\r\nHost: reviews\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n").await;
    let mut heard = String::new();
    soon(client.read_to_string(&mut heard)).await.unwrap();
    assert!(heard.starts_with("HTTP/1.1 400 "), "{heard}");
    assert_eq!(rig.exchanged().await.flags.to_string(), "DPE");
}

#[tokio::test]
async fn what_is_no_http_is_carried_as_it_is() {
    let mut rig = routed(|_| {}).await;
    let (mut client, hello) = (rig.dial().await, "\u{16}\u{3}\u{1}hello\r\n");
    say(&mut client, hello).await;
    let mut server = accept(&rig).await;
    assert_eq!(hear(&mut server, "\r\n").await, hello);
    drop(client);
    drop(server);
    assert_eq!(rig.record().await.protocol.name(), "opaque");
}

/// An end that crosses a client's next request would fail it.
#[tokio::test]
async fn a_drain_answers_one_more_request_and_ends_what_stays_idle() {
    let rig = routed(|_| {}).await;
    let (mut idle, mut slow) = (rig.dial().await, rig.dial().await);
    let (mut busy, mut used) = (rig.dial().await, rig.dial().await);
    let mut servers = Vec::new();
    for client in [&mut used, &mut busy] {
        say(client, GET).await;
        let mut server = accept(&rig).await;
        hear(&mut server, "\r\n\r\n").await;
        servers.push(server);
    }
    say(&mut servers[0], FINE).await;
    hear(&mut used, "hi").await;
    let (head, rest) = GET.split_at(5);
    say(&mut slow, head).await;
    rig.trigger.drain(Duration::from_secs(2));
    let began = std::time::Instant::now();
    // What was under way, what comes then, and what has begun.
    say(&mut servers[1], FINE).await;
    let answer = hear(&mut busy, "hi").await;
    assert!(answer.contains("Connection: close\r\n"), "{answer}");
    assert_eq!(end_of(&mut busy).await, (0, None));
    // The connection that was used last is used first.
    say(&mut used, GET).await;
    hear(&mut servers[1], "\r\n\r\n").await;
    say(&mut servers[1], FINE).await;
    assert!(hear(&mut used, "hi").await.contains("Connection: close\r\n"));
    assert_eq!(end_of(&mut idle).await, (0, None));
    let waited = began.elapsed();
    assert!(waited > Duration::from_millis(900), "idle for {waited:?}");
    say(&mut slow, rest).await;
    hear(&mut servers[1], "\r\n\r\n").await;
    say(&mut servers[1], FINE).await;
    assert!(hear(&mut slow, "hi").await.contains("Connection: close\r\n"));
    soon(rig.trigger.done()).await;
}

/// Where no other agent serves, new connections are served on, one request each.
#[tokio::test]
async fn winding_down_takes_on_new_connections_until_nothing_is_open() {
    let rig = routed(|_| {}).await;
    rig.proxy.end().wind_down(Duration::from_secs(5));
    let mut client = rig.dial().await;
    say(&mut client, GET).await;
    let mut server = accept(&rig).await;
    hear(&mut server, "\r\n\r\n").await;
    assert_eq!(rig.proxy.open(), 1);
    say(&mut server, FINE).await;
    assert!(hear(&mut client, "hi").await.contains("Connection: close\r\n"));
    assert_eq!(end_of(&mut client).await, (0, None));
    drop(client);
    soon(async {
        while rig.proxy.open() > 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
    rig.dial().await;
}
