//! The proxy inside a pod: its listeners and the tasks that serve them.

use std::sync::Arc;

use agent_abi::PodKey;
use agent_kernel::{
    maps::{Maps, Mark},
    netns::{NetNs, Worker},
};
use agent_proxy::{DrainTrigger, Proxy, Workload, WorkloadId};
use tokio::task::JoinSet;

use crate::sockets::{self, Listeners, Port, Reserved, SocketError};

/// The proxy as it serves one pod.
#[derive(Debug)]
pub(super) struct PodProxy {
    pub(super) port: u16,
    pub(super) trigger: DrainTrigger,
    stage: Stage,
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
    maps: &Arc<Maps>,
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
    let trigger = DrainTrigger::new();
    Ok(PodProxy { port: reserved.port, trigger, stage: Stage::Reserved(reserved) })
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
        match std::mem::replace(&mut self.stage, Stage::Done) {
            Stage::Reserved(reserved) => self.stage = Stage::Listening(reserved.listen()?),
            stage => self.stage = stage,
        }
        Ok(())
    }

    /// Has the proxy serve what comes, where it waits.
    pub(super) fn serve(&mut self, proxy: &Arc<Proxy>, servers: &mut JoinSet<()>, netns: &NetNs) {
        let listeners = match std::mem::replace(&mut self.stage, Stage::Done) {
            Stage::Listening(listeners) => listeners,
            stage => {
                self.stage = stage;
                return;
            }
        };
        let workload = Workload::new(WorkloadId(netns.cookie()), proxy);
        for listener in std::iter::once(listeners.v4).chain(listeners.v6) {
            let drain = proxy.drain_with(&self.trigger);
            let (proxy, workload) = (Arc::clone(proxy), Arc::clone(&workload));
            servers.spawn(agent_proxy::serve(proxy, workload, listener, drain));
        }
    }
}
