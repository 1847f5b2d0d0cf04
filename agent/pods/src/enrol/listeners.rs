//! The proxy inside a pod: its listeners and the tasks that serve them.

use std::sync::Arc;

use agent_abi::PodKey;
use agent_kernel::{
    maps::{Maps, Mark},
    netns::{NetNs, Worker},
};
use agent_proxy::{DrainTrigger, Proxy, Side, Workload, WorkloadId};
use tokio::task::JoinSet;

use crate::sockets::{self, Listeners, Port, Reserved, SocketError};

/// The proxy as it serves one pod.
#[derive(Debug)]
pub(super) struct PodProxy {
    pub(super) port: u16,
    pub(super) trigger: DrainTrigger,
    stage: Stage,
    /// For agents of other nodes; none where this node's pods speak no TLS of the mesh.
    inbound: Option<Stage>,
}

/// How far it is. Each of the first two holds until the generation is ready that it belongs to.
#[derive(Debug)]
enum Stage {
    /// New connections do not come here yet: an agent before may serve them.
    Reserved(Reserved),
    /// They come here and wait.
    Listening(Listeners),
    /// They are served, or the proxy has failed to listen.
    Done,
}

/// Reserves a port inside the pod: the one that an agent before has told the kernel of, or a free one.
pub(super) async fn reserve(
    worker: &Worker,
    (maps, proxy): (&Arc<Maps>, &Proxy),
    netns: &NetNs,
) -> Result<PodProxy, SocketError> {
    let mark = || Arc::clone(maps) as Arc<dyn Mark>;
    let before = match port_before(maps, netns.cookie()).map(Port::TakeOver) {
        Some(port) => Some(sockets::reserve(worker, netns, port, mark()).await),
        None => None,
    };
    let reserved = match before {
        None | Some(Err(SocketError::Taken { .. })) => {
            sockets::reserve(worker, netns, Port::FirstFree, mark()).await?
        }
        Some(reserved) => reserved?,
    };
    let inbound = if proxy.receives() {
        Some(Stage::Reserved(sockets::reserve_inbound(worker, netns, mark()).await?))
    } else {
        None
    };
    let trigger = DrainTrigger::new();
    Ok(PodProxy { port: reserved.port, trigger, stage: Stage::Reserved(reserved), inbound })
}

impl Stage {
    /// Has new connections come here, where they wait.
    fn listen(&mut self) -> Result<(), SocketError> {
        match std::mem::replace(self, Self::Done) {
            Self::Reserved(reserved) => *self = Self::Listening(reserved.listen()?),
            stage => *self = stage,
        }
        Ok(())
    }

    /// The listeners, where connections wait there.
    fn take(&mut self) -> Option<Listeners> {
        match std::mem::replace(self, Self::Done) {
            Self::Listening(listeners) => Some(listeners),
            stage => {
                *self = stage;
                None
            }
        }
    }
}

/// The port that an agent before has listened on in the pod of a namespace.
pub(super) fn port_before(maps: &Maps, cookie: u64) -> Option<u16> {
    let slot = u32::from(maps.node.generation() & 1 == 1);
    let policy = maps.pods.get(&PodKey { netns: cookie, slot, pad: 0 }).ok()??;
    u16::try_from(policy.proxy_port).ok().filter(|port| *port != 0)
}

impl PodProxy {
    /// Has new connections come here, where they wait. Says nothing where they do already.
    pub(super) fn listen(&mut self) -> Result<(), SocketError> {
        self.inbound.as_mut().map_or(Ok(()), Stage::listen)?;
        self.stage.listen()
    }

    /// Has the proxy serve what comes, where it waits.
    pub(super) fn serve(&mut self, proxy: &Arc<Proxy>, servers: &mut JoinSet<()>, netns: &NetNs) {
        let inbound = self.inbound.as_mut().and_then(Stage::take);
        let sides = [(self.stage.take(), Side::Outbound), (inbound, Side::Inbound)];
        for (listeners, side) in sides {
            let Some(Listeners { port: _, v4, v6 }) = listeners else { continue };
            let workload = Workload::new(WorkloadId(netns.cookie()), proxy);
            for listener in std::iter::once(v4).chain(v6) {
                let drain = proxy.drain_with(&self.trigger);
                let (proxy, workload) = (Arc::clone(proxy), Arc::clone(&workload));
                servers.spawn(agent_proxy::serve(proxy, workload, (listener, side), drain));
            }
        }
    }
}
