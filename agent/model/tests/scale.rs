//! Large clusters: what is shared, what is kept from one generation to the next, and the time.
//!
//! `cargo test --release -p agent-model --test scale -- --nocapture` prints figures.

use std::{collections::BTreeSet, fmt::Write, mem::size_of, sync::Arc, time::Instant};

use agent_model::{
    egress::{EgressPolicy, RuleSet},
    names::Answer,
    registry::{Service, ServicePort},
    resource::{Kind, Objects, documents, parse},
    snapshot::{Enrolment, Snapshot},
    translate::{Interner, NodeContext, translate},
};

/// `entries` entries of 100 addresses each, over ten namespaces with `pods` pods in all.
fn manifests(entries: usize, pods: usize) -> String {
    let mut text = String::from(
        "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: istio, namespace: istio-system}\n\
         data: {mesh: 'outboundTrafficPolicy: {mode: REGISTRY_ONLY}'}\n",
    );
    for namespace in 0..10 {
        let _ = write!(
            text,
            "---\napiVersion: v1\nkind: Namespace\n\
             metadata: {{name: ns-{namespace}, labels: {{istio-injection: enabled}}}}\n"
        );
    }
    for pod in 0..pods {
        let _ = write!(
            text,
            "---\napiVersion: v1\nkind: Pod\n\
             metadata: {{name: pod-{pod}, namespace: ns-{}, annotations: \
             {{sekisho.dev/netns: /run/netns/{pod}}}}}\nspec: {{nodeName: node-1, containers: []}}\n\
             status: {{podIPs: [{{ip: 10.244.{}.{}}}]}}\n",
            pod % 10,
            pod / 250,
            pod % 250
        );
    }
    for number in 0..entries {
        text.push_str(&entry(number, 3306));
    }
    text
}

fn entry(number: usize, port: u16) -> String {
    let address = |index: usize| format!("\"2001:db8:{number:x}::{index:x}\"");
    let addresses: Vec<String> = (0..100).map(address).collect();
    format!(
        "---\napiVersion: networking.istio.io/v1\nkind: ServiceEntry\n\
         metadata: {{name: se-{number}, namespace: ns-{}}}\nspec:\n  \
         hosts: [h{number}.example.com]\n  addresses: [{}]\n  \
         ports: [{{number: {port}, name: tcp, protocol: TCP}}]\n",
        number % 10,
        addresses.join(", ")
    )
}

fn policies(snapshot: &Snapshot) -> Vec<Arc<EgressPolicy>> {
    let policy = |enrolment: &Enrolment| match enrolment {
        Enrolment::Enrolled(policy) => Some(policy.clone()),
        Enrolment::NotEnrolled(_) | Enrolment::Pending(_) => None,
    };
    snapshot.pods.values().filter_map(|plan| policy(&plan.enrolment)).collect()
}

fn sets(snapshot: &Snapshot) -> BTreeSet<*const RuleSet> {
    policies(snapshot).iter().map(|policy| Arc::as_ptr(&policy.rules)).collect()
}

fn read(manifests: &str) -> Objects {
    let mut objects = Objects::default();
    replace(&mut objects, manifests);
    objects
}

fn replace(objects: &mut Objects, manifest: &str) {
    for document in documents(manifest) {
        for parsed in parse(document.value.expect("YAML")) {
            objects.insert(parsed.expect("readable").object.expect("an object"));
        }
    }
}

fn timed<T>(what: &str, run: impl FnOnce() -> T) -> T {
    let start = Instant::now();
    let result = run();
    println!("{what}: {:?}", start.elapsed());
    result
}

fn change_one_of(entries: usize, pods: usize) {
    let mut objects = timed("read", || read(&manifests(entries, pods)));
    let node = NodeContext::new("node-1");
    let mut interner = Interner::default();
    let mut turn = |objects: &Objects, node: &NodeContext, what: &str| {
        timed(what, || translate(objects, node, &mut interner))
    };
    let first = turn(&objects, &node, "first");
    assert_eq!(policies(&first).len(), pods);
    assert_eq!(policies(&first)[0].rules.rules().len(), entries * 100);
    assert_eq!(sets(&first).len(), 1, "equal rules are one set");

    let same = turn(&objects, &node, "nothing changed");
    assert_eq!(sets(&same), sets(&first), "an unchanged set keeps its allocation");
    assert!(Arc::ptr_eq(&policies(&same)[0], &policies(&first)[0]));
    assert_eq!(same, first);

    replace(&mut objects, &entry(7, 3307));
    let changed = turn(&objects, &node, "one entry changed");
    let (one, other) = (policies(&first)[0].rules.clone(), policies(&changed)[0].rules.clone());
    assert_ne!(one, other);
    let shared = first.registry.services().iter().zip(changed.registry.services());
    let shared = shared.filter(|(one, other)| Arc::ptr_eq(one, other)).count();
    assert_eq!(shared, entries - 1, "rules of the entries that did not change are kept");

    let fresh = translate(&objects, &node, &mut Interner::default());
    assert_eq!(
        fresh.to_string(),
        changed.to_string(),
        "what is kept is what would be made from nothing"
    );
}

#[test]
fn ten_thousand_rules_for_a_thousand_pods() {
    change_one_of(100, 1_000);
}

#[test]
fn a_hundred_thousand_addresses() {
    change_one_of(1_000, 50);
}

/// A headless Service's rules follow from objects other than itself.
#[test]
fn rules_follow_endpoints_that_change() {
    let service = "apiVersion: v1\nkind: Service\nmetadata: {name: db, namespace: ns-0}\n\
                   spec: {clusterIP: None, ports: [{name: tcp, port: 5432}]}\n";
    let slice = |address: &str| {
        format!(
            "apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\n\
             metadata: {{name: db-1, namespace: ns-0, labels: {{kubernetes.io/service-name: db}}}}\n\
             addressType: IPv4\nendpoints: [{{addresses: [{address}]}}]\n\
             ports: [{{name: tcp, port: 5432}}]\n"
        )
    };
    let (mut objects, node) = (read(&manifests(0, 1)), NodeContext::new("node-1"));
    replace(&mut objects, service);
    let mut interner = Interner::default();
    for address in ["203.0.113.1", "203.0.113.2", "203.0.113.2"] {
        replace(&mut objects, &slice(address));
        let snapshot = translate(&objects, &node, &mut interner);
        let rules = policies(&snapshot)[0].rules.clone();
        let cidrs: Vec<String> = rules.rules().iter().map(|rule| rule.cidr.to_string()).collect();
        assert_eq!(cidrs, [format!("{address}/32")]);
    }
}

/// Pods of one namespace differ by their exclusions; the next generation knows each set again.
#[test]
fn sets_of_pods_that_exclude_something_are_kept_too() {
    let text = manifests(3, 4).replacen(
        "sekisho.dev/netns: /run/netns/3",
        "sekisho.dev/netns: /run/netns/3, traffic.sidecar.istio.io/excludeOutboundPorts: '25'",
        1,
    );
    let (mut objects, node) = (read(&text), NodeContext::new("node-1"));
    let mut interner = Interner::default();
    let first = translate(&objects, &node, &mut interner);
    assert_eq!(sets(&first).len(), 2);
    assert_eq!(sets(&translate(&objects, &node, &mut interner)), sets(&first));
    replace(&mut objects, "{apiVersion: v1, kind: Namespace, metadata: {name: other}}");
    assert_eq!(sets(&translate(&objects, &node, &mut interner)), sets(&first));
}

/// What a name resolves to is looked at by the pods that want it, and by no other.
#[test]
fn an_answer_changes_the_rules_of_its_own_name_alone() {
    let entry = |number: usize| {
        format!(
            "apiVersion: networking.istio.io/v1\nkind: ServiceEntry\n\
             metadata: {{name: se-{number}, namespace: ns-0}}\nspec: {{hosts: [h{number}.example.com], \
             resolution: DNS, ports: [{{number: 3306, name: tcp, protocol: TCP}}]}}\n"
        )
    };
    let mut objects = read(&manifests(0, 1));
    (0..3).for_each(|number| replace(&mut objects, &entry(number)));
    let mut node = NodeContext::new("node-1");
    let mut interner = Interner::default();
    let mut turn = |last: u8| {
        let answers = (0..3).map(|number: u8| {
            let own = if number == 1 { last } else { 1 };
            let current = vec![[203, 0, 113 + number, own].into()];
            let answer = Answer { current, ..Answer::default() };
            (format!("h{number}.example.com").into(), Arc::new(answer))
        });
        node.answers = Arc::new(answers.collect());
        translate(&objects, &node, &mut interner)
    };
    let (one, same, other) = (turn(1), turn(1), turn(2));
    let kept = |one: &Snapshot, other: &Snapshot| {
        let pairs = one.registry.services().iter().zip(other.registry.services());
        pairs.map(|(one, other)| Arc::ptr_eq(one, other)).collect::<Vec<_>>()
    };
    assert_eq!(kept(&one, &same), [true, true, true]);
    assert!(Arc::ptr_eq(&policies(&one)[0], &policies(&same)[0]));
    assert_eq!(kept(&same, &other), [true, false, true]);
    let cidrs = |snapshot: &Snapshot| {
        let rules = policies(snapshot)[0].rules.clone();
        rules.rules().iter().map(|rule| rule.cidr.to_string()).collect::<Vec<_>>()
    };
    assert_eq!(cidrs(&other), ["203.0.113.1/32", "203.0.114.2/32", "203.0.115.1/32"]);
}

/// A fifth of the cluster that `cargo xtask bench sync` has: 2,000 Services with 20,000 endpoints,
/// 1,000 entries, 400 routes and rules.
fn large() -> String {
    let mut text = manifests(0, 10);
    for number in 0..2_000_u32 {
        let (namespace, [_, _, high, low]) = (number % 10, number.to_be_bytes());
        let _ = write!(
            text,
            "---\napiVersion: v1\nkind: Service\n\
             metadata: {{name: svc-{number}, namespace: ns-{namespace}}}\n\
             spec: {{clusterIP: 10.96.{high}.{low}, ports: [{{name: http, port: 80}}]}}\n"
        );
        let ready = (0..10).map(|at| format!("{{addresses: [10.{}.{high}.{low}]}}", 100 + at));
        let ready: Vec<String> = ready.collect();
        let _ = write!(
            text,
            "---\napiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\n\
             metadata: {{name: svc-{number}-1, namespace: ns-{namespace}, \
             labels: {{kubernetes.io/service-name: svc-{number}}}}}\naddressType: IPv4\n\
             endpoints: [{}]\nports: [{{name: http, port: 8080}}]\n",
            ready.join(", ")
        );
        if number < 400 {
            let host = format!("svc-{number}.ns-{namespace}.svc.cluster.local");
            let _ = write!(
                text,
                "---\napiVersion: networking.istio.io/v1\nkind: VirtualService\n\
                 metadata: {{name: svc-{number}, namespace: ns-{namespace}}}\n\
                 spec: {{hosts: [{host}], http: [{{route: [{{destination: {{host: {host}}}}}]}}]}}\n\
                 ---\napiVersion: networking.istio.io/v1\nkind: DestinationRule\n\
                 metadata: {{name: svc-{number}, namespace: ns-{namespace}}}\nspec: {{host: {host}}}\n"
            );
        }
    }
    (0..1_000).for_each(|number| text.push_str(&small_entry(number, 3306)));
    text
}

fn small_entry(number: u32, port: u16) -> String {
    let [_, _, high, low] = number.to_be_bytes();
    format!(
        "---\napiVersion: networking.istio.io/v1\nkind: ServiceEntry\n\
         metadata: {{name: small-{number}, namespace: ns-{}}}\n\
         spec: {{hosts: [h{number}.example.com], addresses: [203.0.{high}.{low}], \
         resolution: STATIC, endpoints: [{{address: 203.0.{high}.{low}}}], \
         ports: [{{number: {port}, name: tcp, protocol: TCP}}]}}\n",
        number % 10
    )
}

/// Requests cost a generation nothing before they are asked for, and endpoints are not copied.
#[test]
fn a_large_cluster_costs_no_more_for_requests_before_they_are_asked_for() {
    let mut objects = read(&large());
    let (node, mut interner) = (NodeContext::new("node-1"), Interner::default());
    let first = timed("first", || translate(&objects, &node, &mut interner));
    let services = first.registry.services().iter().filter(|one| one.key.kind == Kind::Service);
    let mut ports = services.flat_map(|one| &one.ports);
    assert!(ports.all(|port| port.endpoints.is_none()), "endpoints stay with their slices");
    // Of each there are tens of thousands.
    let sizes = (size_of::<Service>(), size_of::<ServicePort>());
    println!("a service takes {} bytes, and each of its ports {}", sizes.0, sizes.1);
    assert!(sizes.0 <= 344 && sizes.1 <= 112, "{sizes:?}");

    replace(&mut objects, &small_entry(7, 3307));
    let changed =
        timed("one of 1,000 entries changed", || translate(&objects, &node, &mut interner));
    assert_ne!(policies(&first)[0].rules, policies(&changed)[0].rules);

    let pods = changed.requests.pods();
    let of = |at: usize| changed.requests.outbound(&pods[at]).expect("an enrolled pod");
    let one = timed("what one pod may dial", || of(0));
    assert_eq!(one.ports[&80].any.hosts.len(), 2_000);
    assert!(Arc::ptr_eq(&one, &of(0)));
}
