//! The proxy inside a pod: its listeners and the tasks that serve them.

use std::{fmt, sync::Arc};

use agent_abi::PodKey;
use agent_kernel::{
    maps::{Maps, Mark},
    netns::{NetNs, Worker},
};
use agent_proxy::{Drain, DrainTrigger, Proxy, Workload, WorkloadId};
use tokio::task::JoinSet;

use crate::sockets::{self, Listeners, Port, SocketError};

/// The proxy as it serves one pod.
pub(super) struct PodProxy {
    pub(super) port: u16,
    pub(super) trigger: DrainTrigger,
}

impl fmt::Debug for PodProxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PodProxy").field("port", &self.port).finish_non_exhaustive()
    }
}

/// Listens inside the pod: on the port that an agent before has told the kernel of, or a free one.
pub(super) async fn listen(
    worker: &Worker,
    maps: &Arc<Maps>,
    netns: &NetNs,
) -> Result<Listeners, SocketError> {
    let mark = || Arc::clone(maps) as Arc<dyn Mark>;
    if let Some(port) = port_before(maps, netns.cookie()) {
        match sockets::listen(worker, netns, Port::TakeOver(port), mark()).await {
            Err(SocketError::Taken { .. }) => {}
            listening => return listening,
        }
    }
    sockets::listen(worker, netns, Port::FirstFree, mark()).await
}

/// The port that an agent before has listened on in the pod of a namespace.
pub(super) fn port_before(maps: &Maps, cookie: u64) -> Option<u16> {
    let slot = u32::from(maps.node.generation() & 1 == 1);
    let policy = maps.pods.get(&PodKey { netns: cookie, slot, pad: 0 }).ok()??;
    u16::try_from(policy.proxy_port).ok().filter(|port| *port != 0)
}

/// Has the proxy serve a pod.
pub(super) fn serve(
    proxy: &Arc<Proxy>,
    servers: &mut JoinSet<()>,
    netns: &NetNs,
    listeners: Listeners,
) -> PodProxy {
    let workload = Workload::new(WorkloadId(netns.cookie()), proxy);
    let (trigger, drain): (DrainTrigger, Drain) = agent_proxy::drain();
    let port = listeners.port;
    for listener in std::iter::once(listeners.v4).chain(listeners.v6) {
        let serving =
            agent_proxy::serve(Arc::clone(proxy), Arc::clone(&workload), listener, drain.clone());
        servers.spawn(serving);
    }
    PodProxy { port, trigger }
}
