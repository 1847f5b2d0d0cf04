//! The manifests of the demo: what a cluster would hold.

use std::{net::Ipv4Addr, path::Path};

/// Nothing leaves an enrolled pod unless a rule allows it.
pub(super) const MESH: &str = "\
apiVersion: v1
kind: ConfigMap
metadata: {name: istio, namespace: istio-system}
data:
  mesh: |
    outboundTrafficPolicy:
      mode: REGISTRY_ONLY
";

/// A namespace whose label enrols its pods, or one without it, and its pod.
pub(super) fn pod(namespace: &str, labels: &str, pod: &str, at: Ipv4Addr, netns: &Path) -> String {
    format!(
        "\
apiVersion: v1
kind: Namespace
metadata: {{name: {namespace}, labels: {{{labels}}}}}
---
apiVersion: v1
kind: Pod
metadata:
  name: {pod}
  namespace: {namespace}
  annotations: {{sekisho.dev/netns: {netns}}}
spec: {{nodeName: node}}
status: {{podIP: {at}, podIPs: [{{ip: {at}}}]}}
",
        netns = netns.display()
    )
}

/// What allows a database.
pub(super) fn service_entry(namespace: &str, database: Ipv4Addr, port: u16) -> String {
    format!(
        "\
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {{name: orders-database, namespace: {namespace}}}
spec:
  hosts: [orders.example.com]
  addresses: [{database}/32]
  ports: [{{number: {port}, name: tcp-postgres, protocol: TCP}}]
  location: MESH_EXTERNAL
"
    )
}
