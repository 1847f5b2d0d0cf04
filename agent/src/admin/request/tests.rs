use super::*;
use crate::admin::testing::{BOOKINFO, snapshot};

fn told(host: &str, path: &str, headers: &[(&str, &str)]) -> RequestAnswer {
    let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
    let query = RequestQuery {
        pod: "books/productpage".into(),
        host: host.into(),
        port: 9080,
        method: "GET".into(),
        path: path.into(),
        headers: headers.iter().map(owned).collect(),
    };
    let pod = PodId { namespace: "books".into(), name: "productpage".into() };
    route(&snapshot(BOOKINFO), &pod, &query)
}

#[test]
fn a_request_takes_the_route_that_its_headers_and_path_choose() {
    let name = |answer: RequestAnswer| match answer {
        RequestAnswer::Route { route, path } => (route.name, route.destinations.len(), path),
        other => panic!("{other:?}"),
    };
    let jason = ("End-User", "jason");
    for host in ["reviews", "reviews.books.svc.cluster.local", "10.96.0.9"] {
        let host_header = ("Host", "reviews");
        let chosen = name(told(host, "/reviews/0?a=b", &[jason, host_header]));
        assert_eq!(chosen, ("jason".into(), 1, "/v2/reviews/0?a=b".into()), "{host}");
        let chosen = name(told(host, "/reviews/0", &[host_header]));
        assert_eq!(chosen, (String::new(), 2, "/reviews/0".into()), "{host}");
    }
}

#[test]
fn a_request_that_no_route_takes_is_said_to_be_refused() {
    let host = "reviews:9080".to_owned();
    assert_eq!(told("reviews", "/health", &[]), RequestAnswer::NoRoute { host });
    assert_eq!(told("reviews", "/", &[("host", "other")]), RequestAnswer::NotRouted);
}
