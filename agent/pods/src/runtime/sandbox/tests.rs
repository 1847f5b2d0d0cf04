use std::collections::HashMap;

use super::*;
use crate::runtime::cri::{PodIp, PodSandboxMetadata, PodSandboxNetworkStatus, PodSandboxStatus};

fn listed(id: &str, uid: &str, attempt: u32, created_at: i64) -> PodSandbox {
    PodSandbox {
        id: id.into(),
        metadata: Some(PodSandboxMetadata {
            name: "web-0".into(),
            uid: uid.into(),
            namespace: "shop".into(),
            attempt,
        }),
        state: 0,
        created_at,
        labels: HashMap::from([("app".to_owned(), "web".to_owned())]),
        annotations: HashMap::new(),
        runtime_handler: String::new(),
    }
}

fn status(info: &str) -> PodSandboxStatusResponse {
    let ip = |ip: &str| PodIp { ip: ip.into() };
    let network = PodSandboxNetworkStatus {
        ip: "203.0.113.7".into(),
        additional_ips: vec![ip("2001:db8::7"), ip("")],
    };
    PodSandboxStatusResponse {
        status: Some(PodSandboxStatus { network: Some(network) }),
        info: HashMap::from([("info".to_owned(), info.to_owned())]),
    }
}

fn spec(namespaces: &str) -> String {
    format!(
        r#"{{"pid": 7, "runtimeType": "io.containerd.runc.v2",
            "runtimeSpec": {{"linux": {{"namespaces": [{{"type": "pid"}}{namespaces}]}}}}}}"#
    )
}

fn network_of(handler: &str, info: &str) -> Network {
    let listed = PodSandbox { runtime_handler: handler.into(), ..listed("s1", "u1", 0, 1) };
    Sandbox::new(listed, &status(info)).unwrap().network
}

#[test]
fn a_namespace_is_where_the_runtime_says() {
    for said in ["/run/netns/cni-1", "/var/run/netns/cni-1"] {
        let info = spec(&format!(r#", {{"type": "network", "path": "{said}"}}"#));
        assert_eq!(network_of("", &info), Network::At("/run/netns/cni-1".into()));
    }
}

#[test]
fn a_pod_without_a_namespace_is_on_the_hosts_network() {
    assert_eq!(network_of("", &spec("")), Network::Host);
}

/// A process number is another process's to a reader that counts from another one.
#[test]
fn what_is_not_said_is_not_guessed() {
    let infos = [
        spec(r#", {"type": "network", "path": "/proc/7/ns/net"}"#),
        spec(r#", {"type": "network", "path": "/run/../proc/7/ns/net"}"#),
        spec(r#", {"type": "network"}"#),
        "{}".to_owned(),
        "oh".to_owned(),
    ];
    for info in infos {
        let network = network_of("", &info);
        assert!(matches!(network, Network::Unsaid(_)), "{info}: {network:?}");
    }
}

#[test]
fn a_sandbox_with_a_kernel_of_its_own_is_told() {
    let runc = spec(r#", {"type": "network", "path": "/run/netns/cni-1"}"#);
    let of_gvisor = runc.replace("containerd.runc", "containerd.runsc");
    let cases = [
        ("kata-qemu", &runc, "kata-qemu"),
        ("gVisor", &runc, "gVisor"),
        ("", &of_gvisor, "io.containerd.runsc.v2"),
    ];
    for (handler, info, named) in cases {
        assert_eq!(network_of(handler, info), Network::Sandboxed(named.into()));
    }
}

#[test]
fn addresses_are_those_of_both_families() {
    let sandbox = Sandbox::new(listed("s1", "u1", 0, 1), &status(&spec(""))).unwrap();
    let both: [IpAddr; 2] = ["203.0.113.7".parse().unwrap(), "2001:db8::7".parse().unwrap()];
    assert_eq!(sandbox.addresses, both);
}

#[test]
fn the_newest_sandbox_of_a_pod_counts_and_no_other_pods() {
    let sandbox = |id, uid, attempt, at| {
        Sandbox::new(listed(id, uid, attempt, at), &status(&spec(""))).unwrap()
    };
    let all = [
        sandbox("first", "u1", 0, 10),
        sandbox("third", "u1", 1, 30),
        sandbox("second", "u1", 1, 20),
        sandbox("of another", "u2", 7, 90),
    ];
    let pod = PodId { namespace: "shop".into(), name: "web-0".into() };
    assert_eq!(of_pod(&all, &pod, "u1").unwrap().id, "third");
    assert_eq!(of_pod(&all, &pod, "u2").unwrap().id, "of another");
    // A Pod without a UID owns no sandbox, rather than each.
    assert_eq!(of_pod(&all, &pod, ""), None);
    let other = PodId { namespace: "lab".into(), ..pod };
    assert_eq!(of_pod(&all, &other, "u1"), None);
}
