//! Every rule of `VirtualService` and `DestinationRule`: one object that breaks it and nothing else.

#[path = "support/checked.rs"]
mod checked;

use checked::errors;

fn object(kind: &str, spec: &str) -> String {
    format!(
        "apiVersion: networking.istio.io/v1\nkind: {kind}\n\
         metadata: {{name: x, namespace: shop}}\nspec: {{{spec}}}\n"
    )
}

const TO: &str = "route: [{destination: {host: a}}]";

#[test]
fn a_virtual_service_is_held_against_each_rule() {
    let tcp = "tcp: [{route: [{destination: {host: a}}]}]";
    let cases: &[(&str, &[&str])] = &[
        ("hosts: [a, '*.b.com', 203.0.113.1], TCP", &[]),
        ("hosts: ['*'], TCP", &["SK0202 spec.hosts[0]"]),
        ("hosts: ['*'], gateways: [gw, other/gw], TCP", &[]),
        ("hosts: ['*'], gateways: [gw, mesh], TCP", &["SK0202 spec.hosts[0]"]),
        ("hosts: [a_b], TCP", &["SK0202 spec.hosts[0]"]),
        ("hosts: [a, A], TCP", &["SK0230 spec.hosts[1]"]),
        ("hosts: ['*.b.com', a.b.com], TCP", &["SK0230 spec.hosts[1]"]),
        ("hosts: ['*.b.com', b.com], TCP", &[]),
        ("hosts: [a], gateways: ['a b'], TCP", &["SK0233 spec.gateways[0]"]),
        ("TCP", &["SK0226 spec.hosts"]),
        ("hosts: [a]", &["SK0226 spec"]),
        ("hosts: [a], exportTo: ['*', b], TCP", &["SK0217 spec.exportTo"]),
        ("hosts: [a], tcp: [{}]", &["SK0226 spec.tcp[0].route"]),
        ("hosts: [a], tcp: [{route: [{}]}]", &["SK0226 spec.tcp[0].route[0].destination"]),
        (
            "hosts: [a], tcp: [{route: [{destination: {host: '*'}}]}]",
            &["SK0202 spec.tcp[0].route[0].destination.host"],
        ),
        (
            "hosts: [a], tcp: [{route: [{destination: {host: a, subset: 'a b'}}]}]",
            &["SK0233 spec.tcp[0].route[0].destination.subset"],
        ),
        (
            "hosts: [a], tcp: [{route: [{destination: {host: a, port: {number: 0}}}]}]",
            &["SK0206 spec.tcp[0].route[0].destination.port.number"],
        ),
        (
            "hosts: [a], tcp: [{match: [{destinationSubnets: [x]}], TO}]",
            &["SK0204 spec.tcp[0].match[0].destinationSubnets[0]"],
        ),
        ("hosts: [a], tcp: [{match: [{port: 70000}], TO}]", &["SK0206 spec.tcp[0].match[0].port"]),
        (
            "hosts: [a], tcp: [{match: [{gateways: [gw]}], TO}]",
            &["SK0233 spec.tcp[0].match[0].gateways[0]"],
        ),
        ("hosts: [a], tcp: [{match: [{gateways: [mesh]}], TO}]", &[]),
        ("hosts: ['*.b.com'], tls: [{match: [{sniHosts: [a.b.com]}], TO}]", &[]),
        ("hosts: [a], tls: [{TO}]", &["SK0226 spec.tls[0].match"]),
        ("hosts: [a], tls: [{match: [{}], TO}]", &["SK0226 spec.tls[0].match[0].sniHosts"]),
        (
            "hosts: [a], tls: [{match: [{sniHosts: [b]}], TO}]",
            &["SK0202 spec.tls[0].match[0].sniHosts[0]"],
        ),
    ];
    for (spec, expected) in cases {
        let spec = spec.replace("TCP", tcp).replace("TO", TO);
        let object = object("VirtualService", &spec);
        assert_eq!(errors(&object), *expected, "{spec}");
    }
}

/// One rule, `spec.http[0]`, and what is found of it.
const RULES: &[(&str, &[&str])] = &[
    ("TO", &[]),
    ("name: nothing", &["SK0227 "]),
    ("TO, redirect: {uri: /}", &["SK0227 "]),
    ("delegate: {name: b}", &[]),
    ("redirect: {uri: /}, rewrite: {uri: /}", &["SK0231 .rewrite"]),
    ("directResponse: {status: 200}, fault: {abort: {httpStatus: 500}}", &["SK0231 .fault"]),
    ("redirect: {}", &["SK0226 .redirect"]),
    ("redirect: {uri: /, prefixRewrite: /}", &["SK0227 .redirect"]),
    ("redirect: {port: 1, derivePort: FROM_REQUEST_PORT}", &["SK0227 .redirect"]),
    ("redirect: {scheme: ftp}", &["SK0228 .redirect.scheme"]),
    ("redirect: {uri: /, redirectCode: 404}", &["SK0228 .redirect.redirectCode"]),
    ("directResponse: {status: 199}", &["SK0228 .directResponse.status"]),
    ("directResponse: {status: 200, body: {}}", &["SK0227 .directResponse.body"]),
    (
        "directResponse: {status: 200, body: {string: a, bytes: YQ==}}",
        &["SK0227 .directResponse.body"],
    ),
    ("TO, rewrite: {}", &["SK0226 .rewrite"]),
    ("TO, rewrite: {uri: /, uriRegexRewrite: {match: a, rewrite: b}}", &["SK0227 .rewrite"]),
    ("TO, rewrite: {uriRegexRewrite: {rewrite: a}}", &["SK0226 .rewrite.uriRegexRewrite.match"]),
    (
        "TO, rewrite: {authority: a}, headers: {request: {set: {Host: b}}}",
        &["SK0231 .headers.request.set"],
    ),
    (
        "rewrite: {authority: a}, route: [{destination: {host: a}, headers: {request: {set: {':authority': b}}}}]",
        &["SK0231 .route[0].headers.request.set"],
    ),
    ("TO, timeout: 0.5s", &[]),
    ("TO, timeout: 0s", &["SK0229 .timeout"]),
    ("TO, timeout: 1500us", &["SK0229 .timeout"]),
    ("TO, timeout: soon", &["SK0229 .timeout"]),
    ("TO, retries: {attempts: 0}", &[]),
    ("TO, retries: {attempts: -1}", &["SK0228 .retries.attempts"]),
    ("TO, retries: {attempts: 1, perTryTimeout: 1us}", &["SK0229 .retries.perTryTimeout"]),
    ("TO, retries: {perTryTimeout: 1s}", &["SK0231 .retries.attempts"]),
    ("TO, retries: {attempts: 0, retryOn: 5xx}", &["SK0231 .retries.attempts"]),
    ("TO, retries: {backoff: 0s}", &["SK0229 .retries.backoff"]),
    ("TO, retries: {attempts: 1, retryOn: '5xx,503,cancelled'}", &[]),
    ("TO, retries: {attempts: 1, retryOn: '5xx, 503'}", &["SK0228 .retries.retryOn"]),
    ("TO, retries: {attempts: 1, retryOn: '599'}", &["SK0228 .retries.retryOn"]),
    ("TO, retries: {attempts: 1, retryOn: '5xx,sometimes'}", &["SK0228 .retries.retryOn"]),
    ("TO, match: [{uri: {regex: '/(a|b)+/[0-9]{2,}'}}]", &[]),
    ("TO, match: [{uri: {regex: '/(a'}}]", &["SK0232 .match[0].uri"]),
    ("TO, match: [{headers: {a: {regex: '*'}}}]", &[]),
    ("TO, match: [{headers: {a: {regex: '(?=a)'}}}]", &["SK0232 .match[0].headers[a]"]),
    (
        "TO, rewrite: {uriRegexRewrite: {match: '[', rewrite: a}}",
        &["SK0232 .rewrite.uriRegexRewrite.match"],
    ),
    (
        "TO, headers: {request: {remove: [a, Host]}, response: {remove: [':status']}}",
        &["SK0231 .headers.request.remove[1]", "SK0231 .headers.response.remove[0]"],
    ),
    (
        "route: [{destination: {host: a}, headers: {request: {remove: [':path']}}}]",
        &["SK0231 .route[0].headers.request.remove[0]"],
    ),
    ("TO, fault: {}", &["SK0226 .fault"]),
    ("TO, fault: {delay: {}}", &["SK0226 .fault.delay.fixedDelay"]),
    ("TO, fault: {delay: {fixedDelay: 0s}}", &["SK0229 .fault.delay.fixedDelay"]),
    (
        "TO, fault: {delay: {fixedDelay: 1s, exponentialDelay: 1s}}",
        &["SK0231 .fault.delay.exponentialDelay"],
    ),
    (
        "TO, fault: {delay: {fixedDelay: 1s, percentage: {value: 101}}}",
        &["SK0228 .fault.delay.percentage"],
    ),
    ("TO, fault: {abort: {}}", &["SK0227 .fault.abort"]),
    ("TO, fault: {abort: {httpStatus: 100}}", &["SK0228 .fault.abort.httpStatus"]),
    ("TO, fault: {abort: {httpStatus: 500, http2Error: a}}", &["SK0231 .fault.abort.http2Error"]),
    (
        "TO, fault: {abort: {httpStatus: 500, percentage: {value: -1}}}",
        &["SK0228 .fault.abort.percentage"],
    ),
    ("TO, mirror: {host: b}, mirrors: [{destination: {host: b}}]", &["SK0227 "]),
    ("TO, mirror: {host: a_b}", &["SK0202 .mirror.host"]),
    ("TO, mirror: {host: b}, mirrorPercentage: {value: 0}", &[]),
    ("TO, mirror: {host: b}, mirrorPercentage: {value: 200}", &["SK0228 .mirrorPercentage"]),
    ("TO, mirrors: [{percentage: {value: 1}}]", &["SK0226 .mirrors[0].destination"]),
    ("TO, corsPolicy: {allowOrigins: [{}]}", &["SK0227 .corsPolicy.allowOrigins[0]"]),
    ("TO, corsPolicy: {maxAge: 1}", &["unreadable .corsPolicy.maxAge"]),
    ("TO, corsPolicy: {maxAge: 1d}", &["SK0229 .corsPolicy.maxAge"]),
    ("TO, match: [{uri: {prefix: /a, exact: /a}}]", &["SK0227 .match[0].uri"]),
    ("TO, match: [{uri: {}}]", &["SK0227 .match[0].uri"]),
    ("TO, match: [{method: {prefix: ''}}]", &["SK0232 .match[0].method"]),
    ("TO, match: [{headers: {a: {}, b: {regex: '*'}}}]", &[]),
    ("TO, match: [{headers: {a: {regex: ''}}}]", &["SK0232 .match[0].headers[a]"]),
    ("TO, match: [{headers: {'': {exact: a}}}]", &["SK0232 .match[0].headers[]"]),
    ("TO, match: [{withoutHeaders: {a: {prefix: ''}}}]", &["SK0232 .match[0].withoutHeaders[a]"]),
    ("TO, match: [{queryParams: {a: {prefix: ''}}}]", &["SK0232 .match[0].queryParams[a]"]),
    ("TO, match: [{gateways: [gw]}]", &["SK0233 .match[0].gateways[0]"]),
    ("TO, match: [{gateways: [mesh], sourceLabels: {a: b}}]", &["SK0234 .match[0].sourceLabels"]),
    ("TO, match: [{port: 65536}]", &["SK0206 .match[0].port"]),
    ("route: [{destination: {host: a}, weight: 0}]", &[]),
    ("route: [{destination: {host: a}, weight: -1}]", &["SK0228 .route[0].weight"]),
    ("route: [{destination: {host: a}, weight: 1}, {destination: {host: b}, weight: 1}]", &[]),
    ("route: [{destination: {host: a}}, {destination: {host: b}}]", &["SK0228 .route"]),
];

#[test]
fn an_http_rule_is_held_against_each_rule() {
    for (rule, expected) in RULES {
        let rule = rule.replace("TO", TO);
        let found = errors(&object("VirtualService", &format!("hosts: [a], http: [{{{rule}}}]")));
        let expected: Vec<String> =
            expected.iter().map(|one| one.replacen(' ', " spec.http[0]", 1)).collect();
        assert_eq!(found, expected, "{rule}");
    }
    let delegate = object("VirtualService", "http: [{delegate: {name: b}}]");
    assert_eq!(errors(&delegate), ["SK0231 spec.http[0].delegate"]);
}

/// Edge 20.
#[test]
fn a_rule_after_one_that_takes_all_is_reported() {
    for (first, is_end) in [
        ("", true),
        ("match: [{uri: {prefix: /}}], ", true),
        ("match: [{uri: {regex: '.*'}}], ", true),
        ("match: [{name: a}], ", true),
        ("match: [{uri: {prefix: /a}}], ", false),
        ("match: [{uri: {prefix: /}, port: 80}], ", false),
    ] {
        let spec = format!("hosts: [a], http: [{{{first}{TO}}}, {{{TO}}}]");
        let found = errors(&object("VirtualService", &spec));
        let expected: &[&str] = if is_end { &["IST0130 spec.http[1]"] } else { &[] };
        assert_eq!(found, expected, "{spec}");
    }
}

/// A policy, and what is found of it.
const POLICIES: &[(&str, &[&str])] = &[
    ("{}", &["SK0226 "]),
    ("{tls: {}}", &[]),
    ("{tunnel: {targetHost: a, targetPort: 1}, proxyProtocol: {version: V2}}", &["SK0227 "]),
    (
        "{tunnel: {protocol: GET, targetHost: '*.a'}}",
        &["SK0228 .tunnel.protocol", "SK0202 .tunnel.targetHost", "SK0206 .tunnel.targetPort"],
    ),
    (
        "{connectionPool: {tcp: {tcpKeepalive: {time: 0s, interval: 5s}}}}",
        &["SK0229 .connectionPool.tcp.tcpKeepalive.time"],
    ),
    (
        "{portLevelSettings: [{port: {number: 1}, tls: {}}, {port: {number: 2}, tls: {}}, {port: {number: 1}, tls: {}}]}",
        &["SK0208 .portLevelSettings[2].port.number"],
    ),
    (
        "{loadBalancer: {simple: RANDOM, consistentHash: {useSourceIp: true}}}",
        &["SK0227 .loadBalancer"],
    ),
    ("{loadBalancer: {consistentHash: {}}}", &["SK0227 .loadBalancer.consistentHash"]),
    (
        "{loadBalancer: {consistentHash: {useSourceIp: true, httpHeaderName: a}}}",
        &["SK0227 .loadBalancer.consistentHash"],
    ),
    (
        "{loadBalancer: {consistentHash: {useSourceIp: true, ringHash: {}, maglev: {}}}}",
        &[
            "SK0227 .loadBalancer.consistentHash",
            "SK0228 .loadBalancer.consistentHash.maglev.tableSize",
        ],
    ),
    (
        "{loadBalancer: {consistentHash: {httpCookie: {ttl: 0s}}}}",
        &["SK0226 .loadBalancer.consistentHash.httpCookie.name"],
    ),
    (
        "{loadBalancer: {consistentHash: {httpCookie: {name: a, ttl: x}}}}",
        &["SK0229 .loadBalancer.consistentHash.httpCookie.ttl"],
    ),
    ("{loadBalancer: {consistentHash: {useSourceIp: true, maglev: {tableSize: 65537}}}}", &[]),
    (
        "{loadBalancer: {consistentHash: {useSourceIp: true, maglev: {tableSize: 65536}}}}",
        &["SK0228 .loadBalancer.consistentHash.maglev.tableSize"],
    ),
    ("{connectionPool: {}}", &["SK0226 .connectionPool"]),
    (
        "{connectionPool: {tcp: {maxConnections: -1}}}",
        &["SK0228 .connectionPool.tcp.maxConnections"],
    ),
    (
        "{connectionPool: {tcp: {connectTimeout: 0s}}}",
        &["SK0229 .connectionPool.tcp.connectTimeout"],
    ),
    ("{connectionPool: {tcp: {idleTimeout: 0s}}}", &[]),
    (
        "{connectionPool: {http: {maxRequestsPerConnection: -1}}}",
        &["SK0228 .connectionPool.http.maxRequestsPerConnection"],
    ),
    ("{outlierDetection: {}}", &[]),
    (
        "{outlierDetection: {consecutive5xxErrors: 1, interval: 1us}}",
        &["SK0229 .outlierDetection.interval"],
    ),
    ("{outlierDetection: {baseEjectionTime: 0s}}", &["SK0229 .outlierDetection.baseEjectionTime"]),
    (
        "{outlierDetection: {maxEjectionPercent: 101}}",
        &["SK0228 .outlierDetection.maxEjectionPercent"],
    ),
    ("{outlierDetection: {minHealthPercent: -1}}", &["SK0228 .outlierDetection.minHealthPercent"]),
    (
        "{outlierDetection: {consecutiveLocalOriginFailures: 1}}",
        &["SK0231 .outlierDetection.consecutiveLocalOriginFailures"],
    ),
    ("{tls: {mode: MUTUAL, clientCertificate: a, privateKey: b}}", &[]),
    ("{tls: {mode: MUTUAL, clientCertificate: a}}", &["SK0226 .tls.privateKey"]),
    ("{tls: {mode: MUTUAL, privateKey: a}}", &["SK0226 .tls.clientCertificate"]),
    ("{tls: {mode: MUTUAL, credentialName: c, privateKey: b}}", &["SK0227 .tls"]),
    ("{tls: {mode: ISTIO_MUTUAL, caCertificates: a}}", &["SK0231 .tls"]),
    ("{portLevelSettings: [{tls: {}}]}", &["SK0226 .portLevelSettings[0].port"]),
    (
        "{portLevelSettings: [{port: {number: 0}, tls: {}}]}",
        &["SK0206 .portLevelSettings[0].port.number"],
    ),
    ("{portLevelSettings: [{port: {number: 1}}]}", &["SK0226 .portLevelSettings[0]"]),
    ("{tls: {mode: MAYBE}}", &["unreadable .tls.mode"]),
];

#[test]
fn a_destination_rule_is_held_against_each_rule() {
    for (policy, expected) in POLICIES {
        let found =
            errors(&object("DestinationRule", &format!("host: a, trafficPolicy: {policy}")));
        let at = |path: &str| -> Vec<String> {
            expected.iter().map(|one| one.replacen(' ', &format!(" {path}"), 1)).collect()
        };
        assert_eq!(found, at("spec.trafficPolicy"), "{policy}");
        let subset = format!("host: a, subsets: [{{name: v1, trafficPolicy: {policy}}}]");
        let found = errors(&object("DestinationRule", &subset));
        assert_eq!(found, at("spec.subsets[0].trafficPolicy"), "{policy}");
    }
    let cases: &[(&str, &[&str])] = &[
        ("host: '*.local'", &[]),
        ("host: ''", &["SK0202 spec.host"]),
        ("host: a, subsets: [{name: 'a b'}]", &["SK0233 spec.subsets[0].name"]),
        ("host: a, subsets: [{name: a}, {name: a}]", &["SK0230 spec.subsets[1].name"]),
        ("host: a, subsets: [{name: a, labels: {a: 'b c'}}]", &["SK0213 spec.subsets[0].labels"]),
        ("host: a, exportTo: [a, a]", &["SK0217 spec.exportTo[1]"]),
        (
            "host: a, workloadSelector: {matchLabels: {a: 'b*'}}",
            &["SK0213 spec.workloadSelector.matchLabels"],
        ),
    ];
    for (spec, expected) in cases {
        assert_eq!(errors(&object("DestinationRule", spec)), *expected, "{spec}");
    }
}
