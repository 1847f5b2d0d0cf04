//! Names as manifests write them: short ones belong to the object's own namespace.

use std::net::IpAddr;

/// A host in full. One without a dot is a Service of the object's namespace.
pub(in crate::translate) fn expand(host: &str, namespace: &str, domain: &str) -> String {
    let host = host.to_ascii_lowercase();
    let is_whole = host.contains('.') || host.starts_with('*') || host.parse::<IpAddr>().is_ok();
    if is_whole { host } else { format!("{host}.{namespace}.svc.{domain}") }
}

/// A gateway in full: `namespace/name`, or `mesh` for what is no gateway.
pub(super) fn gateway(text: &str, namespace: &str) -> String {
    if text == MESH || text.contains('/') {
        return match text.split_once('/') {
            Some((".", name)) => format!("{namespace}/{name}"),
            _ => text.to_owned(),
        };
    }
    // The old way to write it is as a host.
    match text.split_once('.') {
        Some((name, rest)) => format!("{}/{name}", rest.split('.').next().unwrap_or(rest)),
        None => format!("{namespace}/{text}"),
    }
}

/// Every client that is no gateway.
pub(super) const MESH: &str = "mesh";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn edge_12_short_names_belong_to_the_object_that_writes_them() {
        let full = "reviews.shop.svc.cluster.local";
        assert_eq!(expand("Reviews", "shop", "cluster.local"), full);
        assert_eq!(expand("reviews.shop", "other", "cluster.local"), "reviews.shop");
        for (written, meant) in [
            ("gw", "shop/gw"),
            ("mesh", "mesh"),
            ("edge/gw", "edge/gw"),
            ("./gw", "shop/gw"),
            ("gw.edge.svc.cluster.local", "edge/gw"),
        ] {
            assert_eq!(gateway(written, "shop"), meant);
        }
    }

    #[test]
    fn edge_11_addresses_and_wildcards_are_not_expanded() {
        for host in ["203.0.113.1", "2001:db8::1", "*", "*.example.com"] {
            assert_eq!(expand(host, "shop", "cluster.local"), host);
        }
    }
}
