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
        is_up: true,
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
        let unseen = Unseen { inside: 2, link: "veth2".into(), why: Why::PeerElsewhere };
        assert_eq!(found.unseen, [unseen]);
    }
}

fn plain(kind: Option<&str>) -> Link {
    Link { ifindex: 3, name: "link".into(), kind: kind.map(str::to_owned), ..Link::default() }
}

fn below(lower: u32, kind: &str) -> Link {
    Link { lower: Some(lower), ..plain(Some(kind)) }
}

#[test]
fn links_that_stay_in_the_pod_or_leave_by_another_are_no_way_out() {
    let loopback = Link { loopback: true, ..plain(None) };
    let pair_inside =
        [Link { ifindex: 4, ..below(5, "veth") }, Link { ifindex: 5, ..below(4, "veth") }];
    let found = pair(&[&pair_inside[..], &[loopback]].concat(), &[], Some(5));
    assert_eq!((found.ends.len(), found.unseen.len(), found.inner.len()), (0, 0, 2));

    for stacked in ["vlan", "macvlan", "ipvlan", "vxlan"] {
        let found =
            pair(&[veth(2, 9, Some(0)), below(2, stacked)], &[veth(9, 2, Some(5))], Some(5));
        assert_eq!((found.ends.len(), found.unseen.len()), (1, 0), "{stacked}");
        assert_eq!(found.inner[0].below.as_deref(), Some("veth2"));
    }
    for alone in [below(0, "sit"), plain(Some("vxlan")), plain(Some("bridge")), plain(Some("ifb"))]
    {
        let found = pair(std::slice::from_ref(&alone), &[], Some(5));
        assert_eq!((found.unseen.len(), found.inner.len()), (0, 1), "{alone:?}");
        assert_eq!(found.inner[0].below, None);
    }
}

#[test]
fn what_is_not_sure_to_stay_in_the_pod_leads_out() {
    let below_the_host = Link { lower_namespace: Some(0), ..below(2, "macvlan") };
    let out = [
        plain(None),
        plain(Some("tun")),
        plain(Some("macvlan")),
        below_the_host,
        // Its link below is none of the pod's.
        below(7, "vlan"),
        // Its driver does not say in which namespace the link below is.
        below(2, "ipoib"),
    ];
    for link in out {
        let found = pair(&[veth(2, 9, Some(0)), link.clone()], &[veth(9, 2, Some(5))], Some(5));
        let why = link.kind.map_or(Why::Hardware, Why::Kind);
        let unseen = Unseen { inside: 3, link: "link".into(), why };
        assert_eq!((found.unseen, found.inner.len()), (vec![unseen], 0));
    }
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
    let mut inner: Vec<_> = found.inner.iter().map(|it| (&*it.link, it.below.as_deref())).collect();
    inner.sort_unstable();
    assert_eq!(
        inner,
        [("left", Some("right")), ("right", Some("left")), ("stacked", Some("eth0"))]
    );
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
            "mac: a macvlan link has no end on the node"
        ]
    );
    assert_eq!(host_ends(&worker, worker.own()).await.unwrap(), HostEnds::default());
}
