//! The accept loop: one for every listener.

use std::{io, pin::pin, sync::Arc, time::Duration};

use tokio::{
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore},
    task::JoinSet,
    time::Instant,
};

use crate::{
    Drain, Failure, PeerAddr, Proxy, WorkloadId, clusters::Clusters, connection::Accepted,
};

/// After an error that is not the connection's own (no descriptors, no memory): long enough not to
/// spin, short enough not to be noticed.
const PAUSE: Duration = Duration::from_millis(50);

/// From where connections of a listener come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// From the workload itself, sent here by a rule.
    Outbound,
    /// From agents of other nodes, for the workload.
    Inbound,
}

/// A workload and what it has open, over all of its listeners.
#[derive(Debug)]
pub struct Workload {
    id: WorkloadId,
    limit: usize,
    free: Arc<Semaphore>,
    clusters: Arc<Clusters>,
}

impl Workload {
    /// A workload with nothing open.
    pub fn new(id: WorkloadId, proxy: &Proxy) -> Arc<Self> {
        let limit = proxy.limits().connections_per_workload;
        let free = Arc::new(Semaphore::new(limit));
        Arc::new(Self { id, limit, free, clusters: Arc::default() })
    }

    /// Connections open through the proxy now.
    pub fn open(&self) -> usize {
        self.limit.saturating_sub(self.free.available_permits())
    }

    fn admit(&self) -> Result<OwnedSemaphorePermit, Failure> {
        let permit = Arc::clone(&self.free).try_acquire_owned();
        permit.map_err(|_| Failure::TooManyConnections { limit: self.limit })
    }
}

/// Serves a workload on one of its listeners until nothing new is to be taken on. Then it takes what
/// already waits in the listener's queue, closes the listener, and lets what is open finish up to the
/// deadline; what is left is reset. Dropping the future resets everything at once.
pub async fn serve(
    proxy: Arc<Proxy>,
    workload: Arc<Workload>,
    (listener, side): (TcpListener, Side),
    drain: Drain,
) {
    let clusters = Arc::clone(&workload.clusters);
    let mut sweeping = pin!(clusters.sweep());
    let connections = JoinSet::new();
    let mut server = Server { proxy, workload, side, drain: drain.clone(), connections };
    let deadline = loop {
        tokio::select! {
            biased;
            deadline = drain.stopped() => break deadline,
            Some(_) = server.connections.join_next() => {}
            () = sweeping.as_mut() => {}
            accepted = listener.accept() => match accepted {
                Ok((stream, peer)) => server.take_on(stream, PeerAddr(peer)),
                Err(error) => pause_after(&error).await,
            },
        }
    };
    server.empty_queue(listener);
    server.finish(deadline).await;
}

struct Server {
    proxy: Arc<Proxy>,
    workload: Arc<Workload>,
    side: Side,
    drain: Drain,
    connections: JoinSet<()>,
}

impl Server {
    fn take_on(&mut self, stream: TcpStream, peer: PeerAddr) {
        let id = self.workload.id;
        match self.workload.admit() {
            Ok(permit) => {
                let (proxy, counted) = (Arc::clone(&self.proxy), self.proxy.count_one());
                let clusters = Arc::clone(&self.workload.clusters);
                let by = Accepted { workload: id, peer, clusters, drain: self.drain.clone() };
                let side = self.side;
                self.connections.spawn(async move {
                    match side {
                        Side::Outbound => proxy.run(stream, by).await,
                        // Boxed, so that the others do not have its size.
                        Side::Inbound => Box::pin(proxy.receive(stream, by)).await,
                    }
                    drop((permit, counted));
                });
            }
            Err(failure) => self.proxy.refuse(id, stream, peer, failure),
        }
    }

    /// The kernel resets what still waits when a listener closes.
    fn empty_queue(&mut self, listener: TcpListener) {
        let Ok(listener) = listener.into_std() else { return };
        while let Ok((stream, peer)) = listener.accept() {
            if stream.set_nonblocking(true).is_ok()
                && let Ok(stream) = TcpStream::from_std(stream)
            {
                self.take_on(stream, PeerAddr(peer));
            }
        }
    }

    async fn finish(&mut self, deadline: Instant) {
        let all = async { while self.connections.join_next().await.is_some() {} };
        if tokio::time::timeout_at(deadline, all).await.is_err() {
            self.connections.shutdown().await;
        }
    }
}

/// A connection that was reset while it waited is no trouble; anything else passes by
/// waiting, since the connections stay in the queue meanwhile.
async fn pause_after(error: &io::Error) {
    if matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::Interrupted
    ) {
        return;
    }
    tracing::warn!(%error, "cannot accept connections for the moment");
    tokio::time::sleep(PAUSE).await;
}
