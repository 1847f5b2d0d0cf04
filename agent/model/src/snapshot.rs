//! What one generation says about this node.

mod display;

use std::{collections::BTreeMap, net::IpAddr, path::PathBuf, sync::Arc};

use crate::{
    egress::{EgressPolicy, RuleSource},
    endpoints::Endpoints,
    finding::Finding,
    names::{Answers, Wanted},
    pod::{AccessLog, PodId, WorkloadName},
    registry::Registry,
    requests::{NoRequests, Requests},
};

/// A pod of this node, and what is to be done about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PodPlan {
    /// The UID by which the pod's node knows it, for a static pod another than that of its Pod.
    /// Empty on a directory that gives none.
    pub uid: String,
    /// What it is a part of.
    pub workload: Arc<WorkloadName>,
    /// As whom it speaks, `spiffe://…`, where its `ServiceAccount` is known.
    pub identity: Option<String>,
    /// `status.podIPs`.
    pub addresses: Vec<IpAddr>,
    /// The annotation `sekisho.dev/netns`.
    pub netns: Option<PathBuf>,
    /// Which of its requests are logged, where it or its namespace says so.
    pub access_log: Option<AccessLog>,
    /// The ports that the kubelet probes, in order.
    pub probes: Vec<u16>,
    /// Whether the pod is judged.
    pub enrolment: Enrolment,
}

impl PodPlan {
    /// Whether the kernel holds the pod.
    pub fn is_pending(&self) -> bool {
        matches!(self.enrolment, Enrolment::Pending(_))
    }
}

/// Whether a pod is in the mesh, as far as can be told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Enrolment {
    /// Judged by a policy.
    Enrolled(Arc<EgressPolicy>),
    /// Not judged, and why.
    NotEnrolled(String),
    /// Neither, until it can be told, and what is missing: the kernel is told nothing about it, and
    /// holds it as it does a pod that no object has named.
    Pending(String),
}

/// Everything that the kernel and the proxy need to know of one generation.
#[derive(Clone, Debug)]
pub struct Snapshot {
    /// The pods of this node.
    pub pods: BTreeMap<PodId, PodPlan>,
    /// Where the proxy carries what a rule sends to it, by the rule's source. A source that is not
    /// here goes to the address and port that the pod dialled.
    pub upstreams: Arc<BTreeMap<Arc<RuleSource>, Endpoints>>,
    /// Where the pods' requests lead.
    pub requests: Arc<dyn Requests>,
    /// All that is declared, exported or not: what `why` searches.
    pub registry: Arc<Registry>,
    /// The names that have to be resolved for this.
    pub wanted: Wanted,
    /// What names resolved to when this was made.
    pub answers: Arc<Answers>,
    /// What could not be honoured.
    pub findings: Arc<[Finding]>,
}

impl Default for Snapshot {
    fn default() -> Self {
        Self {
            pods: BTreeMap::new(),
            upstreams: Arc::default(),
            requests: Arc::new(NoRequests),
            registry: Arc::default(),
            wanted: Wanted::default(),
            answers: Arc::default(),
            findings: Arc::default(),
        }
    }
}

impl PartialEq for Snapshot {
    fn eq(&self, other: &Self) -> bool {
        let Self { pods, upstreams, requests, registry, wanted, answers, findings } = self;
        *pods == other.pods
            && *upstreams == other.upstreams
            && *registry == other.registry
            && *wanted == other.wanted
            && *answers == other.answers
            && *findings == other.findings
            && **requests == *other.requests
    }
}

impl Eq for Snapshot {}
