//! How services are dialled and what workloads accept: the edge cases of `DestinationRule`,
//! `PeerAuthentication` and the legacy policies, each by its number.

#[allow(dead_code, reason = "shared with other tests")]
#[path = "support/requests.rs"]
mod requests;

use agent_model::{
    requests::{
        Requests as _,
        backend::Backend,
        policy::{Balance, ClientTls, HashKey, HashTable},
        server::{Server, ServerTls},
    },
    translate::requests::RequestModel,
};
use requests::{backend, mesh_config, namespace, object, objects, pod, served, service, spoken};

const FQDN: &str = "reviews.shop.svc.cluster.local";

/// Reviews in `shop`, clients in `shop`, `other` and the root namespace; one endpoint of reviews is
/// no pod of the mesh.
fn shop() -> String {
    let mut text = namespace("shop") + &namespace("other") + &namespace("istio-system");
    text += &pod("shop/reviews", "10.0.0.1", "app: reviews, version: v1");
    for client in ["shop/client", "other/client", "istio-system/gateway"] {
        let octet = client.len();
        text += &pod(client, &format!("10.0.1.{octet}"), "app: client");
    }
    text + &service("shop/reviews", "10.96.0.1", (9080, "http"), &["10.0.0.1", "10.0.0.2"])
}

fn rule(path: &str, age: u32, spec: &str) -> String {
    object("DestinationRule", path, age, spec)
}

fn connections(text: &str, client: &str) -> Option<u32> {
    backend(text, client, "reviews.shop").policy.limits.connections
}

/// A rule whose limit tells it from others.
fn limit(path: &str, age: u32, host: &str, (most, more): (u32, &str)) -> String {
    let spec = format!(
        "host: '{host}', trafficPolicy: {{connectionPool: {{tcp: {{maxConnections: {most}}}}}}}{more}"
    );
    rule(path, age, &spec)
}

fn reviews(text: &str) -> Backend {
    backend(text, "shop/client", "reviews.shop")
}

fn spoken_to_reviews(text: &str) -> String {
    spoken(&served(text, "shop/client", "reviews.shop"))
}

#[test]
fn edge_35_a_specific_rule_takes_nothing_from_a_wildcard() {
    let wide = rule("shop/wide", 1, "host: '*.local', trafficPolicy: {tls: {mode: ISTIO_MUTUAL}}");
    let off = mesh_config("enableAutoMtls: false");
    assert_eq!(spoken_to_reviews(&(shop() + &off + &wide)), "mesh mesh");
    let specific =
        rule("shop/reviews", 2, "host: reviews, subsets: [{name: v1, labels: {version: v1}}]");
    assert_eq!(spoken_to_reviews(&(shop() + &off + &wide + &specific)), "plain plain", "S1-15");
}

#[test]
fn edge_36_a_wildcard_of_the_clients_namespace_hides_the_services_own_rule() {
    let text = shop() + &limit("shop/own", 1, "reviews", (1, ""));
    assert_eq!(connections(&text, "other/client"), Some(1));
    let text = text + &limit("other/wide", 2, "*.local", (2, ""));
    assert_eq!(connections(&text, "other/client"), Some(2));
    assert_eq!(connections(&text, "shop/client"), Some(1));
}

#[test]
fn edge_37_rules_of_one_host_lend_subsets_and_the_oldest_policy_counts() {
    let subsets = |names: &str| format!(", subsets: [{names}]");
    let one = limit("shop/a", 2, "reviews", (2, &subsets("{name: v1, labels: {version: v1}}")));
    let more = "{name: v1, labels: {version: gone}}, {name: v2, labels: {version: v2}}";
    let other = limit("shop/b", 3, FQDN, (3, &subsets(more)));
    let first = rule("shop/c", 1, "host: reviews, subsets: [{name: v0, labels: {version: v0}}]");
    let routes = object(
        "VirtualService",
        "shop/x",
        1,
        "hosts: [reviews], http: [{route: [{destination: {host: reviews, subset: v0}}, \
         {destination: {host: reviews, subset: v1}, weight: 1}, \
         {destination: {host: reviews, subset: v2}, weight: 1}]}]",
    );
    let text = shop() + &one + &other + &first + &routes;
    let model = requests::model(&text);
    let found = model.outbound(&requests::id("shop/client")).expect("an enrolled pod");
    let subsets: Vec<(Option<&str>, Option<u32>, String)> = requests::backends(&found)
        .into_iter()
        .map(|to| {
            let spoken = spoken(&(to.clone(), model.load_assignment(to)));
            (to.subset.as_deref(), to.policy.limits.connections, spoken)
        })
        .collect();
    let expected = [(Some("v1"), Some(2), "mesh".to_owned()), (Some("v2"), Some(2), String::new())];
    assert_eq!(subsets, expected, "the first v1, and the older of the policies");
    let apart = text.replace("hosts: [reviews]", "hosts: [x]").replace(
        "host: reviews.shop.svc.cluster.local,",
        "exportTo: ['.'], host: reviews.shop.svc.cluster.local,",
    );
    assert_eq!(connections(&apart, "other/client"), Some(2), "one that is not exported is apart");
}

#[test]
fn edge_38_a_ports_own_settings_leave_nothing_of_the_others() {
    let text = shop()
        + &limit("shop/a", 1, "reviews", (
            7,
            ", subsets: []",
        ))
        .replace(
            "{maxConnections: 7}}",
            "{maxConnections: 7}}, outlierDetection: {}, portLevelSettings: [{port: {number: 9080}, tls: {mode: DISABLE}}]",
        );
    let found = reviews(&text).policy;
    assert_eq!(
        (found.limits.connections, found.ejection, found.tls),
        (None, None, ClientTls::Plain)
    );
    let other = text.replace("number: 9080", "number: 1");
    let found = reviews(&other).policy;
    assert_eq!(found.limits.connections, Some(7));
    assert!(found.ejection.is_some());
}

#[test]
fn a_subset_overrides_field_by_field_and_its_ports_whole() {
    let with = |policy: &str| {
        let spec = format!(
            "host: reviews, trafficPolicy: {{connectionPool: {{tcp: {{maxConnections: 7}}}}, \
             loadBalancer: {{simple: RANDOM}}}}, subsets: [{{name: v1, trafficPolicy: {{{policy}}}}}]"
        );
        let routes =
            "hosts: [reviews], http: [{route: [{destination: {host: reviews, subset: v1}}]}]";
        let text =
            shop() + &rule("shop/a", 1, &spec) + &object("VirtualService", "shop/x", 1, routes);
        let found = reviews(&text).policy;
        (found.limits.connections, found.balance)
    };
    assert_eq!(with("loadBalancer: {simple: ROUND_ROBIN}"), (Some(7), Balance::RoundRobin));
    let port = "portLevelSettings: [{port: {number: 9080}, loadBalancer: {simple: ROUND_ROBIN}}]";
    assert_eq!(with(port), (None, Balance::RoundRobin));
}

#[test]
fn edge_39_tls_without_a_mode_is_off_and_not_automatic() {
    assert_eq!(spoken_to_reviews(&shop()), "mesh plain");
    let text = shop() + &rule("shop/a", 1, "host: reviews, trafficPolicy: {tls: {}}");
    assert_eq!(
        (reviews(&text).policy.tls, spoken_to_reviews(&text)),
        (ClientTls::Plain, "plain plain".to_owned())
    );
}

#[test]
fn edge_40_mutual_tls_that_is_asked_for_never_falls_back() {
    let text =
        shop() + &rule("shop/a", 1, "host: reviews, trafficPolicy: {tls: {mode: ISTIO_MUTUAL}}");
    assert_eq!(spoken_to_reviews(&text), "mesh mesh", "the endpoint outside the mesh as well");
    let (found, served) = served(&text, "shop/client", "reviews.shop");
    let ClientTls::Mesh(tls) = found.policy.tls else { panic!() };
    let expected = ["spiffe://cluster.local/ns/shop/sa/reviews".to_owned()];
    assert_eq!(served.identities.into_iter().collect::<Vec<_>>(), expected);
    assert_eq!(tls.server_name, format!("outbound_.9080_._.{FQDN}"));
}

#[test]
fn edge_41_automatic_tls_is_told_for_each_endpoint() {
    assert_eq!(spoken_to_reviews(&shop()), "mesh plain");
    let off = shop() + &mesh_config("enableAutoMtls: false");
    assert_eq!(spoken_to_reviews(&off), "plain plain");
    let entry = |location: &str| {
        let spec = format!(
            "hosts: [db.example.com], location: {location}, resolution: STATIC, \
             ports: [{{number: 80, name: http, protocol: HTTP}}], endpoints: [{{address: 10.0.0.1}}]"
        );
        let text = shop() + &object("ServiceEntry", "shop/db", 1, &spec);
        spoken(&served(&text, "shop/client", "db.example.com"))
    };
    assert_eq!(entry("MESH_EXTERNAL"), "plain", "no identity is expected of it");
    assert_eq!(entry("MESH_INTERNAL"), "mesh");
}

fn peers(path: &str, age: u32, spec: &str) -> String {
    object("PeerAuthentication", path, age, spec)
}

#[test]
fn edge_42_clients_do_not_look_at_what_is_said_of_single_workloads() {
    let own = peers("shop/a", 1, "selector: {matchLabels: {app: reviews}}, mtls: {mode: DISABLE}");
    assert_eq!(spoken_to_reviews(&(shop() + &own)), "mesh plain");
    let all = peers("shop/a", 1, "mtls: {mode: DISABLE}");
    assert_eq!(spoken_to_reviews(&(shop() + &all)), "plain plain");
    assert_eq!(server(&(shop() + &own), "shop/reviews").other.tls, ServerTls::Plain);
}

fn server(text: &str, pod: &str) -> Server {
    let objects = objects(text);
    RequestModel::new(&objects, "cluster.local")
        .server(&requests::id(pod))
        .expect("an enrolled pod")
        .as_ref()
        .clone()
}

#[test]
fn edge_43_a_selector_in_the_root_namespace_selects_no_pod() {
    let one =
        peers("istio-system/a", 1, "selector: {matchLabels: {app: client}}, mtls: {mode: STRICT}");
    for pod in ["shop/client", "istio-system/gateway"] {
        assert_eq!(server(&(shop() + &one), pod).other.tls, ServerTls::MeshOrPlain);
    }
}

#[test]
fn edges_44_and_45_modes_are_by_the_port_that_is_listened_on_and_for_every_port() {
    let one = "selector: {matchLabels: {app: reviews}}, mtls: {mode: STRICT}, \
               portLevelMtls: {8080: {mode: DISABLE}, 8081: {}}";
    let found = server(&(shop() + &peers("shop/a", 1, one)), "shop/reviews");
    assert_eq!(found.other.tls, ServerTls::MeshOnly, "ports of no service as well");
    assert_eq!(found.ports[&8080].tls, ServerTls::Plain);
    assert_eq!(found.ports[&8081].tls, ServerTls::MeshOnly, "unset is the workload's");
}

#[test]
fn the_narrowest_scope_decides_what_is_unset_comes_from_above_and_the_oldest_counts() {
    let mesh = peers("istio-system/default", 1, "mtls: {mode: STRICT}");
    let unset = peers("shop/b", 1, "mtls: {}");
    let newer = peers("shop/c", 2, "mtls: {mode: DISABLE}");
    let own = peers("shop/d", 1, "selector: {matchLabels: {app: reviews}}, mtls: {mode: UNSET}");
    let tls = |more: &str| server(&(shop() + more), "shop/reviews").other.tls;
    assert_eq!(tls(""), ServerTls::MeshOrPlain, "S1-11");
    assert_eq!(tls(&mesh), ServerTls::MeshOnly, "S1-21");
    assert_eq!(tls(&(mesh.clone() + &unset + &newer + &own)), ServerTls::MeshOnly);
    assert_eq!(tls(&(mesh + &newer)), ServerTls::Plain);
}

#[test]
fn edge_61_a_legacy_policy_without_a_mode_is_strict() {
    let mesh = |peers: &str| object("MeshPolicy", "x/default", 1, peers);
    let tls = |more: &str| server(&(shop() + more), "shop/reviews").other.tls;
    for peers in ["peers: [{mtls: {}}]", "peers: [{mtls: null}]"] {
        assert_eq!(tls(&mesh(peers)), ServerTls::MeshOnly, "{peers}");
    }
    assert_eq!(tls(&mesh("peers: [{mtls: {mode: PERMISSIVE}}]")), ServerTls::MeshOrPlain);
    assert_eq!(tls(&mesh("peers: []")), ServerTls::Plain);
    let own = object("Policy", "shop/default", 1, "peers: [{mtls: {}}]");
    assert_eq!(tls(&(mesh("peers: []") + &own)), ServerTls::MeshOnly, "S1-14");
    let other = server(&(shop() + &own), "other/client").other.tls;
    assert_eq!(other, ServerTls::MeshOrPlain, "S1-14: other namespaces are as they were");
    let today = peers("shop/x", 9, "mtls: {mode: DISABLE}");
    assert_eq!(tls(&(own + &today)), ServerTls::Plain, "today's object stands before it");
}

#[test]
fn a_legacy_policy_for_a_service_is_for_the_ports_its_pods_listen_on() {
    let text = shop()
        .replace("clusterIP: 10.96.0.1, ports: [{name: http, port: 9080}]",
            "clusterIP: 10.96.0.1, selector: {app: reviews}, ports: [{name: http, port: 80, targetPort: 9080}]");
    let one = |targets: &str| {
        let spec = format!("targets: [{targets}], peers: [{{mtls: {{}}}}]");
        server(&(text.clone() + &object("Policy", "shop/reviews", 1, &spec)), "shop/reviews")
    };
    let whole = one("{name: reviews}");
    assert_eq!((whole.other.tls, whole.ports.len()), (ServerTls::MeshOnly, 0));
    for port in ["{number: 80}", "{name: http}"] {
        let found = one(&format!("{{name: reviews, ports: [{port}]}}"));
        assert_eq!(found.other.tls, ServerTls::MeshOrPlain, "{port}");
        assert_eq!(found.ports[&9080].tls, ServerTls::MeshOnly, "{port}");
    }
    assert_eq!(one("{name: other}").other.tls, ServerTls::MeshOrPlain);
}

#[test]
fn edge_48_an_empty_outlier_detection_is_on() {
    let with = |outliers: &str| {
        let spec = format!("host: reviews, trafficPolicy: {{outlierDetection: {outliers}}}");
        reviews(&(shop() + &rule("shop/a", 1, &spec))).policy.ejection.expect("it is on")
    };
    let usual = with("{}");
    assert_eq!(
        (usual.server_errors, usual.gateway_errors, usual.most_percent),
        (Some(5), None, 10)
    );
    assert_eq!((usual.interval.as_secs(), usual.base.as_secs()), (10, 30));
    assert_eq!(with("{consecutive5xxErrors: 0}").server_errors, None);
    let s3_7 = with(
        "{consecutive5xxErrors: 1, interval: 1s, baseEjectionTime: 3m, maxEjectionPercent: 100}",
    );
    assert_eq!((s3_7.server_errors, s3_7.base.as_secs(), s3_7.most_percent), (Some(1), 180, 100));
}

#[test]
fn edge_72_a_key_that_is_not_exported_still_hides_the_wildcard() {
    let wide = limit("shop/wide", 1, "*.local", (1, ""));
    let exact = limit("shop/exact", 2, "reviews", (2, ", exportTo: [elsewhere]"));
    let root = limit("istio-system/wide", 3, "*.local", (3, ""));
    assert_eq!(connections(&(shop() + &wide), "other/client"), Some(1));
    assert_eq!(connections(&(shop() + &wide + &exact), "other/client"), None);
    assert_eq!(connections(&(shop() + &wide + &exact + &root), "other/client"), Some(3));
}

#[test]
fn edge_73_an_exact_key_for_other_workloads_leaves_no_rule() {
    let wide = limit("shop/wide", 1, "*.local", (1, ""));
    let own = |app: &str| {
        let more = format!(", workloadSelector: {{matchLabels: {{app: {app}}}}}");
        limit("shop/exact", 2, "reviews", (2, &more))
    };
    let root = limit("istio-system/wide", 1, "*.local", (9, ""));
    assert_eq!(connections(&(shop() + &wide + &root + &own("x")), "shop/client"), None);
    assert_eq!(connections(&(shop() + &root), "shop/client"), Some(9));
    assert_eq!(connections(&(shop() + &wide + &own("client")), "shop/client"), Some(2));
    let all = limit("shop/all", 3, "reviews", (3, ""));
    assert_eq!(connections(&(shop() + &own("x") + &all), "shop/client"), Some(3));
    assert_eq!(connections(&(shop() + &own("client") + &all), "shop/client"), Some(2));
}

#[test]
fn edge_74_the_root_namespaces_own_clients_see_its_public_rules_last() {
    let root = limit("istio-system/wide", 1, "*.local", (1, ""));
    let own = limit("shop/own", 2, "reviews", (2, ""));
    assert_eq!(connections(&(shop() + &root), "istio-system/gateway"), Some(1));
    assert_eq!(connections(&(shop() + &root + &own), "istio-system/gateway"), Some(2));
    let private = limit("istio-system/mine", 3, "*.local", (3, ", exportTo: ['.']"));
    assert_eq!(connections(&(shop() + &root + &own + &private), "istio-system/gateway"), Some(3));
}

#[test]
fn edge_77_a_cookie_with_a_time_is_issued_and_one_without_is_only_read() {
    let with = |hash: &str| {
        let spec = format!(
            "host: reviews, trafficPolicy: {{loadBalancer: {{consistentHash: {{{hash}}}}}}}"
        );
        reviews(&(shop() + &rule("shop/a", 1, &spec))).policy.balance
    };
    let cookie = |ttl: &str| match with(&format!("httpCookie: {{name: c{ttl}}}")) {
        Balance::Hash { key: HashKey::Cookie { ttl, .. }, .. } => ttl.map(|ttl| ttl.as_secs()),
        other => panic!("{other:?}"),
    };
    assert_eq!((cookie(""), cookie(", ttl: 0s"), cookie(", ttl: 60s")), (None, Some(0), Some(60)));
    let header = with("httpHeaderName: X-User, maglev: {tableSize: 101}");
    let key = HashKey::Header("x-user".to_owned());
    assert_eq!(header, Balance::Hash { key, table: HashTable::Maglev(101) });
    let source = Balance::Hash { key: HashKey::SourceAddress, table: HashTable::Ring(1024) };
    assert_eq!(with("useSourceIp: true"), source);
}

#[test]
fn s1_12_and_s1_17_the_callers_side_of_strict_mode() {
    let off = mesh_config("enableAutoMtls: false");
    let strict = peers("istio-system/default", 1, "mtls: {mode: STRICT}");
    let text = shop() + &off + &strict;
    assert_eq!(spoken_to_reviews(&text), "plain plain", "S1-12: refused by the far side");
    assert_eq!(server(&text, "shop/reviews").other.tls, ServerTls::MeshOnly);
    let wide =
        rule("shop/default", 1, "host: '*.local', trafficPolicy: {tls: {mode: ISTIO_MUTUAL}}");
    let server_of_cluster = namespace("default").replace("enabled", "disabled")
        + &service("default/kubernetes", "10.96.0.9", (443, "https"), &["203.0.113.9"]);
    let text = text + &wide + &server_of_cluster;
    let to = |text: &str| spoken(&served(text, "shop/client", "kubernetes.default"));
    assert_eq!(to(&text), "mesh", "S1-17: fails, since it is outside the mesh");
    let own = rule(
        "shop/api",
        2,
        "host: kubernetes.default.svc.cluster.local, trafficPolicy: {tls: {mode: DISABLE}}",
    );
    assert_eq!(to(&(text + &own)), "plain", "S1-18");
}
