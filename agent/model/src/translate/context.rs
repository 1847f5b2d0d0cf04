//! What a translation needs to know of the node besides objects.

use std::{
    collections::BTreeMap,
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

use k8s_openapi::{
    api::core::v1::{Pod, PodIP, PodSpec, PodStatus},
    apimachinery::pkg::apis::meta::v1::ObjectMeta,
};

use crate::{names::Answers, pod::PodId};

/// The node that a snapshot is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeContext {
    /// As pods name it in `spec.nodeName`.
    pub node_name: String,
    /// The domain of Services' names, `cluster.local` as a rule.
    pub cluster_domain: String,
    /// The name servers of each pod's `resolv.conf`, where it is known.
    pub resolvers: BTreeMap<PodId, Vec<IpAddr>>,
    /// Those of the agent's own. The kubelet gives it what it gives to all pods of the node that do
    /// not say otherwise (`dnsPolicy`), which need not be the cluster's Service: a cache on the node.
    pub own_resolvers: Vec<IpAddr>,
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
    /// Which connections have their requests read.
    pub http: Http,
    /// Whether pods of this node speak the mesh's TLS.
    pub mesh_tls: MeshTls,
    /// Pods of the node that no object names, by what its container runtime knows of them. An object
    /// of the same name counts instead.
    pub runtime_only: Vec<RuntimeOnlyPod>,
}

/// A pod as the container runtime knows it: a static pod whose picture the API server does not have
/// yet, or one that was made while the server cannot be asked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RuntimeOnlyPod {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// The UID by which the node knows it.
    pub uid: String,
    /// Its labels when its sandbox was made.
    pub labels: BTreeMap<String, String>,
    /// See `labels`.
    pub annotations: BTreeMap<String, String>,
    /// Its addresses.
    pub addresses: Vec<IpAddr>,
    /// It is in the node's own network namespace.
    pub host_network: bool,
}

impl RuntimeOnlyPod {
    /// The Pod that it is, as far as is known.
    pub(super) fn pod(&self, node: &str) -> Pod {
        let pod_ip = |one: &IpAddr| PodIP { ip: one.to_string() };
        Pod {
            metadata: ObjectMeta {
                namespace: Some(self.namespace.clone()),
                name: Some(self.name.clone()),
                uid: Some(self.uid.clone()),
                labels: Some(self.labels.clone()),
                annotations: Some(self.annotations.clone()),
                ..ObjectMeta::default()
            },
            spec: Some(PodSpec {
                node_name: Some(node.to_owned()),
                host_network: Some(self.host_network),
                ..PodSpec::default()
            }),
            status: Some(PodStatus {
                pod_ips: Some(self.addresses.iter().map(pod_ip).collect()),
                ..PodStatus::default()
            }),
        }
    }
}

/// What becomes of a pod whose Namespace is not known: its labels may put the pod in a mesh.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum UnknownPods {
    /// It is not enrolled.
    #[default]
    Allow,
    /// It is pending until the Namespace is known.
    Hold,
}

/// Which connections on ports that have requests, or names, go by the proxy.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Http {
    /// Those that an object gives it something to do for, and those that only a name may let out.
    #[default]
    Needed,
    /// All, as with a sidecar.
    Always,
}

/// Whether the pods of a node speak the mesh's TLS with pods of other nodes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum MeshTls {
    /// The node has no CA.
    #[default]
    Off,
    /// They do, with all that are in the mesh.
    On,
}

/// Whether the annotations `traffic.sidecar.istio.io/excludeOutbound*` count. They let every user who may
/// create a pod leave the allowlist.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Exclusions {
    /// As Istio has it.
    #[default]
    Honour,
    /// The annotations are reported and have no effect.
    Ignore,
}

/// Whether the annotation `sekisho.dev/netns` counts. It lets every user who may write a pod put its policy
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
            own_resolvers: Vec::new(),
            answers: Arc::default(),
            admin: None,
            netns: NetnsAnnotation::Honour,
            exclusions: Exclusions::Honour,
            unknown: UnknownPods::Allow,
            http: Http::Needed,
            mesh_tls: MeshTls::Off,
            runtime_only: Vec::new(),
        }
    }
}
