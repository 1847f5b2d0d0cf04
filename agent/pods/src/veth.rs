//! The host's ends of a namespace's links: where layer 3 is attached.
//!
//! A pod's link counts only when both of its ends say that they belong together: an interface
//! number and a namespace id mean something in one namespace alone, and the pod may hold links
//! whose other end lies in a third one. A link that leads out of the pod and has no end here is
//! reported: nothing of ours sees the frames that leave by it.

use std::{fmt, os::fd::AsFd};

use agent_kernel::netns::{NetNs, NetNsError, Worker};
use thiserror::Error;

mod links;
#[cfg(test)]
mod tests;

use agent_kernel::netlink::NetlinkError;

use links::{Link, LinkSocket};

/// A dump that changed under way is asked for this many times.
const ATTEMPTS: usize = 5;

/// Why the links could not be listed.
#[derive(Debug, Error)]
pub(crate) enum VethError {
    /// The namespace cannot be entered.
    #[error("the pod's namespace cannot be entered")]
    Namespace(#[from] NetNsError),
    /// The kernel does not list them.
    #[error("the pod's links cannot be listed")]
    Netlink(#[from] NetlinkError),
}

/// What a namespace's links look like from the agent's own.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct HostEnds {
    /// Where layer 3 is attached.
    pub ends: Vec<HostEnd>,
    /// Links that lead out of the pod, and not to an interface of ours.
    pub(crate) unseen: Vec<Unseen>,
}

/// The end, in the agent's namespace, of a pod's veth.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct HostEnd {
    /// The number of the pod's end, in the pod's namespace.
    pub inside: u32,
    /// Its number in the agent's namespace.
    pub ifindex: u32,
    /// Its name there.
    pub name: String,
}

/// A pod's link whose frames layer 3 cannot see.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Unseen {
    /// Its name inside the pod.
    pub link: String,
    /// Why.
    pub why: Why,
}

/// Why a link has no end in the agent's namespace.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Why {
    /// A veth whose other end lies in a namespace that is neither the pod's nor the agent's.
    PeerElsewhere,
    /// A link of another kind that leads out of the pod, such as macvlan.
    Kind(String),
    /// A device of the machine that was moved into the pod.
    Hardware,
}

impl fmt::Display for Unseen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.why {
            Why::PeerElsewhere => write!(f, "{}: its other end is in a third namespace", self.link),
            Why::Kind(kind) => write!(f, "{}: a {kind} link has no end on the host", self.link),
            Why::Hardware => write!(f, "{}: a device of the machine's own", self.link),
        }
    }
}

/// Finds the host's ends of a namespace's links.
pub(crate) async fn host_ends(worker: &Worker, namespace: &NetNs) -> Result<HostEnds, VethError> {
    if namespace.same_as(worker.own()) {
        return Ok(HostEnds::default());
    }
    let mut inside = worker.run(namespace, LinkSocket::open).await??;
    let mut outside = worker.run(worker.own(), LinkSocket::open).await??;
    let namespace = namespace.clone();
    let look = move || {
        let pod = again(|| inside.list())?;
        let mut host = Vec::new();
        for peer in pod.iter().filter(|link| leads_out(link)).filter_map(|link| link.lower) {
            host.extend(outside.one(peer)?);
        }
        // Asked for after the links: telling of a veth is what gives its peer's namespace an id.
        let pod_id = outside.id_of(namespace.as_fd())?;
        Ok(pair(&pod, &host, pod_id))
    };
    // The kernel's lock of all links may be taken for long.
    tokio::task::spawn_blocking(look).await.map_err(|_| NetNsError::Lost)?
}

fn again<T>(mut ask: impl FnMut() -> Result<T, NetlinkError>) -> Result<T, NetlinkError> {
    for _ in 1..ATTEMPTS {
        match ask() {
            Err(NetlinkError::Interrupted) => {}
            answer => return answer,
        }
    }
    ask()
}

/// Pairs a pod's links with the agent's; `pod_id` is what the agent's namespace calls the pod's.
fn pair(pod: &[Link], host: &[Link], pod_id: Option<i32>) -> HostEnds {
    let mut found = HostEnds::default();
    for link in pod.iter().filter(|link| leads_out(link)) {
        let end = host.iter().find(|end| belong_together(link, end, pod_id));
        match (end, &link.kind) {
            (Some(end), _) => {
                found.ends.push(HostEnd {
                    inside: link.ifindex,
                    ifindex: end.ifindex,
                    name: end.name.clone(),
                });
            }
            (None, kind) => {
                let why = match kind.as_deref() {
                    None => Why::Hardware,
                    Some("veth") => Why::PeerElsewhere,
                    Some(kind) => Why::Kind(kind.to_owned()),
                };
                found.unseen.push(Unseen { link: link.name.clone(), why });
            }
        }
    }
    found
}

/// False for what stays in the pod, or leaves it by another of its links: loopback, what is
/// stacked on a link inside (a VLAN, a tunnel, both ends of a veth), and what only joins links.
fn leads_out(link: &Link) -> bool {
    const INNER: [&str; 7] = ["bridge", "dummy", "ifb", "bond", "team", "vrf", "nlmon"];
    if link.loopback {
        return false;
    }
    match (link.lower_namespace, link.lower, link.kind.as_deref()) {
        (Some(_), _, _) => true,
        (None, Some(_), _) => false,
        (None, None, kind) => kind.is_none_or(|kind| !INNER.contains(&kind)),
    }
}

fn belong_together(link: &Link, end: &Link, pod_id: Option<i32>) -> bool {
    let veth = |link: &Link| link.kind.as_deref() == Some("veth");
    veth(link)
        && veth(end)
        && link.lower == Some(end.ifindex)
        && end.lower == Some(link.ifindex)
        && pod_id.is_some()
        && end.lower_namespace == pod_id
}
