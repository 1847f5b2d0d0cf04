use std::{
    convert::Infallible,
    sync::atomic::{AtomicUsize, Ordering},
};

use agent_model::resource::Kind;
use futures_util::future::join_all;
use http::{Request, Response};
use kube::client::Body;
use serde_json::json;

use super::*;

/// A server that has no custom resource, or that answers only with a refusal; and how many
/// requests it got.
fn server(code: u16) -> (Discovery, Arc<AtomicUsize>) {
    let asked = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&asked);
    let service = tower::service_fn(move |_: Request<Body>| {
        count.fetch_add(1, Ordering::SeqCst);
        async move {
            sleep(Duration::from_millis(10)).await;
            let status = json!({"apiVersion": "v1", "kind": "Status", "status": "Failure",
                                "code": code, "message": "none", "reason": "Test"});
            let body = http_body_util::Full::from(status.to_string());
            Ok::<_, Infallible>(Response::builder().status(code).body(body).unwrap())
        }
    });
    (Discovery::new(Client::new(service, "default")), asked)
}

fn istio() -> impl Iterator<Item = &'static Arc<Watched>> {
    kinds::ALL.iter().filter(|watched| watched.group() == "networking.istio.io")
}

#[tokio::test(start_paused = true)]
async fn all_kinds_of_a_group_share_one_question() {
    let (discovery, asked) = server(404);
    let first = join_all(istio().map(|watched| discovery.served(watched, None))).await;
    assert_eq!((first.len(), asked.load(Ordering::SeqCst)), (7, 1));
    let node = kinds::of(Kind::VirtualNode, "").unwrap();
    discovery.served(node, None).await.1.unwrap();
    assert_eq!(asked.load(Ordering::SeqCst), 2, "another group is another question");

    // Who has seen an answer gets a newer one, and all get the same one.
    sleep(Duration::from_millis(1)).await;
    let seen = first[0].0;
    join_all(istio().map(|watched| discovery.served(watched, Some(seen)))).await;
    assert_eq!(asked.load(Ordering::SeqCst), 3);
}

#[tokio::test(start_paused = true)]
async fn a_refusal_is_shared_too_and_not_kept() {
    let (discovery, asked) = server(503);
    let answers = join_all(istio().map(|watched| discovery.served(watched, None))).await;
    assert!(answers.iter().all(|(_, answer)| answer.is_err()), "{answers:?}");
    assert_eq!(asked.load(Ordering::SeqCst), 1);
    let watched = istio().next().unwrap();
    sleep(Duration::from_millis(1)).await;
    discovery.served(watched, Some(Instant::now())).await.1.unwrap_err();
    assert_eq!(asked.load(Ordering::SeqCst), 2);
}

/// Seven kinds that wait for an hour cost what one would, and each knows every answer.
#[tokio::test(start_paused = true)]
async fn kinds_that_are_missing_for_long_are_asked_for_seldom() {
    let (discovery, asked) = server(404);
    let hour = sleep(Duration::from_hours(1));
    let wait = async |watched| {
        let (mut seen, mut answers) = (None, 0);
        loop {
            let (asked_at, served) = discovery.served(watched, seen).await;
            let served = served.unwrap();
            if seen.replace(asked_at) != Some(asked_at) {
                answers += 1;
                assert!(answers <= asked.load(Ordering::SeqCst), "{watched} made up an answer");
            }
            discovery.wait(watched, &served).await;
        }
    };
    tokio::select! {
        () = hour => {}
        _ = join_all(istio().map(|watched| wait(watched))) => unreachable!("they wait for ever"),
    }
    let asked = asked.load(Ordering::SeqCst);
    // All wait between 15 and 30 seconds, and the first of them asks for all.
    assert!((120..=245).contains(&asked), "{asked} requests");
}
