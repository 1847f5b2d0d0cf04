use std::{
    os::fd::BorrowedFd,
    sync::atomic::{AtomicUsize, Ordering},
};

use agent_kernel::{
    netns::cookie,
    testing::{Sandbox, ip},
};
use socket2::{SockAddr, SockRef};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::*;

const PATIENCE: Duration = Duration::from_secs(5);

/// Counts what it marks, and insists that nothing has been done with the socket yet.
#[derive(Default)]
struct Fresh(AtomicUsize);

impl Mark for Fresh {
    fn mark(&self, socket: BorrowedFd<'_>) -> io::Result<()> {
        let socket = SockRef::from(&socket);
        let local = socket.local_addr()?.as_socket().expect("an internet socket");
        assert_eq!(local.port(), 0, "marked after bind");
        assert!(socket.peer_addr().is_err(), "marked after connect");
        self.0.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }
}

struct Refusing;

impl Mark for Refusing {
    fn mark(&self, _: BorrowedFd<'_>) -> io::Result<()> {
        Err(io::Error::from(io::ErrorKind::PermissionDenied))
    }
}

async fn inside() -> (Sandbox, Worker, NetNs) {
    let worker = Worker::start().unwrap();
    let sandbox = Sandbox::new();
    let namespace = sandbox.open(&worker).await;
    (sandbox, worker, namespace)
}

async fn listen(
    worker: &Worker,
    namespace: &NetNs,
    port: Port,
    mark: Arc<dyn Mark>,
) -> Result<Listeners, SocketError> {
    reserve(worker, namespace, port, mark).await?.listen()
}

async fn listen_fresh(worker: &Worker, namespace: &NetNs) -> Result<Listeners, SocketError> {
    listen(worker, namespace, Port::FirstFree, Arc::new(Fresh::default())).await
}

/// A listener of the pod's own.
async fn occupy(worker: &Worker, namespace: &NetNs, addr: &str, share: bool) -> Socket {
    let addr: SocketAddr = addr.parse().unwrap();
    let occupied = worker.run(namespace, move || {
        let socket = Socket::new(Domain::for_address(addr), Type::STREAM, None).unwrap();
        socket.set_reuse_port(share).unwrap();
        socket.bind(&SockAddr::from(addr)).unwrap();
        socket.listen(1).unwrap();
        socket
    });
    occupied.await.unwrap()
}

#[tokio::test]
async fn both_families_listen_on_the_first_port_and_carry_bytes() {
    let (_sandbox, worker, namespace) = inside().await;
    let listeners = listen_fresh(&worker, &namespace).await.unwrap();
    assert_eq!(listeners.port, 15_001);
    let v6 = listeners.v6.as_ref().unwrap();
    for (listener, host) in [(&listeners.v4, "127.0.0.1"), (v6, "[::1]")] {
        let addr: SocketAddr = format!("{host}:15001").parse().unwrap();
        assert_eq!(listener.local_addr().unwrap(), addr);
        assert_eq!(cookie(listener.as_fd()).unwrap(), namespace.cookie());
        let mark = Fresh::default();
        let mut dialled = dial(&worker, &namespace, addr, &mark, PATIENCE).await.unwrap();
        assert_eq!(mark.0.into_inner(), 1);
        assert_eq!(cookie(dialled.as_fd()).unwrap(), namespace.cookie());
        assert!(dialled.nodelay().unwrap());
        let (mut accepted, _) = listener.accept().await.unwrap();
        accepted.write_all(b"inside").await.unwrap();
        drop(accepted);
        let mut read = String::new();
        dialled.read_to_string(&mut read).await.unwrap();
        assert_eq!(read, "inside");
    }
}

#[tokio::test]
async fn a_port_that_the_pod_has_in_either_family_is_passed_over() {
    let (_sandbox, worker, namespace) = inside().await;
    let _v4 = occupy(&worker, &namespace, "0.0.0.0:15001", false).await;
    let _v6 = occupy(&worker, &namespace, "[::1]:15002", false).await;
    // One that would share with any process of its uid.
    let _shares = occupy(&worker, &namespace, "127.0.0.1:15003", true).await;
    let listeners = listen_fresh(&worker, &namespace).await.unwrap();
    assert_eq!(listeners.port, 15_004);
}

#[tokio::test]
async fn a_pod_that_has_every_port_is_named() {
    let (_sandbox, worker, namespace) = inside().await;
    let mut held = Vec::new();
    for port in PORTS {
        held.push(occupy(&worker, &namespace, &format!("127.0.0.1:{port}"), false).await);
    }
    let error = listen_fresh(&worker, &namespace).await.unwrap_err();
    assert!(matches!(error, SocketError::NoPort), "{error}");
}

#[tokio::test]
async fn a_namespace_without_ipv6_gets_one_listener_and_one_without_loopback_an_error() {
    let (sandbox, worker, namespace) = inside().await;
    sandbox.run(|| ip(&["address", "del", "::1/128", "dev", "lo"]));
    let listeners = listen_fresh(&worker, &namespace).await.unwrap();
    assert!(listeners.v6.is_none());
    drop(listeners);
    sandbox.run(|| ip(&["address", "del", "127.0.0.1/8", "dev", "lo"]));
    let error = listen_fresh(&worker, &namespace).await.unwrap_err();
    assert!(matches!(error, SocketError::NoLoopback), "{error}");
}

#[tokio::test]
async fn a_successor_takes_over_while_the_old_one_still_listens() {
    let (_sandbox, worker, namespace) = inside().await;
    let mut old = listen_fresh(&worker, &namespace).await.unwrap();
    let take = |port| {
        let mark = Arc::new(Fresh::default());
        listen(&worker, &namespace, Port::TakeOver(port), mark)
    };
    // Again and again: what one agent has asked of the kernel holds for those after it.
    for _ in 0..3 {
        let new = take(old.port).await.unwrap();
        let both = [(&old.v4, &new.v4), (old.v6.as_ref().unwrap(), new.v6.as_ref().unwrap())];
        for (old, new) in both {
            for _ in 0..20 {
                let addr = new.local_addr().unwrap();
                dial(&worker, &namespace, addr, &Fresh::default(), PATIENCE).await.unwrap();
                tokio::select! {
                    accepted = new.accept() => drop(accepted.unwrap()),
                    _ = old.accept() => panic!("the old one still gets new connections"),
                }
            }
        }
        old = new;
        let addr = old.v4.local_addr().unwrap();
        dial(&worker, &namespace, addr, &Fresh::default(), PATIENCE).await.unwrap();
        old.v4.accept().await.unwrap();
    }
    let _pods = occupy(&worker, &namespace, "127.0.0.1:15002", false).await;
    let error = take(15_002).await.unwrap_err();
    assert!(matches!(error, SocketError::Taken { port: 15_002 }), "{error}");
}

#[tokio::test]
async fn a_socket_that_cannot_be_marked_is_not_used() {
    let (_sandbox, worker, namespace) = inside().await;
    let listeners = listen(&worker, &namespace, Port::FirstFree, Arc::new(Refusing)).await;
    assert!(matches!(listeners, Err(SocketError::Mark { .. })));
    let addr = "127.0.0.1:9".parse().unwrap();
    let error = dial(&worker, &namespace, addr, &Refusing, PATIENCE).await.unwrap_err();
    assert!(matches!(error, SocketError::Mark { .. }), "{error}");
}

#[tokio::test]
async fn a_refused_an_unreachable_and_a_silent_far_end_are_told_apart() {
    let (sandbox, worker, namespace) = inside().await;
    let mark = Fresh::default();
    let refused = "127.0.0.1:9".parse().unwrap();
    let error = dial(&worker, &namespace, refused, &mark, PATIENCE).await.unwrap_err();
    let kind = |error: &SocketError| match error {
        SocketError::Connect { source, .. } => Some(source.kind()),
        _ => None,
    };
    assert_eq!(kind(&error), Some(io::ErrorKind::ConnectionRefused), "{error}");

    let nowhere = "203.0.113.9:80".parse().unwrap();
    let error = dial(&worker, &namespace, nowhere, &mark, PATIENCE).await.unwrap_err();
    assert_eq!(kind(&error), Some(io::ErrorKind::NetworkUnreachable), "{error}");

    // No host answers for the address on a link whose far end is not connected.
    sandbox.run(|| {
        ip(&["link", "add", "quiet", "type", "veth", "peer", "name", "loose"]);
        ip(&["link", "set", "loose", "up"]);
        ip(&["address", "add", "203.0.113.1/24", "dev", "quiet"]);
        ip(&["link", "set", "quiet", "up"]);
    });
    let brief = Duration::from_millis(100);
    let error = dial(&worker, &namespace, nowhere, &mark, brief).await.unwrap_err();
    assert!(matches!(error, SocketError::TimedOut { .. }), "{error}");
}

#[tokio::test]
async fn a_port_that_is_reserved_leaves_connections_to_the_agent_that_listens_on_it() {
    let (_sandbox, worker, namespace) = inside().await;
    let old = listen_fresh(&worker, &namespace).await.unwrap();
    let mark = Arc::new(Fresh::default());
    let port = Port::TakeOver(old.port);
    let _reserved = reserve(&worker, &namespace, port, mark).await.unwrap();
    let addr = old.v4.local_addr().unwrap();
    for _ in 0..20 {
        dial(&worker, &namespace, addr, &Fresh::default(), PATIENCE).await.unwrap();
        old.v4.accept().await.unwrap();
    }
}
