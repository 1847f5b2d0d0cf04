//! Every rule of gateways, of security policies and of App Mesh's kinds: one object that breaks it
//! and nothing else.

#[path = "support/checked.rs"]
mod checked;

use checked::errors;

fn object(version: &str, kind: &str, spec: &str) -> String {
    format!(
        "apiVersion: {version}\nkind: {kind}\nmetadata: {{name: x, namespace: shop}}\n\
         spec: {{{spec}}}\n"
    )
}

#[test]
fn a_gateway_is_held_against_each_rule() {
    let cases: &[(&str, &[&str])] = &[
        ("PORT, HOSTS", &[]),
        ("HOSTS", &["SK0226 .port"]),
        ("PORT", &["SK0226 .hosts"]),
        ("PORT, hosts: ['./*', '*/*.a.com', shop/a.com]", &[]),
        ("PORT, hosts: ['a b']", &["SK0202 .hosts[0]"]),
        ("port: {number: 0, name: a, protocol: HTTP}, HOSTS", &["SK0206 .port.number"]),
        ("port: {number: 80, protocol: HTTP}, HOSTS", &["SK0207 .port.name"]),
        ("port: {number: 80, name: a}, HOSTS", &["SK0226 .port.protocol"]),
        ("port: {number: 80, name: a, protocol: X}, HOSTS", &["SK0209 .port.protocol"]),
        ("port: {number: 80, name: a, protocol: HTTPS}, HOSTS", &["SK0226 .tls"]),
        ("PORT, HOSTS, tls: {httpsRedirect: true}", &[]),
        ("PORT, HOSTS, bind: 203.0.113.1", &[]),
        ("PORT, HOSTS, bind: example.com", &["SK0223 .bind"]),
        ("PORT, HOSTS, bind: 'unix:///tmp/x'", &["SK0223 .port.number"]),
        ("SECURE, HOSTS, tls: {httpsRedirect: true}", &["SK0231 .tls.httpsRedirect"]),
        ("SECURE, HOSTS, tls: {mode: MAYBE}", &["SK0228 .tls.mode"]),
        ("SECURE, HOSTS, tls: {mode: SIMPLE}", &["SK0226 .tls"]),
        ("SECURE, HOSTS, tls: {mode: SIMPLE, credentialName: a}", &[]),
        (
            "SECURE, HOSTS, tls: {mode: MUTUAL, serverCertificate: a, privateKey: b}",
            &["SK0226 .tls.caCertificates"],
        ),
    ];
    let version = "networking.istio.io/v1";
    for (server, expected) in cases {
        let server = server
            .replace("PORT", "port: {number: 80, name: a, protocol: HTTP}")
            .replace("SECURE", "port: {number: 443, name: a, protocol: HTTPS}")
            .replace("HOSTS", "hosts: [a.com]");
        let found = errors(&object(version, "Gateway", &format!("servers: [{{{server}}}]")));
        let at = |one: &&str| one.replacen(' ', " spec.servers[0]", 1);
        assert_eq!(found, expected.iter().map(at).collect::<Vec<_>>(), "{server}");
    }
    assert_eq!(errors(&object(version, "Gateway", "selector: {a: b}")), ["SK0226 spec.servers"]);
    let server = "{port: {number: 80, name: a, protocol: HTTP}, hosts: [a.com]}";
    let twice = object(version, "Gateway", &format!("servers: [{server}, {server}]"));
    assert_eq!(errors(&twice), ["SK0208 spec.servers[1].port.name"]);
}

/// Kind, `spec`, and what is found.
type Cases = &'static [(&'static str, &'static str, &'static [&'static str])];

const SECURITY: Cases = &[
    ("PeerAuthentication", "mtls: {mode: STRICT}", &[]),
    ("PeerAuthentication", "mtls: {mode: MAYBE}", &["unreadable spec.mtls.mode"]),
    ("PeerAuthentication", "portLevelMtls: {80: {mode: DISABLE}}", &["SK0226 spec.selector"]),
    (
        "PeerAuthentication",
        "selector: {matchLabels: {a: b}}, portLevelMtls: {'0': {mode: DISABLE}}",
        &["SK0206 spec.portLevelMtls[0]"],
    ),
    ("AuthorizationPolicy", "", &[]),
    ("AuthorizationPolicy", "rules: [{}]", &[]),
    ("AuthorizationPolicy", "action: DENY", &["SK0226 spec.rules"]),
    ("AuthorizationPolicy", "action: CUSTOM, rules: [{}]", &["SK0226 spec.provider"]),
    ("AuthorizationPolicy", "provider: {name: a}", &["SK0231 spec.provider"]),
    (
        "AuthorizationPolicy",
        "selector: {}, targetRef: {kind: Service, name: b}",
        &["SK0227 spec", "SK0225 spec.selector.matchLabels"],
    ),
    (
        "AuthorizationPolicy",
        "rules: [{from: [{source: {}}]}]",
        &["SK0226 spec.rules[0].from[0].source"],
    ),
    (
        "AuthorizationPolicy",
        "rules: [{from: [{source: {ipBlocks: [x]}}]}]",
        &["SK0204 spec.rules[0].from[0].source.ipBlocks[0]"],
    ),
    ("AuthorizationPolicy", "rules: [{to: [{}]}]", &["SK0226 spec.rules[0].to[0].operation"]),
    (
        "AuthorizationPolicy",
        "rules: [{to: [{operation: {ports: ['0']}}]}]",
        &["SK0206 spec.rules[0].to[0].operation.ports[0]"],
    ),
    (
        "AuthorizationPolicy",
        "rules: [{when: [{values: [a]}]}]",
        &["SK0226 spec.rules[0].when[0].key"],
    ),
    (
        "AuthorizationPolicy",
        "rules: [{when: [{key: a}]}]",
        &["SK0226 spec.rules[0].when[0].values"],
    ),
];

const LEGACY: Cases = &[
    ("MeshPolicy", "peers: [{mtls: {}}]", &["SK0233 metadata.name"]),
    ("MeshPolicy", "targets: [{name: a}]", &["SK0233 metadata.name", "SK0231 spec.targets"]),
    ("Policy", "peers: [{mtls: {}}]", &["SK0233 metadata.name"]),
    ("Policy", "targets: [{name: a}]", &[]),
    ("Policy", "targets: [{name: a.b}]", &["SK0233 spec.targets[0].name"]),
    (
        "Policy",
        "targets: [{name: a, ports: [{number: 0}]}]",
        &["SK0206 spec.targets[0].ports[0].number"],
    ),
];

const APP_MESH: Cases = &[
    ("VirtualNode", "LISTENERS, serviceDiscovery: {dns: {hostname: a}}", &[]),
    ("VirtualNode", "LISTENERS", &["SK0226 spec.serviceDiscovery"]),
    ("VirtualNode", "serviceDiscovery: {}", &["SK0227 spec.serviceDiscovery"]),
    (
        "VirtualNode",
        "backends: [{virtualService: {virtualServiceRef: {name: a}}}, {virtualService: {virtualServiceRef: {name: a, namespace: shop}}}]",
        &["SK0230 spec.backends[1].virtualService"],
    ),
    (
        "VirtualNode",
        "backends: [{virtualService: {}}]",
        &["SK0227 spec.backends[0].virtualService"],
    ),
    (
        "VirtualGateway",
        "listeners: [{portMapping: {port: 0, protocol: http}}]",
        &["SK0228 spec.listeners[0].portMapping.port"],
    ),
    (
        "VirtualGateway",
        "listeners: [{portMapping: {port: 80}}]",
        &["SK0226 spec.listeners[0].portMapping.protocol"],
    ),
    (
        "VirtualGateway",
        "listeners: [{portMapping: {port: 80, protocol: http}, healthCheck: {healthyThreshold: 1, unhealthyThreshold: 11, intervalMillis: 1, timeoutMillis: 1, protocol: tcp}}]",
        &[
            "SK0228 spec.listeners[0].healthCheck.healthyThreshold",
            "SK0228 spec.listeners[0].healthCheck.unhealthyThreshold",
            "SK0228 spec.listeners[0].healthCheck.intervalMillis",
            "SK0228 spec.listeners[0].healthCheck.timeoutMillis",
            "SK0228 spec.listeners[0].healthCheck.protocol",
        ],
    ),
    (
        "VirtualGateway",
        "listeners: [{portMapping: {port: 80, protocol: http}, outlierDetection: {maxEjectionPercent: 101}}]",
        &[
            "SK0228 spec.listeners[0].outlierDetection.maxServerErrors",
            "SK0228 spec.listeners[0].outlierDetection.maxEjectionPercent",
        ],
    ),
    (
        "VirtualGateway",
        "listeners: [{portMapping: {port: 80, protocol: http}, connectionPool: {}}]",
        &["SK0227 spec.listeners[0].connectionPool"],
    ),
    (
        "VirtualGateway",
        "listeners: [{portMapping: {port: 80, protocol: http}, timeout: {tcp: {}, http: {}}}]",
        &["SK0227 spec.listeners[0].timeout"],
    ),
    ("VirtualService", "", &[]),
    ("VirtualService", "provider: {}", &["SK0227 spec.provider"]),
    ("VirtualRouter", "routes: [{name: a}]", &["SK0227 spec.routes[0]"]),
    (
        "VirtualRouter",
        "routes: [{name: a, tcpRoute: {ACTION}}, {name: a, tcpRoute: {ACTION}}]",
        &["SK0230 spec.routes[1].name"],
    ),
    (
        "VirtualRouter",
        "routes: [{name: a, priority: 1001, tcpRoute: {ACTION}}]",
        &["SK0228 spec.routes[0].priority"],
    ),
    (
        "VirtualRouter",
        "routes: [{name: a, httpRoute: {match: {}, ACTION}}]",
        &["SK0227 spec.routes[0].httpRoute.match"],
    ),
    (
        "VirtualRouter",
        "routes: [{name: a, httpRoute: {match: {prefix: a}, ACTION}}]",
        &["SK0232 spec.routes[0].httpRoute.match.prefix"],
    ),
    (
        "VirtualRouter",
        "routes: [{name: a, httpRoute: {match: {path: {}}, ACTION}}]",
        &["SK0227 spec.routes[0].httpRoute.match.path"],
    ),
    (
        "VirtualRouter",
        "routes: [{name: a, http2Route: {match: {prefix: /, headers: [{name: a, match: {range: {start: 2, end: 2}}}]}, ACTION}}]",
        &["SK0228 spec.routes[0].http2Route.match.headers[0].match.range"],
    ),
    (
        "VirtualRouter",
        "routes: [{name: a, httpRoute: {match: {prefix: /}, ACTION, retryPolicy: {maxRetries: 1, perRetryTimeout: {unit: ms, value: 5}, httpRetryEvents: [server-error, connection-error]}}}]",
        &["SK0228 spec.routes[0].httpRoute.retryPolicy.httpRetryEvents[1]"],
    ),
    (
        "VirtualRouter",
        "routes: [{name: a, httpRoute: {match: {prefix: /}, ACTION, retryPolicy: {maxRetries: -1}}}]",
        &[
            "SK0228 spec.routes[0].httpRoute.retryPolicy.maxRetries",
            "SK0226 spec.routes[0].httpRoute.retryPolicy.perRetryTimeout",
            "SK0226 spec.routes[0].httpRoute.retryPolicy",
        ],
    ),
    (
        "VirtualRouter",
        "routes: [{name: a, httpRoute: {match: {path: {regex: '(a'}}, ACTION}}]",
        &["SK0232 spec.routes[0].httpRoute.match.path.regex"],
    ),
    (
        "GatewayRoute",
        "grpcRoute: {match: {methodName: a}, action: {}}",
        &[
            "SK0227 spec.grpcRoute.match",
            "SK0231 spec.grpcRoute.match.methodName",
            "SK0226 spec.grpcRoute.action.target",
        ],
    ),
    (
        "VirtualNode",
        "listeners: [{portMapping: {port: 80, protocol: http}, tls: {mode: STRICT}, healthCheck: {healthyThreshold: 2, unhealthyThreshold: 2, intervalMillis: 5000, timeoutMillis: 2000, protocol: http}}], serviceDiscovery: {dns: {hostname: a}}",
        &["SK0226 spec.listeners[0].healthCheck.path", "SK0226 spec.listeners[0].tls.certificate"],
    ),
    (
        "VirtualNode",
        "backendDefaults: {clientPolicy: {tls: {ports: [0], certificate: {}, validation: {trust: {file: {certificateChain: a}, sds: {secretName: b}}}}}}",
        &[
            "SK0228 spec.backendDefaults.clientPolicy.tls.ports[0]",
            "SK0227 spec.backendDefaults.clientPolicy.tls.certificate",
            "SK0227 spec.backendDefaults.clientPolicy.tls.validation.trust",
        ],
    ),
    (
        "VirtualGateway",
        "listeners: [{portMapping: {port: 80, protocol: tcp}}]",
        &["SK0228 spec.listeners[0].portMapping.protocol"],
    ),
    (
        "VirtualRouter",
        "routes: [{name: a, grpcRoute: {match: {methodName: a}, ACTION}}]",
        &["SK0226 spec.routes[0].grpcRoute.match.serviceName"],
    ),
    (
        "VirtualRouter",
        "routes: [{name: a, tcpRoute: {}}]",
        &["SK0228 spec.routes[0].tcpRoute.action.weightedTargets"],
    ),
    (
        "VirtualRouter",
        "routes: [{name: a, tcpRoute: {action: {weightedTargets: [{weight: 101}]}}}]",
        &[
            "SK0228 spec.routes[0].tcpRoute.action.weightedTargets[0].weight",
            "SK0227 spec.routes[0].tcpRoute.action.weightedTargets[0]",
        ],
    ),
    ("GatewayRoute", "", &["SK0227 spec"]),
    ("GatewayRoute", "httpRoute: {match: {prefix: /}, action: {TARGET}}", &[]),
    ("GatewayRoute", "httpRoute: {match: {}, action: {TARGET}}", &["SK0227 spec.httpRoute.match"]),
    (
        "GatewayRoute",
        "httpRoute: {match: {hostname: {exact: a}}, action: {}}",
        &["SK0226 spec.httpRoute.action.target"],
    ),
    (
        "GatewayRoute",
        "httpRoute: {match: {prefix: /}, action: {TARGET, rewrite: {prefix: {value: /a}}}}",
        &["SK0232 spec.httpRoute.action.rewrite.prefix.value"],
    ),
    (
        "GatewayRoute",
        "httpRoute: {match: {prefix: /}, action: {TARGET, rewrite: {prefix: {}, path: {}}}}",
        &["SK0227 spec.httpRoute.action.rewrite", "SK0227 spec.httpRoute.action.rewrite.prefix"],
    ),
];

#[test]
fn every_other_kind_is_held_against_each_rule() {
    for (version, cases) in [
        ("security.istio.io/v1", SECURITY),
        ("authentication.istio.io/v1alpha1", LEGACY),
        ("appmesh.k8s.aws/v1beta2", APP_MESH),
    ] {
        for (kind, spec, expected) in cases {
            let spec = spec
                .replace("LISTENERS", "listeners: [{portMapping: {port: 80, protocol: http}}]")
                .replace(
                    "ACTION",
                    "action: {weightedTargets: [{weight: 1, virtualNodeRef: {name: a}}]}",
                )
                .replace("TARGET", "target: {virtualService: {virtualServiceRef: {name: a}}}");
            assert_eq!(errors(&object(version, kind, &spec)), *expected, "{kind} {spec}");
        }
    }
}
