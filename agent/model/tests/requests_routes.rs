//! Who routes a request, and where to: the edge cases of `VirtualService`, each by its number.

#[allow(dead_code, reason = "shared with other tests")]
#[path = "support/requests.rs"]
mod requests;

use agent_model::requests::{
    host::Domain,
    route::{Action, Forward, Route},
};
use requests::{Ask, object, outbound, reviews, routed, service, shop, to};

const DEFAULT: &str = "1x default.reviews:9080";

fn plain() -> String {
    DEFAULT.replace("default.reviews", "reviews.default")
}

/// The only route of reviews.
fn route(http: &str) -> Route {
    let found = outbound(&routed(http), "default/client");
    let hosts = &found.ports[&9080].any.hosts;
    let name = Domain::new("reviews");
    let host = hosts.iter().find(|host| host.domains.contains(&name)).expect("reviews");
    assert_eq!(host.routes.len(), 1, "{:?}", host.routes);
    host.routes[0].clone()
}

fn forward(http: &str) -> Forward {
    match route(http).then {
        Action::Forward(forward) => forward,
        other => panic!("{other:?}"),
    }
}

#[test]
fn s1_3_weights_by_header_in_order() {
    let text = routed(&format!(
        "[{{match: [{{headers: {{end-user: {{exact: roundrobin}}}}}}], route: [\
         {{destination: {{host: reviews, subset: v1}}, weight: 10}}, \
         {{destination: {{host: reviews, subset: v2}}, weight: 30}}, \
         {{destination: {{host: reviews, subset: v3}}, weight: 60}}]}}, {{{}}}]",
        to("v2")
    ));
    let with = |headers| Ask { headers, ..reviews() }.of(&text);
    let shares =
        "1x reviews.default:9080/v1, 3x reviews.default:9080/v2, 6x reviews.default:9080/v3";
    assert_eq!(with(&[("end-user", "roundrobin")]), shares);
    assert_eq!(with(&[("End-User", "roundrobin")]), shares, "S1-5");
    for headers in [&[][..], &[("end-user", "jason")], &[("end-user", "Roundrobin")]] {
        assert_eq!(with(headers), "1x reviews.default:9080/v2", "S1-4");
    }
}

#[test]
fn s1_8_every_form_of_a_name_is_routed_and_edge_10_a_short_one_is_the_clients_own() {
    let text = routed(&format!("[{{{}}}]", to("v2")));
    for host in
        ["reviews", "reviews.default", "reviews.default.svc", "reviews.default.svc.cluster.local"]
    {
        for port in ["", ":9080"] {
            let host = format!("{host}{port}");
            let ask = Ask { host: &host, ..reviews() };
            assert_eq!(ask.of(&text), "1x reviews.default:9080/v2", "{host}");
        }
    }
    let from = |host| Ask { pod: "other/client", host, ..reviews() }.of(&text);
    assert_eq!(from("reviews"), "unknown");
    assert_eq!(from("reviews.default"), "1x reviews.default:9080/v2");
}

#[test]
fn edge_8_a_host_decides_on_http_ports_and_the_address_on_detected_ones() {
    let text = shop() + &service("default/auto", "10.96.0.3", (9080, "what"), &["10.0.0.8"]);
    let found = outbound(&text, "default/client");
    let port = &found.ports[&9080];
    assert!(!port.at.contains_key(&"10.96.0.1/32".parse().unwrap()));
    let bound = &port.at[&"10.96.0.3/32".parse().unwrap()];
    assert_eq!(Ask { host: "ratings", ..reviews() }.among(&bound.hosts), "1x auto.default:9080");
    assert_eq!(
        Ask { host: "ratings", ..reviews() }.among(&port.any.hosts),
        "1x ratings.default:9080"
    );
    assert!(bound.tcp.is_some(), "what is no HTTP goes there too");
}

#[test]
fn edge_12_short_names_of_a_rule_belong_to_its_namespace() {
    let rule = "hosts: [reviews.default.svc.cluster.local], http: [{route: [{destination: {host: ratings}}]}]";
    let text = shop() + &object("VirtualService", "other/reviews", 1, rule);
    let missing = "1x 503 Service(\"ratings.other.svc.cluster.local\")";
    assert_eq!(reviews().of(&text), missing);
}

#[test]
fn edge_13_of_two_rules_for_a_host_the_oldest_counts_alone() {
    let rule = |path, age, http: &str| {
        let spec = format!("hosts: [reviews.default.svc.cluster.local], http: [{http}]");
        object("VirtualService", path, age, &spec)
    };
    let old = "{match: [{uri: {exact: /old}}], route: [{destination: {host: ratings.default.svc.cluster.local}}]}";
    let text =
        shop() + &rule("default/a", 2, &format!("{{{}}}", to("v1"))) + &rule("other/b", 1, old);
    assert_eq!(Ask { target: "/old", ..reviews() }.of(&text), "1x ratings.default:9080");
    assert_eq!(reviews().of(&text), "404", "the newer one is not merged in");
}

#[test]
fn edge_15_an_exact_host_beats_an_older_wildcard() {
    let rule = |host: &str, age, subset: &str| {
        let spec = format!("hosts: ['{host}'], http: [{{{}}}]", to(subset));
        object("VirtualService", &format!("default/vs-{age}"), age, &spec)
    };
    let text =
        shop() + &rule("*.default.svc.cluster.local", 1, "v1") + &rule("*.cluster.local", 2, "v3");
    assert_eq!(reviews().of(&text), "1x reviews.default:9080/v1", "the longer wildcard");
    let text = text + &rule("reviews", 9, "v2");
    assert_eq!(reviews().of(&text), "1x reviews.default:9080/v2");
}

#[test]
fn edge_16_a_host_that_nothing_declares_is_served_on_port_80_alone() {
    let rule = "hosts: [nowhere.example.com], http: [{route: [{destination: {host: reviews}}]}]";
    let text = shop() + &object("VirtualService", "default/x", 1, rule);
    let on = |port| Ask { port, host: "nowhere.example.com", ..reviews() }.of(&text);
    assert_eq!((on(80).as_str(), on(9080).as_str()), ("1x reviews.default:9080", "unknown"));
    let third =
        "hosts: [ratings.default.svc.cluster.local], http: [{directResponse: {status: 299}}]";
    let text = text + &object("VirtualService", "third/x", 1, third);
    assert_eq!(Ask { host: "ratings", ..reviews() }.of(&text), "299", "a rule of any namespace");
}

#[test]
fn edge_17_a_request_that_no_rule_matches_is_404() {
    let text = routed(&format!("[{{match: [{{headers: {{a: {{exact: b}}}}}}], {}}}]", to("v1")));
    assert_eq!(reviews().of(&text), "404");
}

#[test]
fn edge_18_rules_that_concern_other_clients_are_as_if_not_there() {
    for filter in ["sourceLabels: {app: x}", "sourceNamespace: other", "port: 1"] {
        let text = routed(&format!("[{{match: [{{{filter}}}], {}}}]", to("v1")));
        assert_eq!(reviews().of(&text), plain(), "{filter}");
    }
    let text = routed(&format!(
        "[{{match: [{{sourceLabels: {{app: client}}, port: 9080}}], {}}}]",
        to("v1")
    ));
    assert_eq!(reviews().of(&text), "1x reviews.default:9080/v1");
}

#[test]
fn edge_19_source_labels_are_ignored_beside_gateways() {
    let one = "{gateways: [mesh], sourceLabels: {app: somebody-else}}";
    let text = routed(&format!("[{{match: [{one}], {}}}]", to("v1")));
    assert_eq!(reviews().of(&text), "1x reviews.default:9080/v1");
}

#[test]
fn edge_20_nothing_stands_behind_a_rule_for_everything() {
    for all in ["", "match: [{uri: {prefix: /}}],", "match: [{uri: {regex: '.*'}}],"] {
        route(&format!("[{{{all} {}}}, {{{}}}]", to("v1"), to("v2")));
    }
}

#[test]
fn edge_21_a_prefix_is_a_plain_one() {
    let text = routed(&format!("[{{match: [{{uri: {{prefix: /foo}}}}], {}}}]", to("v1")));
    let at = |target| Ask { target, ..reviews() }.of(&text);
    assert_eq!(at("/foobar?x"), "1x reviews.default:9080/v1");
    assert_eq!(at("/Foo"), "404");
    let text = text.replace("{uri: {prefix: /foo}}", "{uri: {prefix: /foo}, ignoreUriCase: true}");
    assert_eq!(Ask { target: "/FOO", ..reviews() }.of(&text), "1x reviews.default:9080/v1");
}

#[test]
fn edge_22_a_header_pattern_of_a_star_is_presence() {
    for value in ["{regex: '*'}", "{}"] {
        let text = routed(&format!("[{{match: [{{headers: {{x: {value}}}}}], {}}}]", to("v1")));
        assert_eq!(reviews().of(&text), "404", "{value}");
        let ask = Ask { headers: &[("X", "")], ..reviews() };
        assert_eq!(ask.of(&text), "1x reviews.default:9080/v1", "{value}");
    }
}

#[test]
fn edge_23_a_header_that_is_missing_is_not_the_one_that_is_excluded() {
    let text = |value: &str| {
        routed(&format!("[{{match: [{{withoutHeaders: {{x: {value}}}}}], {}}}]", to("v1")))
    };
    let with = |value, headers| Ask { headers, ..reviews() }.of(&text(value));
    assert_eq!(with("{exact: v}", &[]), "1x reviews.default:9080/v1");
    assert_eq!(with("{exact: v}", &[("x", "v")]), "404");
    assert_eq!(with("{exact: v}", &[("x", "w")]), "1x reviews.default:9080/v1");
    assert_eq!(with("{}", &[]), "1x reviews.default:9080/v1");
    assert_eq!(with("{}", &[("x", "w")]), "404");
}

#[test]
fn edges_24_and_25_a_rewrite_replaces_the_prefix_and_keeps_the_query() {
    let rewritten = |uri: &str, to: &str, target: &str| {
        let http = format!(
            "[{{match: [{{uri: {uri}}}], rewrite: {{uri: {to}}}, route: [{{destination: {{host: reviews}}}}]}}]"
        );
        route(&http).rewritten(target)
    };
    assert_eq!(rewritten("{prefix: /foo}", "/", "/foo/bar?a=b"), "//bar?a=b");
    assert_eq!(rewritten("{prefix: /foo/}", "/", "/foo/bar?a=b"), "/bar?a=b");
    assert_eq!(rewritten("{exact: /foo}", "/new", "/foo?a"), "/new?a");
    assert_eq!(rewritten("{regex: '/f.*'}", "/new", "/foo/bar?a"), "/new?a");
    let http = "[{rewrite: {uriRegexRewrite: {match: '/v(\\d+)/(.*)', rewrite: '/\\2/v\\1'}}, \
                route: [{destination: {host: reviews}}]}]";
    assert_eq!(route(http).rewritten("/v2/a?b"), "/a/v2?b");
}

#[test]
fn edge_26_a_redirect_names_no_port_that_is_the_schemes_own() {
    let sent = |redirect: &str, host: &str| {
        let text = routed(&format!("[{{redirect: {{{redirect}}}}}]"));
        Ask { host, target: "/a?b=c", ..reviews() }.of(&text)
    };
    assert_eq!(sent("uri: /new", "reviews"), "301 http://reviews/new?b=c");
    assert_eq!(sent("scheme: https", "reviews:9080"), "301 https://reviews/a?b=c");
    assert_eq!(sent("port: 80", "reviews:9080"), "301 http://reviews/a?b=c");
    assert_eq!(sent("scheme: https, port: 443", "reviews"), "301 https://reviews/a?b=c");
    assert_eq!(sent("port: 8443, redirectCode: 302", "reviews"), "302 http://reviews:8443/a?b=c");
    let from_request = "scheme: https, derivePort: FROM_REQUEST_PORT";
    assert_eq!(sent(from_request, "reviews:9080"), "301 https://reviews:9080/a?b=c");
    assert_eq!(
        sent("authority: other.example.com", "reviews:9080"),
        "301 http://other.example.com/a?b=c"
    );
}

#[test]
fn edge_27_weights_are_shares_whatever_their_sum() {
    let text = |one: u32, other: u32| {
        routed(&format!(
            "[{{route: [{{destination: {{host: reviews, subset: v1}}, weight: {one}}}, \
             {{destination: {{host: reviews, subset: v2}}, weight: {other}}}]}}]"
        ))
    };
    let shares = |one, other| reviews().of(&text(one, other));
    let halves = "1x reviews.default:9080/v1, 1x reviews.default:9080/v2";
    assert_eq!((shares(1, 1), shares(50, 50)), (halves.to_owned(), halves.to_owned()));
    assert_eq!(shares(80, 10), "8x reviews.default:9080/v1, 1x reviews.default:9080/v2");
    assert_eq!(shares(0, 10), "1x reviews.default:9080/v2", "nothing gets nothing");
}

#[test]
fn edge_28_one_destination_has_everything_whatever_its_weight() {
    let text = routed("[{route: [{destination: {host: reviews, subset: v1}, weight: 0}]}]");
    assert_eq!(reviews().of(&text), "1x reviews.default:9080/v1");
}

#[test]
fn edge_29_a_fault_without_percentage_never_happens() {
    let fault = |fault: &str| route(&format!("[{{fault: {{{fault}}}, {}}}]", to("v1"))).fault;
    assert!(fault("abort: {httpStatus: 500}").abort.is_none());
    assert!(fault("delay: {fixedDelay: 1s}").delay.is_none());
    let abort = fault("abort: {httpStatus: 500, percentage: {value: 0.1}}").abort.unwrap();
    assert_eq!(abort.chance, 1_000, "in millionths");
}

#[test]
fn edges_30_and_31_retries_are_there_unless_there_are_no_attempts() {
    let retries = |text: &str| forward(&format!("[{{{text} {}}}]", to("v1"))).retries;
    let usual = retries("").unwrap();
    assert_eq!((usual.attempts, usual.statuses.len(), usual.on.len()), (2, 0, 4));
    assert_eq!(retries("retries: {attempts: 0},"), None);
    let own = retries("retries: {attempts: 3, perTryTimeout: 2s, retryOn: '503,reset'},").unwrap();
    assert_eq!((own.attempts, own.per_try.unwrap().as_secs()), (3, 2));
    assert_eq!(own.statuses.into_iter().collect::<Vec<_>>(), [503]);
    let text = requests::mesh_config("defaultHttpRetryPolicy: {attempts: 5}") + &shop();
    let found = outbound(&text, "default/client");
    let Action::Forward(forward) = &found.ports[&9080].any.hosts[0].routes[0].then else {
        panic!()
    };
    assert_eq!(forward.retries.as_ref().unwrap().attempts, 5);
}

#[test]
fn edge_32_without_a_timeout_nothing_ends_a_request() {
    assert_eq!(forward(&format!("[{{{}}}]", to("v1"))).timeout, None);
    let timeout = forward(&format!("[{{timeout: 0.5s, {}}}]", to("v1"))).timeout;
    assert_eq!(timeout.unwrap().as_millis(), 500, "S3-6");
}

#[test]
fn edge_33_a_mirror_takes_everything_unless_it_says_nothing() {
    let mirrors = |text: &str| {
        let http = format!("[{{mirror: {{host: ratings}}{text}, {}}}]", to("v1"));
        route(&http).mirrors.into_iter().map(|one| one.chance).collect::<Vec<_>>()
    };
    assert_eq!(mirrors(""), [1_000_000]);
    assert_eq!(mirrors(", mirrorPercentage: {value: 0}"), [0_u32; 0]);
    assert_eq!(mirrors(", mirrorPercentage: {value: 12.5}"), [125_000]);
}

#[test]
fn edge_34_a_host_set_by_the_route_wins_over_the_destinations() {
    let found = forward(
        "[{headers: {request: {set: {Host: of-route}}}, route: [{destination: {host: reviews}, \
         headers: {request: {set: {':authority': of-destination, x: z}}}}]}]",
    );
    assert_eq!(found.rewrite.authority.as_deref(), Some("of-route"));
    let left: Vec<&String> = found.to[0].headers.request.set.keys().collect();
    assert_eq!(left, ["x"]);
}
