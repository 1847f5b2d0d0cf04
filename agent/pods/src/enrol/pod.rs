//! A pod with what the agent has open in it.

use std::net::IpAddr;

use agent_kernel::netns::NetNs;
use agent_model::{inbound::Inbound, snapshot::Enrolment};

use super::listeners::PodProxy;
use crate::{
    link_watch::Listening,
    veth::{HostEnd, HostEnds, Inner, Unseen},
};

/// A pod with its namespace open.
#[derive(Debug)]
pub struct Pod {
    /// Kept open, so that its cookie stays its own.
    pub netns: NetNs,
    /// The Pod's, or before it has any its sandbox's.
    pub addresses: Vec<IpAddr>,
    /// Enrolled or not.
    pub enrolment: Enrolment,
    /// What it lets in.
    pub inbound: Inbound,
    /// The proxy inside it, when enrolled.
    pub(super) proxy: Option<PodProxy>,
    /// Hears of changes of its links, when enrolled.
    pub(super) listening: Option<Listening>,
    /// Its links, when enrolled.
    pub(super) ends: HostEnds,
    /// Its links have been looked at since layer 3 was last seen on them: one may have been away, or
    /// be another one with the same number.
    pub(super) is_suspect: bool,
    /// Ends to which this process has attached its programs.
    pub(super) attached: Vec<u32>,
    /// The runtime waits for it before it starts anything in it.
    pub(super) is_awaited: bool,
}

impl Pod {
    /// The port of the proxy's listeners.
    pub fn proxy_port(&self) -> Option<u16> {
        self.proxy.as_ref().map(|proxy| proxy.port)
    }

    /// The host's ends of its links.
    pub fn ends(&self) -> &[HostEnd] {
        &self.ends.ends
    }

    /// Its links by which nothing leaves it without another one.
    pub fn inner_links(&self) -> &[Inner] {
        &self.ends.inner
    }

    /// Its links whose frames nothing of ours sees.
    pub fn unseen_links(&self) -> &[Unseen] {
        &self.ends.unseen
    }

    /// Takes in its links as they are now; the ends that it has lost.
    pub(super) fn take_ends(&mut self, ends: HostEnds) -> Vec<u32> {
        let is_kept = |ifindex: &u32| ends.ends.iter().any(|end| end.ifindex == *ifindex);
        let before = self.ends.ends.iter().map(|end| end.ifindex);
        let lost = before.filter(|ifindex| !is_kept(ifindex)).collect();
        // One that comes back has lost what was attached to it.
        self.attached.retain(is_kept);
        self.ends = ends;
        self.is_suspect = true;
        lost
    }

    /// Forgets its links, from which layer 3 is about to be taken.
    pub(super) fn let_links_go(&mut self) {
        self.listening = None;
        self.ends = HostEnds::default();
        self.attached.clear();
    }

    /// True when it is to be judged.
    pub fn is_enrolled(&self) -> bool {
        matches!(self.enrolment, Enrolment::Enrolled(_))
    }
}
