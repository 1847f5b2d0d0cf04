//! Manifests with as many addresses as a case wants.

use std::{
    fmt::Write as _,
    net::{IpAddr, Ipv4Addr},
    path::Path,
};

use super::load::{PORTS, PROXIED_OFFSET};

/// A `ServiceEntry` holds no more.
const ADDRESSES_PER_ENTRY: u32 = 256;

pub(super) const MESH: &str = "\
apiVersion: v1
kind: ConfigMap
metadata: {name: istio, namespace: istio-system}
data: {mesh: 'outboundTrafficPolicy: {mode: REGISTRY_ONLY}'}
---
apiVersion: v1
kind: Namespace
metadata: {name: bench, labels: {istio-injection: enabled}}
";

pub(super) fn pod(name: &str, node: &str, at: IpAddr, netns: &Path) -> String {
    format!(
        "\
apiVersion: v1
kind: Pod
metadata:
  name: {name}
  namespace: bench
  annotations: {{sekisho.dev/netns: {netns}}}
spec: {{nodeName: {node}}}
status: {{podIP: {at}, podIPs: [{{ip: {at}}}]}}
",
        netns = netns.display()
    )
}

/// Allows the ports of the server, straight.
pub(super) fn direct(name: &str, addresses: &[IpAddr]) -> String {
    let ports = PORTS.map(|port| format!("{{number: {port}, name: tcp-{port}, protocol: TCP}}"));
    entry(name, addresses, &ports)
}

/// Allows them under other numbers: the proxy has to change the port.
pub(super) fn proxied(name: &str, address: IpAddr) -> String {
    let ports = PORTS.map(|port| {
        let dialled = port + PROXIED_OFFSET;
        format!("{{number: {dialled}, targetPort: {port}, name: tcp-{dialled}, protocol: TCP}}")
    });
    entry(name, &[address], &ports)
}

/// As many rules as wanted, for addresses that no client dials, besides the server's own.
pub(super) fn filling(count: u32) -> String {
    let mut text = String::new();
    let mut first = 0;
    while first < count {
        let last = count.min(first + ADDRESSES_PER_ENTRY);
        let addresses: Vec<IpAddr> = (first..last).map(filler).collect();
        let port = ["{number: 7001, name: tcp-7001, protocol: TCP}".to_owned()];
        writeln!(text, "---\n{}", entry(&format!("filling-{first}"), &addresses, &port))
            .expect("a string takes any text");
        first = last;
    }
    text
}

/// Scattered over 10.0.0.0/8, each number another address: the multiplier is odd.
fn filler(number: u32) -> IpAddr {
    let scattered = number.wrapping_mul(0x009e_3779) & 0x00ff_ffff;
    IpAddr::V4(Ipv4Addr::from(0x0a00_0000 | scattered))
}

fn entry(name: &str, addresses: &[IpAddr], ports: &[String]) -> String {
    let addresses: Vec<String> = addresses.iter().map(IpAddr::to_string).collect();
    format!(
        "\
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {{name: {name}, namespace: bench}}
spec:
  hosts: [{name}.example.com]
  addresses: [{addresses}]
  ports: [{ports}]
  location: MESH_EXTERNAL
",
        addresses = addresses.join(", "),
        ports = ports.join(", "),
    )
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn fillers_are_as_many_as_asked_for() {
        let addresses: HashSet<IpAddr> = (0..100_000).map(filler).collect();
        assert_eq!(addresses.len(), 100_000);
        assert_eq!(filling(1000).matches("kind: ServiceEntry").count(), 4);
        assert_eq!(filling(0), "");
    }
}
