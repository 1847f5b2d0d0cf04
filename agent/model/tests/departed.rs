//! What open connections may go by once an address is gone: what the machine moved, for a grace, and
//! nothing that a person took back.

#[path = "support/cluster.rs"]
mod cluster;

use std::{sync::Arc, time::Duration};

use agent_model::{
    pod::PodId,
    registry::{Registry, departed::Departed},
};
use cluster::Cluster;

const GRACE: Duration = Duration::from_secs(30);
const ALMOST: Duration = Duration::from_secs(29);
const START: Duration = Duration::from_secs(1_000);

const MESH: &str = "
apiVersion: v1
kind: Namespace
metadata: {name: shop, labels: {istio-injection: enabled}}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: istio, namespace: istio-system}
data: {mesh: 'outboundTrafficPolicy: {mode: REGISTRY_ONLY}'}
---
apiVersion: v1
kind: Pod
metadata: {name: app, namespace: shop, annotations: {sekisho.dev/netns: /run/netns/app}}
spec: {nodeName: node-1, containers: []}
status: {podIPs: [{ip: 10.244.0.5}]}
---
";
const HEADLESS: &str = "
apiVersion: v1
kind: Service
metadata: {name: db, namespace: data}
spec: {clusterIP: None, ports: [{name: tcp, port: 5432}]}
---
";

fn slice(ready: &str, unready: &str) -> String {
    let endpoint = |address: &str, ready: bool| {
        format!("{{addresses: [{address}], conditions: {{ready: {ready}}}}}")
    };
    let ready = ready.split_whitespace().map(|address| endpoint(address, true));
    let all: Vec<_> =
        ready.chain(unready.split_whitespace().map(|one| endpoint(one, false))).collect();
    format!(
        "apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\n\
         metadata: {{name: db-1, namespace: data, labels: {{kubernetes.io/service-name: db}}}}\n\
         addressType: IPv4\nendpoints: [{}]\nports: [{{name: tcp, port: 5432}}]\n---\n",
        all.join(", ")
    )
}

/// A step at a time.
struct Rig {
    departed: Departed,
    registry: Arc<Registry>,
    now: Duration,
}

impl Rig {
    fn new(text: &str) -> Self {
        let registry = registry(text);
        Self { departed: Departed::new(GRACE), registry, now: START }
    }

    fn step(&mut self, text: &str) -> Vec<String> {
        let next = registry(text);
        self.departed.follow(&self.registry, &next, self.now);
        self.registry = next;
        self.kept()
    }

    /// What new connections are not allowed to, and open ones go on to.
    fn kept(&self) -> Vec<String> {
        let pod = PodId { namespace: "shop".into(), name: "app".into() };
        let scope = self.registry.scope(&pod).expect("the pod is enrolled");
        let mut rules = self.registry.outlived(scope);
        rules.extend(self.departed.rules(&self.registry, scope));
        let mut kept: Vec<_> = rules.iter().map(|rule| rule.cidr.addr().to_string()).collect();
        kept.sort();
        kept.dedup();
        kept
    }
}

fn registry(text: &str) -> Arc<Registry> {
    let cluster = Cluster::read(&format!("{MESH}{text}"));
    assert!(cluster.refused.is_empty(), "{:?}", cluster.refused);
    cluster.snapshot().registry
}

fn none() -> Vec<String> {
    Vec::new()
}

#[test]
fn an_endpoint_that_is_not_ready_is_kept_for_as_long_as_it_is_there() {
    let mut rig = Rig::new(&format!("{HEADLESS}{}", slice("10.1.0.1 10.1.0.2", "")));
    let unready = format!("{HEADLESS}{}", slice("10.1.0.2", "10.1.0.1"));
    assert_eq!(rig.step(&unready), ["10.1.0.1"]);
    rig.now += 100 * GRACE;
    rig.departed.expire(rig.now);
    assert_eq!(rig.kept(), ["10.1.0.1"], "long after");
    assert_eq!(rig.step(&format!("{HEADLESS}{}", slice("10.1.0.2 10.1.0.1", ""))), none());
    assert_eq!(rig.step(&unready), ["10.1.0.1"]);
    assert_eq!(
        rig.step(&format!("{HEADLESS}{}", slice("10.1.0.2", ""))),
        ["10.1.0.1"],
        "it has left"
    );
    assert!(!rig.departed.is_due(rig.now + ALMOST));
    assert!(rig.departed.is_due(rig.now + GRACE));
    rig.departed.expire(rig.now + GRACE);
    assert_eq!(rig.kept(), none());
}

#[test]
fn what_comes_back_and_leaves_again_has_a_whole_grace() {
    let there = format!("{HEADLESS}{}", slice("10.1.0.1", ""));
    let gone = format!("{HEADLESS}{}", slice("", ""));
    let mut rig = Rig::new(&there);
    assert_eq!(rig.step(&gone), ["10.1.0.1"]);
    rig.now += GRACE / 2;
    assert_eq!(rig.step(&there), none(), "the rules allow it");
    assert_eq!(rig.step(&gone), ["10.1.0.1"]);
    assert!(!rig.departed.is_due(rig.now + ALMOST));
    // Without slices, and without the Service.
    assert_eq!(rig.step(HEADLESS), ["10.1.0.1"]);
    assert_eq!(rig.step(""), ["10.1.0.1"]);
    assert!(rig.departed.is_due(rig.now + GRACE), "the grace is counted from when it left");
    assert_eq!(rig.step(&there), none());
}

#[test]
fn an_address_that_a_service_has_no_more_is_kept_and_no_other() {
    let service = |address: &str, port: u16| {
        format!(
            "apiVersion: v1\nkind: Service\nmetadata: {{name: web, namespace: data}}\n\
             spec: {{clusterIP: {address}, ports: [{{name: tcp-web, port: {port}}}]}}\n---\n"
        )
    };
    let mut rig = Rig::new(&service("10.96.0.1", 80));
    assert_eq!(rig.step(&service("10.96.0.2", 80)), ["10.96.0.1"]);
    assert_eq!(rig.step(&service("10.96.0.2", 81)), ["10.96.0.1", "10.96.0.2"]);
    let pod = PodId { namespace: "shop".into(), name: "app".into() };
    let scope = rig.registry.scope(&pod).expect("enrolled");
    let rules = rig.departed.rules(&rig.registry, scope);
    assert!(rules.iter().all(|rule| rule.port.is_some_and(|port| port.get() == 80)), "{rules:?}");
    assert_eq!(rig.step(""), ["10.96.0.1", "10.96.0.2"]);
    // One that is made of the name later may be for others.
    let private = service("10.96.0.9", 80)
        .replace("name: web,", "name: web, annotations: {networking.istio.io/exportTo: data},");
    assert_eq!(rig.step(&private), none());
}

#[test]
fn a_narrower_view_takes_back_what_is_kept() {
    let sidecar = |hosts: &str| {
        format!(
            "apiVersion: networking.istio.io/v1\nkind: Sidecar\n\
             metadata: {{name: narrow, namespace: shop}}\n\
             spec: {{egress: [{{hosts: [{hosts}]}}]}}\n---\n"
        )
    };
    for (ready, unready) in [("10.1.0.1", ""), ("", "10.1.0.1")] {
        let there = format!("{HEADLESS}{}", slice(ready, unready));
        let gone = format!("{HEADLESS}{}", slice("", ""));
        let mut rig = Rig::new(&there);
        assert_eq!(rig.step(&gone), ["10.1.0.1"]);
        assert_eq!(rig.step(&format!("{gone}{}", sidecar("\"shop/*\""))), none());
        assert_eq!(rig.step(&format!("{gone}{}", sidecar("\"data/*\""))), ["10.1.0.1"]);
        assert_eq!(rig.step(&sidecar("\"shop/*\"")), none());
        let hidden = HEADLESS
            .replace("name: db,", "name: db, annotations: {networking.istio.io/exportTo: .},");
        assert_eq!(rig.step(&format!("{hidden}{}", slice("", ""))), none());
    }
}

#[test]
fn what_people_declare_ends_when_they_take_it_back() {
    let entry = |addresses: &str| {
        format!(
            "apiVersion: networking.istio.io/v1\nkind: ServiceEntry\n\
             metadata: {{name: e, namespace: shop}}\n\
             spec: {{hosts: [e.example.com], addresses: [{addresses}], resolution: NONE, \
             ports: [{{number: 80, name: tcp, protocol: TCP}}]}}\n---\n"
        )
    };
    let mut rig = Rig::new(&entry("203.0.113.1, 203.0.113.2"));
    assert_eq!(rig.step(&entry("203.0.113.1")), none());
    assert_eq!(rig.step(""), none());
    let outside = "apiVersion: v1\nkind: Service\nmetadata: {name: x, namespace: shop}\n\
                   spec: {type: ExternalName, externalName: x.example.com, ports: [{port: 80}]}\n---\n\
                   kind: TestNode\nanswers: {x.example.com: {current: [203.0.113.7]}}\n";
    rig.step(outside);
    assert_eq!(rig.step(""), none());
}

#[test]
fn the_oldest_make_room() {
    let many = |first: u32| {
        let all: Vec<_> = (first..first + 6_000)
            .map(|number| std::net::Ipv4Addr::from_bits(0x0a01_0000 + number).to_string())
            .collect();
        format!("{HEADLESS}{}", slice(&all.join(" "), ""))
    };
    let mut rig = Rig::new(&many(0));
    assert_eq!(rig.step(&many(6_000)).len(), 6_000);
    let kept = rig.step(&many(12_000));
    assert_eq!(kept.len(), 6_000, "both do not fit");
    assert!(kept.contains(&"10.1.23.112".to_owned()), "{:?}", kept.first());
}

const LISTED: &str = "
apiVersion: appmesh.k8s.aws/v1beta2
kind: Mesh
metadata: {name: mesh-1}
spec: {namespaceSelector: {matchLabels: {mesh: mesh-1}}}
---
apiVersion: v1
kind: Namespace
metadata: {name: shop, labels: {mesh: mesh-1, appmesh.k8s.aws/sidecarInjectorWebhook: enabled}}
---
apiVersion: appmesh.k8s.aws/v1beta2
kind: VirtualNode
metadata: {name: db, namespace: shop}
spec:
  podSelector: {matchLabels: {app: db}}
  listeners: [{portMapping: {port: 5432, protocol: tcp}}]
  serviceDiscovery: {dns: {hostname: db.data.svc.cluster.local}}
---
apiVersion: appmesh.k8s.aws/v1beta2
kind: VirtualService
metadata: {name: backend, namespace: shop}
spec: {provider: {virtualNode: {virtualNodeRef: {name: db}}}}
---
apiVersion: v1
kind: Pod
metadata: {name: app, namespace: shop, labels: {app: app}, annotations: {sekisho.dev/netns: /run/netns/app}}
spec: {nodeName: node-1, containers: []}
status: {podIPs: [{ip: 10.244.0.5}]}
---
";

fn caller(backends: &str) -> String {
    format!(
        "apiVersion: appmesh.k8s.aws/v1beta2\nkind: VirtualNode\n\
         metadata: {{name: app, namespace: shop}}\n\
         spec:\n  podSelector: {{matchLabels: {{app: app}}}}\n  backends: [{backends}]\n---\n"
    )
}

const BACKEND: &str = "{virtualService: {virtualServiceRef: {name: backend}}}";

#[test]
fn a_backend_that_is_listed_keeps_what_its_name_led_to() {
    let there = format!("{HEADLESS}{}", slice("10.1.0.1 10.1.0.2", ""));
    let with = |services: &str, backends: &str| format!("{LISTED}{}{services}", caller(backends));
    let mut rig = Rig::new(&with(&there, BACKEND));
    let unready = format!("{HEADLESS}{}", slice("10.1.0.2", "10.1.0.1"));
    assert_eq!(rig.step(&with(&unready, BACKEND)), ["10.1.0.1"]);
    let left = format!("{HEADLESS}{}", slice("10.1.0.2", ""));
    assert_eq!(rig.step(&with(&left, BACKEND)), ["10.1.0.1"]);
    assert_eq!(rig.step(&with(HEADLESS, BACKEND)), ["10.1.0.1", "10.1.0.2"]);
    assert_eq!(rig.step(&with("", BACKEND)), ["10.1.0.1", "10.1.0.2"], "without the Service");
    // Not listed any more, or no longer led there by any object.
    assert_eq!(rig.step(&with("", "")), none());
    assert_eq!(rig.step(&with("", BACKEND)), ["10.1.0.1", "10.1.0.2"], "listed again");
    let elsewhere = with("", BACKEND).replace("db.data.svc", "other.data.svc");
    assert_eq!(rig.step(&elsewhere), none());
    rig = Rig::new(&with(&there, BACKEND));
    assert_eq!(rig.step(&elsewhere), none(), "an edit");
}

/// The cluster's resolver is everybody's, whatever a client sees.
#[test]
fn the_resolver_is_kept_for_every_pod() {
    let dns = |address: &str| {
        format!(
            "apiVersion: v1\nkind: Service\nmetadata: {{name: kube-dns, namespace: kube-system}}\n\
             spec: {{clusterIP: {address}, ports: [{{name: dns, port: 53, protocol: UDP}}]}}\n---\n\
             apiVersion: networking.istio.io/v1\nkind: Sidecar\n\
             metadata: {{name: narrow, namespace: shop}}\n\
             spec: {{egress: [{{hosts: [\"shop/*\"]}}]}}\n---\n"
        )
    };
    let mut rig = Rig::new(&dns("10.96.0.10"));
    assert_eq!(rig.step(&dns("10.96.0.11")), ["10.96.0.10"]);
    rig.departed.expire(rig.now + GRACE);
    assert_eq!(rig.kept(), none());
}
