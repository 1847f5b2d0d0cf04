//! A Service whose versions are hosts of a test's world.

use std::{
    fmt::Write as _,
    net::{IpAddr, SocketAddr},
};

use crate::{manifest::NAMESPACE, stage::Net, world::Host};

/// An address of a Service. No host has it: only the proxy knows where it leads.
pub fn address(net: Net) -> IpAddr {
    let address = match net {
        Net::V4 => "10.96.7.7",
        Net::V6 => "2001:db8:96::7",
    };
    address.parse().expect("an address")
}

/// The same with a port.
pub fn at(net: Net, port: u16) -> SocketAddr {
    SocketAddr::new(address(net), port)
}

/// The addresses of both families.
pub fn addresses() -> [IpAddr; 2] {
    [Net::V4, Net::V6].map(address)
}

/// A Service at two addresses with ports by their names, and a pod of another node for each host,
/// labelled with its version.
pub fn with_versions(
    service: &str,
    ([v4, v6], ports): ([IpAddr; 2], &[(&str, u16)]),
    versions: &[(&Host, &str)],
) -> String {
    let ports = ports.iter().map(|(name, port)| format!("{{name: {name}, port: {port}}}"));
    let ports = ports.collect::<Vec<_>>().join(", ");
    let mut text = format!(
        "apiVersion: v1\nkind: Service\nmetadata: {{name: {service}, namespace: {NAMESPACE}}}\n\
         spec:\n  clusterIP: {v4}\n  clusterIPs: [{v4}, \"{v6}\"]\n  ipFamilies: [IPv4, IPv6]\n  \
         selector: {{app: {service}}}\n  ports: [{ports}]\n"
    );
    for (host, version) in versions {
        let (name, [v4, v6]) = (host.name(), host.addresses());
        let _ = write!(
            text,
            "---\napiVersion: v1\nkind: Pod\nmetadata: {{name: {service}-{name}, \
             namespace: {NAMESPACE}, labels: {{app: {service}, version: {version}}}}}\n\
             spec: {{nodeName: node-2, containers: [{{name: app, image: none}}]}}\n\
             status: {{podIP: {v4}, podIPs: [{{ip: {v4}}}, {{ip: \"{v6}\"}}]}}\n"
        );
    }
    for (family, place) in [("IPv4", 0), ("IPv6", 1)] {
        let endpoints: Vec<String> = versions
            .iter()
            .map(|(host, _)| format!("{{addresses: [\"{}\"]}}", host.addresses()[place]))
            .collect();
        let _ = write!(
            text,
            "---\napiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\n\
             metadata: {{name: {service}-{}, namespace: {NAMESPACE}, \
             labels: {{kubernetes.io/service-name: {service}}}}}\naddressType: {family}\n\
             endpoints: [{}]\nports: [{ports}]\n",
            family.to_lowercase(),
            endpoints.join(", ")
        );
    }
    text
}
