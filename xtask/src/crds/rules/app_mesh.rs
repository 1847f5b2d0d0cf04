//! App Mesh's kinds.

use super::{
    At, AtLeast, AtMostOne, Count, Enum, Holds, MANY, OneOf, PERCENT, PORT, Pattern, Range,
    Required, Rule,
};

/// Paths below a selector of Kubernetes' own form.
macro_rules! selector {
    ($($at:literal),+) => {
        vec![$(
            (concat!($at, ".matchLabels{}"), LABEL_VALUE),
            (concat!($at, ".matchExpressions[]"), VALUES),
            (concat!($at, ".matchExpressions[].key"), LABEL_KEY),
            (concat!($at, ".matchExpressions[].operator"), OPERATOR),
            (concat!($at, ".matchExpressions[].values[]"), LABEL_VALUE),
        )+]
    };
}

const LABEL_KEY: Rule = Pattern("^([^/]+/)?[a-zA-Z0-9]([-a-zA-Z0-9_.]{0,61}[a-zA-Z0-9])?$");
const LABEL_VALUE: Rule = Pattern("^([a-zA-Z0-9]([-a-zA-Z0-9_.]{0,61}[a-zA-Z0-9])?)?$");
const OPERATOR: Rule = Enum(&["In", "NotIn", "Exists", "DoesNotExist"]);
const VALUES: Rule = Holds(
    "(self.operator in ['In', 'NotIn']) == (has(self.values) && self.values.size() > 0)",
    "In and NotIn are about values, Exists and DoesNotExist about the key alone",
);

fn listeners() -> Vec<At> {
    vec![
        ("listeners[]", Required(&["portMapping"])),
        ("listeners[].portMapping", Required(&["port", "protocol"])),
        ("listeners[].portMapping.port", PORT),
        (
            "listeners[].healthCheck",
            Required(&[
                "healthyThreshold",
                "intervalMillis",
                "protocol",
                "timeoutMillis",
                "unhealthyThreshold",
            ]),
        ),
        ("listeners[].healthCheck.healthyThreshold", Range(2, 10)),
        ("listeners[].healthCheck.unhealthyThreshold", Range(2, 10)),
        ("listeners[].healthCheck.intervalMillis", Range(5_000, 300_000)),
        ("listeners[].healthCheck.timeoutMillis", Range(2_000, 60_000)),
        ("listeners[].healthCheck.port", PORT),
        ("listeners[].outlierDetection.maxServerErrors", AtLeast(1)),
        ("listeners[].outlierDetection.maxEjectionPercent", PERCENT),
        ("listeners[].connectionPool", OneOf(&["tcp", "http", "http2", "grpc"])),
        ("listeners[].timeout", AtMostOne(&["tcp", "http", "http2", "grpc"])),
        ("listeners[].tls", Required(&["certificate", "mode"])),
        ("listeners[].tls.certificate", OneOf(&["acm", "file", "sds"])),
        ("listeners[].tls.validation", Required(&["trust"])),
        ("listeners[].tls.validation.trust", OneOf(&["acm", "file", "sds"])),
    ]
}

/// A path below each place that says how a backend is dialled.
macro_rules! clients {
    ($($below:literal: $rule:expr),+ $(,)?) => {
        vec![$((concat!("backendDefaults.clientPolicy.tls", $below), $rule)),+]
    };
}

fn defaults() -> Vec<At> {
    clients! {
        "": Required(&["validation"]),
        ".ports[]": PORT,
        ".certificate": OneOf(&["acm", "file", "sds"]),
        ".validation": Required(&["trust"]),
        ".validation.trust": OneOf(&["acm", "file", "sds"]),
    }
}

pub(super) fn mesh() -> Vec<At> {
    let mut rules = selector!("namespaceSelector");
    rules.push(("meshServiceDiscovery.ipPreference", Enum(&["IPv4_ONLY", "IPv6_ONLY"])));
    rules
}

pub(super) fn group() -> Vec<At> {
    vec![("virtualservices[]", Required(&["name"])), ("virtualservices[].name", Count(1, MANY))]
}

pub(super) fn node() -> Vec<At> {
    let mut rules = listeners();
    rules.extend(defaults());
    rules.extend(selector!("podSelector"));
    rules.extend([
        ("serviceDiscovery", OneOf(&["dns", "awsCloudMap"])),
        ("serviceDiscovery.dns", Required(&["hostname"])),
        ("serviceDiscovery.awsCloudMap", Required(&["namespaceName", "serviceName"])),
        ("backends[]", Required(&["virtualService"])),
        ("backends[].virtualService", OneOf(&["virtualServiceRef", "virtualServiceARN"])),
        ("backends[].virtualService.clientPolicy.tls", Required(&["validation"])),
        ("backends[].virtualService.clientPolicy.tls.ports[]", PORT),
    ]);
    rules
}

pub(super) fn gateway() -> Vec<At> {
    let mut rules = listeners();
    rules.extend(defaults());
    rules.extend(selector!("namespaceSelector", "podSelector", "gatewayRouteSelector"));
    rules.push(("listeners[].portMapping.protocol", Enum(&["http", "http2", "grpc"])));
    rules
}

pub(super) fn service() -> Vec<At> {
    vec![
        ("provider", OneOf(&["virtualNode", "virtualRouter"])),
        ("provider.virtualNode", AtMostOne(&["virtualNodeRef", "virtualNodeARN"])),
        ("provider.virtualRouter", AtMostOne(&["virtualRouterRef", "virtualRouterARN"])),
        ("provider.virtualNode.virtualNodeRef", Required(&["name"])),
        ("provider.virtualNode.virtualNodeRef.name", Count(1, MANY)),
        ("provider.virtualRouter.virtualRouterRef", Required(&["name"])),
        ("provider.virtualRouter.virtualRouterRef.name", Count(1, MANY)),
    ]
}

/// A path below each of a router's routes for HTTP.
macro_rules! http_routes {
    ($($below:literal: $rule:expr),+ $(,)?) => {
        vec![$(
            (concat!("routes[].httpRoute", $below), $rule),
            (concat!("routes[].http2Route", $below), $rule),
        )+]
    };
}

/// A path below each of a router's routes.
macro_rules! all_routes {
    ($($below:literal: $rule:expr),+ $(,)?) => {
        vec![$(
            (concat!("routes[].httpRoute", $below), $rule),
            (concat!("routes[].http2Route", $below), $rule),
            (concat!("routes[].grpcRoute", $below), $rule),
            (concat!("routes[].tcpRoute", $below), $rule),
        )+]
    };
}

pub(super) fn router() -> Vec<At> {
    let mut rules = vec![
        ("listeners[]", Required(&["portMapping"])),
        ("listeners[].portMapping", Required(&["port", "protocol"])),
        ("listeners[].portMapping.port", PORT),
        ("routes[]", Required(&["name"])),
        ("routes[]", OneOf(&["grpcRoute", "httpRoute", "http2Route", "tcpRoute"])),
        ("routes[].priority", Range(0, 1000)),
        ("routes[].grpcRoute", Required(&["match", "action"])),
        ("routes[].tcpRoute", Required(&["action"])),
        ("routes[].grpcRoute.match.metadata", Count(0, 10)),
        ("routes[].grpcRoute.retryPolicy", Required(&["maxRetries", "perRetryTimeout"])),
        ("routes[].grpcRoute.retryPolicy.maxRetries", AtLeast(0)),
    ];
    rules.extend(http_routes! {
        "": Required(&["match", "action"]),
        ".match": OneOf(&["prefix", "path"]),
        ".match.prefix": Pattern("^/"),
        ".match.path": OneOf(&["exact", "regex"]),
        ".match.headers": Count(0, 10),
        ".match.headers[]": Required(&["name"]),
        ".match.headers[].match": OneOf(&["exact", "prefix", "range", "regex", "suffix"]),
        ".match.queryParameters": Count(0, 10),
        ".match.queryParameters[]": Required(&["name"]),
        ".retryPolicy": Required(&["maxRetries", "perRetryTimeout"]),
        ".retryPolicy.maxRetries": AtLeast(0),
        ".retryPolicy.httpRetryEvents[]":
            Enum(&["server-error", "gateway-error", "client-error", "stream-error"]),
    });
    rules.extend(all_routes! {
        ".action": Required(&["weightedTargets"]),
        ".action.weightedTargets": Count(1, 10),
        ".action.weightedTargets[]": OneOf(&["virtualNodeRef", "virtualNodeARN"]),
        ".action.weightedTargets[].weight": Range(0, 100),
    });
    rules
}

/// A path below each of a gateway's routes for HTTP.
macro_rules! gateway_routes {
    ($($below:literal: $rule:expr),+ $(,)?) => {
        vec![$(
            (concat!("httpRoute", $below), $rule),
            (concat!("http2Route", $below), $rule),
        )+]
    };
}

pub(super) fn gateway_route() -> Vec<At> {
    let mut rules = vec![
        ("", OneOf(&["grpcRoute", "httpRoute", "http2Route"])),
        ("priority", Range(0, 1000)),
        ("grpcRoute", Required(&["match", "action"])),
        ("grpcRoute.action", Required(&["target"])),
    ];
    rules.extend(gateway_routes! {
        "": Required(&["match", "action"]),
        ".match": AtMostOne(&["prefix", "path"]),
        ".match": Count(1, MANY),
        ".match.prefix": Pattern("^/"),
        ".match.path": OneOf(&["exact", "regex"]),
        ".match.hostname": OneOf(&["exact", "suffix"]),
        ".action": Required(&["target"]),
        ".action.rewrite": AtMostOne(&["prefix", "path"]),
        ".action.rewrite.prefix": AtMostOne(&["defaultPrefix", "value"]),
        ".action.rewrite.prefix.defaultPrefix": Enum(&["ENABLED", "DISABLED"]),
        ".action.rewrite.prefix.value": Pattern("^/(.*/)?$"),
        ".action.rewrite.hostname.defaultTargetHostname": Enum(&["ENABLED", "DISABLED"]),
    });
    rules
}
