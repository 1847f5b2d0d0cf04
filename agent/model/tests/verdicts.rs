//! The golden inputs once more, asked as a pod would: what is let out, and by whom.

#[path = "support/cluster.rs"]
mod cluster;

use std::{fs, net::SocketAddr, num::NonZeroU16, path::Path};

use agent_model::{
    egress::Protocol,
    explain::{Decision, Explanation, Query, explain},
    pod::PodId,
};
use cluster::Cluster;

/// What a pod sees of a destination, in a few words.
fn fate(case: &str, pod: &str, destination: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(case);
    let cluster = Cluster::read(&fs::read_to_string(path.join("input.yaml")).expect("a case"));
    let (namespace, name) = pod.split_once('/').expect("namespace/name");
    let (destination, protocol) = match destination.strip_suffix("/udp") {
        Some(datagrams) => (datagrams, Protocol::Udp),
        None => (destination, Protocol::Tcp),
    };
    let to: SocketAddr = destination.parse().expect("address:port");
    let pod = PodId { namespace: namespace.to_owned(), name: name.to_owned() };
    let port = NonZeroU16::new(to.port()).expect("a port");
    let query = Query { pod, address: to.ip(), port, protocol };
    let answer = explain(&cluster.snapshot(), &query).expect("a pod of this node");
    told(&answer)
}

fn told(answer: &Explanation) -> String {
    match &answer.decision {
        Decision::NotEnrolled { .. } => "not enrolled".to_owned(),
        Decision::Held { .. } => "held".to_owned(),
        Decision::Local => "local".to_owned(),
        Decision::Default { default, .. } => default.clone(),
        Decision::Rule { rule, .. } => {
            let object = rule.source.split(' ').nth(1).unwrap_or_default();
            format!("{} {object}", rule.action)
        }
    }
}

const APP: &str = "default/app";

#[test]
fn each_case_lets_out_what_it_says() {
    for (case, pod, destination, expected) in [
        ("namespace-not-known", "late/bound-first", "10.0.0.1:3306", "held"),
        ("namespace-not-known", "late/bound-first", "127.0.0.1:3306", "local"),
        ("namespace-not-known", "late/on-the-host", "10.0.0.1:3306", "not enrolled"),
        ("s0-3-no-entry", APP, "10.0.0.1:3306", "registry-only"),
        ("s0-4-entry", APP, "10.0.0.1:3306", "direct default/mysql"),
        ("s0-4-entry", APP, "[::ffff:10.0.0.1]:3306", "direct default/mysql"),
        // S0-5: the address binds, the port binds, and so does the protocol.
        ("s0-4-entry", APP, "10.0.0.2:3306", "registry-only"),
        ("s0-4-entry", APP, "10.0.0.1:3307", "registry-only"),
        ("s0-4-entry", APP, "10.0.0.1:3306/udp", "registry-only"),
        ("s0-6-other-host", APP, "10.0.0.1:3306", "direct default/mysql"),
        ("s0-7-other-address", APP, "10.0.0.1:3306", "registry-only"),
        ("s0-8-several-addresses", APP, "10.0.0.4:3306", "direct default/mysql"),
        ("s0-8-several-addresses", APP, "10.0.0.3:3306", "registry-only"),
        ("s0-9-cidr", APP, "10.0.0.1:3306", "direct default/mysql"),
        ("s0-9-cidr", APP, "10.0.0.9:3306", "direct default/mysql"),
        ("s0-9-cidr", APP, "10.0.1.9:3306", "registry-only"),
        ("s0-11-excluded", "default/ranges", "10.0.0.1:9", "direct default/ranges"),
        ("s0-11-excluded", "default/ranges", "10.0.0.2:9", "registry-only"),
        ("s0-11-excluded", "default/ports", "203.0.113.9:3306/udp", "direct default/ports"),
        ("s0-11-excluded", "default/ports", "203.0.113.9:3307", "registry-only"),
        ("s0-11-exclusions-ignored", "default/ranges", "10.0.0.1:9", "registry-only"),
        ("s0-13-allow-any", APP, "10.0.0.1:3306", "allow-any"),
        ("edge-1-equal-cidrs", APP, "10.0.0.5:3306", "direct default/b-older"),
        ("edge-2-overlap", APP, "10.0.0.5:3306", "direct default/narrow-younger"),
        ("edge-2-overlap", APP, "10.0.1.5:3306", "direct default/wide-older"),
        ("edge-3-partial-overlap", APP, "10.0.0.1:3306", "direct default/older"),
        ("edge-3-partial-overlap", APP, "10.0.0.2:3306", "direct default/younger"),
        ("edge-4-tls", APP, "10.5.1.1:8443", "proxy by name default/tls"),
        ("edge-4-tls", APP, "10.6.0.1:8443", "proxy default/tls"),
        ("edge-4-tls", APP, "203.0.113.1:443", "proxy by name default/https"),
        ("edge-5-no-addresses", APP, "203.0.113.1:3306", "direct default/mysql"),
        ("edge-5-no-addresses", APP, "[2001:db8::1]:3306", "direct default/mysql"),
        ("edge-5-no-addresses", APP, "203.0.113.1:3307", "registry-only"),
        ("edge-7-http", APP, "203.0.113.1:80", "proxy by name default/web"),
        ("services", APP, "10.96.0.20:5432", "direct default/mixed"),
        ("services", APP, "10.96.0.20:80", "direct default/mixed"),
        ("services", APP, "10.244.7.7:5432", "registry-only"),
        ("headless", APP, "10.244.1.1:15432", "direct default/db"),
        ("headless", APP, "10.244.1.2:15432", "registry-only"),
        ("headless", APP, "10.244.9.9:15432", "registry-only"),
        ("edge-68-dns", APP, "10.96.0.10:53/udp", "direct kube-system/kube-dns"),
        ("edge-68-dns", APP, "10.96.0.11:53", "direct kube-system/coredns"),
        ("edge-68-dns", APP, "10.96.0.12:53/udp", "registry-only"),
        ("edge-68-dns", "default/other", "169.254.20.10:53/udp", "registry-only"),
        ("ipv6", APP, "10.0.0.1:3306", "direct default/mysql"),
        ("ipv6", APP, "10.2.0.1:3306", "registry-only"),
        ("ipv6", APP, "[2001:db8:9::1]:3306", "direct default/mysql"),
        ("udp", APP, "10.0.0.1:123/udp", "direct default/ntp"),
        ("udp", APP, "10.0.0.1:123", "registry-only"),
        ("export-to", "b/b", "10.1.0.1:3306", "registry-only"),
        ("export-to", "a/a", "10.1.0.2:3306", "registry-only"),
        ("export-to", "a/a", "10.1.0.3:3306", "registry-only"),
        ("enrolment", "default/host", "10.0.0.1:3306", "not enrolled"),
        ("s0-4-entry", APP, "10.244.0.5:3306", "local"),
    ] {
        assert_eq!(fate(case, pod, destination), expected, "{case}: {pod} to {destination}");
    }
}
