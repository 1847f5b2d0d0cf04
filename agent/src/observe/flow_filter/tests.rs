use std::sync::Arc;

use agent_abi::Reason;
use agent_model::egress::RuleSource;

use super::*;
use crate::observe::flow_record::test_record;

fn connection() -> FlowRecord {
    let rule = RuleSource {
        kind: "ServiceEntry",
        namespace: "shop".into(),
        name: "db".into(),
        field: "spec".into(),
        host: Some("db.example".into()),
    };
    FlowRecord { rule: Some(Arc::new(rule)), ..test_record(3_306, Verdict::Direct, Reason::Rule) }
}

fn request(status: u16, protocol: &'static str) -> FlowRecord {
    let request = FlowRequest {
        protocol: protocol.into(),
        host: "Reviews:9080".into(),
        cluster: Some("outbound|9080|v1|reviews.shop.svc.cluster.local".into()),
        status,
        ..FlowRequest::default()
    };
    FlowRecord {
        request: Some(Box::new(request)),
        upstream: Some("198.51.100.4:8080".parse().unwrap()),
        ..test_record(9_080, Verdict::Proxy, Reason::Rule)
    }
}

fn wants(filter: &FlowFilter, record: &FlowRecord) -> bool {
    // As both ends of the socket have it.
    let back: FlowFilter = serde_urlencoded::from_str(&filter.query()).unwrap();
    assert_eq!(&back, filter);
    filter.wants(record)
}

#[test]
fn a_flow_is_found_by_its_pod() {
    for (text, wanted) in [
        ("shop/web-0", true),
        ("web-0", true),
        ("shop/", true),
        ("other/web-0", false),
        ("web", false),
        ("other/", false),
    ] {
        let filter = FlowFilter { pod: Some(text.parse().unwrap()), ..FlowFilter::default() };
        assert_eq!(wants(&filter, &connection()), wanted, "{text}");
        let unknown = FlowRecord { pod: None, ..connection() };
        assert!(!wants(&filter, &unknown), "a pod that is not known is none");
    }
}

#[test]
fn a_flow_is_found_by_where_it_went() {
    let to = |text: &str| FlowFilter { to: Some(text.parse().unwrap()), ..FlowFilter::default() };
    for (text, of_connection, of_request) in [
        ("203.0.113.9", true, true),
        ("203.0.113.9:3306", true, false),
        ("203.0.113.0/24", true, true),
        ("2001:db8::/32", false, false),
        ("[2001:db8::1]:80", false, false),
        ("db.example", true, false),
        ("DB.example:3306", true, false),
        ("db.example:80", false, false),
        ("db", true, false),
        ("d", false, false),
        ("reviews", false, true),
        ("reviews.shop", false, true),
        ("reviews.shop.svc.cluster.local:9080", false, true),
        ("198.51.100.4:8080", false, true),
        ("198.51.100.4", false, true),
    ] {
        assert_eq!(wants(&to(text), &connection()), of_connection, "{text}, a connection");
        assert_eq!(wants(&to(text), &request(200, "http")), of_request, "{text}, a request");
    }
}

#[test]
fn requests_are_found_by_status_and_protocol() {
    for (text, wanted) in
        [("503", true), ("5xx", true), ("500-599", true), ("504-599", false), ("4xx", false)]
    {
        let filter = FlowFilter { status: Some(text.parse().unwrap()), ..FlowFilter::default() };
        assert_eq!(wants(&filter, &request(503, "http")), wanted, "{text}");
        assert!(!wants(&filter, &connection()), "a connection has none");
    }
    for (text, of) in [
        ("http", [true, true, true, false]),
        ("http2", [false, true, true, false]),
        ("grpc", [false, false, true, false]),
        ("tcp", [false, false, false, true]),
        ("udp", [false; 4]),
    ] {
        let filter = FlowFilter { protocol: Some(text.parse().unwrap()), ..FlowFilter::default() };
        let all = ["http", "http2", "grpc"].map(|protocol| request(200, protocol));
        let [a, b, c] = all.map(|record| wants(&filter, &record));
        assert_eq!([a, b, c, wants(&filter, &connection())], of, "{text}");
    }
}

#[test]
fn all_that_is_asked_for_must_hold() {
    let denied = FlowFilter { denied: true, ..FlowFilter::default() };
    assert!(!wants(&denied, &connection()));
    let refused = test_record(80, Verdict::Deny, Reason::NoRule);
    assert!(wants(&denied, &refused));
    let other = FlowFilter { pod: Some("other/".parse().unwrap()), ..denied };
    assert!(!wants(&other, &refused));
    let verdict = |word: &str| {
        let verdict = Some(word.parse().unwrap());
        FlowFilter { verdict, ..FlowFilter::default() }
    };
    assert!(wants(&verdict("deny"), &refused) && !wants(&verdict("direct"), &refused));
}

#[test]
fn words_that_mean_nothing_are_refused() {
    for text in ["", "/", "/web", "a/b/c", "//"] {
        assert_eq!(text.parse::<OfPod>(), Err(FilterError::Pod), "{text:?}");
    }
    for text in ["", ":80", "a:b", "a:70000", "a b", "[::1]", "203.0.113.0/33", "http://a"] {
        assert_eq!(text.parse::<To>(), Err(FilterError::To), "{text:?}");
    }
    for text in ["", "6xx", "xx", "5x", "1000", "599-500", "-1", "+5xx", "0xx", "200-"] {
        assert_eq!(text.parse::<OfStatus>(), Err(FilterError::Status), "{text:?}");
    }
    assert_eq!("allow".parse::<OfVerdict>(), Err(FilterError::Verdict));
    assert_eq!("HTTP".parse::<OfProtocol>(), Err(FilterError::Protocol));
}
