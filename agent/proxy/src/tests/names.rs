//! Connections that are carried by the server name that their TLS asks for, or by a route for TCP.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use agent_model::{
    egress::{DefaultAction, ProxyDuty},
    requests::{
        backend::{Missing, Target, Weighted},
        change::HeaderChanges,
        host::Domain,
        outbound::{Listener, Outbound, Port, StreamRoute},
        policy::{ClientPolicy, ClientTls, MeshTls},
    },
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
};

use super::{
    rig::{Answers, Rig, end_of, soon},
    way::backend,
};
use crate::{Blame, Protocol, Ruling, first::QUIET, hello::tests::asking};

/// A destination of its own.
struct Far(TcpListener);

impl Far {
    async fn new() -> Self {
        Self(TcpListener::bind("127.0.0.1:0").await.unwrap())
    }

    fn at(&self) -> SocketAddr {
        self.0.local_addr().unwrap()
    }

    async fn accept(&self) -> TcpStream {
        soon(self.0.accept()).await.unwrap().0
    }

    async fn is_left_alone(&self) -> bool {
        tokio::time::timeout(Duration::from_millis(50), self.0.accept()).await.is_err()
    }
}

fn shares(names: &[&str], to: Vec<(u32, Target)>) -> Arc<StreamRoute> {
    let share = |(weight, target)| Weighted {
        weight,
        target,
        headers: HeaderChanges::default(),
        answer_within: None,
    };
    let names = names.iter().map(|name| Domain::new(name)).collect();
    let to = to.into_iter().map(share).collect();
    Arc::new(StreamRoute { names, to, idle: None })
}

fn to(at: SocketAddr, change: impl FnOnce(&mut ClientPolicy)) -> Target {
    Target::Backend(backend(&[at], change))
}

/// A route to one destination.
fn route(names: &[&str], at: SocketAddr) -> Arc<StreamRoute> {
    shares(names, vec![(1, to(at, |_| {}))])
}

fn by_name(default_action: DefaultAction) -> Answers {
    let ruling = Ruling {
        duty: ProxyDuty::NameRequired,
        default_action,
        upstream: None,
        reads_all: false,
        by_endpoint: false,
    };
    Answers { ruling: Some(ruling), ..Answers::allow() }
}

/// A rig whose workload has this listener where it dials.
async fn rig(answers: Answers, any: Listener) -> Rig {
    let slot = Arc::clone(&answers.outbound);
    let rig = Rig::new(answers).await;
    let port = Port { any, ..Port::default() };
    let dialled = rig.upstream.local_addr().unwrap().port();
    *slot.lock().unwrap() = Some(Arc::new(Outbound { ports: [(dialled, Arc::new(port))].into() }));
    rig
}

/// A client that has said this.
async fn saying(rig: &Rig, bytes: &[u8]) -> TcpStream {
    let mut client = rig.dial().await;
    client.write_all(bytes).await.unwrap();
    client
}

async fn hears(stream: &mut TcpStream, wanted: &[u8]) {
    let mut read = vec![0; wanted.len()];
    soon(stream.read_exact(&mut read)).await.unwrap();
    assert_eq!(read, wanted);
}

#[tokio::test]
async fn a_server_name_leads_to_its_own_destination_with_every_byte() {
    let (exact, wild) = (Far::new().await, Far::new().await);
    let tls = vec![route(&["*.example.com"], wild.at()), route(&["a.example.com"], exact.at())];
    let listener = Listener { tls, ..Listener::default() };
    let mut rig = rig(by_name(DefaultAction::RegistryOnly), listener).await;
    for (name, far) in [("A.example.com", &exact), ("b.example.com", &wild)] {
        let hello = asking(name);
        let (head, rest) = hello.split_at(9);
        let mut client = saying(&rig, head).await;
        tokio::task::yield_now().await;
        client.write_all(rest).await.unwrap();
        let mut server = far.accept().await;
        hears(&mut server, &hello).await;
        server.write_all(b"welcome").await.unwrap();
        hears(&mut client, b"welcome").await;
        drop((client, server));
        let record = rig.record().await;
        assert_eq!(record.protocol, Protocol::Tls);
        assert_eq!(record.server_name, name.to_lowercase());
        assert_eq!(record.upstream.unwrap().0, far.at());
        assert_eq!((record.bytes_sent, record.bytes_received), (hello.len() as u64, 7));
    }
}

#[tokio::test]
async fn under_registry_only_what_names_nothing_that_is_declared_is_reset() {
    let far = Far::new().await;
    let allowed = |default_action| {
        // An address that many names share lets none of them out by itself.
        let ruling = Ruling {
            duty: ProxyDuty::AddressAllowed,
            default_action,
            upstream: None,
            reads_all: false,
            by_endpoint: false,
        };
        Answers { ruling: Some(ruling), ..Answers::allow() }
    };
    let only = DefaultAction::RegistryOnly;
    for answers in [by_name(only), allowed(only)] {
        let tls = vec![route(&["a.example.com"], far.at())];
        let mut rig = rig(answers, Listener { tls, ..Listener::default() }).await;
        for (bytes, cause) in [
            (asking("b.example.com"), "unknown-server-name"),
            (asking("a.example.com.evil.example"), "unknown-server-name"),
            (asking(""), "needs-host-routing"),
            (b"GET / HTTP/1.1\r\nHost: a.example.com\r\n\r\n".to_vec(), "needs-host-routing"),
        ] {
            let mut client = saying(&rig, &bytes).await;
            assert_eq!(end_of(&mut client).await.0, 0, "{cause}");
            let failure = rig.record().await.failure.unwrap();
            assert_eq!((failure.cause(), failure.blame()), (cause, Blame::Policy));
        }
        assert!(far.is_left_alone().await);
    }
}

#[tokio::test]
async fn a_name_that_nothing_declares_passes_where_anything_may_and_under_audit() {
    let far = Far::new().await;
    for (default_action, would_deny) in
        [(DefaultAction::AllowAny, false), (DefaultAction::Audit, true)]
    {
        let tls = vec![route(&["a.example.com"], far.at())];
        let mut rig = rig(by_name(default_action), Listener { tls, ..Listener::default() }).await;
        let client = saying(&rig, &asking("b.example.com")).await;
        let (mut server, _) = soon(rig.upstream.accept()).await.unwrap();
        hears(&mut server, &asking("b.example.com")).await;
        drop((client, server));
        let record = rig.record().await;
        assert!(record.failure.is_none() && record.would_deny == would_deny, "{record:?}");
    }
}

#[tokio::test]
async fn s0_14_a_route_for_tcp_does_not_wait_for_the_client() {
    let far = Far::new().await;
    let tcp = Some(route(&[], far.at()));
    let mut rig = rig(Answers::allow(), Listener { tcp, ..Listener::default() }).await;
    let mut client = rig.dial().await;
    let mut server = far.accept().await;
    server.write_all(b"220 ready").await.unwrap();
    hears(&mut client, b"220 ready").await;
    drop((client, server));
    assert_eq!(rig.cause().await, None);
}

#[tokio::test]
async fn s0_14_where_names_are_told_apart_a_server_that_speaks_first_is_heard() {
    let (named, plain) = (Far::new().await, Far::new().await);
    let listener = Listener {
        tls: vec![route(&["a.example.com"], named.at())],
        tcp: Some(route(&[], plain.at())),
        ..Listener::default()
    };
    let mut rig = rig(Answers::allow(), listener).await;
    let mut client = rig.dial().await;
    let mut server = plain.accept().await;
    server.write_all(b"220 ready").await.unwrap();
    hears(&mut client, b"220 ready").await;
    drop((client, server));
    let record = rig.record().await;
    assert_eq!((record.protocol, record.failure.is_none()), (Protocol::Opaque, true));

    // A client that is slow to say its hello is led by it all the same.
    let mut client = rig.dial().await;
    let mut given_up = plain.accept().await;
    client.write_all(&asking("a.example.com")).await.unwrap();
    let mut server = named.accept().await;
    hears(&mut server, &asking("a.example.com")).await;
    assert_eq!(end_of(&mut given_up).await.0, 0);

    // And one that says something else keeps the connection that was made for it.
    let mut client = rig.dial().await;
    let mut server = plain.accept().await;
    client.write_all(b"EHLO").await.unwrap();
    hears(&mut server, b"EHLO").await;
}

#[tokio::test]
async fn a_slow_client_is_led_by_its_name_where_nothing_answers_one_without() {
    let named = Far::new().await;
    let nobody = Far::new().await.at();
    let listener = Listener {
        tls: vec![route(&["a.example.com"], named.at())],
        tcp: Some(route(&[], nobody)),
        ..Listener::default()
    };
    let rig = rig(Answers::allow(), listener).await;
    let mut client = rig.dial().await;
    tokio::time::sleep(2 * QUIET).await;
    client.write_all(&asking("a.example.com")).await.unwrap();
    let mut server = named.accept().await;
    hears(&mut server, &asking("a.example.com")).await;
}

#[tokio::test]
async fn connections_are_spread_by_the_shares_of_their_route() {
    let (few, many) = (Far::new().await, Far::new().await);
    let to = vec![(1, to(few.at(), |_| {})), (3, to(many.at(), |_| {}))];
    let tcp = Some(shares(&[], to));
    let rig = rig(Answers::allow(), Listener { tcp, ..Listener::default() }).await;
    let (mut at_few, mut clients) = (0_i32, Vec::new());
    for _ in 0..400 {
        clients.push(rig.dial().await);
        tokio::select! {
            _ = few.0.accept() => at_few += 1,
            _ = many.0.accept() => {}
        }
    }
    // Four standard deviations: 4 * sqrt(400 * 1/4 * 3/4).
    assert!((at_few - 100).abs() <= 35, "{at_few}");
}

#[tokio::test]
async fn what_is_not_there_or_allows_no_more_closes_the_connection() {
    let far = Far::new().await;
    let missing = || Target::Missing(Missing::Subset("reviews".into(), "v9".into()));
    let mesh = |policy: &mut ClientPolicy| policy.tls = ClientTls::Mesh(MeshTls::default());
    let nobody = Target::Backend(Arc::new({
        let backend = backend(&[far.at()], |_| {});
        let endpoints = agent_model::endpoints::Endpoints::Listed([].into());
        let named = (backend.service.clone(), backend.port);
        let (protocol, policy) = (backend.protocol, backend.policy.clone());
        agent_model::requests::backend::Backend::stated(named, protocol, policy, endpoints)
    }));
    for (to, cause) in [
        (vec![], "no-cluster"),
        (vec![(1, missing())], "no-cluster"),
        (vec![(1, nobody)], "no-endpoints"),
        // Never without the TLS that it asks for.
        (vec![(1, to(far.at(), mesh))], "needs-tls"),
    ] {
        let tcp = Some(shares(&[], to));
        let mut rig = rig(Answers::allow(), Listener { tcp, ..Listener::default() }).await;
        let mut client = rig.dial().await;
        assert_eq!(end_of(&mut client).await.0, 0, "{cause}");
        assert_eq!(rig.cause().await, Some(cause));
    }
    assert!(far.is_left_alone().await);

    let limited = to(far.at(), |policy| policy.limits.connections = Some(1));
    let tcp = Some(shares(&[], vec![(1, limited)]));
    let mut rig = rig(Answers::allow(), Listener { tcp, ..Listener::default() }).await;
    let (first, server) = (rig.dial().await, far.accept().await);
    let mut second = rig.dial().await;
    assert_eq!(end_of(&mut second).await.0, 0);
    assert_eq!(rig.cause().await, Some("upstream-overflow"));
    drop((first, server));
    assert_eq!(rig.cause().await, None);
    let (_third, _server) = (rig.dial().await, far.accept().await);
}
