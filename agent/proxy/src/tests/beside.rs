//! What a route asks besides a way: copies, CORS, faults, an end of what does not move.

use std::time::Duration;

use agent_model::requests::{
    backend::Target,
    route::{Abort, AbortStatus, Cors, Mirror},
    text::Text,
};
use tokio::net::TcpListener;

use super::{
    policies::{FAILS, MAX, ask},
    rig::soon,
    talk::{FINE, GET, accept, hear, say},
    way::{backend, dialled, way_of},
};

#[tokio::test]
async fn a_copy_goes_to_the_mirror_and_its_answer_to_nobody() {
    for post in [false, true] {
        let mirror = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let to = Target::Backend(backend(&[mirror.local_addr().unwrap()], |_| {}));
        let rig = dialled(
            |_| {},
            |route| {
                route.mirrors =
                    vec![Mirror { to: to.clone(), chance: MAX }, Mirror { to, chance: 0 }];
            },
        )
        .await;
        let mut client = rig.dial().await;
        let (request, end) = if post {
            ("POST /old HTTP/1.1\r\nHost: reviews\r\nContent-Length: 4\r\n\r\nbody", "body")
        } else {
            (GET, "\r\n\r\n")
        };
        say(&mut client, request).await;
        let mut server = accept(&rig).await;
        let seen = hear(&mut server, end).await;
        say(&mut server, FINE).await;
        assert_eq!(hear(&mut client, "hi").await, FINE);
        let (mut copy, _) = soon(mirror.accept()).await.unwrap();
        assert_eq!(hear(&mut copy, end).await, seen);
        say(&mut copy, FAILS).await;
        let another = tokio::time::timeout(Duration::from_millis(100), mirror.accept()).await;
        assert!(another.is_err(), "one copy, and none of what has no chance");
        // Its response is discarded: the client's next response is its own.
        say(&mut client, GET).await;
        hear(&mut server, "\r\n\r\n").await;
        say(&mut server, FINE).await;
        assert_eq!(hear(&mut client, "hi").await, FINE);
    }
}

#[tokio::test]
async fn a_mirror_that_does_not_answer_holds_nothing_up() {
    let mirror = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let to = Target::Backend(backend(&[mirror.local_addr().unwrap()], |_| {}));
    let rig = dialled(|_| {}, |route| route.mirrors = vec![Mirror { to, chance: MAX }]).await;
    let mut client = rig.dial().await;
    let mut server = None;
    for _ in 0..50 {
        say(&mut client, GET).await;
        let server = match &mut server {
            Some(server) => server,
            none => none.insert(accept(&rig).await),
        };
        hear(server, "\r\n\r\n").await;
        say(server, FINE).await;
        hear(&mut client, "hi").await;
    }
}

fn cors() -> Cors {
    Cors {
        origins: vec![Text::Exact("http://shop".into())],
        methods: vec!["PUT".into()],
        headers: Vec::new(),
        expose: Vec::new(),
        max_age: None,
        credentials: None,
        forward_others: true,
    }
}

#[tokio::test]
async fn browsers_are_told_what_they_may_do() {
    let rig = dialled(|_| {}, |route| route.cors = Some(cors())).await;
    let mut client = rig.dial().await;
    say(
        &mut client,
        "OPTIONS / HTTP/1.1\r\nHost: reviews\r\nOrigin: http://shop\r\n\
         Access-Control-Request-Method: PUT\r\n\r\n",
    )
    .await;
    let heard = hear(&mut client, "\r\n\r\n").await;
    assert!(heard.starts_with("HTTP/1.1 200 OK\r\n"), "{heard}");
    assert!(heard.contains("access-control-allow-methods: PUT\r\n"), "{heard}");
    say(&mut client, &GET.replace("X-Case: Kept", "Origin: http://shop")).await;
    let mut server = accept(&rig).await;
    hear(&mut server, "\r\n\r\n").await;
    say(
        &mut server,
        "HTTP/1.1 200 OK\r\nAccess-Control-Allow-Origin: *\r\nContent-Length: 2\r\n\r\nhi",
    )
    .await;
    let heard = hear(&mut client, "hi").await;
    assert!(heard.contains("access-control-allow-origin: http://shop\r\n"), "{heard}");
    assert!(!heard.contains("Allow-Origin: *"), "{heard}");
}

#[tokio::test]
async fn a_call_of_grpc_is_told_failures_in_its_own_words() {
    let rig = dialled(
        |_| {},
        |route| {
            let status = AbortStatus::Http(503);
            route.fault.abort = Some(Abort { status, chance: MAX });
        },
    )
    .await;
    let call = GET.replace("X-Case: Kept", "Content-Type: application/grpc+proto");
    let heard = ask(&rig, &call, "\r\n\r\n").await;
    assert!(heard.starts_with("HTTP/1.1 200 OK\r\n"), "{heard}");
    assert!(heard.contains("grpc-status: 14\r\ngrpc-message: fault filter abort\r\n"), "{heard}");
    let other = GET.replace("X-Case: Kept", "Content-Type: application/grpcish");
    assert!(ask(&rig, &other, "abort").await.starts_with("HTTP/1.1 503 "));
}

#[tokio::test]
async fn a_stream_on_which_nothing_moves_ends() {
    let mut rig =
        dialled(|_| {}, |route| way_of(route).idle = Some(Duration::from_millis(200))).await;
    assert!(ask(&rig, GET, "timeout").await.starts_with("HTTP/1.1 504 "));
    assert_eq!(rig.exchanged().await.flags.to_string(), "SI");
    // One that moves slowly goes on.
    let mut client = rig.dial().await;
    say(&mut client, GET).await;
    let _left = accept(&rig).await;
    let mut server = accept(&rig).await;
    hear(&mut server, "\r\n\r\n").await;
    say(&mut server, "HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\n").await;
    for _ in 0..8 {
        tokio::time::sleep(Duration::from_millis(80)).await;
        say(&mut server, "x").await;
    }
    assert!(hear(&mut client, "xxxxxxxx").await.starts_with("HTTP/1.1 200 "));
}
