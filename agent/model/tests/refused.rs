//! An object that restricts and is refused opens nothing: without a good form from before, whom it
//! would govern is judged by the strictest that it may mean.

#[allow(dead_code, reason = "shared with other tests")]
#[path = "support/cluster.rs"]
mod cluster;
#[allow(dead_code, reason = "shared with other tests")]
#[path = "support/judged.rs"]
mod judged;
use std::sync::Arc;

use agent_model::{
    finding::Severity,
    resource::{Kind, ObjectKey, Refused, documents, parse, validate},
};
use cluster::Cluster;
use judged::{entry, istio, judged, namespace, object, pod, settings};

const APP_MESH: &str = "appmesh.k8s.aws/v1beta2";
const ISTIO: &str = "networking.istio.io/v1";
const IN_APP_MESH: &str = "mesh: m, appmesh.k8s.aws/sidecarInjectorWebhook: enabled";

fn mesh(spec: &str) -> String {
    object(APP_MESH, "Mesh", "name: m", spec)
}

fn good_mesh(filter: &str) -> String {
    mesh(&format!(
        "{{namespaceSelector: {{matchLabels: {{mesh: m}}}}, egressFilter: {{type: {filter}}}}}"
    ))
}

fn node(name: &str, spec: &str) -> String {
    object(APP_MESH, "VirtualNode", &format!("name: {name}, namespace: shop"), spec)
}

/// Pods `a` and `b` of a namespace of App Mesh.
fn app_mesh(rest: &str) -> String {
    namespace("shop", IN_APP_MESH) + &pod("shop/a", "app: a") + &pod("shop/b", "app: b") + rest
}

fn check(text: &str, expected: &[(&str, &str)]) {
    let found = judged(text);
    for (pod, expected) in expected {
        assert_eq!(&found[*pod], expected, "{pod} of {text}");
    }
}

const SELECTS_A: &str = "podSelector: {matchLabels: {app: a}}";

#[test]
fn a_refused_virtual_node_drops_all_for_whom_it_selects() {
    let broken = ["listeners: 7", "listeners: [{portMapping: {port: 99999, protocol: http}}]"];
    for kind in ["VirtualNode", "VirtualGateway"] {
        for (broken, filter) in
            broken.iter().flat_map(|one| [(one, "DROP_ALL"), (one, "ALLOW_ALL")])
        {
            let spec = format!("{{{SELECTS_A}, {broken}}}");
            let refused = object(APP_MESH, kind, "name: vn, namespace: shop", &spec);
            let text = app_mesh(&(good_mesh(filter) + &refused));
            let named = format!("denies; {kind} shop/vn");
            check(&text, &[("a", &named), ("b", "out")]);
        }
    }
}

#[test]
fn a_virtual_node_whose_selector_cannot_be_read_may_select_all_that_no_other_does() {
    let unreadable = [
        "7",
        "{podSelector: 7}",
        "{podSelector: [a]}",
        "{podSelector: {matchLabels: [a]}}",
        "{podSelector: {matchLabels: {app: 7}}}",
        "{podSelector: {matchExpressions: [{key: app, operator: Is, values: [a]}]}, listeners: 7}",
    ];
    for spec in unreadable {
        let alone = app_mesh(&(good_mesh("ALLOW_ALL") + &node("vn", spec)));
        let named = "denies; VirtualNode shop/vn";
        check(&alone, &[("a", named), ("b", named)]);
        let good =
            node("good", &format!("{{{SELECTS_A}, serviceDiscovery: {{dns: {{hostname: a.b}}}}}}"));
        check(&(alone + &good), &[("a", "allows"), ("b", named)]);
    }
    // Whom no mesh could select stays outside.
    let off = namespace("shop", "mesh: m") + &pod("shop/a", "") + &good_mesh("DROP_ALL");
    check(&(off + &node("vn", "7")), &[("a", "out")]);
}

#[test]
fn a_refused_mesh_drops_all_where_no_other_selects() {
    let nodes =
        node("vn", &format!("{{{SELECTS_A}, serviceDiscovery: {{dns: {{hostname: a.b}}}}}}"));
    let readable = "{namespaceSelector: {matchLabels: {mesh: m}}, egressFilter: {type: MAYBE}}";
    let of_others = "{namespaceSelector: {matchLabels: {mesh: x}}, egressFilter: {type: MAYBE}}";
    let named = "denies; Mesh m";
    check(&app_mesh(&(mesh(readable) + &nodes)), &[("a", named), ("b", "out")]);
    check(&app_mesh(&(mesh(of_others) + &nodes)), &[("a", "out")]);
    for unreadable in ["7", "{namespaceSelector: 7}", "{namespaceSelector: {matchLabels: 7}}"] {
        check(&app_mesh(&(mesh(unreadable) + &nodes)), &[("a", named)]);
        let other = good_mesh("ALLOW_ALL").replace("name: m}", "name: good}");
        check(&app_mesh(&(mesh(unreadable) + &other + &nodes)), &[("a", "allows")]);
    }
}

fn sidecar(metadata: &str, spec: &str) -> String {
    object(ISTIO, "Sidecar", metadata, spec)
}

#[test]
fn a_refused_sidecar_shows_nothing_to_whom_it_selects() {
    check(&istio(""), &[("a", "allows db")]);
    for broken in ["egress: 7", "egress: [{hosts: [nothing]}]"] {
        let own = |selector: &str| {
            sidecar("name: s, namespace: shop", &format!("{{{selector}{broken}}}"))
        };
        let named = "denies; Sidecar shop/s";
        let selecting = istio(&own("workloadSelector: {labels: {app: a}}, "));
        check(&selecting, &[("a", named), ("b", "allows db"), ("c", "allows db")]);
        check(&istio(&own("")), &[("a", named), ("b", named), ("c", "allows db")]);
    }
    for selector in ["7", "[a]", "{labels: 7}", "{labels: {app: [a]}}", "{labels: {'': a}}"] {
        let own = sidecar("name: s, namespace: shop", &format!("{{workloadSelector: {selector}}}"));
        let named = "denies; Sidecar shop/s";
        check(&istio(&own), &[("a", named), ("b", named), ("c", "allows db")]);
    }
    // What cannot be read may be for a pod that an older one does not select, and not for others.
    let good = "{workloadSelector: {labels: {app: a}}, egress: [{hosts: ['*/*']}]}";
    let all = sidecar("name: a, namespace: shop", good) + &sidecar("name: s, namespace: shop", "7");
    check(&istio(&all), &[("a", "allows db"), ("b", "denies; Sidecar shop/s")]);
    let all = sidecar("name: z, namespace: shop", good) + &sidecar("name: s, namespace: shop", "7");
    check(&istio(&all), &[("a", "denies; Sidecar shop/s")]);
}

#[test]
fn a_refused_sidecar_of_the_root_namespace_is_for_all_that_have_none() {
    let named = "denies; Sidecar istio-system/s";
    for spec in ["7", "{egress: 7}", "{workloadSelector: 7}"] {
        let root = sidecar("name: s, namespace: istio-system", spec);
        check(&istio(&root), &[("a", named), ("c", named)]);
        let own = sidecar("name: own, namespace: far", "{egress: [{hosts: ['*/*']}]}");
        check(&istio(&(root + &own)), &[("a", named), ("c", "allows db")]);
    }
    let selecting = "{workloadSelector: {labels: {app: a}}, egress: 7}";
    let root = sidecar("name: s, namespace: istio-system", selecting);
    check(&istio(&root), &[("a", "allows db")]);
    // The root namespace is believed of settings that are refused for something else.
    let moved = settings("istio", "{rootNamespace: top, outboundTrafficPolicy: {mode: MAYBE}}");
    let root = sidecar("name: s, namespace: top", "{egress: 7}");
    check(&istio(&(moved + &root)), &[("a", "denies; Sidecar top/s")]);
}

#[test]
fn settings_that_cannot_be_read_are_registry_only() {
    let named = "denies db; ConfigMap istio-system/istio";
    for mesh in [
        "outboundTrafficPolicy: {mode: ALLOW_ANY",
        "outboundTrafficPolicy: {mode: MAYBE}",
        "outboundTrafficPolicy: 7",
        "{outboundTrafficPolicy: {mode: ALLOW_ANY}, rootNamespace: [a]}",
        "7",
    ] {
        check(&istio(&settings("istio", mesh)), &[("a", named), ("c", named)]);
    }
    let shapeless = "---\napiVersion: v1\nkind: ConfigMap\n\
                     metadata: {name: istio, namespace: istio-system}\ndata: 7\n";
    check(&istio(shapeless), &[("a", named)]);
    let own = sidecar("name: s, namespace: far", "{outboundTrafficPolicy: {mode: ALLOW_ANY}}");
    let both = settings("istio", "7") + &own;
    check(&istio(&both), &[("a", named), ("c", "allows db")]);
}

#[test]
fn a_namespace_whose_labels_cannot_be_read_may_be_in_any_mesh() {
    let of = |labels: &str| {
        format!(
            "---\napiVersion: v1\nkind: Namespace\nmetadata: {{name: shop, labels: {labels}}}\n"
        ) + &pod("shop/a", "app: a")
            + &pod("shop/out", "sidecar.istio.io/inject: 'false'")
            + &entry()
    };
    let named = "denies; Namespace shop";
    for labels in [
        "7",
        "[a]",
        "{istio-injection: true}",
        "{istio.io/rev: 1.2}",
        "{istio.io/dataplane-mode: [ambient]}",
        "{sidecar.istio.io/inject: true}",
    ] {
        check(&of(labels), &[("a", named), ("out", "out")]);
        // One that says no to Istio may still be in App Mesh.
    }
    check(&of("{team: 5}"), &[("a", "out")]);
    let mesh =
        mesh("{namespaceSelector: {matchLabels: {mesh: m}}, egressFilter: {type: ALLOW_ALL}}");
    let node = node("vn", "{podSelector: {}, serviceDiscovery: {dns: {hostname: a.b}}}");
    check(&(of("7") + &mesh + &node), &[("a", named), ("out", named)]);
}

#[test]
fn a_last_good_form_stays_in_force() {
    let good = [
        good_mesh("ALLOW_ALL"),
        node("vn", &format!("{{{SELECTS_A}, serviceDiscovery: {{dns: {{hostname: a.b}}}}}}")),
    ];
    let broken = mesh("7") + &node("vn", "7");
    check(&app_mesh(&(good.concat() + &broken)), &[("a", "allows"), ("b", "out")]);
    let good = settings("istio", "outboundTrafficPolicy: {mode: ALLOW_ANY}")
        + &sidecar("name: s, namespace: shop", "{egress: [{hosts: ['*/*']}]}")
        + &sidecar("name: s, namespace: istio-system", "{egress: [{hosts: ['*/*']}]}");
    let broken = settings("istio", "7")
        + &sidecar("name: s, namespace: shop", "7")
        + &sidecar("name: s, namespace: istio-system", "7")
        + "---\napiVersion: v1\nkind: Namespace\nmetadata: {name: shop, labels: 7}\n";
    check(&istio(&(good + &broken)), &[("a", "allows db"), ("c", "allows db")]);
}

#[test]
fn an_object_that_is_mended_governs_no_more_than_it_says() {
    let mended = istio(
        &(sidecar("name: s, namespace: shop", "7")
            + &sidecar("name: s, namespace: shop", "{egress: [{hosts: ['*/*']}]}")),
    );
    check(&mended, &[("a", "allows db"), ("b", "allows db")]);
}

#[test]
fn objects_that_restrict_no_pod_leave_nothing_behind() {
    let broken = object(ISTIO, "ServiceEntry", "name: x, namespace: shop", "7")
        + &object(ISTIO, "VirtualService", "name: x, namespace: shop", "7")
        + "---\napiVersion: v1\nkind: ConfigMap\n\
           metadata: {name: istio-ca-root-cert, namespace: istio-system}\ndata: {a: b}\n";
    let cluster = Cluster::read(&istio(&broken));
    assert_eq!(cluster.objects.stricter(), cluster.objects);
    check(&istio(&broken), &[("a", "allows db")]);
}

#[test]
fn what_may_be_anywhere_is_for_every_namespace() {
    let guess = |text: &str, kind: Kind| {
        let mut cluster = Cluster::read(text);
        let key = ObjectKey::new(kind, "", "a.yaml, document 1");
        let refused = Refused::unnamed(&key, true).map(Arc::new);
        cluster.objects.refuse(&Arc::new(key), refused);
        judged::of(&cluster)
    };
    let found = guess(&istio(""), Kind::Sidecar);
    assert_eq!(found["a"], "denies; Sidecar shop/a.yaml, document 1");
    assert_eq!(found["c"], "denies; Sidecar far/a.yaml, document 1");
    let found = guess(&app_mesh(&good_mesh("ALLOW_ALL")), Kind::VirtualNode);
    assert_eq!(found["a"], "denies; VirtualNode shop/a.yaml, document 1");
    // Namespaces that are known are what they say.
    let text =
        istio("") + &pod("nobodys/d", "") + &pod("nobodys/e", "sidecar.istio.io/inject: 'false'");
    let found = guess(&text, Kind::Namespace);
    assert_eq!((&*found["a"], &*found["e"]), ("allows db", "out"));
    assert_eq!(found["d"], "denies; Namespace nobodys");
    let found = guess(&istio(""), Kind::ConfigMap);
    assert!(found["a"].starts_with("denies db; ConfigMap "), "{found:?}");
    let known = istio(&settings("istio", "outboundTrafficPolicy: {mode: ALLOW_ANY}"));
    assert_eq!(guess(&known, Kind::ConfigMap)["a"], "allows db");
}

/// AWS documents that such a path is ignored.
#[test]
fn a_path_in_a_health_check_over_grpc_is_taken_and_told() {
    let text = node(
        "rpc",
        "{podSelector: {matchLabels: {app: rpc}}, listeners: [{portMapping: {port: 9000, protocol: \
         grpc}, healthCheck: {port: 9000, protocol: grpc, path: /ping, healthyThreshold: 2, \
         unhealthyThreshold: 2, timeoutMillis: 2000, intervalMillis: 5000}}], serviceDiscovery: \
         {dns: {hostname: rpc.shop.svc.cluster.local}}}",
    );
    let value = documents(&text).remove(0).value.unwrap();
    let parsed = parse(value).remove(0).unwrap();
    let findings = validate(&parsed.object.unwrap());
    assert!(findings.iter().all(|one| one.severity < Severity::Error), "{findings:?}");
    let path = findings.iter().find(|one| one.field == "spec.listeners[0].healthCheck.path");
    assert_eq!(path.map(|one| one.severity), Some(Severity::Info));
}
