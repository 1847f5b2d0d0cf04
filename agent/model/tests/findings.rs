//! What is found of objects that do not fit together, with `istioctl analyze`'s codes.

#[allow(dead_code, reason = "shared with other tests")]
#[path = "support/requests.rs"]
mod requests;

use agent_model::{
    analyze::analyze,
    finding::code,
    resource::{documents, parse},
};
use requests::{mesh_config, namespace, object, objects, service};

/// `code object field` of all that is found but for what is only not applied yet.
fn found(text: &str) -> Vec<String> {
    let findings = analyze(&objects(text)).into_iter();
    let findings = findings.inspect(|one| assert!(code::allows(one.code, one.severity), "{one}"));
    let told = findings.filter(|finding| finding.code != code::NOT_SUPPORTED);
    told.map(|one| format!("{} {}/{} {}", one.code, one.namespace, one.name, one.field)).collect()
}

fn shop() -> String {
    namespace("shop")
        + &service("shop/reviews", "10.96.0.1", (9080, "http"), &["10.0.0.1"])
        + &object("DestinationRule", "shop/reviews", 1, "host: reviews, subsets: [{name: v1}]")
}

fn routes(name: &str, spec: &str) -> String {
    object("VirtualService", &format!("shop/{name}"), 1, spec)
}

fn to(destination: &str) -> String {
    shop()
        + &routes(
            "r",
            &format!("hosts: [reviews], http: [{{route: [{{destination: {{{destination}}}}}]}}]"),
        )
}

#[test]
fn what_fits_together_gives_nothing() {
    let gateway = object(
        "Gateway",
        "shop/gw",
        1,
        "servers: [{port: {number: 80, name: http, protocol: HTTP}, hosts: ['shop/*']}]",
    );
    let edge = routes(
        "edge",
        "hosts: [shop.example.com], gateways: [gw], http: [{route: [{destination: {host: reviews, subset: v1, port: {number: 9080}}}]}]",
    );
    assert_eq!(found(&(to("host: reviews, subset: v1") + &gateway + &edge)), [""; 0]);
}

#[test]
fn a_destination_that_is_missing_is_told_by_host_subset_and_port() {
    let field = "IST0101 shop/r spec.http[0].route[0].destination";
    assert_eq!(found(&to("host: nowhere")), [format!("{field}.host")]);
    assert_eq!(found(&to("host: reviews.other")), [format!("{field}.host")]);
    assert_eq!(found(&to("host: reviews, subset: v9")), [format!("{field}.subset")]);
    assert_eq!(found(&to("host: reviews, port: {number: 1}")), [format!("{field}.port.number")]);
    let several = to("host: reviews")
        .replace("port: 9080}]}\n---", "port: 9080}, {name: tcp, port: 1}]}\n---");
    assert_eq!(found(&several), [format!("{field}.port").replace("IST0101", "IST0112")]);
    let alone = routes("r", "hosts: [reviews], http: [{route: [{destination: {host: nowhere}}]}]");
    assert_eq!(found(&alone), [""; 0], "without any Service it is not known");
    let mirror = shop()
        + &routes(
            "r",
            "hosts: [reviews], http: [{route: [{destination: {host: reviews}}], mirror: {host: x}}]",
        );
    assert_eq!(found(&mirror), ["IST0101 shop/r spec.http[0].mirror.host"]);
    let rule = shop() + &object("DestinationRule", "shop/x", 1, "host: nowhere");
    assert_eq!(found(&rule), ["IST0101 shop/x spec.host"]);
}

#[test]
fn a_gateway_that_is_missing_or_does_not_serve_the_host_is_told() {
    let gateway = object(
        "Gateway",
        "shop/gw",
        1,
        "selector: {a: b}, servers: [{port: {number: 80, name: http, protocol: HTTP}, hosts: ['*.example.com']}]",
    );
    let edge = |gateways: &str, host: &str| {
        let spec = format!(
            "hosts: [{host}], gateways: [{gateways}], http: [{{directResponse: {{status: 200}}}}]"
        );
        found(&(shop() + &gateway + &routes("r", &spec)))
    };
    assert_eq!(edge("gw", "a.example.com"), [""; 0]);
    assert_eq!(edge("other/gw", "a.example.com"), ["IST0101 shop/r spec.gateways[0]"]);
    assert_eq!(edge("gw", "a.example.org"), ["IST0132 shop/r spec.hosts[0]"]);
    let twin = gateway.replace("name: gw,", "name: twin,");
    let clash = ["IST0145 shop/gw spec.servers", "IST0145 shop/twin spec.servers"];
    assert_eq!(found(&(shop() + &gateway + &twin)), clash);
    let narrower = twin.replace("{a: b}", "{a: b, c: d}");
    assert_eq!(found(&(shop() + &gateway + &narrower)), clash);
    let apart = twin.replace("{a: b}", "{a: c}");
    assert_eq!(found(&(shop() + &gateway + &apart)), [""; 0]);
}

#[test]
fn a_host_is_served_by_one_of_the_gateways() {
    let gateway = |name: &str, hosts: &str| {
        let spec = format!(
            "selector: {{a: {name}}}, servers: [{{port: {{number: 80, name: http, protocol: HTTP}}, hosts: [{hosts}]}}]"
        );
        object("Gateway", &format!("shop/{name}"), 1, &spec)
    };
    let both = gateway("one", "a.example.com") + &gateway("two", "b.example.com");
    let edge = |hosts: &str| {
        let spec = format!(
            "hosts: [{hosts}], gateways: [one, two], http: [{{directResponse: {{status: 200}}}}]"
        );
        found(&(shop() + &both + &routes("r", &spec)))
    };
    assert_eq!(edge("a.example.com, b.example.com"), [""; 0]);
    assert_eq!(edge("a.example.com, c.example.com"), ["IST0132 shop/r spec.hosts[1]"]);
}

#[test]
fn a_gateway_that_is_refused_is_not_told_as_missing() {
    let refused = object("Gateway", "shop/gw", 1, "servers: []");
    let spec = "hosts: [a.b], gateways: [gw], http: [{directResponse: {status: 200}}]";
    let text = shop() + &refused + &routes("r", spec);
    let values = documents(&text).into_iter().map(|one| one.value.expect("YAML"));
    let all = values.flat_map(parse).filter_map(|one| one.expect("readable").object).collect();
    let findings = analyze(&all);
    let told = findings.iter().find(|one| one.code == code::REFERENCE_UNKNOWN).expect("told");
    assert!(told.message.contains("is there and refused"), "{told}");
}

#[test]
fn a_subset_that_a_rule_lacks_is_told_without_any_service() {
    let rule = object("DestinationRule", "shop/reviews", 1, "host: reviews, subsets: [{name: v1}]");
    let to = |subset: &str| {
        let spec = format!(
            "hosts: [reviews], http: [{{route: [{{destination: {{host: reviews, subset: {subset}}}}}]}}]"
        );
        routes("r", &spec)
    };
    assert_eq!(found(&(rule.clone() + &to("v1"))), [""; 0]);
    let field = "spec.http[0].route[0].destination.subset";
    assert_eq!(found(&(rule + &to("v9"))), [format!("IST0101 shop/r {field}")]);
    assert_eq!(found(&to("v9")), [""; 0], "without a rule it is not known");
}

#[test]
fn a_policy_that_names_no_host_is_reported() {
    let policy = |spec: &str| object("AuthorizationPolicy", "shop/p", 1, spec);
    let hosts =
        "rules: [{to: [{operation: {hosts: ['reviews', 'reviews:9080', '*.x', nowhere]}}]}]";
    let field = "IST0101 shop/p spec.rules[0]";
    assert_eq!(found(&(shop() + &policy(hosts))), [format!("{field}.to[0].operation.hosts[3]")]);
    let spaces = "rules: [{from: [{source: {namespaces: [shop, 'x*', gone]}}]}]";
    assert_eq!(
        found(&(shop() + &policy(spaces))),
        [format!("{field}.from[0].source.namespaces[2]")]
    );
    let exported =
        routes("r", "hosts: [reviews], exportTo: [gone], http: [{directResponse: {status: 200}}]");
    assert_eq!(found(&(shop() + &exported)), ["IST0101 shop/r spec.exportTo[0]"]);
}

/// As they are in a repository: an address is what the cluster adds.
#[test]
fn services_of_manifests_are_taken_to_have_an_address() {
    let mesh = "apiVersion: v1
kind: Namespace
metadata: {name: m1, labels: {mesh: m, appmesh.k8s.aws/sidecarInjectorWebhook: enabled}}
---
apiVersion: appmesh.k8s.aws/v1beta2
kind: Mesh
metadata: {name: m}
spec: {namespaceSelector: {matchLabels: {mesh: m}}, egressFilter: {type: DROP_ALL}}
---
apiVersion: v1
kind: Service
metadata: {name: back, namespace: m1}
spec: {selector: {app: back}, ports: [{port: 9000}]}
---
apiVersion: appmesh.k8s.aws/v1beta2
kind: VirtualNode
metadata: {name: back, namespace: m1}
spec:
  podSelector: {matchLabels: {app: back}}
  listeners: [{portMapping: {port: 9000, protocol: tcp}}]
  serviceDiscovery: {dns: {hostname: back.m1.svc.cluster.local}}
---
apiVersion: appmesh.k8s.aws/v1beta2
kind: VirtualService
metadata: {name: back, namespace: m1}
spec: {provider: {virtualNode: {virtualNodeRef: {name: back}}}}
";
    assert_eq!(found(mesh), ["SK0303 m1/back spec.clusterIP"]);
    let stored = mesh.replace(
        "{name: back, namespace: m1}\nspec: {selector",
        "{name: back, namespace: m1, uid: a}\nspec: {selector",
    );
    assert!(found(&stored).len() > 1, "a cluster would have given it one");
}

#[test]
fn two_objects_that_route_one_host_in_the_mesh_are_told() {
    let one = |name: &str, more: &str| {
        routes(
            name,
            &format!("hosts: [reviews]{more}, http: [{{directResponse: {{status: 200}}}}]"),
        )
    };
    let both = shop() + &one("a", "") + &one("b", "");
    assert_eq!(found(&both), ["IST0109 shop/a spec.hosts", "IST0109 shop/b spec.hosts"]);
    let apart = shop() + &one("a", ", exportTo: [east]") + &one("b", ", exportTo: [west]");
    assert_eq!(found(&apart).iter().filter(|one| one.contains("IST0109")).count(), 0);
}

#[test]
fn a_legacy_policy_beside_todays_and_a_selector_of_the_root_namespace_are_told() {
    let today = |path: &str, more: &str| {
        object("PeerAuthentication", path, 1, &format!("mtls: {{mode: STRICT}}{more}"))
    };
    let legacy = object("Policy", "shop/default", 1, "peers: [{mtls: {}}]");
    assert_eq!(found(&(legacy.clone() + &today("shop/x", ""))), ["SK0309 shop/default spec"]);
    let selector = ", selector: {matchLabels: {a: b}}";
    assert_eq!(found(&(legacy + &today("shop/x", selector))), [""; 0]);
    let of_mesh = object("MeshPolicy", "x/default", 1, "peers: [{mtls: {}}]");
    assert_eq!(found(&(of_mesh + &today("istio-system/x", ""))), ["SK0309 /default spec"]);
    assert_eq!(found(&today("istio-system/x", selector)), ["SK0103 istio-system/x spec.selector"]);
    let moved = mesh_config("rootNamespace: shop") + &today("shop/x", selector);
    assert_eq!(found(&moved), ["SK0103 shop/x spec.selector"]);
    let elsewhere = mesh_config("rootNamespace: shop") + &today("istio-system/x", selector);
    assert_eq!(found(&elsewhere), [""; 0]);
}
