//! A pod with what the agent has open in it.

use std::net::IpAddr;

use agent_kernel::netns::NetNs;
use agent_model::snapshot::Enrolment;

use super::listeners::PodProxy;
use crate::veth::{HostEnd, HostEnds};

/// A pod with its namespace open.
#[derive(Debug)]
pub struct Pod {
    /// Kept open, so that its cookie stays its own.
    pub netns: NetNs,
    /// The Pod's, or before it has any its sandbox's.
    pub addresses: Vec<IpAddr>,
    /// Enrolled or not.
    pub enrolment: Enrolment,
    /// The proxy inside it, when enrolled.
    pub(super) proxy: Option<PodProxy>,
    /// The host's ends of its links, when enrolled.
    pub(super) ends: HostEnds,
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

    /// True when it is to be judged.
    pub fn is_enrolled(&self) -> bool {
        matches!(self.enrolment, Enrolment::Enrolled(_))
    }
}
