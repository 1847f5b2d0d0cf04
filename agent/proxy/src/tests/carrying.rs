//! What arrives, and what is held meanwhile.

use std::time::Duration;

use socket2::SockRef;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{
        TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    task::JoinSet,
};

use super::rig::{Answers, Rig, soon};

/// Bytes of a stream, so mixed that no piece of it looks like another.
fn pattern(seed: u64, from: usize, length: usize) -> Vec<u8> {
    let mixed = |at: usize| (at as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15).wrapping_add(seed);
    (from..from + length).map(|at| mixed(at).to_be_bytes()[2]).collect()
}

const PIECE: usize = 1 << 20;

async fn send(mut to: OwnedWriteHalf, seed: u64, pieces: usize) {
    for piece in 0..pieces {
        soon(to.write_all(&pattern(seed, piece * PIECE, PIECE))).await.unwrap();
    }
    to.shutdown().await.unwrap();
}

async fn receive(mut from: OwnedReadHalf, seed: u64, pieces: usize) {
    let mut read = vec![0; PIECE];
    for piece in 0..pieces {
        soon(from.read_exact(&mut read)).await.unwrap();
        assert!(read == pattern(seed, piece * PIECE, PIECE), "piece {piece}");
    }
    assert_eq!(soon(from.read(&mut read)).await.unwrap(), 0);
}

#[tokio::test]
async fn a_server_that_speaks_first_is_heard_at_once() {
    let mut rig = Rig::new(Answers::allow()).await;
    let (mut client, mut server) = rig.pair().await;
    server.write_all(b"220 ready").await.unwrap();
    let mut read = [0; 9];
    soon(client.read_exact(&mut read)).await.unwrap();
    assert_eq!(&read, b"220 ready");
    assert_eq!(rig.opened(), 1, "it is told of before its end");
    drop((client, server));
    let record = rig.record().await;
    assert!(record.failure.is_none(), "{record:?}");
    assert_eq!((record.bytes_sent, record.bytes_received), (0, 9));
    let origin = record.origin.unwrap();
    assert_eq!((origin.rule, origin.generation), (3, 9));
    assert_eq!(record.upstream.unwrap().0, origin.dst.0);
}

#[tokio::test]
async fn the_end_of_either_way_leaves_the_other_open() {
    let mut rig = Rig::new(Answers::allow()).await;
    for client_ends_first in [true, false] {
        let (client, server) = rig.pair().await;
        let (mut first, mut second) =
            if client_ends_first { (client, server) } else { (server, client) };
        first.write_all(b"last words").await.unwrap();
        first.shutdown().await.unwrap();
        let mut heard = String::new();
        soon(second.read_to_string(&mut heard)).await.unwrap();
        assert_eq!(heard, "last words");
        // Long after, and more than any buffer on the way holds.
        let answer = pattern(1, 0, 8 << 20);
        let (mut read, expected) = (Vec::new(), answer.clone());
        let ((), _) = soon(async {
            tokio::join!(
                async {
                    second.write_all(&answer).await.unwrap();
                    second.shutdown().await.unwrap();
                },
                first.read_to_end(&mut read)
            )
        })
        .await;
        assert!(read == expected);
        assert_eq!(rig.cause().await, None);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hundred_megabytes_arrive_unharmed_both_ways_at_once() {
    let mut rig = Rig::new(Answers::allow()).await;
    let (client, server) = rig.pair().await;
    let ((from_client, to_client), (from_server, to_server)) =
        (client.into_split(), server.into_split());
    let mut tasks = JoinSet::new();
    tasks.spawn(send(to_client, 1, 100));
    tasks.spawn(send(to_server, 2, 100));
    tasks.spawn(receive(from_server, 1, 100));
    tasks.spawn(receive(from_client, 2, 100));
    while let Some(ended) = tasks.join_next().await {
        ended.unwrap();
    }
    let record = rig.record().await;
    assert!(record.failure.is_none(), "{record:?}");
    let all = 100 * PIECE as u64;
    assert_eq!((record.bytes_sent, record.bytes_received), (all, all));
}

/// Writes until the other end has not taken anything for a while: what is held on the way.
async fn fill(client: &mut TcpStream, limit: usize) -> usize {
    let mut written = 0;
    while written < limit {
        let piece = pattern(5, written, PIECE / 16);
        let once = tokio::time::timeout(Duration::from_millis(500), client.write(&piece)).await;
        match once {
            Ok(taken) => written += taken.unwrap(),
            Err(_) => break,
        }
    }
    written
}

#[tokio::test]
async fn a_reader_that_does_not_read_stops_the_writer() {
    // Socket buffers grow to 4 MB (send) and 6 MB (receive) by default, two of each on the way,
    // and the test's own two are fixed small.
    const MOST: usize = 14 << 20;
    let mut rig = Rig::new(Answers::allow()).await;
    SockRef::from(&rig.upstream).set_recv_buffer_size(64 << 10).unwrap();
    let (mut client, mut server) = rig.pair().await;
    SockRef::from(&client).set_send_buffer_size(64 << 10).unwrap();
    let held = fill(&mut client, 64 << 20).await;
    assert!(held < MOST, "{held} bytes are held on the way");
    client.shutdown().await.unwrap();
    let mut read = Vec::new();
    soon(server.read_to_end(&mut read)).await.unwrap();
    assert_eq!(read.len(), held);
    let tail = held - held % (PIECE / 16);
    assert!(read[..tail] == pattern(5, 0, tail));
    drop((client, server));
    assert_eq!(rig.record().await.bytes_sent, held as u64);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_connections_are_carried_side_by_side() {
    const MANY: usize = 1_000;
    let mut rig = Rig::new(Answers::allow()).await;
    let mut open = Vec::new();
    for _ in 0..MANY {
        open.push(rig.pair().await);
    }
    assert_eq!(rig.workload.open(), MANY);
    for (number, (client, server)) in open.iter_mut().enumerate() {
        // An upstream's number comes from the order of its accepts, which is not the clients'.
        let said = u64::try_from(number).unwrap().to_be_bytes();
        client.write_all(&said).await.unwrap();
        let mut heard = [0; 8];
        soon(server.read_exact(&mut heard)).await.unwrap();
        assert_eq!(heard, said);
    }
    drop(open);
    for _ in 0..MANY {
        assert_eq!(rig.cause().await, None);
    }
    assert_eq!(soon(wait_until_idle(&rig)).await, 0);
}

async fn wait_until_idle(rig: &Rig) -> usize {
    while rig.workload.open() > 0 {
        tokio::task::yield_now().await;
    }
    rig.workload.open()
}
