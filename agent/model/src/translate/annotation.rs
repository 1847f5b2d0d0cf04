//! Labels and annotations that steer the agent.

use crate::resource::Described;

/// On the API server's picture of a static pod: the UID by which its node knows it.
pub(super) const MIRROR: &str = "kubernetes.io/config.mirror";
/// Where a pod's network namespace is, for pods that come from a directory.
pub(super) const NETNS: &str = "sekisho.dev/netns";
/// On a pod or a namespace: which requests are logged.
pub(super) const ACCESS_LOG: &str = "sekisho.dev/access-log";
/// On a pod or a namespace: report what `REGISTRY_ONLY` would deny, and deny nothing.
pub(super) const AUDIT: &str = "sekisho.dev/audit";
/// On a pod or a namespace: `requests` has all of its requests go by the proxy, to be told of.
pub(super) const OBSERVE: &str = "sekisho.dev/observe";
/// On a namespace.
pub(super) const INJECTION: &str = "istio-injection";
/// On a namespace or a pod.
pub(super) const INJECT: &str = "sidecar.istio.io/inject";
/// On a namespace or a pod: enrolled without a sidecar, upstream's ambient mode.
pub(super) const DATAPLANE_MODE: &str = "istio.io/dataplane-mode";
/// On a Service.
pub(super) const EXPORT_TO: &str = "networking.istio.io/exportTo";
/// On a pod: CIDRs.
pub(super) const EXCLUDE_RANGES: &str = "traffic.sidecar.istio.io/excludeOutboundIPRanges";
/// On a pod: ports.
pub(super) const EXCLUDE_PORTS: &str = "traffic.sidecar.istio.io/excludeOutboundPorts";
/// On a pod; would narrow what is judged at all, and so is not honoured.
pub(super) const INCLUDE: [&str; 2] = [
    "traffic.sidecar.istio.io/includeOutboundIPRanges",
    "traffic.sidecar.istio.io/includeOutboundPorts",
];

/// On a pod in App Mesh: CIDRs.
pub(super) const IGNORED_RANGES: &str = "appmesh.k8s.aws/egressIgnoredIPs";
/// On a pod in App Mesh: ports.
pub(super) const IGNORED_PORTS: &str = "appmesh.k8s.aws/egressIgnoredPorts";

/// The path of an annotation, as findings name it.
pub(super) fn path(key: &str) -> String {
    format!("metadata.annotations[{key}]")
}

/// The path of a label.
pub(super) fn label_path(key: &str) -> String {
    format!("metadata.labels[{key}]")
}

/// The comma-separated parts of a value, without empty ones.
pub(super) fn list(value: &str) -> impl Iterator<Item = &str> {
    value.split(',').map(str::trim).filter(|part| !part.is_empty())
}

/// When an object was created, in seconds since 1970; 0 where it does not say.
pub(super) fn created(metadata: &dyn Described) -> u32 {
    let time = metadata.created();
    time.and_then(|time| u32::try_from(time.0.as_second()).ok()).unwrap_or(0)
}
