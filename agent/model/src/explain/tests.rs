use super::*;
use crate::{
    resource::{Object, Objects, documents, parse, validate},
    translate::{Interner, NodeContext, translate},
};

mod names;

const CLUSTER: &str = r#"
apiVersion: v1
kind: Namespace
metadata: {name: shop, labels: {istio-injection: enabled}}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: istio, namespace: istio-system}
data: {mesh: "outboundTrafficPolicy: {mode: REGISTRY_ONLY}"}
---
apiVersion: v1
kind: Pod
metadata: {name: app, namespace: shop, annotations: {sekisho.dev/netns: /run/netns/app}}
spec: {nodeName: node-1, containers: []}
status: {podIPs: [{ip: 10.244.0.5}]}
---
apiVersion: v1
kind: Pod
metadata: {name: plain, namespace: elsewhere}
spec: {nodeName: node-1, containers: []}
---
apiVersion: networking.istio.io/v1
kind: Sidecar
metadata: {name: narrow, namespace: shop}
spec: {egress: [{hosts: ["./*", "open/*"]}]}
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: db, namespace: shop, creationTimestamp: "2024-01-01T00:00:00Z"}
spec:
  hosts: [db.example.com]
  addresses: [203.0.113.7, 203.0.113.64/26, "2001:db8::7"]
  ports: [{number: 3306, name: mysql, protocol: TCP}]
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: late, namespace: shop, labels: {un: like}, creationTimestamp: "2024-02-01T00:00:00Z"}
spec:
  hosts: [db.example.com]
  addresses: [203.0.113.200]
  ports: [{number: 3306, name: mysql, protocol: TCP}]
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: private, namespace: open}
spec:
  hosts: [private.example.com]
  addresses: [203.0.113.9]
  ports: [{number: 5432, name: tcp, protocol: TCP}]
  exportTo: ["."]
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: filtered, namespace: closed}
spec:
  hosts: [filtered.example.com]
  addresses: [203.0.113.10]
  ports: [{number: 5432, name: tcp, protocol: TCP}]
"#;

fn objects(text: &str) -> Vec<Object> {
    let values = documents(text).into_iter().map(|document| document.value.unwrap());
    values.flat_map(parse).filter_map(|parsed| parsed.unwrap().object).collect()
}

fn ask_of(extra: &str, pod: &str, destination: &str, protocol: Protocol) -> Option<Explanation> {
    let all: Objects = objects(CLUSTER).into_iter().chain(objects(extra)).collect();
    let snapshot = translate(&all, &NodeContext::new("node-1"), &mut Interner::default());
    let (namespace, name) = pod.split_once('/').unwrap();
    let to: std::net::SocketAddr = destination.parse().unwrap();
    let pod = PodId { namespace: namespace.into(), name: name.into() };
    let port = NonZeroU16::new(to.port()).unwrap();
    explain(&snapshot, &Query { pod, address: to.ip(), port, protocol })
}

fn ask(destination: &str, protocol: Protocol) -> Explanation {
    ask_of("", "shop/app", destination, protocol).unwrap()
}

/// The near misses as `source mismatch`.
fn near(explanation: &Explanation) -> Vec<String> {
    let told = explanation.near.iter();
    told.map(|miss| format!("{} {}", miss.rule.source, miss.mismatch)).collect()
}

#[test]
fn the_rule_that_decides_is_named() {
    for to in
        ["203.0.113.7:3306", "203.0.113.99:3306", "[2001:db8::7]:3306", "[::ffff:203.0.113.7]:3306"]
    {
        let answer = ask(to, Protocol::Tcp);
        let Decision::Rule { rule, default, .. } = &answer.decision else { panic!("{answer:?}") };
        assert_eq!(rule.source, "ServiceEntry shop/db spec.ports[0]", "{to}");
        assert_eq!(
            (rule.host.as_deref(), default.as_str()),
            (Some("db.example.com"), "registry-only")
        );
        assert_eq!((answer.near.len(), answer.remedy), (0, None));
    }
}

#[test]
fn what_comes_near_says_what_does_not_match() {
    let db = "ServiceEntry shop/db spec.ports[0]";
    for (to, protocol, expected) in [
        ("203.0.113.7:3307", Protocol::Tcp, format!("{db} is for another port")),
        ("203.0.113.7:3306", Protocol::Udp, format!("{db} is for another protocol")),
        ("203.0.113.8:3306", Protocol::Tcp, format!("{db} is for other addresses")),
        ("203.0.113.9:5432", Protocol::Tcp,
         "ServiceEntry open/private spec.ports[0] is not exported to the pod's namespace".into()),
        ("203.0.113.10:5432", Protocol::Tcp,
         "ServiceEntry closed/filtered spec.ports[0] is left out by Sidecar shop/narrow".into()),
        ("203.0.113.200:3306", Protocol::Tcp,
         "ServiceEntry shop/late spec.ports[0] gives way to ServiceEntry shop/db, which holds the \
          same host".into()),
    ] {
        let answer = ask(to, protocol);
        assert_eq!(answer.decision, Decision::Default { default: "registry-only".into(), source: None }, "{to}");
        assert_eq!(near(&answer).first(), Some(&expected), "{to} {answer:#?}");
    }
}

#[test]
fn of_other_addresses_the_nearest_comes_first() {
    let answer = ask("203.0.113.6:3306", Protocol::Tcp);
    assert_eq!(answer.near[0].rule.cidr, "203.0.113.7/32");
    let answer = ask("203.0.113.130:3306", Protocol::Tcp);
    assert_eq!(answer.near[0].rule.cidr, "203.0.113.64/26");
    assert_eq!(near(&ask("198.51.100.1:9", Protocol::Tcp)), Vec::<String>::new());
}

#[test]
fn rules_for_other_addresses_do_not_crowd_out_the_rest() {
    let many: Vec<String> = (1..7)
        .map(|number| {
            let from = remedy::entry(&Query {
                pod: PodId { namespace: "shop".into(), name: "app".into() },
                address: IpAddr::from([203, 0, 113, number]),
                port: NonZeroU16::new(5432).unwrap(),
                protocol: Protocol::Tcp,
            });
            format!("---\n{from}")
        })
        .collect();
    let answer = ask_of(&many.concat(), "shop/app", "203.0.113.9:5432", Protocol::Tcp).unwrap();
    assert_eq!(answer.near.len(), 3, "{answer:#?}");
    assert_eq!(answer.near[0].mismatch, Mismatch::NotExported);
    assert_eq!(answer.near[2].mismatch, Mismatch::Address);
}

#[test]
fn the_remedy_is_valid_and_allows_just_that() {
    for (to, protocol) in [
        ("203.0.113.8:3306", Protocol::Tcp),
        ("203.0.113.8:53", Protocol::Udp),
        ("[2001:db8::8]:443", Protocol::Tcp),
    ] {
        let manifest = ask(to, protocol).remedy.unwrap();
        let [object] = &objects(&manifest)[..] else { panic!("{manifest}") };
        assert_eq!(validate(object), [], "{manifest}");
        let answer = ask_of(&manifest, "shop/app", to, protocol).unwrap();
        let Decision::Rule { rule, .. } = answer.decision else { panic!("{manifest}") };
        assert_eq!((rule.action.as_str(), rule.exempt), ("direct", false));
        let beside = to.replace("8]:", "9]:").replace("8:", "9:");
        assert_ne!(beside, to);
        let answer = ask_of(&manifest, "shop/app", &beside, protocol).unwrap();
        assert!(matches!(answer.decision, Decision::Default { .. }), "{beside}");
    }
}

#[test]
fn nothing_is_missing_where_everything_is_allowed() {
    let open = "
apiVersion: networking.istio.io/v1
kind: Sidecar
metadata: {name: narrow, namespace: shop}
spec: {outboundTrafficPolicy: {mode: ALLOW_ANY}}
";
    let answer = ask_of(open, "shop/app", "203.0.113.8:3306", Protocol::Tcp).unwrap();
    assert_eq!(answer.decision, Decision::Default { default: "allow-any".into(), source: None });
    assert_eq!(answer.remedy, None);
}

#[test]
fn pods_that_are_not_judged_and_the_pod_itself_are_told() {
    let answer = ask_of("", "elsewhere/plain", "203.0.113.8:1", Protocol::Tcp).unwrap();
    let why = "its namespace elsewhere is not known".to_owned();
    assert_eq!(answer.decision, Decision::NotEnrolled { why });
    for to in ["10.244.0.5:80", "127.0.0.1:80", "[::1]:80", "0.0.0.0:80"] {
        assert_eq!(ask(to, Protocol::Tcp).decision, Decision::Local, "{to}");
    }
    assert_eq!(ask_of("", "shop/nobody", "203.0.113.8:1", Protocol::Tcp), None);
}

#[test]
fn the_answer_survives_a_socket() {
    let answer = ask("203.0.113.200:3306", Protocol::Tcp);
    let text = serde_json::to_string(&answer).unwrap();
    assert_eq!(serde_json::from_str::<Explanation>(&text).unwrap(), answer);
}

/// A pod that may dial what an object lists, and a name that this one leaves out.
fn ask_listed(destination: &str, protocol: Protocol) -> Explanation {
    let listed = include_str!("../../tests/golden/s4-9-drop-all/input.yaml");
    let left_out = "
apiVersion: appmesh.k8s.aws/v1beta2
kind: VirtualService
metadata: {name: svc-u, namespace: mesh-test}
spec: {provider: {virtualNode: {virtualNodeRef: {name: vnode-u}}}}
---
apiVersion: appmesh.k8s.aws/v1beta2
kind: VirtualNode
metadata: {name: vnode-u, namespace: mesh-test}
spec:
  listeners: [{portMapping: {port: 80, protocol: http}}]
  serviceDiscovery: {dns: {hostname: svc-u}}
";
    let extra = format!("{listed}---{left_out}");
    ask_of(&extra, "mesh-test/caller", destination, protocol).unwrap()
}

#[test]
fn what_a_list_leaves_out_names_the_list_and_who_says_so() {
    let answer = ask_listed("10.96.0.3:80", Protocol::Tcp);
    let Decision::Rule { rule, .. } = &answer.decision else { panic!("{answer:?}") };
    let source = "VirtualService.appmesh.k8s.aws mesh-test/svc-v spec.provider.virtualRouter";
    assert_eq!(rule.source, source);

    let answer = ask_listed("10.96.0.4:80", Protocol::Tcp);
    let source = Some("Mesh mesh-1 spec.egressFilter".to_owned());
    assert_eq!(answer.decision, Decision::Default { default: "registry-only".into(), source });
    let by = "is not among the spec.backends of VirtualNode mesh-test/vnode-x";
    let first = "VirtualService.appmesh.k8s.aws mesh-test/svc-u spec.provider.virtualNode";
    let told = near(&answer);
    assert_eq!(
        told[..2],
        [format!("{first} {by}"), format!("Service mesh-test/svc-u spec.ports[0] {by}")]
    );
    assert_eq!(answer.remedy, None, "an entry would not help");

    // What is listed is near by its port and by its protocol too.
    for (to, protocol, expected) in [
        ("10.96.0.3:81", Protocol::Tcp, "is for another port"),
        ("10.96.0.3:80", Protocol::Udp, "is for another protocol"),
    ] {
        let told = near(&ask_listed(to, protocol));
        assert!(told[0].starts_with("VirtualService.appmesh.k8s.aws mesh-test/svc-v"), "{told:?}");
        assert!(told[0].ends_with(expected), "{told:?}");
    }
    // A client without a list is not told of lists.
    let told = near(
        &ask_of(
            include_str!("../../tests/golden/s4-9-drop-all/input.yaml"),
            "shop/app",
            "10.96.0.3:81",
            Protocol::Tcp,
        )
        .unwrap(),
    );
    assert!(told.iter().all(|one| !one.contains("appmesh")), "{told:?}");
}
