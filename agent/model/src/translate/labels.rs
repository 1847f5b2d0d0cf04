//! Every label and annotation that the agent reads or writes, for people. What reads one has its
//! key in a constant of its own; a test holds the two together.

/// A label or an annotation.
#[derive(Clone, Copy, Debug)]
pub struct Key {
    /// Its name.
    pub name: &'static str,
    /// Whether it is a label or an annotation, and on which objects.
    pub on: &'static str,
    /// Which values it may have.
    pub values: &'static str,
    /// What it does.
    pub meaning: &'static str,
}

const fn key(
    name: &'static str,
    on: &'static str,
    values: &'static str,
    meaning: &'static str,
) -> Key {
    Key { name, on, values, meaning }
}

/// All keys, by name.
#[rustfmt::skip]
pub const ALL: &[Key] = &[
    key("app.kubernetes.io/managed-by", "label of a CustomResourceDefinition", "`sekisho`", "`sekisho crds install` has made it"),
    key("app.kubernetes.io/name", "label of a Pod", "any", "The service that the pod is a part of, in metrics; `service.istio.io/canonical-name` counts first, the label `app` last"),
    key("app.kubernetes.io/version", "label of a Pod", "any", "Which revision of it; `service.istio.io/canonical-revision` counts first, the label `version` last"),
    key("appmesh.k8s.aws/egressIgnoredIPs", "annotation of a Pod", "CIDRs, separated by commas", "Destinations that the pod's App Mesh allowlist leaves alone, unless `--pod-exclusions ignore`"),
    key("appmesh.k8s.aws/egressIgnoredPorts", "annotation of a Pod", "ports, separated by commas", "Ports that the pod's App Mesh allowlist leaves alone (22 where it does not say), unless `--pod-exclusions ignore`"),
    key("appmesh.k8s.aws/sidecarInjectorWebhook", "label of a Namespace, annotation of a Pod", "`enabled`, `disabled`", "Whether pods are in their App Mesh; the pod's own value counts"),
    key("apps.kubernetes.io/pod-index", "label of a Pod", "a number", "The pod is a StatefulSet's, which metrics name by the rest of its name"),
    key("batch.kubernetes.io/job-name", "label of a Pod", "a Job", "The pod is the Job's, which metrics name"),
    key("internal.istio.io/parent-namespace", "annotation of an object of Istio's", "none", "Refused: it is for Istio's control plane alone"),
    key("internal.istio.io/parents", "annotation of an object of Istio's", "none", "Refused: it is for Istio's control plane alone"),
    key("internal.istio.io/webhook-always-reject", "annotation of an object of Istio's", "none", "Refused: it is for Istio's control plane alone"),
    key("istio-injection", "label of a Namespace", "`enabled`, `disabled`", "Whether its pods are in Istio's mesh, under the settings of the default revision; `istio.io/rev` has no say beside it"),
    key("istio.io/dataplane-mode", "label of a Namespace or a Pod", "`ambient`, `none`", "`ambient`: pods are in Istio's mesh; `none` on a pod: the namespace's `ambient` is not for it; the pod's own value counts"),
    key("istio.io/dry-run", "annotation of an AuthorizationPolicy", "`true`, `false`", "Checked; policies have no effect yet"),
    key("istio.io/rev", "label of a Namespace or a Pod, or of a MutatingWebhookConfiguration", "a revision or a tag", "Pods are in Istio's mesh, under the settings of the revision; the namespace's value counts. Beside `istio.io/tag`: the revision that the tag stands for"),
    key("istio.io/tag", "label of a MutatingWebhookConfiguration", "a tag", "Another name of a revision"),
    key("istio.io/use-waypoint", "label of a ServiceEntry", "any", "Checked; there are no waypoints"),
    key("k8s-app", "label of a Service", "`kube-dns`", "In `kube-system`: the cluster's name server, which every pod may ask"),
    key("kubernetes.io/config.mirror", "annotation of a Pod", "a UID", "The UID by which a node knows its static pod"),
    key("kubernetes.io/service-name", "label of an EndpointSlice", "a Service", "The Service that the endpoints are of"),
    key("networking.istio.io/exportTo", "annotation of a Service", "`.`, `*`, `~` or namespaces", "Which namespaces see the Service"),
    key("security.istio.io/tlsMode", "label of a Pod or an endpoint", "`istio`", "The endpoint takes mutual TLS"),
    key("sekisho.dev/access-log", "annotation of a Pod or a Namespace", "`off`, `on`, `errors`, `sampled=PERCENT`", "Which requests have a line in the access log; the pod's own value counts, and `--access-log` where neither has one"),
    key("sekisho.dev/audit", "annotation of a Pod or a Namespace", "`true`, `false`", "Let through and report what the allowlist would deny; the pod's own value counts"),
    key("sekisho.dev/in-force", "annotation of a node's Lease", "written by the agent", "What the node has in force"),
    key("sekisho.dev/lease", "label of a Lease", "written by the agent", "Tells the Leases of nodes from others"),
    key("sekisho.dev/netns", "annotation of a Pod", "a path", "Where the pod's network namespace is, on a directory of manifests"),
    key("sekisho.dev/nodes", "annotation of the status writer's Lease", "written by the agent", "How many nodes it counts"),
    key("sekisho.dev/observe", "annotation of a Pod or a Namespace", "`requests`, `none`", "Have the proxy read all requests, so that each is told of; the pod's own value counts"),
    key("service.istio.io/canonical-name", "label of a Pod", "any", "The service that the pod is a part of, in metrics"),
    key("service.istio.io/canonical-revision", "label of a Pod", "any", "Which revision of it"),
    key("sidecar.istio.io/inject", "label of a Namespace, label or annotation of a Pod", "`true`, `false`", "Whether pods are in Istio's mesh; the pod's own value counts"),
    key("traffic.sidecar.istio.io/excludeOutboundIPRanges", "annotation of a Pod", "CIDRs, separated by commas", "Destinations that are not judged, unless `--pod-exclusions ignore`"),
    key("traffic.sidecar.istio.io/excludeOutboundPorts", "annotation of a Pod", "ports, separated by commas", "Ports that are not judged, unless `--pod-exclusions ignore`"),
    key("traffic.sidecar.istio.io/includeOutboundIPRanges", "annotation of a Pod", "any", "Not honoured: all destinations are judged, and a finding says so"),
    key("traffic.sidecar.istio.io/includeOutboundPorts", "annotation of a Pod", "any", "Not honoured: all ports are judged, and a finding says so"),
];

#[cfg(test)]
mod tests;
