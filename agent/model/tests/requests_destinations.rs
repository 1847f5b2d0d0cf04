//! Where a request ends up: subsets, headless Services, aliases, and rules that lead nowhere.

#[allow(dead_code, reason = "shared with other tests")]
#[path = "support/requests.rs"]
mod requests;

use agent_model::{
    endpoints::Endpoints,
    requests::{Requests as _, backend::Target},
};
use requests::{Ask, REVIEWS, object, outbound, reviews, routed, served, service, shop, to};

#[test]
fn edge_47_a_subset_that_is_missing_or_empty_is_503() {
    let with = |subset| reviews().of(&routed(&format!("[{{{}}}]", to(subset))));
    let missing = "1x 503 Subset(\"reviews.default.svc.cluster.local\", \"v9\")";
    assert_eq!(with("v9"), missing);
    let empty = shop()
        + &object(
            "DestinationRule",
            "default/ratings",
            1,
            "host: ratings, subsets: [{name: none, labels: {version: none}}]",
        )
        + &object(
            "VirtualService",
            "default/x",
            1,
            "hosts: [ratings], http: [{route: [{destination: {host: ratings, subset: none}}]}]",
        );
    let ask = Ask { host: "ratings", ..reviews() };
    assert_eq!(ask.of(&empty), "1x 503 none at ratings.default:9080/none", "S3-4");
    let port = routed("[{route: [{destination: {host: reviews, port: {number: 1}}}]}]");
    assert_eq!(reviews().of(&port), "1x 503 Port(\"reviews.default.svc.cluster.local\", 1)");
}

#[test]
fn edge_51_a_headless_service_is_known_by_its_host_and_reached_where_it_was_dialled() {
    let text = shop() + &service("default/db", "None", (9080, "http"), &REVIEWS);
    let (_, found) = served(&text, "default/client", "db.default");
    assert_eq!(
        found.endpoints,
        Endpoints::Dialled { port: 9080.try_into().unwrap(), mutual: true }
    );
    let text = shop() + &service("default/db", "None", (5432, "tcp"), &REVIEWS);
    let found = outbound(&text, "default/client");
    assert_eq!(found.ports[&5432].at.len(), 3, "each pod's address");
    assert!(found.ports[&5432].any.is_empty());
}

#[test]
fn edge_52_an_alias_of_a_service_is_that_service() {
    let alias = |name: &str, of: &str| {
        format!(
            "---\napiVersion: v1\nkind: Service\nmetadata: {{name: {name}, namespace: default}}\n\
             spec: {{type: ExternalName, externalName: {of}, ports: [{{name: http, port: 80}}]}}\n"
        )
    };
    let text = routed(&format!("[{{{}}}]", to("v2")))
        + &alias("one", "two.default.svc.cluster.local")
        + &alias("two", "reviews.default.svc.cluster.local")
        + &alias("outside", "httpbin.example.com")
        + &alias("a", "b.default.svc.cluster.local")
        + &alias("b", "a.default.svc.cluster.local");
    for host in ["one", "two.default.svc.cluster.local"] {
        assert_eq!(Ask { host, ..reviews() }.of(&text), "1x reviews.default:9080/v2");
    }
    let on_80 = |host| Ask { port: 80, host, ..reviews() }.of(&text);
    assert_eq!(on_80("outside"), "1x outside.default:80");
    assert_eq!(on_80("a"), "unknown", "a circle leads nowhere");
    let (_, found) = served(&text, "default/client", "outside");
    assert!(matches!(found.endpoints, Endpoints::Named { .. }));
}

#[test]
fn edge_76_a_rule_that_leads_nowhere_is_skipped() {
    let tcp = service("default/db", "10.96.0.7", (5432, "tcp"), &["10.0.0.7"]);
    let text = shop() + &tcp;
    let mut objects = requests::objects(&text);
    let broken = "apiVersion: networking.istio.io/v1\nkind: VirtualService\n\
                  metadata: {name: x, namespace: default}\n\
                  spec: {hosts: [db], tcp: [{route: []}], tls: [{match: [{sniHosts: [db]}]}]}";
    for document in agent_model::resource::documents(broken) {
        for parsed in agent_model::resource::parse(document.value.unwrap()) {
            objects.insert(parsed.unwrap().object.unwrap());
        }
    }
    let model = agent_model::translate::requests::RequestModel::new(&objects, "cluster.local");
    let found = model.outbound(&requests::id("default/client")).unwrap();
    let route = found.ports[&5432].at[&"10.96.0.7/32".parse().unwrap()].tcp.clone().unwrap();
    assert!(matches!(&route.to[0].target, Target::Backend(to) if to.service.starts_with("db.")));
}
