//! What the controller, its schemas and AWS say of App Mesh's kinds, one row a rule.

#[path = "support/rows.rs"]
mod rows;

use rows::{Row, found, hold, object};

const API: &str = "appmesh.k8s.aws/v1beta2";

const ROUTES: &[Row] = &[
    (
        "a hostname is exact or a suffix",
        "httpRoute: {match: {hostname: {}}, action: {TARGET}}",
        &["error SK0227 spec.httpRoute.match.hostname"],
    ),
    (
        "and not both",
        "http2Route: {match: {hostname: {exact: a, suffix: .b}}, action: {TARGET}}",
        &["error SK0227 spec.http2Route.match.hostname"],
    ),
    (
        "calls by service or host",
        "grpcRoute: {match: {metadata: [{name: a}]}, action: {TARGET}}",
        &["error SK0227 spec.grpcRoute.match"],
    ),
    (
        "a call's hostname",
        "grpcRoute: {match: {hostname: {}}, action: {TARGET}}",
        &["error SK0227 spec.grpcRoute.match.hostname"],
    ),
    (
        "a match without a value is taken of calls",
        "grpcRoute: {match: {serviceName: a, metadata: [{name: a, match: {}}]}, action: {TARGET}}",
        &["warning SK0227 spec.grpcRoute.match.metadata[0].match"],
    ),
    (
        "and refused of requests",
        "httpRoute: {match: {prefix: /, headers: [{name: a, match: {}}]}, action: {TARGET}}",
        &["error SK0227 spec.httpRoute.match.headers[0].match"],
    ),
    (
        "a parameter's value",
        "httpRoute: {match: {prefix: /, queryParameters: [{name: a, match: {}}, {}]}, action: {TARGET}}",
        &[
            "error SK0226 spec.httpRoute.match.queryParameters[0].match.exact",
            "error SK0226 spec.httpRoute.match.queryParameters[1].name",
        ],
    ),
    (
        "methods that exist",
        "httpRoute: {match: {prefix: /, method: get}, action: {TARGET}}",
        &["error SK0228 spec.httpRoute.match.method"],
    ),
    (
        "names of 50 characters",
        "httpRoute: {match: {prefix: /, headers: [{name: aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa}]}, action: {TARGET}}",
        &["error SK0201 spec.httpRoute.match.headers[0].name"],
    ),
    (
        "a rewrite changes something",
        "httpRoute: {match: {prefix: /}, action: {TARGET, rewrite: {}}}",
        &["error SK0226 spec.httpRoute.action.rewrite"],
    ),
    (
        "a rewrite's switches",
        "httpRoute: {match: {prefix: /}, action: {TARGET, rewrite: {hostname: {defaultTargetHostname: 'on'}, prefix: {defaultPrefix: 'off'}}}}",
        &[
            "error SK0228 spec.httpRoute.action.rewrite.hostname.defaultTargetHostname",
            "error SK0228 spec.httpRoute.action.rewrite.prefix.defaultPrefix",
        ],
    ),
];

const NODES: &[Row] = &[
    (
        "a path is for HTTP",
        "LISTENER, protocol: grpc}, healthCheck: {port: 9000, protocol: grpc, path: /ping, healthyThreshold: 2, unhealthyThreshold: 2, timeoutMillis: 2000, intervalMillis: 5000}}]",
        &["info SK0103 spec.listeners[0].healthCheck.path"],
    ),
    (
        "limits of one at least",
        "LISTENER, protocol: http}, connectionPool: {http: {maxPendingRequests: 0}}}]",
        &[
            "error SK0228 spec.listeners[0].connectionPool.http.maxConnections",
            "error SK0228 spec.listeners[0].connectionPool.http.maxPendingRequests",
        ],
    ),
    (
        "times are not negative",
        "LISTENER, protocol: http}, timeout: {http: {idle: {unit: s, value: -1}}}}]",
        &["error SK0228 spec.listeners[0].timeout.http.idle.value"],
    ),
    (
        "a secret has a name",
        "LISTENER, protocol: http}, tls: {mode: STRICT, certificate: {sds: {}}}}]",
        &["error SK0226 spec.listeners[0].tls.certificate.sds.secretName"],
    ),
    (
        "files have paths",
        "LISTENER, protocol: http}, tls: {mode: STRICT, certificate: {file: {privateKey: a}}}}]",
        &["error SK0226 spec.listeners[0].tls.certificate.file.certificateChain"],
    ),
    (
        "a name to look up",
        "serviceDiscovery: {dns: {}}",
        &["error SK0226 spec.serviceDiscovery.dns.hostname"],
    ),
    (
        "AWS's registry",
        "serviceDiscovery: {awsCloudMap: {namespaceName: a}}",
        &["error SK0226 spec.serviceDiscovery.awsCloudMap.serviceName"],
    ),
    (
        "a file for the log",
        "logging: {accessLog: {file: {}}}",
        &["error SK0226 spec.logging.accessLog.file.path"],
    ),
    (
        "names of backends",
        "backends: [{virtualService: {virtualServiceRef: {}}}], backendGroups: [{}]",
        &[
            "error SK0226 spec.backendGroups[0].name",
            "error SK0226 spec.backends[0].virtualService.virtualServiceRef.name",
        ],
    ),
];

#[test]
fn app_meshs_kinds_are_held_against_each_rule() {
    for (meaning, spec, expected) in ROUTES {
        let spec =
            spec.replace("TARGET", "target: {virtualService: {virtualServiceRef: {name: a}}}");
        assert_eq!(found(&object(API, "GatewayRoute", &spec)), *expected, "{meaning}: {spec}");
    }
    for (meaning, spec, expected) in NODES {
        let found_by =
            "serviceDiscovery: {dns: {hostname: a}}, listeners: [{portMapping: {port: 9000";
        let spec = spec.replace("LISTENER", found_by);
        assert_eq!(found(&object(API, "VirtualNode", &spec)), *expected, "{meaning}: {spec}");
    }
}

#[test]
fn meshes_names_and_routers_are_held_against_each_rule() {
    hold(
        API,
        "Mesh",
        &[(
            "one family",
            "meshServiceDiscovery: {ipPreference: IPv4_PREFERRED}",
            &["error SK0228 spec.meshServiceDiscovery.ipPreference"],
        )],
    );
    hold(
        API,
        "BackendGroup",
        &[("names", "virtualservices: [{}]", &["error SK0226 spec.virtualservices[0].name"])],
    );
    hold(
        API,
        "VirtualService",
        &[
            (
                "a node by reference or ARN",
                "provider: {virtualNode: {}}",
                &["warning SK0227 spec.provider.virtualNode"],
            ),
            (
                "a router's name",
                "provider: {virtualRouter: {virtualRouterRef: {}}}",
                &["error SK0226 spec.provider.virtualRouter.virtualRouterRef.name"],
            ),
        ],
    );
    hold(
        API,
        "VirtualRouter",
        &[
            (
                "a route has a name",
                "routes: [{tcpRoute: {action: {weightedTargets: [{weight: 1, virtualNodeRef: {name: a}}]}}}]",
                &["error SK0226 spec.routes[0].name"],
            ),
            (
                "a method's name",
                "routes: [{name: a, grpcRoute: {match: {serviceName: a, methodName: ''}, action: {weightedTargets: [{weight: 1, virtualNodeRef: {}}]}}}]",
                &[
                    "error SK0226 spec.routes[0].grpcRoute.match.methodName",
                    "error SK0226 spec.routes[0].grpcRoute.action.weightedTargets[0].virtualNodeRef.name",
                ],
            ),
        ],
    );
    hold(
        API,
        "VirtualGateway",
        &[(
            "health over HTTP",
            "listeners: [{portMapping: {port: 80, protocol: http}, healthCheck: {protocol: tcp, healthyThreshold: 2, unhealthyThreshold: 2, timeoutMillis: 2000, intervalMillis: 5000}}]",
            &["error SK0228 spec.listeners[0].healthCheck.protocol"],
        )],
    );
}
