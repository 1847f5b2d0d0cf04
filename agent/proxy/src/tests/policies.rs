//! What a destination asks of those who dial it: limits, ejection, affinity.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use agent_model::requests::{
    backend::Target,
    policy::{Balance, ClientPolicy, Ejection, HashKey, HashTable},
};
use tokio::{net::TcpListener, task::JoinSet, time::Instant};

use super::{
    rig::Rig,
    talk::{FINE, GET, accept, head, hear, say},
    way::{backend, dialled, eager, way_of},
};

pub(super) const MAX: u32 = 1_000_000;

/// Answers every request on every connection alike, and counts them.
struct Server {
    at: SocketAddr,
    count: Arc<AtomicUsize>,
    _tasks: JoinSet<()>,
}

impl Server {
    async fn new(answer: &'static str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let at = listener.local_addr().unwrap();
        let count = Arc::new(AtomicUsize::new(0));
        let mut tasks = JoinSet::new();
        let counted = Arc::clone(&count);
        tasks.spawn(async move {
            let mut open = JoinSet::new();
            loop {
                let (mut stream, _) = listener.accept().await.unwrap();
                let counted = Arc::clone(&counted);
                open.spawn(async move {
                    loop {
                        hear(&mut stream, "\r\n\r\n").await;
                        counted.fetch_add(1, Ordering::Relaxed);
                        say(&mut stream, answer).await;
                    }
                });
            }
        });
        Self { at, count, _tasks: tasks }
    }

    fn count(&self) -> usize {
        self.count.load(Ordering::Relaxed)
    }
}

/// A rig whose destination has these endpoints and no other.
async fn leading(at: &[SocketAddr], policy: impl FnOnce(&mut ClientPolicy)) -> Rig {
    let to = Target::Backend(backend(at, policy));
    dialled(|_| {}, |route| way_of(route).to[0].target = to).await
}

pub(super) const FAILS: &str = "HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n";

/// One request on a connection of its own: the answer's head and body.
pub(super) async fn ask(rig: &Rig, request: &str, end: &str) -> String {
    let mut client = rig.dial().await;
    say(&mut client, request).await;
    hear(&mut client, end).await
}

#[tokio::test]
async fn beyond_its_connections_a_destination_has_a_queue_and_beyond_that_nothing() {
    let mut rig = dialled(
        |policy| {
            policy.limits.connections = Some(1);
            policy.limits.pending = Some(1);
        },
        |_| {},
    )
    .await;
    let mut first = rig.dial().await;
    say(&mut first, GET).await;
    let mut server = accept(&rig).await;
    hear(&mut server, "\r\n\r\n").await;
    let mut second = rig.dial().await;
    say(&mut second, GET).await;
    // The second one waits for the connection of the first; there is no room for a third.
    let refused = loop {
        let mut client = rig.dial().await;
        say(&mut client, GET).await;
        match tokio::time::timeout(Duration::from_millis(200), hear(&mut client, "reached")).await {
            Ok(refused) => break refused,
            // It was the one to wait.
            Err(_) => drop(client),
        }
    };
    assert!(refused.starts_with("HTTP/1.1 503 "), "{refused}");
    assert!(refused.contains("x-envoy-overloaded: true\r\n"), "{refused}");
    say(&mut server, FINE).await;
    hear(&mut first, "hi").await;
    hear(&mut server, "\r\n\r\n").await;
    say(&mut server, FINE).await;
    hear(&mut second, "hi").await;
    let mut flags = Vec::new();
    while flags.iter().filter(|flags| *flags == "-").count() < 2 {
        flags.push(rig.exchanged().await.flags.to_string());
    }
    assert!(flags.iter().any(|flags| flags == "UO"), "{flags:?}");
}

#[tokio::test]
async fn a_queue_moves_on_when_a_connection_breaks_and_is_left_when_the_time_is_over() {
    let mut rig = dialled(
        |policy| policy.limits.connections = Some(1),
        |route| way_of(route).timeout = Some(Duration::from_millis(400)),
    )
    .await;
    let mut first = rig.dial().await;
    say(&mut first, GET).await;
    let server = accept(&rig).await;
    let mut second = rig.dial().await;
    say(&mut second, GET).await;
    tokio::time::sleep(Duration::from_millis(50)).await;
    drop(server);
    assert!(hear(&mut first, "answered").await.starts_with("HTTP/1.1 503 "));
    // The second has a connection of its own now, and no response comes on it.
    let _server = accept(&rig).await;
    let mut third = rig.dial().await;
    say(&mut third, GET).await;
    let began = Instant::now();
    assert!(hear(&mut third, "timeout").await.starts_with("HTTP/1.1 504 "));
    assert!(began.elapsed() < Duration::from_secs(5));
    let mut flags = Vec::new();
    for _ in 0..3 {
        flags.push(rig.exchanged().await.flags.to_string());
    }
    flags.sort();
    assert_eq!(flags, ["UC", "UT", "UT"]);
}

#[tokio::test]
async fn more_requests_at_once_than_allowed_are_refused() {
    let mut rig = dialled(|policy| policy.limits.requests = Some(1), |_| {}).await;
    let mut first = rig.dial().await;
    say(&mut first, GET).await;
    let mut server = accept(&rig).await;
    hear(&mut server, "\r\n\r\n").await;
    assert!(ask(&rig, GET, "reached").await.starts_with("HTTP/1.1 503 "));
    assert_eq!(rig.exchanged().await.flags.to_string(), "UO");
    say(&mut server, FINE).await;
    hear(&mut first, "hi").await;
}

#[tokio::test]
async fn a_connection_carries_no_more_requests_than_allowed() {
    let rig = dialled(|policy| policy.limits.per_connection = Some(1), |_| {}).await;
    let mut client = rig.dial().await;
    for _ in 0..3 {
        say(&mut client, GET).await;
        let mut server = accept(&rig).await;
        hear(&mut server, "\r\n\r\n").await;
        say(&mut server, FINE).await;
        hear(&mut client, "hi").await;
    }
}

#[tokio::test]
async fn beyond_the_budget_an_answer_is_passed_on_and_not_asked_for_again() {
    let mut rig = dialled(
        |policy| policy.retry_budget = Some((0, 0)),
        |route| way_of(route).retries = Some(eager(3)),
    )
    .await;
    let mut client = rig.dial().await;
    say(&mut client, GET).await;
    let mut server = accept(&rig).await;
    hear(&mut server, "\r\n\r\n").await;
    say(&mut server, "HTTP/1.1 500 No\r\nContent-Length: 4\r\n\r\nmine").await;
    assert!(hear(&mut client, "mine").await.starts_with("HTTP/1.1 500 No\r\n"));
    let told = rig.exchanged().await;
    assert_eq!((told.tries, told.flags.to_string().as_str()), (1, "UO"));
}

fn ejecting(most_percent: u32) -> Ejection {
    Ejection {
        server_errors: Some(2),
        gateway_errors: None,
        local_errors: None,
        split: false,
        interval: Duration::from_millis(100),
        base: Duration::from_mins(3),
        most_percent,
        panic_percent: 0,
    }
}

/// The status of an answer to a request on a connection of its own.
async fn status(rig: &Rig) -> String {
    let mut client = rig.dial().await;
    say(&mut client, GET).await;
    head(&mut client).await["HTTP/1.1 ".len()..][..3].to_owned()
}

#[tokio::test]
async fn an_endpoint_that_fails_is_left_out() {
    let (bad, fine) = (Server::new(FAILS).await, Server::new(FINE).await);
    let at = [bad.at, fine.at];
    let rig = leading(&at, |policy| policy.ejection = Some(ejecting(100))).await;
    for _ in 0..100 {
        status(&rig).await;
    }
    assert_eq!((bad.count(), fine.count()), (2, 98));
}

#[tokio::test]
async fn with_all_left_out_there_is_no_healthy_upstream() {
    let bad = Server::new(FAILS).await;
    let mut rig = leading(&[bad.at], |policy| policy.ejection = Some(ejecting(10))).await;
    for (wanted, flags) in [("500", "-"), ("500", "-"), ("503", "UH")] {
        assert_eq!(status(&rig).await, wanted);
        assert_eq!(rig.exchanged().await.flags.to_string(), flags);
    }
    assert_eq!(bad.count(), 2);
}

fn hashing(key: HashKey) -> Balance {
    Balance::Hash { key, table: HashTable::Ring(1024) }
}

#[tokio::test]
async fn a_key_leads_to_the_same_endpoint_each_time() {
    let servers = [Server::new(FINE).await, Server::new(FINE).await, Server::new(FINE).await];
    let at = [servers[0].at, servers[1].at, servers[2].at];
    let key = HashKey::Header("x-user".into());
    let rig = leading(&at, |policy| policy.balance = hashing(key)).await;
    let counts = || servers.each_ref().map(Server::count);
    for _ in 0..20 {
        ask(&rig, &GET.replace("X-Case: Kept", "X-User: anna"), "hi").await;
    }
    let mut one = counts();
    one.sort_unstable();
    assert_eq!(one, [0, 0, 20]);
    for number in 0..60 {
        ask(&rig, &GET.replace("X-Case: Kept", &format!("X-User: {number}")), "hi").await;
    }
    assert!(counts().iter().all(|count| *count > 5), "{:?}", counts());
}

#[tokio::test]
async fn a_cookie_with_a_time_is_set_once_and_kept() {
    let servers = [Server::new(FINE).await, Server::new(FINE).await];
    let at = [servers[0].at, servers[1].at];
    for ttl in [Some(Duration::from_mins(1)), None] {
        let key =
            HashKey::Cookie { name: "user".into(), path: "/".into(), ttl, attributes: Vec::new() };
        let rig = leading(&at, |policy| policy.balance = hashing(key)).await;
        let heard = ask(&rig, GET, "hi").await;
        let line = heard.lines().find_map(|line| line.strip_prefix("set-cookie: user="));
        let Some(line) = line else {
            assert_eq!(ttl, None, "{heard}");
            continue;
        };
        let value = line.split(';').next().unwrap();
        assert!(line.ends_with("Max-Age=60; Path=/; HttpOnly"), "{line}");
        let before = servers.each_ref().map(Server::count);
        for _ in 0..20 {
            let request = GET.replace("X-Case: Kept", &format!("Cookie: a=b; user={value}"));
            assert!(!ask(&rig, &request, "hi").await.contains("set-cookie"));
        }
        let after = servers.each_ref().map(Server::count);
        assert!(after.iter().zip(before).any(|(after, before)| after - before == 20), "{after:?}");
    }
}
