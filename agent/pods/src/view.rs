//! The pods of this node as one publication left them, for their readers: the proxy, the
//! canaries, the log of flows, the CNI admission and the status.
//!
//! A view is made once for a publication and never changes. What decides about a pod is
//! `enrol::Pods`, and what judges it is in the kernel.

use std::{collections::HashMap, net::IpAddr, num::NonZeroU16, sync::Arc};

use agent_kernel::{netns::NetNs, plan::Desired};
use agent_model::{
    egress::EgressPolicy,
    inbound::Inbound,
    pod::{AccessLog, PodId, WorkloadName},
    snapshot::{Enrolment, PodPlan, Snapshot},
    tables,
};

use crate::{
    enrol::{Pod, Pods, Problem},
    veth::{HostEnd, Inner, Unseen},
};

/// A pod that is planned for, whether anything could be done about it or not.
#[derive(Clone, Debug)]
pub struct PodView {
    /// The pod's name.
    pub id: PodId,
    /// By which the node knows it; may be empty.
    pub uid: String,
    /// What it is a part of.
    pub workload: Arc<WorkloadName>,
    /// The Pod's `status.podIPs`.
    pub addresses: Vec<IpAddr>,
    /// As whom it speaks, `spiffe://…`, where its `ServiceAccount` is known.
    pub identity: Option<String>,
    /// Which of its requests are logged, where it or its namespace says so.
    pub access_log: Option<AccessLog>,
    /// What its plan says.
    pub enrolment: Enrolment,
    /// Why it is not enrolled whole, where that is known.
    pub problem: Option<Problem>,
    /// What the agent has open in it.
    pub opened: Option<OpenedPod>,
}

/// What the agent has open in a pod.
#[derive(Clone, Debug)]
pub struct OpenedPod {
    /// Its namespace.
    pub netns: NetNs,
    /// As the kernel is told: the Pod's, or before it has any its sandbox's.
    pub addresses: Vec<IpAddr>,
    /// The port of the proxy's listeners.
    pub proxy_port: Option<u16>,
    /// What it lets in.
    pub inbound: Inbound,
    /// The host's ends of its links.
    pub links: Vec<HostEnd>,
    /// Its links by which nothing leaves it without another one.
    pub inner_links: Vec<Inner>,
    /// Its links whose frames nothing of ours sees.
    pub unseen_links: Vec<Unseen>,
}

impl PodView {
    /// By what it is judged; `None` where it is not.
    pub fn policy(&self) -> Option<&Arc<EgressPolicy>> {
        match &self.enrolment {
            Enrolment::Enrolled(policy) => Some(policy),
            Enrolment::NotEnrolled(_) | Enrolment::Pending(_) => None,
        }
    }

    /// The cookie of its namespace, once that is open.
    pub fn cookie(&self) -> Option<u64> {
        self.opened.as_ref().map(|opened| opened.netns.cookie())
    }

    /// The address from which it reaches another.
    pub fn address_towards(&self, other: IpAddr) -> Option<IpAddr> {
        let own = &self.opened.as_ref()?.addresses;
        own.iter().find(|own| own.is_ipv4() == other.is_ipv4()).copied()
    }

    fn new(id: &PodId, plan: &PodPlan, pods: &Pods) -> Self {
        let open = |pod: &Pod| OpenedPod {
            netns: pod.netns.clone(),
            addresses: pod.addresses.clone(),
            proxy_port: pod.proxy_port(),
            inbound: pod.inbound.clone(),
            links: pod.ends().to_vec(),
            inner_links: pod.inner_links().to_vec(),
            unseen_links: pod.unseen_links().to_vec(),
        };
        Self {
            identity: plan.identity.clone(),
            id: id.clone(),
            uid: plan.uid.clone(),
            workload: Arc::clone(&plan.workload),
            addresses: plan.addresses.clone(),
            access_log: plan.access_log,
            enrolment: plan.enrolment.clone(),
            problem: pods.problem(id).cloned(),
            opened: pods.known().get(id).map(open),
        }
    }
}

/// All pods of this node, by name and by namespace.
#[derive(Debug, Default)]
pub struct PodViews {
    /// In the order of their names.
    pods: Vec<PodView>,
    /// Where those are that have an open namespace, by its cookie.
    opened: HashMap<u64, usize>,
}

impl PodViews {
    /// The pods of a snapshot, as far as they have come.
    pub fn new(snapshot: &Snapshot, pods: &Pods) -> Self {
        snapshot.pods.iter().map(|(id, plan)| PodView::new(id, plan, pods)).collect()
    }

    /// All of them.
    pub fn all(&self) -> impl ExactSizeIterator<Item = &PodView> {
        self.pods.iter()
    }

    /// The pod of a name.
    pub fn of(&self, id: &PodId) -> Option<&PodView> {
        let at = self.pods.binary_search_by(|pod| pod.id.cmp(id)).ok()?;
        Some(&self.pods[at])
    }

    /// The pod of an open namespace, by its cookie.
    pub fn in_netns(&self, cookie: u64) -> Option<&PodView> {
        self.opened.get(&cookie).map(|at| &self.pods[*at])
    }

    /// Those that are judged, each with what is open in it.
    pub fn enrolled(&self) -> impl Iterator<Item = (&PodView, &OpenedPod)> {
        let enrolled = self.pods.iter().filter(|pod| pod.policy().is_some());
        enrolled.filter_map(|pod| Some((pod, pod.opened.as_ref()?)))
    }

    /// What the kernel is to hold of them.
    pub fn desired(&self) -> Desired {
        let of = |pod: &PodView| {
            let opened = pod.opened.as_ref()?;
            let entry = tables::Pod {
                policy: pod.policy().cloned(),
                addresses: opened.addresses.clone(),
                proxy_port: opened.proxy_port.and_then(NonZeroU16::new),
                inbound: opened.inbound.clone(),
            };
            Some((opened.netns.cookie(), entry))
        };
        self.pods.iter().filter_map(of).collect()
    }
}

impl FromIterator<PodView> for PodViews {
    /// The views must come in the order of their names.
    fn from_iter<I: IntoIterator<Item = PodView>>(views: I) -> Self {
        let pods: Vec<PodView> = views.into_iter().collect();
        let cookies = pods.iter().enumerate().filter_map(|(at, pod)| Some((pod.cookie()?, at)));
        let opened = cookies.collect();
        Self { pods, opened }
    }
}
