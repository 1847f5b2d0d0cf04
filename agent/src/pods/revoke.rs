//! Which open sockets of a pod a change of rules resets, and which connections a pod had accepted
//! before it was enrolled. The choice is pure: a dump and the tables in, sockets out; [`sweep`]
//! carries it out.
//!
//! Only a socket whose verdict is Deny is reset, and only one that the pod itself has opened:
//! * what the agent holds (its own, or a pod's connection as the proxy sees it) is not the pod's;
//! * what a peer has opened is answered, whatever the rules say of that peer;
//! * an unconnected UDP socket has no verdict: each of its datagrams is judged when it is sent;
//! * Hold means that the pod is not known for the moment, which is no reason to cut anything.

use std::{io, os::fd::AsFd, sync::Arc};

use agent_abi::{
    Addr, Flow, FlowKey, Judgement, SocketKind, SocketState, Tables, Verdict, decide, protocol,
};

use thiserror::Error;

use super::netns::{NetNs, NetNsError, Worker};
use crate::kernel::{
    netlink::NetlinkError,
    sock_diag::{Destroyed, OpenSocket, SockDiag, State},
};

#[cfg(test)]
mod tests;

/// Why a namespace could not be gone through.
#[derive(Debug, Error)]
pub(crate) enum RevokeError {
    /// It cannot be entered.
    #[error("the pod's namespace cannot be entered")]
    Namespace(#[from] NetNsError),
    /// Its sockets cannot be listed, or one of them not reset.
    #[error("the pod's open sockets cannot be listed or reset")]
    Netlink(#[from] NetlinkError),
    /// A map of ours cannot be shared or written.
    #[error("a map of the agent's cannot be used")]
    Map(#[source] io::Error),
}

/// A socket that is to be reset, and why.
#[derive(Clone, Debug)]
pub(crate) struct Revoked {
    /// The socket.
    pub(crate) socket: OpenSocket,
    /// Where its owner believes it to lead.
    pub(crate) dst: (Addr, u16),
    /// What is said of it now.
    pub(crate) judgement: Judgement,
}

/// Resets what the tables deny in one namespace: what was reset. `storage` is the map SOCKETS.
///
/// A call that was judged by the tables before may still be on its way to become a socket of the
/// dump: sweep once the kernel's programs that ran at the change are done.
pub(crate) async fn sweep<T: Tables + Send + Sync + 'static>(
    worker: &Worker,
    namespace: &NetNs,
    storage: impl AsFd + Send + 'static,
    tables: Arc<T>,
) -> Result<Vec<Revoked>, RevokeError> {
    let mut diag = worker.run(namespace, SockDiag::open).await??;
    let netns = namespace.cookie();
    let work = move || {
        let mut reset = revoked(&diag.dump(Some(storage.as_fd()))?, &*tables, netns);
        let mut failed = None;
        reset.retain(|it| match diag.destroy(&it.socket.id) {
            Ok(outcome) => outcome == Destroyed::Reset,
            Err(error) => {
                // The others are still to be reset.
                failed = Some(error);
                false
            }
        });
        failed.map_or(Ok(reset), |error| Err(error.into()))
    };
    tokio::task::spawn_blocking(work).await.map_err(|_| NetNsError::Lost)?
}

/// The sockets that a namespace has open, for [`accepted_flows`].
pub(crate) async fn open_sockets(
    worker: &Worker,
    namespace: &NetNs,
    storage: impl AsFd + Send + 'static,
) -> Result<Vec<OpenSocket>, RevokeError> {
    let mut diag = worker.run(namespace, SockDiag::open).await??;
    let work = move || diag.dump(Some(storage.as_fd()));
    Ok(tokio::task::spawn_blocking(work).await.map_err(|_| NetNsError::Lost)??)
}

/// The sockets of a pod that the tables deny.
pub(crate) fn revoked<T: Tables>(sockets: &[OpenSocket], tables: &T, netns: u64) -> Vec<Revoked> {
    let ports = ListeningPorts::of(sockets);
    let mut found = Vec::new();
    for socket in sockets {
        let Some(dst) = opened_to(socket, &ports) else { continue };
        let flow = Flow { netns, dst: dst.0, dst_port: dst.1, protocol: socket.protocol };
        let judgement = decide(tables, &flow);
        if judgement.verdict == Verdict::Deny {
            found.push(Revoked { socket: *socket, dst, judgement });
        }
    }
    found
}

/// The flows of the connections that a pod has accepted, for the wire layer of a pod that is
/// enrolled while it runs: its answers on them are not its own doing.
pub(crate) fn accepted_flows(sockets: &[OpenSocket], netns: u64) -> Vec<FlowKey> {
    let ports = ListeningPorts::of(sockets);
    let accepted = sockets.iter().filter(|socket| {
        let marked = kind(socket.stored.as_ref());
        let by_peer = marked == Some(SocketKind::ACCEPTED)
            || (marked.is_none() && ports.have_accepted(socket));
        by_peer && !socket.peer.0.is_local()
    });
    let key = |socket: &OpenSocket| FlowKey {
        netns,
        peer: socket.peer.0,
        peer_port: socket.peer.1,
        pod_port: socket.local.1,
        protocol: u32::from(socket.protocol),
        pad: 0,
    };
    accepted.map(key).collect()
}

/// Where the pod has opened a socket to; `None` for a socket that it has not opened, or that leads
/// nowhere.
fn opened_to(socket: &OpenSocket, ports: &ListeningPorts) -> Option<(Addr, u16)> {
    if !matches!(socket.state, State::Open | State::Connecting) {
        return None;
    }
    match (kind(socket.stored.as_ref()), &socket.stored) {
        (Some(SocketKind::AGENT | SocketKind::ACCEPTED | SocketKind::PROXY_SIDE), _) => None,
        (Some(SocketKind::PROXIED), Some(stored)) => Some((stored.dst, stored.dst_port)),
        (None, _) if ports.have_accepted(socket) => None,
        _ => Some(socket.peer),
    }
}

fn kind(stored: Option<&SocketState>) -> Option<u32> {
    stored.map(|stored| stored.kind).filter(|kind| *kind != 0)
}

/// The TCP ports on which the pod listens.
struct ListeningPorts(Vec<u16>);

impl ListeningPorts {
    fn of(sockets: &[OpenSocket]) -> Self {
        let listening =
            |it: &&OpenSocket| it.protocol == protocol::TCP && it.state == State::Listening;
        let mut ports: Vec<_> = sockets.iter().filter(listening).map(|it| it.local.1).collect();
        ports.sort_unstable();
        ports.dedup();
        Self(ports)
    }

    /// True for a connection to a port that somebody listens on. A pod could make a connection of
    /// its own look so only before it was enrolled: later ones carry a mark.
    fn have_accepted(&self, socket: &OpenSocket) -> bool {
        socket.protocol == protocol::TCP
            && socket.state == State::Open
            && self.0.binary_search(&socket.local.1).is_ok()
    }
}
