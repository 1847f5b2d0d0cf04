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
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct HostEnds {
    /// Where layer 3 is attached.
    pub ends: Vec<HostEnd>,
    /// Links that lead out of the pod, and not to an interface of ours.
    pub(crate) unseen: Vec<Unseen>,
    /// Links by which nothing leaves the pod without another of its links.
    pub(crate) inner: Vec<Inner>,
    /// What the agent's namespace calls the pod's, once it has a name for it.
    pub(crate) pod_id: Option<i32>,
}

/// The end, in the agent's namespace, of a pod's veth.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct HostEnd {
    /// The number of the pod's end, in the pod's namespace.
    pub inside: u32,
    /// The name of the pod's end there.
    pub link: String,
    /// Its number in the agent's namespace.
    pub ifindex: u32,
    /// Its name there.
    pub name: String,
    /// Whether frames may leave by it, both ends being up.
    pub is_up: bool,
}

/// A pod's link whose frames layer 3 cannot see.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Unseen {
    /// Its number inside the pod.
    pub inside: u32,
    /// Its name inside the pod.
    pub link: String,
    /// Why.
    pub why: Why,
}

/// A pod's link that leads out by another one, or nowhere.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Inner {
    /// Its number inside the pod.
    pub inside: u32,
    /// Its name inside the pod.
    pub link: String,
    /// What it is.
    pub kind: String,
    /// The link inside the pod on which it is stacked, or to which it is bound.
    pub below: Option<String>,
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

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::PeerElsewhere => f.write_str("its other end is in a third namespace"),
            Self::Kind(kind) => write!(f, "a {kind} link has no end on the node"),
            Self::Hardware => f.write_str("a device of the machine's own"),
        }
    }
}

impl fmt::Display for Unseen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.link, self.why)
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
        for peer in pod.iter().filter(|link| leads_out(link, &pod)).filter_map(|link| link.lower) {
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
    let mut found = HostEnds { pod_id, ..HostEnds::default() };
    for link in pod.iter().filter(|link| !link.loopback) {
        let (inside, name) = (link.ifindex, link.name.clone());
        if !leads_out(link, pod) {
            found.inner.push(inner(link, pod));
        } else if let Some(end) = host.iter().find(|end| belong_together(link, end, pod_id)) {
            found.ends.push(HostEnd {
                inside,
                link: name,
                ifindex: end.ifindex,
                name: end.name.clone(),
                is_up: link.is_up,
            });
        } else {
            let why = match link.kind.as_deref() {
                None => Why::Hardware,
                Some("veth") => Why::PeerElsewhere,
                Some(kind) => Why::Kind(kind.to_owned()),
            };
            found.unseen.push(Unseen { inside, link: name, why });
        }
    }
    found
}

fn inner(link: &Link, pod: &[Link]) -> Inner {
    let below = pod.iter().find(|one| link.lower == Some(one.ifindex));
    Inner {
        inside: link.ifindex,
        link: link.name.clone(),
        kind: link.kind.clone().unwrap_or_default(),
        below: below.map(|below| below.name.clone()),
    }
}

/// False for what stays in the pod, or leaves it by another of its links: what is stacked on a link
/// inside (a VLAN, a tunnel, both ends of a veth), and what only joins links.
///
/// That a link says nothing of another namespace counts for those kinds alone whose drivers would
/// say it since Linux 5.15 at the latest (`get_link_net` of `struct rtnl_link_ops`).
fn leads_out(link: &Link, pod: &[Link]) -> bool {
    const JOINING: [&str; 7] = ["bridge", "dummy", "ifb", "bond", "team", "vrf", "nlmon"];
    const STACKED: [&str; 5] = ["veth", "vlan", "macvlan", "ipvlan", "macsec"];
    /// Without a link below them they ask the routes of their namespace.
    const TUNNELS: [&str; 14] = [
        "vxlan",
        "geneve",
        "gre",
        "gretap",
        "ip6gre",
        "ip6gretap",
        "erspan",
        "ip6erspan",
        "ipip",
        "sit",
        "ip6tnl",
        "vti",
        "vti6",
        "xfrm",
    ];
    let Some(kind) = link.kind.as_deref() else { return true };
    if link.lower_namespace.is_some() {
        return true;
    }
    let is_on_another = |lower| pod.iter().any(|one| one.ifindex == lower);
    match link.lower {
        None | Some(0) => !JOINING.contains(&kind) && !TUNNELS.contains(&kind),
        Some(lower) => {
            !is_on_another(lower) || !(STACKED.contains(&kind) || TUNNELS.contains(&kind))
        }
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

/// A link of the agent's own namespace of which something was said.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct HostNews {
    /// Its number.
    pub(crate) ifindex: u32,
    /// What the agent's namespace calls that of the other end.
    pub(crate) other: Option<i32>,
}

/// What a message about a link of the agent's namespace may mean for pods; nothing when it is no
/// veth, since no other kind is the end of a pod's link.
pub(crate) fn host_news(message: &[u8]) -> Result<Option<HostNews>, NetlinkError> {
    let link = links::parse(message)?;
    let is_veth = link.kind.as_deref() == Some("veth");
    Ok(is_veth.then_some(HostNews { ifindex: link.ifindex, other: link.lower_namespace }))
}
