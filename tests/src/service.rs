//! A Service whose versions are hosts of a test's world.

use std::{collections::BTreeMap, fmt::Write as _, net::IpAddr};

use crate::{manifest::NAMESPACE, world::Host};

/// A Service at two addresses, with a pod of another node for each host, labelled `version` by the
/// host's name.
pub fn with_versions(
    service: &str,
    ([v4, v6], port): ([IpAddr; 2], u16),
    versions: &[&Host],
) -> String {
    let mut text = format!(
        "apiVersion: v1\nkind: Service\nmetadata: {{name: {service}, namespace: {NAMESPACE}}}\n\
         spec:\n  clusterIP: {v4}\n  clusterIPs: [{v4}, \"{v6}\"]\n  ipFamilies: [IPv4, IPv6]\n  \
         selector: {{app: {service}}}\n  ports: [{{name: http, port: {port}}}]\n"
    );
    let mut lists: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for host in versions {
        let (name, [v4, v6]) = (host.name(), host.addresses());
        let _ = write!(
            text,
            "---\napiVersion: v1\nkind: Pod\nmetadata: {{name: {service}-{name}, \
             namespace: {NAMESPACE}, labels: {{app: {service}, version: {name}}}}}\n\
             spec: {{nodeName: node-2, containers: [{{name: app, image: none}}]}}\n\
             status: {{podIP: {v4}, podIPs: [{{ip: {v4}}}, {{ip: \"{v6}\"}}]}}\n"
        );
        lists.entry("IPv4").or_default().push(format!("{{addresses: [\"{v4}\"]}}"));
        lists.entry("IPv6").or_default().push(format!("{{addresses: [\"{v6}\"]}}"));
    }
    for (family, endpoints) in lists {
        let _ = write!(
            text,
            "---\napiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\n\
             metadata: {{name: {service}-{}, namespace: {NAMESPACE}, \
             labels: {{kubernetes.io/service-name: {service}}}}}\naddressType: {family}\n\
             endpoints: [{}]\nports: [{{name: http, port: {port}}}]\n",
            family.to_lowercase(),
            endpoints.join(", ")
        );
    }
    text
}
