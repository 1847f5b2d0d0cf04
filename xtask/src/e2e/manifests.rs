//! What the steps apply.

use super::client;

/// Nothing leaves an enrolled pod unless a rule allows it.
pub(crate) const MESH: &str = "\
apiVersion: v1
kind: Namespace
metadata: {name: istio-system}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: istio, namespace: istio-system}
data:
  mesh: |
    outboundTrafficPolicy:
      mode: REGISTRY_ONLY
";

/// A namespace, enrolled or not.
pub(super) fn namespace(name: &str, enrolled: bool) -> String {
    let label = if enrolled { "enabled" } else { "disabled" };
    format!(
        "apiVersion: v1\nkind: Namespace\nmetadata: {{name: {name}, labels: {{istio-injection: {label}}}}}\n"
    )
}

/// A pod of clients that stays, on a node, running `command` first.
pub(super) fn pod(namespace: &str, name: &str, node: &str, command: &str) -> String {
    format!(
        "\
apiVersion: v1
kind: Pod
metadata: {{name: {name}, namespace: {namespace}, labels: {{app: {name}, client: \"true\"}}}}
spec:
  nodeName: {node}
  terminationGracePeriodSeconds: 0
  containers:
    - name: client
      image: {image}
      imagePullPolicy: Never
      command: [sh, -c, {command:?}]
",
        image = client::NAME
    )
}

/// A server that greets, behind a Service with an address of each family.
pub(super) fn greeter(namespace: &str, node: &str) -> String {
    let server = pod(namespace, GREETER, node, "nc -ll -p 8080 -e /bin/echo hello");
    format!(
        "\
{server}---
apiVersion: v1
kind: Service
metadata: {{name: {GREETER}, namespace: {namespace}}}
spec:
  ipFamilyPolicy: RequireDualStack
  selector: {{app: {GREETER}}}
  ports: [{{name: tcp-hello, port: 80, targetPort: 8080}}]
"
    )
}

/// Its Pod and its Service.
pub(super) const GREETER: &str = "greeter";

/// What allows a database by its addresses.
pub(super) fn by_address(namespace: &str, addresses: &str, port: u16) -> String {
    format!(
        "\
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {{name: orders, namespace: {namespace}}}
spec:
  hosts: [orders.example.com]
  addresses: [{addresses}]
  ports: [{{number: {port}, name: tcp-postgres, protocol: TCP}}]
  location: MESH_EXTERNAL
"
    )
}

/// What allows a database by its name.
pub(super) fn by_name(namespace: &str, host: &str, port: u16) -> String {
    format!(
        "\
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {{name: payroll, namespace: {namespace}}}
spec:
  hosts: [{host}]
  ports: [{{number: {port}, name: tcp-postgres, protocol: TCP}}]
  location: MESH_EXTERNAL
  resolution: DNS
"
    )
}
