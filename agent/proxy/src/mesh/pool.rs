//! Connections of HBONE to other agents, which carry streams. Each belongs to one workload: what the
//! network sees, and what policies of the network say, is that workload's.

use std::{
    collections::{BTreeSet, HashMap},
    net::IpAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
    time::Duration,
};

use bytes::Bytes;
use futures_util::FutureExt as _;
use h2::{
    Ping, PingPong,
    client::{Connection, SendRequest},
};
use rustls::sign::CertifiedKey;
use tokio::{
    task::JoinSet,
    time::{Instant, interval, timeout},
};

use crate::{WorkloadId, reset_stream::ResetStream, tunnel::Place, wire::Wire};

/// Bytes that may be on their way on one stream, and on all: as ztunnel has it. Equal ones would let a
/// stream that is not read hold up the others.
pub(crate) const STREAM_WINDOW: u32 = 4 * 1024 * 1024;
pub(crate) const CONNECTION_WINDOW: u32 = 16 * 1024 * 1024;
pub(crate) const FRAME: u32 = 1024 * 1024;
/// Bytes of an answer's head.
const HEAD: u32 = 16 * 1024;
/// Streams of one connection.
const MOST_STREAMS: usize = 100;
/// How often the other agent is asked whether it is there, and how long it has to answer.
const PING: Duration = Duration::from_secs(10);
const PONG: Duration = Duration::from_secs(20);
/// How long a connection without streams is kept.
const IDLE: Duration = Duration::from_mins(5);

/// What streams of one connection share.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Key {
    pub(crate) from: WorkloadId,
    pub(crate) to: IpAddr,
    /// Whom the certificate may name.
    pub(crate) expected: BTreeSet<String>,
}

/// A connection.
#[derive(Debug)]
pub(crate) struct Open {
    send: SendRequest<Bytes>,
    /// What it was made with.
    certified: Arc<CertifiedKey>,
    /// One for each stream, and this.
    streams: Arc<()>,
    since: Mutex<Instant>,
}

#[derive(Debug, Default)]
struct Peer {
    open: Vec<Arc<Open>>,
    turn: Arc<tokio::sync::Mutex<()>>,
}

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Tunnels {
    peers: Arc<Mutex<HashMap<Key, Peer>>>,
    /// What drives them.
    tasks: Mutex<JoinSet<()>>,
}

fn lock<T>(shared: &Mutex<T>) -> MutexGuard<'_, T> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Open {
    pub(crate) fn send(&self) -> SendRequest<Bytes> {
        self.send.clone()
    }

    /// A place for a stream.
    pub(crate) fn place(&self) -> Place {
        Arc::clone(&self.streams)
    }

    fn streams(&self) -> usize {
        Arc::strong_count(&self.streams) - 1
    }

    fn may_carry(&self, certified: &Arc<CertifiedKey>) -> bool {
        // One that the other agent has closed, or asked to leave, fails at once.
        let is_open = || self.send().ready().now_or_never().is_none_or(|ready| ready.is_ok());
        Arc::ptr_eq(&self.certified, certified) && self.streams() < MOST_STREAMS && is_open()
    }
}

impl Tunnels {
    /// A connection that may carry another stream.
    pub(crate) fn find(&self, key: &Key, certified: &Arc<CertifiedKey>) -> Option<Arc<Open>> {
        let peers = lock(&self.peers);
        let found = peers.get(key)?.open.iter().find(|open| open.may_carry(certified))?;
        *lock(&found.since) = Instant::now();
        Some(Arc::clone(found))
    }

    /// Who dials first, of a peer that has had a connection before.
    pub(crate) fn turn(&self, key: &Key) -> Option<Arc<tokio::sync::Mutex<()>>> {
        lock(&self.peers).get(key).map(|peer| Arc::clone(&peer.turn))
    }

    /// Speaks HTTP/2 on a connection, which has a task of its own from then on.
    pub(crate) async fn drive(
        &self,
        key: Key,
        (stream, certified): (ResetStream, Arc<CertifiedKey>),
    ) -> Result<Arc<Open>, h2::Error> {
        let (send, mut connection) = h2::client::Builder::new()
            .enable_push(false)
            .initial_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .max_frame_size(FRAME)
            .max_header_list_size(HEAD)
            .handshake::<_, Bytes>(Wire::new(stream, Vec::new(), None))
            .await?;
        let since = Mutex::new(Instant::now());
        let open = Arc::new(Open { send, certified, streams: Arc::default(), since });
        lock(&self.peers).entry(key.clone()).or_default().open.push(Arc::clone(&open));
        let ping = connection.ping_pong();
        let (peers, weak) = (Arc::clone(&self.peers), Arc::downgrade(&open));
        let mut tasks = lock(&self.tasks);
        while tasks.try_join_next().is_some() {}
        tasks.spawn(async move {
            until_gone(connection, ping, &weak, || leave(&peers, &key, &weak)).await;
            leave(&peers, &key, &weak);
        });
        Ok(open)
    }
}

/// Takes a connection out of those that get streams.
fn leave(peers: &Mutex<HashMap<Key, Peer>>, key: &Key, open: &Weak<Open>) {
    let mut peers = lock(peers);
    let Some(peer) = peers.get_mut(key) else { return };
    peer.open.retain(|one| !std::ptr::eq(Arc::as_ptr(one), open.as_ptr()));
    if peer.open.is_empty() && Arc::strong_count(&peer.turn) == 1 {
        peers.remove(key);
    }
}

/// Drives a connection until it ends, its other end is gone, or it has been without streams for too long.
async fn until_gone(
    mut connection: Connection<Wire<'static, ResetStream>, Bytes>,
    mut ping: Option<PingPong>,
    open: &Weak<Open>,
    leave: impl Fn(),
) {
    let mut beat = interval(PING);
    let asking = async {
        loop {
            beat.tick().await;
            let is_idle =
                |open: Arc<Open>| open.streams() == 0 && lock(&open.since).elapsed() >= IDLE;
            // Its last handle goes with this, and then the connection ends by itself.
            if open.upgrade().is_some_and(is_idle) {
                leave();
            }
            let Some(ping) = &mut ping else { continue };
            match timeout(PONG, ping.ping(Ping::opaque())).await {
                Ok(Ok(_)) => {}
                Ok(Err(_)) | Err(_) => return,
            }
        }
    };
    tokio::select! {
        ended = &mut connection => if let Err(error) = ended {
            tracing::debug!(%error, "a connection of HBONE to another agent broke");
        },
        () = asking => tracing::debug!("another agent has not answered a ping for {PONG:?}"),
    }
}
