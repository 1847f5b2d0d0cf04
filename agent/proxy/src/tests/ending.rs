//! How it ends: draining, the deadline, an end without warning.

use std::{io::ErrorKind, net::SocketAddr, sync::Arc, time::Duration};

use agent_model::requests::policy::Keepalive;
use socket2::{Domain, SockRef, Socket, Type};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    task::JoinSet,
};

use super::rig::{Answers, Rig, WORKLOAD, end_of, soon};
use crate::{PeerAddr, Side, connection::Accepted, reset_stream::ResetStream, serve};

const LONG: Duration = Duration::from_mins(10);

#[tokio::test]
async fn draining_finishes_what_is_open_and_takes_nothing_on() {
    let mut rig = Rig::new(Answers::allow()).await;
    let (mut client, mut server) = rig.pair().await;
    rig.trigger.drain(LONG);
    // The address is free again once the listener has closed.
    soon(async {
        while std::net::TcpListener::bind(rig.addr).is_err() {
            tokio::task::yield_now().await;
        }
    })
    .await;
    assert!(TcpStream::connect(rig.addr).await.is_err());
    client.write_all(b"still here").await.unwrap();
    let mut read = [0; 10];
    soon(server.read_exact(&mut read)).await.unwrap();
    drop((client, server));
    soon(rig.trigger.done()).await;
    let record = rig.record().await;
    assert!(record.failure.is_none(), "{record:?}");
    assert_eq!(record.bytes_sent, 10);
}

#[tokio::test]
async fn what_is_open_at_the_deadline_is_reset_and_recorded() {
    let mut rig = Rig::new(Answers::allow()).await;
    let (mut client, mut server) = rig.pair().await;
    rig.trigger.drain(Duration::from_millis(50));
    soon(rig.trigger.done()).await;
    for stream in [&mut client, &mut server] {
        assert_eq!(end_of(stream).await, (0, Some(ErrorKind::ConnectionReset)));
    }
    assert_eq!(rig.cause().await, Some("agent-stopped"));
}

#[tokio::test]
async fn connections_that_wait_in_the_queue_are_served_before_the_listener_closes() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (mut rig, drain) = Rig::idle(Answers::allow(), listener.local_addr().unwrap()).await;
    let mut waiting = Vec::new();
    for _ in 0..20 {
        waiting.push(rig.dial().await);
    }
    rig.trigger.drain(LONG);
    let serving =
        serve(Arc::clone(&rig.proxy), Arc::clone(&rig.workload), (listener, Side::Outbound), drain);
    rig.tasks.spawn(serving);
    for mut client in waiting {
        let (mut server, _) = soon(rig.upstream.accept()).await.unwrap();
        server.write_all(b"served").await.unwrap();
        drop(server);
        client.shutdown().await.unwrap();
        assert_eq!(end_of(&mut client).await.1, None);
    }
    soon(rig.trigger.done()).await;
}

/// A listener on a port that several may listen on.
fn shared(port: u16) -> TcpListener {
    let socket = Socket::new(Domain::IPV4, Type::STREAM.nonblocking(), None).unwrap();
    socket.set_reuse_port(true).unwrap();
    socket.bind(&SocketAddr::from(([127, 0, 0, 1], port)).into()).unwrap();
    socket.listen(4_096).unwrap();
    TcpListener::from_std(socket.into()).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_successor_on_the_same_port_takes_over_without_a_failed_connection() {
    let first = shared(0);
    let addr = first.local_addr().unwrap();
    let (old, drain) = Rig::idle(Answers::allow(), addr).await;
    let (new, successors_drain) = Rig::idle(Answers::allow(), addr).await;
    let mut tasks = JoinSet::new();
    for mut server in [old.upstream, new.upstream].map(|upstream| (upstream, JoinSet::new())) {
        tasks.spawn(async move {
            while let Ok((mut stream, _)) = server.0.accept().await {
                server.1.spawn(async move {
                    stream.write_all(b"served").await.unwrap();
                });
            }
        });
    }
    tasks.spawn(serve(old.proxy, old.workload, (first, Side::Outbound), drain));
    let mut clients = JoinSet::new();
    for _ in 0..8 {
        clients.spawn(async move {
            for number in 0..500 {
                let mut client = TcpStream::connect(addr).await.unwrap();
                let ended = end_of(&mut client).await;
                assert_eq!(ended, (6, None), "connection {number}");
            }
        });
    }
    tokio::time::sleep(Duration::from_millis(20)).await;
    tasks.spawn(serve(
        new.proxy,
        new.workload,
        (shared(addr.port()), Side::Outbound),
        successors_drain,
    ));
    tokio::time::sleep(Duration::from_millis(20)).await;
    old.trigger.drain(LONG);
    soon(async {
        while let Some(ended) = clients.join_next().await {
            ended.unwrap();
        }
    })
    .await;
    soon(old.trigger.done()).await;
}

#[tokio::test]
async fn an_end_without_warning_resets_and_leaves_a_record() {
    let mut rig = Rig::new(Answers::allow()).await;
    let (mut client, mut server) = rig.pair().await;
    client.write_all(b"words").await.unwrap();
    let mut read = [0; 5];
    soon(server.read_exact(&mut read)).await.unwrap();
    rig.serving.abort();
    for stream in [&mut client, &mut server] {
        assert_eq!(end_of(stream).await, (0, Some(ErrorKind::ConnectionReset)));
    }
    let record = rig.record().await;
    assert_eq!(record.failure.unwrap().cause(), "agent-stopped");
    assert_eq!(record.bytes_sent, 5);
}

/// The kernel of an agent that is killed resets, since the reset is arranged beforehand.
#[tokio::test]
async fn a_reset_is_arranged_for_from_the_start() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let stream = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    let dialled = ResetStream::dialled(stream, Keepalive::default()).unwrap();
    let accepted = ResetStream::accepted(listener.accept().await.unwrap().0).unwrap();
    for stream in [&dialled, &accepted] {
        let socket = SockRef::from(stream.socket().unwrap());
        assert_eq!(socket.linger().unwrap(), Some(Duration::ZERO));
        assert!(socket.tcp_nodelay().unwrap());
    }
    assert!(SockRef::from(dialled.socket().unwrap()).keepalive().unwrap());
}

/// What an idle connection costs besides its two sockets.
#[tokio::test]
async fn the_future_of_a_connection_is_small() {
    const MOST: usize = 2_048;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (rig, drain) = Rig::idle(Answers::allow(), listener.local_addr().unwrap()).await;
    let client = rig.dial().await;
    let peer = PeerAddr(client.local_addr().unwrap());
    let clusters = Arc::default();
    let by = Accepted { workload: WORKLOAD, peer, clusters, drain };
    let size = size_of_val(&rig.proxy.run(client, by));
    assert!(size <= MOST, "{size} bytes");
}
