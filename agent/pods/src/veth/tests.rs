use agent_kernel::testing::{Sandbox, ip};

use super::*;

fn veth(ifindex: u32, lower: u32, lower_namespace: Option<i32>) -> Link {
    Link {
        ifindex,
        name: format!("veth{ifindex}"),
        kind: Some("veth".into()),
        lower: Some(lower),
        lower_namespace,
        loopback: false,
    }
}

fn ends(found: &HostEnds) -> Vec<u32> {
    found.ends.iter().map(|end| end.ifindex).collect()
}

#[test]
fn ends_belong_together_only_when_both_say_so() {
    let pod = [veth(2, 9, Some(0))];
    assert_eq!(ends(&pair(&pod, &[veth(9, 2, Some(5))], Some(5))), [9]);
    for (host, pod_id) in [
        // Of another pod, of another link, without an id, in the agent's own namespace.
        (veth(9, 2, Some(4)), Some(5)),
        (veth(9, 3, Some(5)), Some(5)),
        (veth(9, 2, None), None),
        (veth(8, 2, Some(5)), Some(5)),
        (Link { kind: Some("macvlan".into()), ..veth(9, 2, Some(5)) }, Some(5)),
    ] {
        let found = pair(&pod, &[host], pod_id);
        assert_eq!(ends(&found), [0; 0]);
        assert_eq!(found.unseen, [Unseen { link: "veth2".into(), why: Why::PeerElsewhere }]);
    }
}

#[test]
fn links_that_stay_in_the_pod_are_nobodys_concern() {
    let plain = |kind: Option<&str>| Link {
        ifindex: 3,
        name: "link".into(),
        kind: kind.map(str::to_owned),
        ..Link::default()
    };
    let stacked = Link { lower: Some(2), ..plain(Some("vlan")) };
    let tunnel = Link { lower: Some(0), ..plain(Some("sit")) };
    let loopback = Link { loopback: true, ..plain(None) };
    let inner = [stacked, tunnel, loopback, plain(Some("bridge")), veth(4, 5, None)];
    assert_eq!(pair(&inner, &[], Some(5)), HostEnds::default());

    let below_the_host =
        Link { lower: Some(2), lower_namespace: Some(0), ..plain(Some("macvlan")) };
    let out = [plain(None), plain(Some("tun")), below_the_host];
    let why: Vec<_> = pair(&out, &[], Some(5)).unseen.into_iter().map(|it| it.why).collect();
    assert_eq!(why, [Why::Hardware, Why::Kind("tun".into()), Why::Kind("macvlan".into())]);
}

/// What the calling thread's namespace numbers a link.
fn index_of(name: &str) -> u32 {
    let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    rustix::net::netdevice::name_to_index(socket, name).unwrap()
}

/// `host` plays the agent's namespace: its worker is started inside.
fn worker_in(host: &Sandbox) -> Worker {
    host.run(|| Worker::start().unwrap())
}

fn link(host: &Sandbox, name: &str, pod: &Sandbox, inside: &str) {
    let holder = pod.task();
    host.run(|| {
        ip(&["link", "add", name, "type", "veth", "peer", "name", inside, "netns", &holder]);
    });
}

#[tokio::test]
async fn the_kernels_links_are_paired_across_namespaces() {
    let [host, pod, other, third] = [(); 4].map(|()| Sandbox::new());
    link(&host, "to-other", &other, "eth0");
    link(&host, "to-pod", &pod, "eth0");
    link(&host, "second", &pod, "eth1");
    link(&third, "aside", &pod, "eth2");
    let (holder, below) = (pod.task(), "to-other");
    host.run(|| {
        ip(&["link", "add", "mac", "link", below, "netns", &holder, "type", "macvlan"]);
    });
    pod.run(|| {
        ip(&["link", "add", "left", "type", "veth", "peer", "name", "right"]);
        ip(&["link", "add", "link", "eth0", "name", "stacked", "type", "macvlan"]);
    });
    let worker = worker_in(&host);
    let found = host_ends(&worker, &pod.open(&worker).await).await.unwrap();
    let mut names: Vec<_> = found.ends.iter().map(|end| &*end.name).collect();
    names.sort_unstable();
    assert_eq!(names, ["second", "to-pod"]);
    for end in &found.ends {
        let shown = host.run(|| index_of(&end.name));
        assert_eq!(shown, end.ifindex);
    }
    let mut unseen: Vec<_> = found.unseen.iter().map(ToString::to_string).collect();
    unseen.sort_unstable();
    assert_eq!(
        unseen,
        [
            "eth2: its other end is in a third namespace",
            "mac: a macvlan link has no end on the host"
        ]
    );
    assert_eq!(host_ends(&worker, worker.own()).await.unwrap(), HostEnds::default());
}
