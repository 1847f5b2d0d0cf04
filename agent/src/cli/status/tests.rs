use agent_model::finding::Severity;
use agent_source::cluster::FollowState;
use jiff::Timestamp;

use super::{source::followed, *};
use crate::observe::status::{
    Canary, Cni, Coverage, Enrolment, Followed, Hook, Link, Mend, Mended, Note, OnRevoke, Pod,
    Proof, Source, UnknownPods,
};

fn hook(layer: u8, hook: &str, place: &str, attached: bool) -> Hook {
    Hook { layer, hook: hook.into(), place: place.into(), attached, note: None }
}

fn pod(name: &str, enrolment: Enrolment) -> Pod {
    Pod {
        namespace: "shop".into(),
        name: name.into(),
        enrolment,
        addresses: Vec::new(),
        netns: None,
        default_action: None,
        rules: 0,
        proxied: 0,
        proxy_port: None,
        links: Vec::new(),
        hooks: Vec::new(),
        canary: None,
    }
}

/// A link of each sort.
fn links() -> Vec<Link> {
    let link = |name: &str, ifindex, coverage, proof| {
        let name = name.into();
        Link { name, ifindex, coverage, proof }
    };
    let layer3 = |host_end: &str| Coverage::Layer3 { host_end: host_end.into() };
    let macvlan = Coverage::Nothing { why: "a macvlan link has no end on the node".into() };
    vec![
        link("eth0", 2, layer3("veth1"), Some(Proof::Refused)),
        link("vlan5", 3, Coverage::Below { below: "eth0".into() }, None),
        link("net1", 4, macvlan, None),
        link("net2", 5, layer3("veth2"), None),
        link("dummy0", 6, Coverage::Inside, None),
    ]
}

fn sample() -> Status {
    let mut web = pod("web-0", Enrolment::Enrolled);
    web.netns = Some(4_242);
    web.default_action = Some("registry-only".into());
    (web.rules, web.proxied) = (12, 3);
    web.proxy_port = Some(15_001);
    web.hooks =
        vec![hook(3, "clsact_ingress", "veth1", true), hook(3, "clsact_egress", "veth1", false)];
    web.links = links();
    web.canary = Some(Canary {
        proved: Some(Timestamp::now() - jiff::SignedDuration::from_secs(3)),
        generation: Some(7),
        layers: vec![1, 2, 3],
        failing: None,
    });
    let mut plain = pod("plain", Enrolment::Enrolled);
    plain.links = links().into_iter().take(1).collect();
    let no_label = Enrolment::NotEnrolled { why: "its namespace has no label".into() };
    let no_netns = Enrolment::Failing { why: "no such namespace".into() };
    Status {
        node: "node-1".into(),
        version: "0.1.0".into(),
        state: State::Degraded { why: "clsact_egress at veth1 is not attached".into() },
        generation: 7,
        generation_since: Some("2026-11-21T03:12:01Z".parse().unwrap()),
        rules: 12,
        unknown_pods: UnknownPods::Allow,
        on_revoke: OnRevoke::Reset,
        cni: Some(Cni { file: Some("/etc/cni/net.d/10-a.conflist".into()), problem: None }),
        layer3: "clsact".into(),
        layer3_why: Some("this kernel has no tcx (Linux 6.6)".into()),
        hooks: vec![hook(1, "connect4", "/cg", true), hook(2, "egress", "/cg", true)],
        pods: vec![web, plain, pod("job", no_label), pod("new", no_netns)],
        mended: Mended {
            count: 2,
            last: Some(Mend {
                hook: "connect4".into(),
                place: "/cg".into(),
                at: "2026-11-21T03:13:00Z".parse().unwrap(),
            }),
        },
        counters: [("direct".to_owned(), 5), ("events_lost".to_owned(), 0)].into(),
        objects: [("Pod".to_owned(), 3), ("ServiceEntry".to_owned(), 1)].into(),
        findings: vec![Note {
            severity: Severity::Error,
            code: "SK0209".into(),
            kind: "ServiceEntry".into(),
            namespace: "shop".into(),
            name: "db".into(),
            field: "spec.ports[0].protocol".into(),
            message: "no such protocol".into(),
            place: Some("db.yaml, document 2 (line 5)".into()),
        }],
        ..Status::default()
    }
}

#[test]
fn a_server_is_shown_with_the_age_of_its_news() {
    let kind = |resource: &str, state: FollowState, seconds: Option<i64>| Followed {
        resource: resource.into(),
        state,
        synced: seconds.map(|s| Timestamp::now() - jiff::SignedDuration::from_secs(s)),
        why: (state == FollowState::Behind).then(|| "the API server cannot be reached".into()),
    };
    let source = Source {
        server: "https://203.0.113.9:6443/".into(),
        saved: Some(Timestamp::now() - jiff::SignedDuration::from_mins(2)),
        kinds: vec![
            kind("pods", FollowState::Behind, Some(75)),
            kind("services", FollowState::Current, Some(3)),
            kind("sidecars.networking.istio.io", FollowState::Listing, None),
        ],
    };
    assert_eq!(
        followed(&source, Paint::new(false)),
        "  https://203.0.113.9:6443/
  not there; what was saved 120 s ago is in force
  pods                          behind   75 s ago  the API server cannot be reached
  services                      current  3 s ago
  sidecars.networking.istio.io  listing  never
"
    );
}

#[test]
fn a_table_of_a_status() {
    assert_eq!(
        table(&sample(), Paint::new(false)),
        "\
node        node-1
state       degraded: clsact_egress at veth1 is not attached
agent       sekisho 0.1.0, started 1970-01-01 00:00:00 UTC
generation  7 since 2026-11-21 03:12:01 UTC
rules       12 from 4 objects
cni         plugin in /etc/cni/net.d/10-a.conflist
unknown     pods are allowed; connections whose rule goes are reset
mended      a hook was put back 2 times, last connect4 at /cg, 2026-11-21 03:13:00 UTC

PODS
  POD         STATE         DEFAULT        RULES  PROXIED  HOOKS  PROXY PORT  NETNS  PROVED                               WHY
  shop/web-0  enrolled      registry-only  12     3        1/2    15001       4242   generation 7, 3 s ago, layers 1,2,3
  shop/plain  enrolled      -              0      0        -      -           -      -
  shop/job    not enrolled  -              0      0        -      -           -      -                                    its namespace has no label
  shop/new    failing       -              0      0        -      -           -      -                                    no such namespace

LINKS
  POD         LINK    JUDGED                                     CANARY
  shop/web-0  eth0    on the node, at veth1                      refused
  shop/web-0  vlan5   as frames of eth0                          not sent
  shop/web-0  net1    no: a macvlan link has no end on the node  not sent
  shop/web-0  net2    on the node, at veth2                      not sent yet
  shop/web-0  dummy0  by the links of its routes                 not sent

LAYERS
  1  socket calls              1 of 1 hooks attached  at /cg
  2  packets leaving a socket  1 of 1 hooks attached  at /cg
  3  frames on a pod's link    1 of 2 hooks attached  by clsact: this kernel has no tcx (Linux 6.6)
     clsact_egress             missing                at veth1

COUNTERS
  direct       5
  events lost  0

FINDINGS
  error   db.yaml, document 2 (line 5): ServiceEntry shop/db spec.ports[0].protocol: \
no such protocol [SK0209]
"
    );
}

#[test]
fn json_and_yaml_read_back_as_the_same_status() {
    let sample = sample();
    let json = encode(crate::args::Format::Json, &sample).unwrap().unwrap();
    assert_eq!(serde_json::from_str::<Status>(&json).unwrap(), sample);
    let yaml = encode(crate::args::Format::Yaml, &sample).unwrap().unwrap();
    assert_eq!(serde_saphyr::from_str::<Status>(&yaml).unwrap(), sample);
}
