use agent_model::pod::PodId;

use super::*;
use crate::admin::testing::{BOOKINFO, snapshot};

fn view(view: View) -> Rows {
    let pod = PodId { namespace: "books".into(), name: "productpage".into() };
    rows(&snapshot(BOOKINFO), &pod, view)
}

#[test]
fn routes_are_listed_in_their_order_with_shares() {
    let Rows::Routes(routes) = view(View::Routes) else { panic!("asked for routes") };
    let of_reviews = routes.iter().filter(|row| row.port == 9080);
    let told: Vec<_> = of_reviews
        .map(|row| {
            let to = row.destinations.iter().map(|one| (one.cluster.as_str(), one.weight));
            (row.name.as_str(), row.matches.clone(), to.collect::<Vec<_>>())
        })
        .collect();
    let (v1, v2) = (
        "outbound|9080|v1|reviews.books.svc.cluster.local",
        "outbound|9080|v2|reviews.books.svc.cluster.local",
    );
    assert_eq!(
        told,
        [
            ("jason", "path /reviews*, header end-user =jason".to_owned(), vec![(v2, 1)]),
            ("", "path /reviews*".to_owned(), vec![(v1, 9), (v2, 1)]),
        ]
    );
}

#[test]
fn clusters_and_their_endpoints_are_listed_once_each() {
    let Rows::Clusters(clusters) = view(View::Clusters) else { panic!("asked for clusters") };
    let names: Vec<&str> = clusters.iter().map(|row| row.cluster.as_str()).collect();
    let of = |subset: &str| format!("outbound|9080|{subset}|reviews.books.svc.cluster.local");
    assert_eq!(names, [of("v1"), of("v2")]);
    let Rows::Endpoints(endpoints) = view(View::Endpoints) else { panic!("asked for endpoints") };
    let told: Vec<(&str, &str)> =
        endpoints.iter().map(|row| (row.cluster.as_str(), row.endpoint.as_str())).collect();
    assert_eq!(told, [(&*of("v1"), "10.0.0.6:9080"), (&*of("v2"), "10.0.0.7:9080")]);
}

#[test]
fn a_listener_says_what_it_tells_apart() {
    let Rows::Listeners(listeners) = view(View::Listeners) else { panic!("asked for listeners") };
    let told: Vec<(u16, &str, Vec<String>)> = listeners
        .iter()
        .map(|row| (row.port, row.address.as_str(), row.protocols.clone()))
        .collect();
    assert!(
        told.iter().any(|(port, _, protocols)| *port == 9080 && protocols == &["http"]),
        "{told:?}"
    );
}

#[test]
fn a_pod_in_no_mesh_has_nothing() {
    let text = BOOKINFO.replace("istio-injection: enabled", "a: b");
    let pod = PodId { namespace: "books".into(), name: "productpage".into() };
    assert_eq!(rows(&snapshot(&text), &pod, View::Routes), Rows::Routes(Vec::new()));
}

#[test]
fn each_port_says_which_way_it_goes_and_why() {
    let Rows::Listeners(listeners) = view(View::Listeners) else { panic!("asked for listeners") };
    let told: Vec<(u16, &str, &str, &str)> = listeners
        .iter()
        .map(|row| (row.port, row.address.as_str(), row.path.as_str(), row.reason.as_str()))
        .collect();
    let steered = "an object has a say in where it goes or how";
    assert_eq!(
        told,
        [
            (9080, "any", "none", "no rule sends connections there to it"),
            (9080, "10.96.0.9/32", "proxy", steered),
        ]
    );
}
