use std::{
    convert::Infallible,
    sync::atomic::{AtomicUsize, Ordering},
};

use futures_util::future::join_all;
use http::{Request, Response};
use kube::client::Body;
use serde_json::{Value, json};
use tokio::time::sleep;

use super::*;

/// A server that always answers this, slowly; and how many requests it got.
fn server(code: u16, body: &Value) -> (Presence, Arc<AtomicUsize>) {
    let asked = Arc::new(AtomicUsize::new(0));
    let (count, body) = (Arc::clone(&asked), body.to_string());
    let service = tower::service_fn(move |_: Request<Body>| {
        count.fetch_add(1, Ordering::SeqCst);
        let body = http_body_util::Full::from(body.clone());
        async move {
            sleep(Duration::from_millis(10)).await;
            Ok::<_, Infallible>(Response::builder().status(code).body(body).unwrap())
        }
    });
    (Presence::new(Client::new(service, "default")), asked)
}

fn refusal(code: u16) -> Value {
    json!({"apiVersion": "v1", "kind": "Status", "status": "Failure", "code": code,
           "message": "no", "reason": "Test"})
}

#[tokio::test(start_paused = true)]
async fn the_version_of_the_state_is_told() {
    let list = json!({"apiVersion": "v1", "kind": "NamespaceList",
                      "metadata": {"resourceVersion": "4711"}, "items": []});
    let (presence, _) = server(200, &list);
    assert_eq!(presence.after(None).await.1.unwrap(), Some(4711));
}

#[tokio::test(start_paused = true)]
async fn all_who_wait_share_one_question_and_its_refusal() {
    let (presence, asked) = server(429, &refusal(429));
    let answers = join_all((0..30).map(|_| presence.after(None))).await;
    assert!(answers.iter().all(|(_, answer)| answer.is_err()));
    assert_eq!(asked.load(Ordering::SeqCst), 1);
    // Who knows that answer asks again, and the rest shares that one.
    let seen = answers[0].0;
    sleep(Duration::from_secs(1)).await;
    join_all((0..30).map(|_| presence.after(Some(seen)))).await;
    assert_eq!(asked.load(Ordering::SeqCst), 2);
}

#[tokio::test(start_paused = true)]
async fn a_server_that_does_not_let_us_ask_is_there() {
    let (presence, _) = server(403, &refusal(403));
    assert_eq!(presence.after(None).await.1.unwrap(), None);
    let (presence, _) = server(401, &refusal(401));
    presence.after(None).await.1.unwrap_err();
}

#[tokio::test(start_paused = true)]
async fn a_server_that_is_away_is_asked_for_ever_more_seldom() {
    let (presence, asked) = server(503, &refusal(503));
    let start = Instant::now();
    let look = async || {
        let mut seen = None;
        loop {
            presence.calm().await;
            seen = Some(presence.after(seen).await.0);
        }
    };
    tokio::select! {
        _ = join_all((0..30).map(|_| look())) => unreachable!("it stays away"),
        () = sleep(Duration::from_mins(1)) => {}
    }
    let count = asked.load(Ordering::SeqCst);
    // Six waits of less than 16 s together, and then one in 5 to 10 s.
    assert!((10..=20).contains(&count), "{count} questions in {:?}", start.elapsed());
}

#[tokio::test(start_paused = true)]
async fn what_one_request_is_told_all_heed() {
    let (presence, _) = server(200, &json!({"items": []}));
    let mut status: kube::core::Status = serde_json::from_value(refusal(429)).unwrap();
    presence.heed(&status);
    let start = Instant::now();
    assert_eq!(presence.calm().await, None, "it asked for nothing");
    let details = json!({"retryAfterSeconds": 7});
    status.details = serde_json::from_value(details).unwrap();
    presence.heed(&status);
    let trouble = presence.calm().await;
    assert!(start.elapsed() >= Duration::from_secs(7), "{:?}", start.elapsed());
    // And then it is asked once for all whether that is over.
    assert_eq!(trouble, Some(start));
    presence.ready().await;
    assert_eq!(presence.calm().await, None);
}
