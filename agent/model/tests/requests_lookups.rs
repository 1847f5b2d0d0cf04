//! What an edge asks of a model: rows of its configuration, what becomes of a connection, and why
//! it is proxied.

#[allow(dead_code, reason = "shared with other tests")]
#[path = "support/requests.rs"]
mod requests;

use std::net::IpAddr;

use agent_model::{
    egress::Protocol,
    explain::{Decision, Query, explain},
    registry::PathReason,
    requests::{AnyRoute, Decided, Reading, Request, Sent, Verdict, outbound::Outbound},
    translate::{Http, Interner, NodeContext, translate},
};
use requests::{id, object, objects, outbound, service, shop};

fn text() -> String {
    let route = "hosts: [reviews], http: [{name: v2, match: [{uri: {prefix: /v2}}], route: \
                 [{destination: {host: ratings}}]}, {route: [{destination: {host: reviews}}]}]";
    let tls = "hosts: [api.example.com], addresses: [203.0.113.7], resolution: STATIC, \
               endpoints: [{address: 203.0.113.8}], ports: [{number: 443, name: tls, protocol: TLS}]";
    shop()
        + &object("VirtualService", "default/reviews", 1, route)
        + &object("ServiceEntry", "default/api", 1, tls)
        + &service("default/db", "10.96.0.7", (5432, "tcp"), &["10.0.0.7"])
}

#[test]
fn rows_are_what_a_proxys_configuration_has() {
    let found = outbound(&text(), "default/client");
    let listeners: Vec<String> = found
        .listeners()
        .map(|row| format!("{} {}", row.port, row.at.map_or("any".into(), |at| at.to_string())))
        .collect();
    assert_eq!(listeners, ["443 203.0.113.7/32", "443 any", "5432 10.96.0.7/32", "9080 any"]);
    let routes = found.routes();
    let http = routes.iter().filter(|row| matches!(row.route, AnyRoute::Http(_)));
    assert_eq!(http.count(), 3, "two of reviews, one of ratings");
    let clusters: Vec<String> =
        found.clusters().keys().map(|(service, port, _)| format!("{service}:{port}")).collect();
    assert_eq!(
        clusters,
        [
            "api.example.com:443",
            "db.default.svc.cluster.local:5432",
            "ratings.default.svc.cluster.local:9080",
            "reviews.default.svc.cluster.local:9080",
        ]
    );
}

fn ask(found: &Outbound, to: Option<&str>, port: u16, sent: Sent<'_>) -> String {
    let address: Option<IpAddr> = to.map(|to| to.parse().expect("an address"));
    let first = |to: &[agent_model::requests::backend::Weighted]| requests::share(&to[0]);
    match found.decide(address, port, sent) {
        Decided::NotServed => "not served".to_owned(),
        Decided::Requests(Verdict::Route(route)) => format!("route {:?}", route.name),
        Decided::Requests(other) => format!("{other:?}"),
        Decided::Stream(route) => first(&route.to),
    }
}

#[test]
fn a_connection_is_told_by_its_first_bytes() {
    let found = outbound(&text(), "default/client");
    let request = |target| Request { authority: "reviews", target, ..Request::default() };
    let (v2, v1) = (request("/v2/x"), request("/"));
    assert_eq!(ask(&found, Some("10.96.0.1"), 9080, Sent::Request(&v2)), "route \"v2\"");
    assert_eq!(ask(&found, None, 9080, Sent::Request(&v1)), "route \"\"");
    assert_eq!(ask(&found, Some("10.96.0.1"), 9080, Sent::Bytes), "not served");
    let db = "1x db.default:5432";
    assert_eq!(ask(&found, Some("10.96.0.7"), 5432, Sent::Bytes), db);
    assert_eq!(ask(&found, Some("10.96.0.7"), 5432, Sent::Request(&v1)), db, "not looked at");
    assert_eq!(ask(&found, Some("10.96.0.8"), 5432, Sent::Bytes), "not served");
    let api = "1x api.example.com:443";
    assert_eq!(ask(&found, Some("203.0.113.7"), 443, Sent::Tls("x.example.com")), api);
    assert_eq!(ask(&found, Some("198.51.100.1"), 443, Sent::Tls("api.example.com")), api);
    assert_eq!(ask(&found, Some("198.51.100.1"), 443, Sent::Tls("x.example.com")), "not served");
}

#[test]
fn a_rule_says_why_a_connection_is_proxied_or_not() {
    for (http, address, port, reason) in [
        (Http::Needed, "10.96.0.1", 9080, PathReason::Steered),
        (Http::Needed, "10.96.0.2", 9080, PathReason::AsDialled),
        (Http::Always, "10.96.0.2", 9080, PathReason::ReadsAll),
        (Http::Always, "198.51.100.1", 9080, PathReason::ByName),
        (Http::Always, "203.0.113.7", 443, PathReason::Redirected),
        (Http::Needed, "10.96.0.7", 5432, PathReason::AsDialled),
    ] {
        let node = NodeContext { http, ..NodeContext::new("node-1") };
        let snapshot = translate(&objects(&text()), &node, &mut Interner::default());
        let query = Query {
            pod: id("default/client"),
            address: address.parse().unwrap(),
            port: port.try_into().unwrap(),
            protocol: Protocol::Tcp,
        };
        let told = explain(&snapshot, &query).expect("a pod");
        let Decision::Rule { reason: said, .. } = told.decision else { panic!("{told:?}") };
        assert_eq!(said.as_deref(), Some(reason.words()), "{http:?} {address}");
    }
}

/// Pods that see the same share it, and so do generations in which it did not change.
#[test]
fn what_pods_may_dial_is_worked_out_once() {
    let twin = requests::pod("default/twin", "10.0.1.3", "app: twin");
    let mut all = objects(&(text() + &twin));
    let (node, mut interner) = (NodeContext::new("node-1"), Interner::default());
    let first = translate(&all, &node, &mut interner);
    let of = |snapshot: &agent_model::snapshot::Snapshot, pod| {
        snapshot.requests.outbound(&id(pod)).expect("an enrolled pod")
    };
    let client = of(&first, "default/client");
    assert!(std::sync::Arc::ptr_eq(&client, &of(&first, "default/twin")));
    assert_ne!(client, of(&first, "other/client"), "short names are a namespace's own");

    let same = translate(&all, &node, &mut interner);
    assert!(std::sync::Arc::ptr_eq(&client, &of(&same, "default/client")));

    let slice = service("default/new", "10.96.0.70", (5432, "tcp"), &["10.0.0.8"]);
    for object in objects(&slice).iter().map(|(_, object)| object.clone()) {
        all.insert(object);
    }
    let changed = of(&translate(&all, &node, &mut interner), "default/client");
    assert_ne!(client, changed);
    assert_eq!(changed, of(&translate(&all, &node, &mut Interner::default()), "default/client"));

    let fewer = service("default/reviews", "10.96.0.1", (9080, "http"), &["10.0.0.1"]);
    let before = translate(&all, &node, &mut interner);
    for object in objects(&fewer).iter().map(|(_, object)| object.clone()) {
        all.insert(object);
    }
    let after = translate(&all, &node, &mut interner);
    let kept = of(&after, "default/client");
    assert!(std::sync::Arc::ptr_eq(&changed, &kept), "endpoints come and go, routes stay");
    let served = |snapshot: &agent_model::snapshot::Snapshot| {
        let of_reviews = kept.clusters().into_iter().filter(|(name, _)| name.0.contains("reviews"));
        let endpoints = of_reviews.map(|(_, one)| snapshot.requests.load_assignment(one).endpoints);
        endpoints.map(|one| one.to_string()).collect::<Vec<_>>()
    };
    assert_ne!(served(&before), served(&after));
    assert_eq!(after, translate(&all, &node, &mut Interner::default()));
}

fn reading(text: &str, to: &str, port: u16) -> Reading {
    outbound(text, "default/client").reading(to.parse().expect("an address"), port)
}

#[test]
fn requests_are_read_only_where_an_object_has_a_say_in_them() {
    let text = text();
    assert_eq!(reading(&text, "10.96.0.1", 9080), Reading::Needed, "reviews has routes");
    assert_eq!(reading(&text, "10.96.0.2", 9080), Reading::Plain, "ratings has none");
    assert_eq!(reading(&text, "198.51.100.1", 9080), Reading::Plain, "every host has an address");
    assert_eq!(reading(&text, "10.96.0.7", 5432), Reading::Opaque, "a database's");
    assert_eq!(reading(&text, "203.0.113.7", 443), Reading::Opaque, "TLS");
    assert_eq!(reading(&text, "10.96.0.1", 81), Reading::Opaque, "no service");
}

#[test]
fn what_a_rule_says_beyond_the_defaults_is_a_say() {
    let with = |spec: &str| {
        let spec = format!("host: ratings, {spec}");
        let text = shop() + &object("DestinationRule", "default/ratings", 1, &spec);
        reading(&text, "10.96.0.2", 9080)
    };
    for plain in [
        "subsets: [{name: v1, labels: {version: v1}}]",
        "trafficPolicy: {loadBalancer: {simple: LEAST_REQUEST}}",
        "trafficPolicy: {tls: {mode: ISTIO_MUTUAL}}",
    ] {
        assert_eq!(with(plain), Reading::Plain, "{plain}");
    }
    for needed in [
        "trafficPolicy: {loadBalancer: {simple: ROUND_ROBIN}}",
        "trafficPolicy: {loadBalancer: {consistentHash: {httpHeaderName: x-user}}}",
        "trafficPolicy: {connectionPool: {http: {maxRequestsPerConnection: 1}}}",
        "trafficPolicy: {connectionPool: {tcp: {maxConnections: 1}}}",
        "trafficPolicy: {outlierDetection: {}}",
        "trafficPolicy: {proxyProtocol: {version: V1}}",
        "trafficPolicy: {tls: {mode: SIMPLE}}",
    ] {
        assert_eq!(with(needed), Reading::Needed, "{needed}");
    }
}

#[test]
fn what_a_route_says_beyond_the_defaults_is_a_say() {
    let with = |rule: &str| {
        let rule = format!(
            "hosts: [ratings], http: [{{{rule}route: [{{destination: {{host: ratings}}}}]}}]"
        );
        let text = shop() + &object("VirtualService", "default/ratings", 1, &rule);
        reading(&text, "10.96.0.2", 9080)
    };
    assert_eq!(with(""), Reading::Plain, "to the service itself");
    assert_eq!(with("match: [{uri: {prefix: /}}], "), Reading::Plain, "every path");
    for needed in [
        "timeout: 1s, ",
        "retries: {attempts: 1}, ",
        "retries: {attempts: 0}, ",
        "match: [{uri: {prefix: /a}}], ",
        "match: [{method: {exact: GET}}], ",
        "rewrite: {uri: /a}, ",
        "headers: {request: {set: {a: b}}}, ",
        "headers: {response: {remove: [a]}}, ",
        "fault: {abort: {httpStatus: 500, percentage: {value: 1}}}, ",
        "mirror: {host: reviews}, ",
        "corsPolicy: {allowOrigins: [{exact: 'https://a.example'}]}, ",
    ] {
        assert_eq!(with(needed), Reading::Needed, "{needed}");
    }
    let elsewhere = "hosts: [ratings], http: [{route: [{destination: {host: reviews}}]}]";
    let text = shop() + &object("VirtualService", "default/ratings", 1, elsewhere);
    assert_eq!(reading(&text, "10.96.0.2", 9080), Reading::Needed, "another service");
}
