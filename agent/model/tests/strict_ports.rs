//! Which ports of a pod refuse plaintext, and which of them the kubelet probes.

#[allow(dead_code, reason = "shared with other tests")]
#[path = "support/cluster.rs"]
mod cluster;

use agent_abi::inbound_flag::{PROBE, STRICT};
use agent_model::{
    finding::code,
    pod::PodId,
    snapshot::Snapshot,
    translate::{Interner, MeshTls, NodeContext, translate},
};
use cluster::Cluster;

const POD: &str = "
apiVersion: v1
kind: Namespace
metadata: {name: shop, labels: {istio-injection: enabled}}
---
apiVersion: v1
kind: Pod
metadata: {name: web, namespace: shop, labels: {app: web}}
spec:
  nodeName: node-1
  initContainers:
  - {name: helper, image: x, restartPolicy: Always, startupProbe: {grpc: {port: 7001}}}
  containers:
  - name: web
    image: x
    ports: [{name: health, containerPort: 7002}]
    readinessProbe: {httpGet: {port: health}}
    livenessProbe: {tcpSocket: {port: 7003}}
    lifecycle: {postStart: {httpGet: {port: 7004, host: 10.244.0.5}}, preStop: {exec: {command: [x]}}}
  - name: other
    image: x
    readinessProbe: {httpGet: {port: health}}
    livenessProbe: {httpGet: {port: 7005, host: 203.0.113.7}}
    startupProbe: {exec: {command: [x]}}
status: {podIPs: [{ip: 10.244.0.5}]}
";

fn policy(mode: &str, ports: &str) -> String {
    format!(
        "---\napiVersion: security.istio.io/v1\nkind: PeerAuthentication\n\
         metadata: {{name: web, namespace: shop}}\n\
         spec: {{selector: {{matchLabels: {{app: web}}}}, mtls: {{mode: {mode}}}, \
         portLevelMtls: {{{ports}}}}}\n"
    )
}

fn snapshot(policy: &str, mesh_tls: MeshTls) -> Snapshot {
    let cluster = Cluster::read(&format!("{POD}{policy}"));
    let node = NodeContext { mesh_tls, ..NodeContext::new("node-1") };
    translate(&cluster.objects, &node, &mut Interner::default())
}

/// The entries of the kernel's map.
fn words(policy: &str) -> Vec<(u16, u32)> {
    let snapshot = snapshot(policy, MeshTls::On);
    let id = PodId { namespace: "shop".into(), name: "web".into() };
    let server = snapshot.requests.server(&id).expect("a pod in the mesh");
    let inbound = server.inbound(&snapshot.pods[&id].probes);
    inbound.words().map(|(port, word)| (port, word.flags)).collect()
}

#[test]
fn ports_are_strict_by_mode_and_probes_are_let_through() {
    let probed = STRICT | PROBE;
    assert_eq!(
        words(&policy(
            "STRICT",
            "7002: {mode: PERMISSIVE}, 8080: {mode: DISABLE}, 9090: {mode: UNSET}"
        )),
        [
            (0, STRICT),
            (7001, probed),
            (7002, PROBE),
            (7003, probed),
            (7004, probed),
            (8080, 0),
            (9090, STRICT)
        ]
    );
    assert_eq!(
        words(&policy("PERMISSIVE", "8080: {mode: STRICT}")),
        [(0, 0), (7001, PROBE), (7002, PROBE), (7003, PROBE), (7004, PROBE), (8080, STRICT)]
    );
}

#[test]
fn a_pod_without_a_strict_port_has_no_entries() {
    assert_eq!(words(""), []);
    assert_eq!(words(&policy("PERMISSIVE", "8080: {mode: DISABLE}")), []);
}

#[test]
fn strict_without_a_ca_is_told_on_the_pod() {
    let told = |mode, mesh_tls| {
        let snapshot = snapshot(&policy(mode, "8080: {mode: DISABLE}"), mesh_tls);
        let codes = snapshot.findings.iter().filter(|one| one.code == code::STRICT_WITHOUT_CA);
        codes.map(|one| format!("{} {}/{}", one.kind, one.namespace, one.name)).collect::<Vec<_>>()
    };
    assert_eq!(told("STRICT", MeshTls::Off), ["Pod shop/web"]);
    assert!(told("STRICT", MeshTls::On).is_empty());
    assert!(told("PERMISSIVE", MeshTls::Off).is_empty());
}
