//! What one client makes of several objects: delegates, visibility, streams.

#[allow(dead_code, reason = "shared with other tests")]
#[path = "support/requests.rs"]
mod requests;

use agent_model::requests::Requests as _;
use requests::{Ask, object, outbound, service, shop};

const REVIEWS: &str = "1x reviews.default:9080";

fn reviews<'a>() -> Ask<'a> {
    Ask { pod: "default/client", port: 9080, host: "reviews:9080", ..Ask::default() }
}

#[test]
fn a_delegates_rules_are_held_against_both_matches() {
    let root = "hosts: [reviews], http: [{match: [{uri: {prefix: /a}}], delegate: {name: leaf}}, \
                {match: [{uri: {prefix: /gone}}], delegate: {name: nobody}}, {route: [{destination: {host: ratings}}]}]";
    let leaf = "http: [{match: [{uri: {prefix: /b}}], directResponse: {status: 201}}, \
                {match: [{uri: {prefix: /a/b}}], directResponse: {status: 202}}, {directResponse: {status: 203}}]";
    let text = shop()
        + &object("VirtualService", "default/root", 1, root)
        + &object("VirtualService", "default/leaf", 1, leaf);
    let at = |target| Ask { target, ..reviews() }.of(&text);
    assert_eq!(at("/a/b/c"), "202");
    assert_eq!(at("/a/c"), "203");
    assert_eq!(at("/b"), "1x ratings.default:9080", "the pair that excludes itself is gone");
    assert_eq!(at("/gone"), "1x ratings.default:9080", "a missing delegate costs its rule");
    let hidden = text.replace("spec: {http:", "spec: {exportTo: [nobody], http:");
    assert_eq!(Ask { target: "/a/c", ..reviews() }.of(&hidden), "1x ratings.default:9080");
}

#[test]
fn what_a_client_sees_follows_export_to_and_its_sidecar() {
    let spec = format!(
        "hosts: [reviews], exportTo: ['.'], http: [{{{}}}]",
        "route: [{destination: {host: reviews, subset: v1}}]"
    );
    let text = shop() + &object("VirtualService", "default/x", 1, &spec);
    let from = |pod, text: &str| Ask { pod, host: "reviews.default", ..reviews() }.of(text);
    assert_eq!(from("default/client", &text), "1x reviews.default:9080/v1");
    assert_eq!(from("other/client", &text), REVIEWS);
    let narrow = text.clone()
        + &object(
            "Sidecar",
            "default/x",
            1,
            "egress: [{hosts: ['./ratings.default.svc.cluster.local']}]",
        );
    assert_eq!(from("default/client", &narrow), "unknown");
    let brought = object(
        "VirtualService",
        "default/r",
        1,
        "hosts: [ratings], http: [{route: [{destination: {host: reviews}}]}]",
    );
    let ask = Ask { host: "ratings", ..reviews() };
    assert_eq!(ask.of(&(narrow + &brought)), REVIEWS, "a route brings its destinations along");
}

#[test]
fn tls_is_told_by_its_server_name_and_tcp_by_its_address() {
    let entry =
        "hosts: [a.example.com], ports: [{number: 443, name: tls, protocol: TLS}], resolution: DNS";
    let tcp = object(
        "VirtualService",
        "default/db",
        1,
        "hosts: [db], tcp: [{match: [{sourceLabels: {app: x}}], route: [{destination: {host: ratings}}]}, \
         {match: [{destinationSubnets: [203.0.113.0/24]}], route: [{destination: {host: db}, weight: 1}, {destination: {host: ratings, port: {number: 9080}}, weight: 3}]}]",
    );
    let text = shop()
        + &object("ServiceEntry", "default/a", 1, entry)
        + &service("default/db", "10.96.0.7", (5432, "tcp"), &["10.0.0.7"])
        + &tcp;
    let found = outbound(&text, "default/client");
    let tls = &found.ports[&443].any.tls;
    assert_eq!((tls.len(), tls[0].names.len()), (1, 1));
    let db = &found.ports[&5432].at;
    let shares: Vec<String> = db[&"203.0.113.0/24".parse().unwrap()]
        .tcp
        .as_ref()
        .unwrap()
        .to
        .iter()
        .map(requests::share)
        .collect();
    assert_eq!(shares, ["1x db.default:5432", "3x ratings.default:9080"]);
    assert_eq!(db.len(), 1, "the subnets stand in the place of the address");
}

/// One client's view of a large cluster is made when it is asked for. Prints what it takes.
#[test]
fn a_view_of_two_thousand_services_with_a_rule_each() {
    let mut text = shop();
    for number in 0..2_000_u16 {
        let [high, low] = number.to_be_bytes();
        let name = format!("default/s{number}");
        text += &service(&name, &format!("10.97.{high}.{low}"), (80, "http"), &["10.0.0.1"]);
        let spec = format!(
            "hosts: [s{number}], http: [{{route: [{{destination: {{host: s{number}}}}}]}}]"
        );
        text += &object("VirtualService", &name, 1, &spec);
        text += &object("DestinationRule", &name, 1, &format!("host: s{number}"));
    }
    let objects = requests::objects(&text);
    let start = std::time::Instant::now();
    let model = agent_model::translate::requests::RequestModel::new(&objects, "cluster.local");
    let made = start.elapsed();
    let found = model.outbound(&requests::id("default/client")).expect("an enrolled pod");
    println!("the model: {made:?}, with one view: {:?}", start.elapsed());
    assert_eq!(found.ports[&80].any.hosts.len(), 2_000);
    assert_eq!(requests::backends(&found).len(), 2_002);
}
