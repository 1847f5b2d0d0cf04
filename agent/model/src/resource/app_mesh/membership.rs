//! Who is in a mesh: exactly one `Mesh` for a namespace, exactly one `VirtualNode` or
//! `VirtualGateway` for a pod, and the switches that the injector has.

use std::collections::BTreeMap;

use k8s_openapi::{
    api::core::v1::{Namespace, Pod},
    apimachinery::pkg::apis::meta::v1::{LabelSelector, LabelSelectorRequirement},
};

use super::{GatewayRoute, Mesh, VirtualGateway, VirtualNode};
use crate::resource::Described;

/// On a namespace as a label, on a pod as an annotation that overrides it.
pub const INJECTOR: &str = "appmesh.k8s.aws/sidecarInjectorWebhook";

/// Why something is in no mesh; in the controller's words where it has some, since users know them.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MembershipError {
    /// No mesh selects it.
    #[error("failed to find matching mesh for namespace: {namespace}, expecting 1 but found 0")]
    NoMesh {
        /// The namespace.
        namespace: String,
    },
    /// Several do.
    #[error(
        "found multiple matching meshes for namespace: {namespace}, expecting 1 but found {}: {}",
        found.len(), found.join(",")
    )]
    Meshes {
        /// The namespace.
        namespace: String,
        /// The meshes, by name.
        found: Vec<String>,
    },
    /// Neither a node nor a gateway selects it.
    #[error("failed to find matching VirtualNode or VirtualGateway for pod: {pod}")]
    NoWorkload {
        /// The pod, as `namespace/name`.
        pod: String,
    },
    /// Several do.
    #[error(
        "found multiple matching VirtualNodes or VirtualGateways for pod: {pod}, expecting 1 but \
         found {}: {}",
        found.len(), found.join(",")
    )]
    Workloads {
        /// The pod, as `namespace/name`.
        pod: String,
        /// What selects it, as `Kind namespace/name`.
        found: Vec<String>,
    },
    /// No gateway takes a route.
    #[error(
        "failed to find matching virtualGateway for gatewayRoute: {route}, expecting 1 but found 0"
    )]
    NoGateway {
        /// The route, by name.
        route: String,
    },
    /// Several do.
    #[error(
        "found multiple matching virtualGateways for gatewayRoute: {route}, expecting 1 but found \
         {}: {}",
        found.len(), found.join(",")
    )]
    Gateways {
        /// The route, by name.
        route: String,
        /// The gateways, as `namespace/name`.
        found: Vec<String>,
    },
    /// The namespace is not labelled, or the pod says no.
    #[error("{INJECTOR} is not enabled for pod: {pod}")]
    NotEnabled {
        /// The pod, as `namespace/name`.
        pod: String,
    },
    /// Nothing of such a pod's traffic can be told from the host's.
    #[error("pod: {pod} uses the host's network")]
    HostNetwork {
        /// The pod, as `namespace/name`.
        pod: String,
    },
}

impl MembershipError {
    /// Whether several nodes or gateways select one pod.
    pub const fn is_several(&self) -> bool {
        matches!(self, Self::Workloads { .. })
    }

    /// Whether the pod is in a mesh, and it is not clear in which, or as what.
    pub const fn is_ambiguous(&self) -> bool {
        matches!(self, Self::Meshes { .. } | Self::Workloads { .. })
    }
}

/// What a pod is in a mesh.
#[derive(Clone, Debug, PartialEq)]
pub enum Enrolment<'a> {
    /// It is one of a node's.
    Node(&'a Mesh, &'a VirtualNode),
    /// It is one of a gateway's.
    Gateway(&'a Mesh, &'a VirtualGateway),
}

/// The one mesh that selects a namespace. A mesh without a selector selects none, and one with an
/// empty selector selects all.
pub fn mesh_of<'a>(
    namespace: &Namespace,
    meshes: impl IntoIterator<Item = &'a Mesh>,
) -> Result<&'a Mesh, MembershipError> {
    let labels = namespace.metadata.labels.clone().unwrap_or_default();
    let fits = |mesh: &&Mesh| selects(mesh.spec.namespace_selector.as_ref(), &labels);
    let found: Vec<&Mesh> = meshes.into_iter().filter(fits).collect();
    if let [mesh] = found[..] {
        return Ok(mesh);
    }
    let mut found: Vec<String> = found.iter().map(|mesh| mesh.metadata.name().to_owned()).collect();
    found.sort();
    let namespace = namespace.metadata.name().to_owned();
    if found.is_empty() {
        return Err(MembershipError::NoMesh { namespace });
    }
    Err(MembershipError::Meshes { namespace, found })
}

/// What a pod is in its mesh, or why it is in none.
pub fn enrolment<'a>(
    pod: &Pod,
    namespace: &Namespace,
    meshes: impl IntoIterator<Item = &'a Mesh>,
    nodes: impl IntoIterator<Item = &'a VirtualNode>,
    gateways: impl IntoIterator<Item = &'a VirtualGateway>,
) -> Result<Enrolment<'a>, MembershipError> {
    enrolment_in(pod, namespace, || mesh_of(namespace, meshes), nodes, gateways)
}

/// The same, with whatever says which mesh is the namespace's.
pub fn enrolment_in<'a>(
    pod: &Pod,
    namespace: &Namespace,
    mesh: impl FnOnce() -> Result<&'a Mesh, MembershipError>,
    nodes: impl IntoIterator<Item = &'a VirtualNode>,
    gateways: impl IntoIterator<Item = &'a VirtualGateway>,
) -> Result<Enrolment<'a>, MembershipError> {
    let shown = format!("{}/{}", pod.metadata.namespace(), pod.metadata.name());
    if pod.spec.as_ref().and_then(|spec| spec.host_network) == Some(true) {
        return Err(MembershipError::HostNetwork { pod: shown });
    }
    let own = pod.metadata.annotations.as_ref().and_then(|all| all.get(INJECTOR));
    let of_namespace = namespace.metadata.labels.as_ref().and_then(|all| all.get(INJECTOR));
    if own.or(of_namespace).map(String::as_str) != Some("enabled") {
        return Err(MembershipError::NotEnabled { pod: shown });
    }
    let mesh = mesh()?;
    Ok(match workload_of(pod, nodes, gateways)? {
        Workload::Node(node) => Enrolment::Node(mesh, node),
        Workload::Gateway(gateway) => Enrolment::Gateway(mesh, gateway),
    })
}

/// What selects a pod.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Workload<'a> {
    /// A node.
    Node(&'a VirtualNode),
    /// A gateway.
    Gateway(&'a VirtualGateway),
}

/// The one node or gateway that selects a pod.
pub fn workload_of<'a>(
    pod: &Pod,
    nodes: impl IntoIterator<Item = &'a VirtualNode>,
    gateways: impl IntoIterator<Item = &'a VirtualGateway>,
) -> Result<Workload<'a>, MembershipError> {
    let shown = format!("{}/{}", pod.metadata.namespace(), pod.metadata.name());
    let labels = pod.metadata.labels.clone().unwrap_or_default();
    let nodes = nodes.into_iter().filter(|node| {
        node.metadata.namespace() == pod.metadata.namespace()
            && selects(node.spec.pod_selector.as_ref(), &labels)
    });
    let gateways = gateways.into_iter().filter(|gateway| {
        gateway.metadata.namespace() == pod.metadata.namespace()
            && selects(gateway.spec.pod_selector.as_ref(), &labels)
    });
    let (nodes, gateways): (Vec<_>, Vec<_>) = (nodes.collect(), gateways.collect());
    match (&nodes[..], &gateways[..]) {
        ([node], []) => return Ok(Workload::Node(node)),
        ([], [gateway]) => return Ok(Workload::Gateway(gateway)),
        _ => {}
    }
    let of = |kind, metadata: &dyn Described| {
        format!("{kind} {}/{}", metadata.namespace(), metadata.name())
    };
    let nodes = nodes.iter().map(|node| of("VirtualNode", &node.metadata));
    let gateways = gateways.iter().map(|gateway| of("VirtualGateway", &gateway.metadata));
    let mut found: Vec<String> = nodes.chain(gateways).collect();
    found.sort();
    if found.is_empty() {
        return Err(MembershipError::NoWorkload { pod: shown });
    }
    Err(MembershipError::Workloads { pod: shown, found })
}

/// The one gateway that takes a route: it selects the route's namespace, and the route itself where
/// it has a selector for routes.
pub fn gateway_of<'a>(
    route: &GatewayRoute,
    namespace: &Namespace,
    gateways: impl IntoIterator<Item = &'a VirtualGateway>,
) -> Result<&'a VirtualGateway, MembershipError> {
    let of_namespace = namespace.metadata.labels.clone().unwrap_or_default();
    let labels = route.metadata.labels.to_map();
    let takes = |gateway: &&VirtualGateway| {
        let routes = gateway.spec.gateway_route_selector.as_ref();
        selects(gateway.spec.namespace_selector.as_ref(), &of_namespace)
            && routes.is_none_or(|selector| selects(Some(selector), &labels))
    };
    let found: Vec<&VirtualGateway> = gateways.into_iter().filter(takes).collect();
    if let [gateway] = found[..] {
        return Ok(gateway);
    }
    let route = route.metadata.name().to_owned();
    if found.is_empty() {
        return Err(MembershipError::NoGateway { route });
    }
    let shown =
        |one: &&VirtualGateway| format!("{}/{}", one.metadata.namespace(), one.metadata.name());
    let mut found: Vec<String> = found.iter().map(shown).collect();
    found.sort();
    Err(MembershipError::Gateways { route, found })
}

/// Whether a selector selects: an absent one nothing, an empty one everything. An operator that
/// does not exist selects nothing.
pub fn selects(selector: Option<&LabelSelector>, labels: &BTreeMap<String, String>) -> bool {
    let Some(LabelSelector { match_labels, match_expressions }) = selector else { return false };
    let meets = |one: &LabelSelectorRequirement| {
        let value = labels.get(&one.key);
        let listed =
            || value.is_some_and(|value| one.values.iter().flatten().any(|listed| listed == value));
        match one.operator.as_str() {
            "In" => listed(),
            "NotIn" => !listed(),
            "Exists" => value.is_some(),
            "DoesNotExist" => value.is_none(),
            _ => false,
        }
    };
    match_labels.iter().flatten().all(|(key, value)| labels.get(key) == Some(value))
        && match_expressions.iter().flatten().all(meets)
}
