use std::{
    convert::Infallible,
    pin::Pin,
    sync::Mutex,
    task::{Context, Poll},
};

use agent_model::resource::Kind;
use http::{Request, Response};
use hyper::body::{Bytes, Frame};
use kube::client::Body;
use serde_json::{Value, json};
use tokio::sync::{
    Notify,
    mpsc::{UnboundedReceiver, unbounded_channel},
};

use super::*;
use crate::cluster::{
    kinds,
    progress::{FollowState, Followed},
    resuming_watch::INITIAL_END,
};

/// What the server answers, in this order, each to whatever is asked.
type Answer = (u16, String);

/// A body that ends a text with this never ends itself.
const HANGS: &str = "\0";

/// The body of an answer.
struct Script {
    text: Option<String>,
    hangs: bool,
}

impl hyper::body::Body for Script {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        match self.text.take() {
            Some(text) => Poll::Ready(Some(Ok(Frame::data(text.into())))),
            None if self.hangs => Poll::Pending,
            None => Poll::Ready(None),
        }
    }
}

/// What came of it.
struct Outcome {
    requests: Vec<String>,
    news: Vec<String>,
    status: Followed,
    took: Duration,
}

/// Follows a kind on a scripted server, on a paused clock, until it asks for more than there is.
async fn follow(kind: Kind, held: bool, script: Vec<Answer>) -> Outcome {
    follow_at(kind, held, script, Vec::new()).await
}

/// As above, where the server's state has these versions when it is asked for them, and none after
/// that.
async fn follow_at(kind: Kind, held: bool, script: Vec<Answer>, versions: Vec<u64>) -> Outcome {
    let watched = kinds::of(kind, "istio").unwrap();
    let script = Arc::new(Mutex::new(script.into_iter()));
    let (requests, done) = (Arc::new(Mutex::new(Vec::new())), Arc::new(Notify::new()));
    let (log, end) = (Arc::clone(&requests), Arc::clone(&done));
    let versions = Arc::new(Mutex::new(versions.into_iter()));
    let service = tower::service_fn(move |request: Request<Body>| {
        let uri = request.uri().to_string();
        let answer = if uri.ends_with("/namespaces?&limit=1") {
            Some((200, page(&[], versions.lock().unwrap().next(), &Value::Null)))
        } else {
            log.lock().unwrap().push(uri);
            script.lock().unwrap().next()
        };
        let end = Arc::clone(&end);
        async move {
            let Some((code, body)) = answer else {
                end.notify_one();
                return std::future::pending().await;
            };
            let hangs = body.ends_with(HANGS);
            let text = Some(body.trim_end_matches(HANGS).to_owned());
            Ok::<_, Infallible>(
                Response::builder().status(code).body(Script { text, hangs }).unwrap(),
            )
        }
    });
    let (sender, mut receiver) = unbounded_channel();
    let progress = Arc::new(Progress::new("test".to_owned()));
    let client = Client::new(service, "default");
    let common = Common {
        presence: Arc::new(Presence::new(client.clone())),
        discovery: Arc::new(Discovery::new(client.clone())),
        client,
        node: "node-1".into(),
        news: sender,
        progress: Arc::clone(&progress),
    };
    let follower = Follower::new(Arc::clone(watched), common, held);
    let start = Instant::now();
    tokio::select! {
        () = follower.run() => unreachable!("the receiver is there"),
        () = done.notified() => {}
    }
    let took = start.elapsed();
    let news = told(&mut receiver);
    let kinds = progress.view().kinds;
    let status = kinds.into_iter().find(|one| one.resource == watched.to_string()).unwrap();
    let requests = requests.lock().unwrap().clone();
    Outcome { requests, news, status, took }
}

/// News as text.
fn told(receiver: &mut UnboundedReceiver<Told>) -> Vec<String> {
    let mut news = Vec::new();
    while let Ok((_, one)) = receiver.try_recv() {
        news.push(match one {
            News::Listed(items) => {
                let places: Vec<&str> = items.iter().map(|item| &*item.place).collect();
                format!("listed {}", places.join(" "))
            }
            News::Applied(item) => format!("applied {}", item.place),
            News::Deleted(place) => format!("deleted {place}"),
        });
    }
    news
}

fn object(name: &str, version: u64) -> Value {
    json!({"apiVersion": "v1", "kind": "Namespace",
           "metadata": {"name": name, "resourceVersion": version.to_string()}})
}

/// A page of a list.
fn page(names: &[&str], version: Option<u64>, token: &Value) -> String {
    let version = version.map(|version| version.to_string());
    let items: Vec<Value> = names.iter().map(|name| object(name, 1)).collect();
    json!({"apiVersion": "v1", "kind": "NamespaceList", "items": items,
           "metadata": {"resourceVersion": version, "continue": token}})
    .to_string()
}

fn event(kind: &str, object: &Value) -> String {
    format!("{}\n", json!({"type": kind, "object": object}))
}

fn bookmark(version: u64, end: bool) -> String {
    let annotations = if end { json!({INITIAL_END: "true"}) } else { json!({}) };
    let metadata = json!({"resourceVersion": version.to_string(), "annotations": annotations});
    event("BOOKMARK", &json!({"apiVersion": "v1", "kind": "Namespace", "metadata": metadata}))
}

/// A streamed list, and the end of the connection.
fn listed(names: &[&str], version: u64) -> Answer {
    let added = names.iter().map(|name| event("ADDED", &object(name, version)));
    (200, added.collect::<String>() + &bookmark(version, true))
}

fn refusal(code: u16, message: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "Status", "status": "Failure", "code": code,
           "message": message, "reason": "Test"})
}

fn refused(code: u16, message: &str) -> Answer {
    (code, refusal(code, message).to_string())
}

#[tokio::test(start_paused = true)]
async fn a_watch_that_ends_goes_on_where_it_was() {
    let changes = event("MODIFIED", &object("a", 11))
        + &event("DELETED", &object("b", 12))
        + &bookmark(20, false);
    let script = vec![listed(&["a", "b"], 10), (200, changes)];
    let outcome = follow(Kind::Namespace, false, script).await;
    assert_eq!(
        outcome.news,
        ["listed namespaces/a namespaces/b", "applied namespaces/a", "deleted namespaces/b"]
    );
    let [first, second, third] = &outcome.requests[..] else { panic!("{:?}", outcome.requests) };
    assert!(first.contains("sendInitialEvents=true"), "{first}");
    assert!(second.ends_with("resourceVersion=10"), "{second}");
    assert!(third.ends_with("resourceVersion=20"), "{third}");
    assert_eq!(outcome.status.state, FollowState::Current);
}

#[tokio::test(start_paused = true)]
async fn a_version_that_the_server_has_forgotten_is_listed_again() {
    for gone in [(200, event("ERROR", &refusal(410, "too old"))), refused(410, "too old")] {
        let script = vec![listed(&["a", "b"], 10), gone, listed(&["b"], 30)];
        let outcome = follow(Kind::Namespace, false, script).await;
        assert_eq!(outcome.news, ["listed namespaces/a namespaces/b", "listed namespaces/b"]);
        assert!(outcome.requests[2].contains("sendInitialEvents=true"), "{:?}", outcome.requests);
        // It belongs to following, and is not reported.
        assert_eq!((outcome.status.state, outcome.status.why), (FollowState::Current, None));
    }
}

#[tokio::test(start_paused = true)]
async fn a_server_that_has_gone_back_is_listed_again() {
    let script = vec![listed(&["a"], 10), (200, bookmark(5, false)), listed(&[], 5)];
    let outcome = follow(Kind::Namespace, false, script).await;
    assert_eq!(outcome.news, ["listed namespaces/a", "listed "]);
}

/// With a backup's older version the watch would wait for what is to come, and then leave out what
/// lies between.
#[tokio::test(start_paused = true)]
async fn a_server_that_was_restored_is_listed_again_before_it_is_watched() {
    let script = || vec![listed(&["a"], 10), listed(&["b"], 6)];
    let outcome = follow_at(Kind::Namespace, false, script(), vec![10, 6]).await;
    assert_eq!(outcome.news, ["listed namespaces/a", "listed namespaces/b"]);
    let last = |outcome: &Outcome| outcome.requests[1].clone();
    assert!(last(&outcome).contains("sendInitialEvents=true"), "{:?}", outcome.requests);
    // One that has gone on is only watched again.
    let outcome = follow_at(Kind::Namespace, false, script(), vec![10, 12]).await;
    assert!(last(&outcome).ends_with("resourceVersion=10"), "{:?}", outcome.requests);
}

#[tokio::test(start_paused = true)]
async fn a_watch_that_goes_silent_is_begun_again_where_it_was_and_the_second_time_listed_again() {
    let (_, initial) = listed(&["a"], 10);
    let silent = |text: String| (200, text + HANGS);
    let script = vec![silent(initial), silent(String::new()), listed(&["b"], 20)];
    let outcome = follow(Kind::Namespace, false, script).await;
    assert_eq!(outcome.news, ["listed namespaces/a", "listed namespaces/b"]);
    assert!(outcome.requests[1].ends_with("resourceVersion=10"), "{:?}", outcome.requests);
    assert!(outcome.requests[2].contains("sendInitialEvents=true"), "{:?}", outcome.requests);
    assert!(outcome.took >= SILENCE * 2 && outcome.took < SILENCE * 3, "{:?}", outcome.took);
}

/// As etcd's cache says when a compaction took what an event after that version needs.
#[tokio::test(start_paused = true)]
async fn a_version_that_the_server_cannot_go_on_from_is_given_up_the_second_time() {
    let broken = || (200, event("ERROR", &refusal(500, "PrevKv=nil")));
    let script = vec![listed(&["a"], 10), broken(), broken(), listed(&["b"], 20)];
    let outcome = follow(Kind::Namespace, false, script).await;
    assert_eq!(outcome.news, ["listed namespaces/a", "listed namespaces/b"]);
    // An error of the request itself says nothing about the version.
    let script = vec![listed(&["a"], 10), refused(500, "busy"), refused(500, "busy")];
    let outcome = follow(Kind::Namespace, false, script).await;
    let last = outcome.requests.last().unwrap();
    assert!(last.ends_with("resourceVersion=10"), "{:?}", outcome.requests);
}

/// What ends each watch at once must not be asked for all the time.
#[tokio::test(start_paused = true)]
async fn watches_that_are_cut_at_once_are_begun_ever_more_seldom() {
    let cut = || (200, String::new());
    let mut script = vec![listed(&["a"], 10)];
    script.extend((0..20).map(|_| cut()));
    let outcome = follow(Kind::Namespace, false, script).await;
    assert_eq!(outcome.news, ["listed namespaces/a"]);
    assert!(outcome.took > Duration::from_mins(1), "{:?}", outcome.took);
}

#[tokio::test(start_paused = true)]
async fn a_streamed_list_that_does_not_end_is_asked_for_in_pages() {
    // As a server that does not know of them answers: all objects, and no mark of their end.
    let endless = (200, event("ADDED", &object("a", 1)) + HANGS);
    let outcome = follow(Kind::Namespace, false, vec![endless]).await;
    assert_eq!(outcome.news, Vec::<String>::new());
    let last = outcome.requests.last().unwrap();
    assert!(last.contains("limit=500"), "{last}");
}

#[tokio::test(start_paused = true)]
async fn a_list_that_breaks_off_changes_nothing() {
    let half = (200, event("ADDED", &object("b", 12)));
    let script = vec![listed(&["a"], 10), refused(410, "too old"), half, listed(&["b", "c"], 13)];
    let outcome = follow(Kind::Namespace, false, script).await;
    assert_eq!(outcome.news, ["listed namespaces/a", "listed namespaces/b namespaces/c"]);
}

#[tokio::test(start_paused = true)]
async fn a_server_that_does_not_stream_lists_is_asked_for_pages() {
    let page = |name, token| (200, page(&[name], Some(40), &token));
    let forbidden = refused(422, "sendInitialEvents: Forbidden");
    let script = vec![forbidden, page("a", json!("more")), page("b", Value::Null)];
    let outcome = follow(Kind::Namespace, false, script).await;
    assert_eq!(outcome.news, ["listed namespaces/a namespaces/b"]);
    assert!(outcome.requests[2].contains("continue=more"), "{:?}", outcome.requests);
    let last = outcome.requests.last().unwrap();
    assert!(last.contains("watch=true") && last.ends_with("resourceVersion=40"), "{last}");
}

#[tokio::test(start_paused = true)]
async fn a_refusal_names_the_verb_the_resource_and_the_role() {
    let script = [refused(403, "no"), listed(&["a"], 1), refused(401, "who?")];
    let outcome = follow(Kind::Namespace, false, script[..1].to_vec()).await;
    let why = outcome.status.why.unwrap();
    for word in ["watch namespaces", "403", "sekisho-agent", "deploy/base/rbac.yaml"] {
        assert!(why.contains(word), "{why}");
    }
    assert_eq!(outcome.status.state, FollowState::Listing);
    let outcome = follow(Kind::Namespace, false, script[1..].to_vec()).await;
    let why = outcome.status.why.unwrap();
    assert!(why.contains("401") && why.contains("token"), "{why}");
    assert_eq!((outcome.status.state, outcome.news.len()), (FollowState::Behind, 1));
}

/// Only clusters with several revisions of Istio have tags.
#[tokio::test(start_paused = true)]
async fn what_may_be_left_out_is_gone_on_without_where_it_is_forbidden() {
    let kind = Kind::MutatingWebhookConfiguration;
    let forbidden = || refused(403, "no");
    let outcome = follow(kind, false, vec![forbidden(), forbidden()]).await;
    assert_eq!(outcome.news, ["listed "]);
    assert_eq!((outcome.status.state, outcome.status.why), (FollowState::NotInstalled, None));
    for request in &outcome.requests {
        assert!(request.contains("labelSelector=istio.io%2Ftag"), "{request}");
    }
    // What was read of it before stays, and another trouble is one.
    let outcome = follow(kind, true, vec![forbidden(), forbidden()]).await;
    assert_eq!(outcome.news, [""; 0]);
    let outcome = follow(kind, false, vec![refused(500, "busy"), refused(500, "busy")]).await;
    assert_eq!((outcome.news.len(), outcome.status.why.is_some()), (0, true));
}

#[tokio::test(start_paused = true)]
async fn a_server_that_asks_for_a_pause_gets_it() {
    let mut status = refusal(429, "later");
    status["details"] = json!({"retryAfterSeconds": 7});
    let script = vec![(429, status.to_string()), listed(&["a"], 1)];
    let outcome = follow(Kind::Namespace, false, script).await;
    assert_eq!(outcome.news, ["listed namespaces/a"]);
    assert!(outcome.took >= Duration::from_secs(7), "{:?}", outcome.took);
}

#[tokio::test(start_paused = true)]
async fn a_kind_that_was_there_is_gone_only_when_that_is_said_twice() {
    let nothing = || refused(404, "nothing");
    let outcome = follow(Kind::Sidecar, true, vec![nothing()]).await;
    assert_eq!(outcome.news, Vec::<String>::new());
    let outcome = follow(Kind::Sidecar, true, vec![nothing(), nothing()]).await;
    assert_eq!(outcome.news, ["listed "]);
    assert_eq!(outcome.status.state, FollowState::NotInstalled);
    // Where nothing can be lost there is nothing to wait for.
    let outcome = follow(Kind::Sidecar, false, vec![nothing()]).await;
    assert_eq!(outcome.news, ["listed "]);
}

#[tokio::test(start_paused = true)]
async fn the_best_version_that_is_served_is_followed() {
    let version = |name: &str| json!({"version": name, "groupVersion": format!("networking.istio.io/{name}")});
    let group = json!({"kind": "APIGroup", "apiVersion": "v1", "name": "networking.istio.io",
        "versions": [version("v1alpha3"), version("v1beta1"), version("v2")],
        "preferredVersion": version("v2")});
    let resources = |names: &[&str]| {
        let all: Vec<Value> = names
            .iter()
            .map(|name| {
                json!({"name": name, "singularName": "", "namespaced": true,
                               "kind": "Sidecar", "verbs": ["watch"]})
            })
            .collect();
        json!({"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": "x",
               "resources": all})
        .to_string()
    };
    let script = vec![
        (200, group.to_string()),
        (200, resources(&["gateways", "sidecars"])),
        (200, resources(&["gateways"])),
    ];
    let outcome = follow(Kind::Sidecar, false, script).await;
    // Each version that can be read is asked for, and no other.
    let [_, first, second, ..] = &outcome.requests[..] else { panic!("{:?}", outcome.requests) };
    assert!(first.ends_with("/v1alpha3") && second.ends_with("/v1beta1"), "{first} {second}");
    let last = outcome.requests.last().unwrap();
    assert!(last.starts_with("/apis/networking.istio.io/v1alpha3/sidecars?"), "{last}");
}
