//! Where it is not clear what a pod is in which mesh, it is judged by the stricter reading: several
//! that select it, selectors that break the rules, and pods that cannot be read themselves.

#[allow(dead_code, reason = "shared with other tests")]
#[path = "support/cluster.rs"]
mod cluster;
#[allow(dead_code, reason = "shared with other tests")]
#[path = "support/judged.rs"]
mod judged;

use agent_model::finding::code;
use cluster::Cluster;
use judged::{entry, errors_on, judged, namespace, object, pod, settings};

const APP_MESH: &str = "appmesh.k8s.aws/v1beta2";
const IN_APP_MESH: &str = "mesh: m, appmesh.k8s.aws/sidecarInjectorWebhook: enabled";

fn mesh(name: &str, selector: &str) -> String {
    let spec = format!("{{namespaceSelector: {selector}, egressFilter: {{type: ALLOW_ALL}}}}");
    object(APP_MESH, "Mesh", &format!("name: {name}"), &spec)
}

fn member(kind: &str, name: &str, selector: &str) -> String {
    let metadata = format!("name: {name}, namespace: shop");
    object(APP_MESH, kind, &metadata, &format!("{{podSelector: {selector}}}"))
}

const ALL: &str = "{}";
const A: &str = "{matchLabels: {app: a}}";
const B: &str = "{matchLabels: {app: b}}";

/// Pods `a` and `b` in App Mesh, as they are judged.
fn of(rest: &str) -> [String; 2] {
    let text =
        namespace("shop", IN_APP_MESH) + &pod("shop/a", "app: a") + &pod("shop/b", "app: b") + rest;
    let mut found = judged(&text);
    ["a", "b"].map(|pod| found.remove(pod).expect("the pod"))
}

fn codes(rest: &str) -> Vec<&'static str> {
    let text = namespace("shop", IN_APP_MESH) + &pod("shop/a", "app: a") + rest;
    errors_on(&text, "Pod", "a")
}

#[test]
fn a_pod_of_two_nodes_may_dial_nothing_even_where_all_is_let_out() {
    for (one, other) in [
        ("VirtualNode", "VirtualNode"),
        ("VirtualNode", "VirtualGateway"),
        ("VirtualGateway", "VirtualGateway"),
    ] {
        let two = mesh("m", ALL) + &member(one, "first", ALL) + &member(other, "second", A);
        assert_eq!(of(&two), ["denies", "allows"], "{one} and {other}");
        assert_eq!(codes(&two), [code::MEMBERSHIP]);
    }
    let one =
        mesh("m", ALL) + &member("VirtualNode", "first", A) + &member("VirtualNode", "second", B);
    assert_eq!(of(&one), ["allows", "allows"]);
}

#[test]
fn a_namespace_of_two_meshes_closes_whom_a_node_selects() {
    let two = mesh("m", ALL) + &mesh("second", "{matchLabels: {mesh: m}}");
    assert_eq!(of(&(two.clone() + &member("VirtualNode", "first", A))), ["denies", "out"]);
    assert_eq!(of(&(two.clone() + &member("VirtualNode", "first", "7"))), ["denies", "denies"]);
    assert_eq!(codes(&(two.clone() + &member("VirtualNode", "first", A))), [code::MEMBERSHIP]);
    assert_eq!(of(&two), ["out", "out"]);
    let off = namespace("shop", "mesh: m") + &pod("shop/a", "app: a");
    assert_eq!(judged(&(off + &two + &member("VirtualNode", "first", A)))["a"], "out");
    // Beside Istio, which lets all out, what denies counts.
    let both = namespace("shop", &format!("istio-injection: enabled, {IN_APP_MESH}"))
        + &pod("shop/a", "app: a")
        + &two
        + &member("VirtualNode", "first", A);
    assert_eq!(judged(&both)["a"], "denies");
}

/// They select nothing, as far as they can be read.
const UNSOUND: [&str; 9] = [
    "{matchExpressions: [{key: app, operator: Near, values: [a]}]}",
    "{matchExpressions: [{key: app, operator: in, values: [a]}]}",
    "{matchExpressions: [{key: app, operator: ''}]}",
    "{matchExpressions: [{key: app, operator: In}]}",
    "{matchExpressions: [{key: app, operator: NotIn, values: []}]}",
    "{matchExpressions: [{key: app, operator: Exists, values: [a]}]}",
    "{matchExpressions: [{key: 'a b', operator: Exists}]}",
    "{matchExpressions: [{key: app, operator: In, values: ['a b']}]}",
    "{matchLabels: {'app ': a}}",
];

#[test]
fn a_selector_that_breaks_the_rules_may_select_anything() {
    for unsound in UNSOUND {
        let nodes = mesh("m", ALL) + &member("VirtualNode", "first", unsound);
        let named = "denies; VirtualNode shop/first";
        assert_eq!(of(&nodes), [named, named], "{unsound}");
        assert_eq!(
            of(&(nodes + &member("VirtualNode", "second", A))),
            ["allows", named],
            "{unsound}"
        );
        let gateways = mesh("m", ALL) + &member("VirtualGateway", "first", unsound);
        assert_eq!(of(&gateways), ["denies; VirtualGateway shop/first"; 2], "{unsound}");
        let meshes = mesh("m", unsound) + &member("VirtualNode", "first", A);
        assert_eq!(of(&meshes), ["denies; Mesh m", "out"], "{unsound}");
        let told = Cluster::read(&meshes);
        let field = |one: &&agent_model::finding::Finding| {
            one.field.starts_with("spec.namespaceSelector.match") && one.kind == "Mesh"
        };
        assert!(told.findings.iter().any(|one| field(&one)), "{:?}", told.findings);
    }
}

/// A Pod of a directory, in a namespace with labels.
fn refused_pod(labels: &str, metadata: &str, spec: &str) -> String {
    namespace("shop", labels)
        + &format!(
            "---\napiVersion: v1\nkind: Pod\nmetadata: {{name: a, namespace: shop, {metadata}}}\n\
             spec: {spec}\nstatus: {{podIPs: [{{ip: 10.0.0.1}}]}}\n"
        )
        + &entry()
}

#[test]
fn a_pod_that_cannot_be_read_is_judged_as_one_of_its_namespace() {
    const NETNS: &str = "annotations: {sekisho.dev/netns: /run/netns/a}";
    const ENABLED: &str = "istio-injection: enabled";
    let here = "{nodeName: node-1, containers: 7}";
    let (read, lost) = ("allows db; Pod shop/a", "denies; Pod shop/a");
    let plain = format!("labels: {{app: a}}, {NETNS}");
    for (of_namespace, metadata, spec, expected) in [
        (ENABLED, &*plain, here, Some(read)),
        (ENABLED, &plain, "{nodeName: node-1, hostNetwork: 'yes'}", Some(read)),
        (ENABLED, &plain, "{nodeName: node-1, hostNetwork: true, containers: 7}", Some("out")),
        ("", &plain, here, Some("out")),
        (ENABLED, &plain, "{nodeName: other, containers: 7}", None),
        (ENABLED, &plain, "{containers: 7}", None),
        // Which node it is on may be lost, or what selects it.
        (ENABLED, &plain, "{nodeName: 7, containers: []}", Some(lost)),
        (ENABLED, &plain, "7", Some(lost)),
        (ENABLED, &format!("labels: {{app: 7}}, {NETNS}"), here, Some(lost)),
        (ENABLED, &format!("labels: 7, {NETNS}"), here, Some(lost)),
        ("", &format!("labels: 7, {NETNS}"), here, Some(lost)),
        ("", &format!("labels: {{app: 7}}, {NETNS}"), here, Some("out")),
        ("", &format!("labels: {{sidecar.istio.io/inject: true}}, {NETNS}"), here, Some(lost)),
        ("", &format!("labels: {{istio.io/rev: 1.2}}, {NETNS}"), here, Some(lost)),
        (ENABLED, "annotations: 7", here, Some(lost)),
    ] {
        let found = judged(&refused_pod(of_namespace, metadata, spec));
        assert_eq!(
            found.get("a").map(String::as_str),
            expected,
            "{of_namespace} {metadata} {spec}"
        );
    }
    // In App Mesh, whose nodes select by the labels that are lost.
    let lost_labels = refused_pod(IN_APP_MESH, &format!("labels: {{app: 7}}, {NETNS}"), here);
    let node = mesh("m", ALL) + &member("VirtualNode", "first", A);
    assert_eq!(judged(&(lost_labels + &node))["a"], "denies; Pod shop/a");
    let read = refused_pod(IN_APP_MESH, &plain, here);
    assert_eq!(judged(&(read + &node))["a"], "allows; Pod shop/a");
}

#[test]
fn a_pod_that_cannot_be_read_is_no_endpoint_and_gives_way_to_a_good_form() {
    let plain = "labels: {app: a}, annotations: {sekisho.dev/netns: /run/netns/a}";
    let broken =
        refused_pod("istio-injection: enabled", plain, "{nodeName: node-1, containers: 7}");
    let selecting = object(
        "networking.istio.io/v1",
        "ServiceEntry",
        "name: own, namespace: shop",
        "{hosts: [own.example.com], addresses: [203.0.113.9], resolution: STATIC, location: MESH_INTERNAL, \
         workloadSelector: {labels: {app: a}}, ports: [{number: 1, name: tcp-a}]}",
    );
    let closed = settings("istio", "outboundTrafficPolicy: {mode: REGISTRY_ONLY}");
    let allowed = |text: &str| {
        let snapshot = Cluster::read(text).snapshot();
        format!("{:?}", snapshot.upstreams).contains("10.0.0.1")
    };
    let text = broken.clone() + &selecting + &closed;
    assert!(!allowed(&text), "an address without a pod of the service");
    let good = refused_pod("istio-injection: enabled", plain, "{nodeName: node-1, containers: []}");
    assert!(allowed(&(good.clone() + &selecting + &closed)));
    assert_eq!(judged(&(good + &broken))["a"], "allows db");
}
