//! What upstream says of routes, one row a rule.

#[allow(dead_code, reason = "shared with other tests")]
#[path = "support/rows.rs"]
mod rows;

use rows::{Row, found, object};

const API: &str = "networking.istio.io/v1";

const SERVICES: &[Row] = &[
    (
        "exported to no namespace",
        "hosts: [a], exportTo: ['~'], TCP",
        &["error SK0217 spec.exportTo[0]"],
    ),
    (
        "a gateway's name has no dots",
        "hosts: [a], gateways: [b/c.d], TCP",
        &["error SK0233 spec.gateways[0]"],
    ),
    (
        "the old name of a gateway",
        "hosts: [a], gateways: [gw.other.svc.cluster.local], TCP",
        &["warning IST0002 spec.gateways[0]"],
    ),
    (
        "what AUTO_PASSTHROUGH calls a host",
        "hosts: [outbound_.15010_._.istiod.istio-system.svc.cluster.local], gateways: [gw], tls: [{match: [{sniHosts: [outbound_.15010_._.istiod.istio-system.svc.cluster.local]}], TO}]",
        &[],
    ),
    (
        "for the mesh it is no host",
        "hosts: [outbound_.80_._.a.b], tls: [{match: [{sniHosts: [outbound_.80_._.a.b]}], TO}]",
        &["error SK0202 spec.hosts[0]", "error SK0202 spec.tls[0].match[0].sniHosts[0]"],
    ),
    (
        "clients send no IP",
        "hosts: [a.b], tls: [{match: [{sniHosts: [203.0.113.1]}], TO}]",
        &["warning SK0202 spec.tls[0].match[0].sniHosts[0]"],
    ),
    (
        "labels that an object can have",
        "hosts: [a.b], tls: [{match: [{sniHosts: [a.b], sourceLabels: {a: '-'}}], TO}], tcp: [{match: [{sourceLabels: {a: '-'}}], TO}]",
        &[
            "error SK0213 spec.tls[0].match[0].sourceLabels",
            "error SK0213 spec.tcp[0].match[0].sourceLabels",
        ],
    ),
    (
        "a gateway that the object is not for",
        "hosts: [a], gateways: [b], http: [{match: [{gateways: [c]}], TO}]",
        &["warning SK0233 spec.http[0].match[0].gateways[0]"],
    ),
    (
        "claims are for gateways",
        "hosts: [a], http: [{match: [{headers: {'@request.auth.claims.a': {exact: b}}}], TO}]",
        &["error SK0231 spec.http[0].match[0].headers[@request.auth.claims.a]"],
    ),
    (
        "claims at a gateway",
        "hosts: [a], gateways: [gw], http: [{match: [{headers: {'@request.auth.claims[a]': {exact: b}}}], TO}]",
        &[],
    ),
    (
        "an IP is no destination",
        "hosts: [a], tcp: [{route: [{destination: {host: 203.0.113.1}}]}]",
        &["error SK0202 spec.tcp[0].route[0].destination.host"],
    ),
    (
        "the same match twice",
        "hosts: [a], http: [{match: [{uri: {exact: /a}}], TO}, {match: [{name: x, uri: {exact: /a}}], TO}]",
        &["warning IST0131 spec.http[1].match[0]", "warning IST0130 spec.http[1]"],
    ),
    (
        "a part that is there before",
        "hosts: [a], http: [{match: [{uri: {prefix: /a}}], TO}, {match: [{uri: {prefix: /ab}}, {uri: {prefix: /c}}], TO}]",
        &["warning IST0131 spec.http[1].match[0]"],
    ),
    (
        "a match twice in a rule",
        "hosts: [a], http: [{match: [{uri: {prefix: /a}}, {uri: {prefix: /ab}}], TO}]",
        &["warning IST0131 spec.http[0].match[1]"],
    ),
    (
        "TCP rules after one for all",
        "hosts: [a], tcp: [{TO}, {match: [{port: 80}], TO}]",
        &["warning IST0130 spec.tcp[1]"],
    ),
];

/// One rule, `spec.http[0]`, and what is found of it.
const ROUTES: &[Row] = &[
    ("an abort of nothing", "TO, fault: {abort: {}}", &["warning SK0227 .fault.abort"]),
    ("a delay of nothing", "TO, fault: {delay: {}}", &["warning SK0226 .fault.delay.fixedDelay"]),
    (
        "a status of gRPC",
        "TO, fault: {abort: {grpcStatus: GONE}}",
        &["error SK0228 .fault.abort.grpcStatus"],
    ),
    (
        "a share that is too small",
        "TO, fault: {abort: {grpcStatus: NOT_FOUND, percentage: {value: 0.00001}}}",
        &["error SK0228 .fault.abort.percentage"],
    ),
    (
        "the old share of copies",
        "TO, mirror: {host: a}, mirrorPercent: 101",
        &["error SK0228 .mirrorPercent", "warning IST0002 .mirrorPercent"],
    ),
    (
        "methods that exist",
        "TO, corsPolicy: {allowMethods: [GET, get]}",
        &["error SK0228 .corsPolicy.allowMethods[1]"],
    ),
    (
        "names of headers",
        "TO, corsPolicy: {allowHeaders: ['*', 'a b'], exposeHeaders: ['']}",
        &["error SK0232 .corsPolicy.allowHeaders[1]", "error SK0232 .corsPolicy.exposeHeaders[0]"],
    ),
    (
        "an empty origin",
        "TO, corsPolicy: {allowOrigins: [{prefix: ''}]}",
        &["error SK0232 .corsPolicy.allowOrigins[0]"],
    ),
    (
        "browsers count in seconds",
        "TO, corsPolicy: {maxAge: 1500ms}",
        &["error SK0229 .corsPolicy.maxAge"],
    ),
    ("no age at all", "TO, corsPolicy: {maxAge: 0s}", &["error SK0229 .corsPolicy.maxAge"]),
    ("any path begins with nothing", "TO, match: [{uri: {prefix: ''}}]", &[]),
    ("a text that says nothing", "TO, match: [{method: {}}]", &["warning SK0227 .match[0].method"]),
    ("a pattern's length", "TO, match: [{uri: {regex: LONG}}]", &["error SK0232 .match[0].uri"]),
    ("braces that repeat nothing", "TO, match: [{uri: {regex: '/users/{id}'}}]", &[]),
    (
        "a header's name",
        "TO, match: [{headers: {'a b': {exact: c}, ':path': {exact: d}}}]",
        &["error SK0232 .match[0].headers[a b]"],
    ),
    (
        "where the client is",
        "TO, match: [{sourceNamespace: a_b, sourceLabels: {a: '-'}}]",
        &["error SK0213 .match[0].sourceLabels", "error SK0233 .match[0].sourceNamespace"],
    ),
    ("a redirect's port", "redirect: {port: 70000}", &["error SK0206 .redirect.port"]),
    (
        "a prefix in place of a prefix",
        "redirect: {prefixRewrite: /}, match: [{uri: {exact: /a}}]",
        &["error SK0231 .redirect.prefixRewrite"],
    ),
    (
        "a body is base64",
        "directResponse: {status: 200, body: {bytes: '*'}}",
        &["error SK0232 .directResponse.body.bytes"],
    ),
    (
        "a body of nothing",
        "directResponse: {status: 200, body: {}}",
        &["warning SK0227 .directResponse.body"],
    ),
    (
        "a pattern and its text",
        "TO, rewrite: {uriRegexRewrite: {match: a}}",
        &["error SK0226 .rewrite.uriRegexRewrite.rewrite"],
    ),
    (
        "answers have no host",
        "TO, headers: {response: {set: {Host: a}, add: {':status': b}}}",
        &[
            "error SK0231 .headers.response.set[Host]",
            "error SK0231 .headers.response.add[:status]",
        ],
    ),
    (
        "the authority once",
        "TO, headers: {request: {set: {Host: a}, add: {':authority': b}}}",
        &["error SK0231 .headers.request.set"],
    ),
    (
        "variables end",
        "TO, headers: {request: {set: {a: '%A', b: '100%%', c: '%B%', d: '%C([\"x\", \"y\"])%', e: '%D(x)%', f: '%E([\"x\"'}}}",
        &["error SK0232 .headers.request.set[a]", "error SK0232 .headers.request.set[f]"],
    ),
    (
        "no control characters",
        "TO, headers: {request: {set: {a: \"b\\u0001\"}}}",
        &["error SK0232 .headers.request.set[a]"],
    ),
    (
        "a delegate answers",
        "delegate: {name: a}, directResponse: {status: 200}",
        &["warning SK0231 .directResponse"],
    ),
];

#[test]
fn rules_of_hosts_and_of_routes_are_held() {
    const TO: &str = "route: [{destination: {host: a}}]";
    for (meaning, spec, expected) in SERVICES {
        let spec = spec.replace("TCP", "tcp: [{TO}]").replace("TO", TO);
        assert_eq!(found(&object(API, "VirtualService", &spec)), *expected, "{meaning}: {spec}");
    }
    for (meaning, rule, expected) in ROUTES {
        let rule = rule.replace("TO", TO).replace("LONG", &"a".repeat(1025));
        let told =
            found(&object(API, "VirtualService", &format!("hosts: [a], http: [{{{rule}}}]")));
        let expected: Vec<String> =
            expected.iter().map(|one| one.replacen(" .", " spec.http[0].", 1)).collect();
        assert_eq!(told, expected, "{meaning}: {rule}");
    }
}
