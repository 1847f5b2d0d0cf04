//! Which open sockets of a pod a change of rules resets, and which connections a pod had accepted
//! before it was enrolled. The choice is pure: a dump and the tables in, sockets out; `sweep`
//! carries it out.
//!
//! Only a socket whose verdict is Deny is reset. Of what the pod itself has opened and what it has not:
//! * what the agent holds (its own, or a pod's connection as the proxy sees it) is not the pod's;
//! * what a peer has opened is answered, whatever the rules say of that peer; but plaintext to a port
//!   that has become strict is reset, unless the far end is known as it would have to be today;
//! * what leads to an address that a name has left since is kept, as long as an object names it, and so
//!   is what leads to an endpoint that is not ready, or that left the cluster a moment ago;
//! * an unconnected UDP socket has no verdict: each of its datagrams is judged when it is sent;
//! * Hold means that the pod is not known for the moment, which is no reason to cut anything.

use std::{io, os::fd::AsFd, sync::Arc};

use agent_abi::{
    Addr, Admission, Arrival, Flow, FlowKey, Judgement, OpenedBy, SocketKind, SocketState, Verdict,
    admit, decide, protocol,
};
use agent_kernel::{
    maps::Knowledge,
    netlink::NetlinkError,
    netns::{NetNs, NetNsError, Worker},
    sock_diag::{Destroyed, OpenSocket, SockDiag, State},
};
use agent_model::{compile::scan, egress::Rule};
use thiserror::Error;

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
pub struct Revoked {
    /// The socket.
    pub socket: OpenSocket,
    /// Where its owner believes it to lead.
    pub dst: (Addr, u16),
    /// What is said of it now.
    pub judgement: Judgement,
}

/// What a change of rules means for the open connections of a pod.
#[derive(Debug, Default)]
pub struct Sweep {
    /// Reset: the rules deny them now.
    pub reset: Vec<Revoked>,
    /// Go on as they are although the rules would have them go another way, or not at all where
    /// open connections are kept. The packet layers have to be told of these, each with a value of
    /// [`OpenedBy`].
    pub outlive: Vec<(FlowKey, u32)>,
}

/// Which open connections stay although the rules deny them now.
#[derive(Clone, Debug)]
pub enum Keep {
    /// Each (`--on-revoke keep`).
    All,
    /// Those that one of these rules still speaks for.
    Only(Arc<[Rule]>),
}

impl Keep {
    /// How the packet layers are to know a connection that stays; `None` if it does not.
    fn opened_by(&self, flow: &Flow) -> Option<u32> {
        match self {
            Self::All => Some(OpenedBy::POD),
            Self::Only(rules) => {
                scan(rules, flow.dst, flow.protocol, flow.dst_port).map(|_| OpenedBy::KEPT)
            }
        }
    }
}

/// Goes through the open connections of one namespace. `storage` is the map SOCKETS.
///
/// A call that was judged by the tables before may still be on its way to become a socket of the
/// dump: sweep once the kernel's programs that ran at the change are done.
pub(crate) async fn sweep<T: Knowledge>(
    worker: &Worker,
    namespace: &NetNs,
    storage: impl AsFd + Send + 'static,
    tables: Arc<T>,
    keep: Keep,
) -> Result<Sweep, RevokeError> {
    let mut diag = worker.run(namespace, SockDiag::open).await??;
    let netns = namespace.cookie();
    let work = move || {
        let mut sweep = sort_out(&diag.dump(Some(storage.as_fd()))?, &*tables, netns, &keep);
        let mut failed = None;
        sweep.reset.retain(|it| match diag.destroy(&it.socket.id) {
            Ok(done) => done == Destroyed::Reset,
            Err(error) => {
                // The others are still to be reset.
                failed = Some(error);
                false
            }
        });
        failed.map_or(Ok(sweep), |error| Err(error.into()))
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

/// What becomes of each socket that a pod has opened.
pub(crate) fn sort_out<T: Knowledge>(
    sockets: &[OpenSocket],
    tables: &T,
    netns: u64,
    keep: &Keep,
) -> Sweep {
    let mut sweep = Sweep::default();
    let ports = ListeningPorts::of(sockets);
    for socket in sockets {
        let Some(dst) = opened_to(socket, tables, netns) else {
            sweep.reset.extend(plaintext(socket, &ports, tables, netns));
            continue;
        };
        let flow = Flow { netns, dst: dst.0, dst_port: dst.1, protocol: socket.protocol };
        let judgement = decide(tables, &flow);
        let is_proxied = kind(socket.stored.as_ref()) == Some(SocketKind::PROXIED);
        let opened_by = match judgement.verdict {
            Verdict::Deny => keep.opened_by(&flow),
            Verdict::Proxy => Some(OpenedBy::POD),
            Verdict::Direct | Verdict::Hold => continue,
        };
        match opened_by {
            None => sweep.reset.push(Revoked { socket: *socket, dst, judgement }),
            Some(opened_by) if !is_proxied => {
                sweep.outlive.push((flow_key(socket, netns), opened_by));
            }
            Some(_) => {}
        }
    }
    sweep
}

/// A connection that the pod has accepted and that its port would refuse today.
fn plaintext<T: Knowledge>(
    socket: &OpenSocket,
    ports: &ListeningPorts,
    tables: &T,
    netns: u64,
) -> Option<Revoked> {
    let marked = kind(socket.stored.as_ref());
    if marked != Some(SocketKind::ACCEPTED) && !(marked.is_none() && ports.have_accepted(socket)) {
        return None;
    }
    let (local, local_port) = socket.local;
    let (peer, peer_port) = socket.peer;
    let arrival = Arrival { netns, local, local_port, peer, peer_port };
    let generation = tables.generation();
    if admit(tables, u32::from(generation & 1 == 1), &arrival) != Admission::Refused {
        return None;
    }
    Some(Revoked { socket: *socket, dst: socket.peer, judgement: Judgement::plaintext(generation) })
}

/// The flows of the connections that a pod has opened and that some rule speaks for: straight out, since
/// those of the proxied are the agent's.
pub(crate) fn kept_flows<T: Knowledge>(
    sockets: &[OpenSocket],
    tables: &T,
    netns: u64,
    rules: &[Rule],
) -> Vec<FlowKey> {
    let is_kept = |socket: &&OpenSocket| {
        kind(socket.stored.as_ref()) != Some(SocketKind::PROXIED)
            && opened_to(socket, tables, netns)
                .is_some_and(|(addr, port)| scan(rules, addr, socket.protocol, port).is_some())
    };
    sockets.iter().filter(is_kept).map(|socket| flow_key(socket, netns)).collect()
}

/// As the packet layers know it.
pub(crate) fn flow_key(socket: &OpenSocket, netns: u64) -> FlowKey {
    FlowKey {
        netns,
        peer: socket.peer.0,
        peer_port: socket.peer.1,
        pod_port: socket.local.1,
        protocol: u32::from(socket.protocol),
        pad: 0,
    }
}

/// The flows of the connections that a pod has accepted, for layer 3 of a pod that is
/// enrolled while it runs: its answers on them are not its own doing. Only for a pod that was not
/// judged before: it could make a connection of its own look so by where it connects from.
pub(crate) fn accepted_flows(sockets: &[OpenSocket], netns: u64) -> Vec<FlowKey> {
    let ports = ListeningPorts::of(sockets);
    let accepted = sockets.iter().filter(|socket| {
        let marked = kind(socket.stored.as_ref());
        let by_peer = marked == Some(SocketKind::ACCEPTED)
            || (marked.is_none() && ports.have_accepted(socket));
        by_peer && !socket.peer.0.is_local()
    });
    accepted.map(|socket| flow_key(socket, netns)).collect()
}

/// Where the pod has opened a socket to; `None` for a socket that it has not opened, or that leads
/// nowhere.
fn opened_to<T: Knowledge>(socket: &OpenSocket, tables: &T, netns: u64) -> Option<(Addr, u16)> {
    if !matches!(socket.state, State::Open | State::Connecting) {
        return None;
    }
    match (kind(socket.stored.as_ref()), &socket.stored) {
        (Some(SocketKind::AGENT | SocketKind::ACCEPTED), _) => None,
        (Some(SocketKind::PROXIED), Some(stored)) => Some((stored.dst, stored.dst_port)),
        (None, _) if tables.is_peers(&flow_key(socket, netns)) => None,
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

    /// True for a connection to a port that has a listener.
    fn have_accepted(&self, socket: &OpenSocket) -> bool {
        socket.protocol == protocol::TCP
            && socket.state == State::Open
            && self.0.binary_search(&socket.local.1).is_ok()
    }
}
