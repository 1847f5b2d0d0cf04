//! What a translation needs to know of the node besides objects.

use std::{
    collections::BTreeMap,
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

use crate::{names::Answers, snapshot::PodId};

/// The node that a snapshot is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeContext {
    /// As pods name it in `spec.nodeName`.
    pub node_name: String,
    /// The domain of Services' names, `cluster.local` as a rule.
    pub cluster_domain: String,
    /// The name servers of each pod's `resolv.conf`.
    pub resolvers: BTreeMap<PodId, Vec<IpAddr>>,
    /// What names resolve to.
    pub answers: Arc<Answers>,
    /// Where the agent's own health is served.
    pub admin: Option<SocketAddr>,
    /// Whether a pod's annotation says where its network namespace is.
    pub netns: NetnsAnnotation,
    /// Whether a pod may exclude addresses and ports by annotation.
    pub exclusions: Exclusions,
    /// What becomes of pods of which too little is known.
    pub unknown: UnknownPods,
}

/// What becomes of a pod whose Namespace is not known: its labels may put the pod in a mesh.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum UnknownPods {
    /// It is let be.
    #[default]
    Allow,
    /// It is held until the Namespace is known.
    Hold,
}

/// Whether the annotations `traffic.sidecar.istio.io/excludeOutbound*` count. They let whoever may
/// create a pod leave the allowlist.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Exclusions {
    /// As Istio has it.
    #[default]
    Honour,
    /// The annotations are reported and have no effect.
    Ignore,
}

/// Whether the annotation `sekisho.dev/netns` counts. It lets whoever may write a pod put its policy
/// on another's namespace.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum NetnsAnnotation {
    /// A pod in the mesh needs one.
    #[default]
    Honour,
    /// Namespaces are known from elsewhere.
    Ignore,
}

impl NodeContext {
    /// A node of which nothing but the name is known.
    pub fn new(node_name: impl Into<String>) -> Self {
        Self {
            node_name: node_name.into(),
            cluster_domain: super::CLUSTER_DOMAIN.to_owned(),
            resolvers: BTreeMap::new(),
            answers: Arc::default(),
            admin: None,
            netns: NetnsAnnotation::Honour,
            exclusions: Exclusions::Honour,
            unknown: UnknownPods::Allow,
        }
    }
}
