//! Which request goes where: App Mesh's routers and gateways.

use super::{
    At, AtLeast, AtMostOne, Count, Enum, FILLED, Filled, Holds, Many, OneOf, PORT, Pattern, Range,
    Required, Rule,
    app_mesh::each,
    conditions::{any, implies, not, there},
};

const SHORT: Rule = Count(1, 255);
/// How many headers a match may name.
const HEADERS: Rule = Count(0, 10);
/// What a request may be matched by.
const METHOD: Rule =
    Enum(&["CONNECT", "DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT", "TRACE"]);
const SWITCH: Rule = Enum(&["ENABLED", "DISABLED"]);
const TEXTS: &[&str] = &["exact", "prefix", "range", "regex", "suffix"];

/// From `start` up to and without `end`.
const RANGE: Rule = Many(|| {
    vec![Holds(
        "(has(self.start) ? self.start : 0) < (has(self.end) ? self.end : 0)",
        "start is below end, which is not part of the range",
    )]
});

/// A list of headers, or of keys of gRPC's metadata.
macro_rules! headers {
    ($($place:literal),+ $(,)?) => {
        each! { [$($place),+] {
            "": HEADERS,
            "[]": Required(&["name"]),
            "[].name": Count(1, 50),
            "[].match.exact": SHORT,
            "[].match.prefix": SHORT,
            "[].match.regex": SHORT,
            "[].match.suffix": SHORT,
            "[].match.range": RANGE,
        }}
    };
}

/// What a request must be like.
macro_rules! requests {
    ($($place:literal),+ $(,)?) => {
        each! { [$($place),+] {
            ".method": METHOD,
            ".scheme": Enum(&["http", "https"]),
            ".prefix": Pattern("^/"),
            ".path": OneOf(&["exact", "regex"]),
            ".path.exact": SHORT,
            ".path.regex": SHORT,
            ".headers[].match": OneOf(TEXTS),
            ".queryParameters": HEADERS,
            ".queryParameters[]": Required(&["name"]),
            ".queryParameters[].name": FILLED,
            ".queryParameters[].match": Required(&["exact"]),
        }}
    };
}

pub(super) fn router() -> Vec<At> {
    let mut rules = vec![
        ("listeners[]", Required(&["portMapping"])),
        ("listeners[].portMapping", Required(&["port", "protocol"])),
        ("listeners[].portMapping.port", PORT),
        ("routes[]", Required(&["name"])),
        ("routes[]", OneOf(&["grpcRoute", "httpRoute", "http2Route", "tcpRoute"])),
        ("routes[].name", FILLED),
        ("routes[].priority", Range(0, 1000)),
        ("routes[].grpcRoute.match", implies(&there("methodName"), &there("serviceName"))),
        ("routes[].grpcRoute.match.methodName", Count(1, 50)),
        ("routes[].grpcRoute.match.metadata[].match", AtMostOne(TEXTS)),
        ("routes[].tcpRoute", Required(&["action"])),
    ];
    rules.extend(requests!("routes[].httpRoute.match", "routes[].http2Route.match"));
    rules.extend(headers!(
        "routes[].httpRoute.match.headers",
        "routes[].http2Route.match.headers",
        "routes[].grpcRoute.match.metadata"
    ));
    rules.extend(each! { ["routes[].httpRoute.match", "routes[].http2Route.match"] {
        "": OneOf(&["prefix", "path"]),
    }});
    rules.extend(retries());
    rules.extend(targets());
    rules
}

fn retries() -> Vec<At> {
    each! { ["routes[].httpRoute", "routes[].http2Route", "routes[].grpcRoute"] {
        "": Required(&["match", "action"]),
        ".retryPolicy": Required(&["maxRetries", "perRetryTimeout"]),
        ".retryPolicy": Filled(&["httpRetryEvents", "tcpRetryEvents", "grpcRetryEvents"]),
        ".retryPolicy.maxRetries": AtLeast(0),
        ".retryPolicy.perRetryTimeout.value": AtLeast(0),
        ".retryPolicy.httpRetryEvents[]":
            Enum(&["server-error", "gateway-error", "client-error", "stream-error"]),
        ".retryPolicy.tcpRetryEvents[]": Enum(&["connection-error"]),
        ".retryPolicy.grpcRetryEvents[]": Enum(&[
            "cancelled", "deadline-exceeded", "internal", "resource-exhausted", "unavailable",
        ]),
    }}
}

fn targets() -> Vec<At> {
    each! {
        ["routes[].httpRoute", "routes[].http2Route", "routes[].grpcRoute", "routes[].tcpRoute"] {
            ".timeout.perRequest.value": AtLeast(0),
            ".timeout.idle.value": AtLeast(0),
            ".action": Required(&["weightedTargets"]),
            ".action.weightedTargets": Count(1, 10),
            ".action.weightedTargets[]": OneOf(&["virtualNodeRef", "virtualNodeARN"]),
            ".action.weightedTargets[].weight": Range(0, 100),
            ".action.weightedTargets[].virtualNodeRef": Required(&["name"]),
            ".action.weightedTargets[].virtualNodeRef.name": FILLED,
        }
    }
}

pub(super) fn gateway_route() -> Vec<At> {
    let mut rules = vec![
        ("", OneOf(&["grpcRoute", "httpRoute", "http2Route"])),
        ("priority", Range(0, 1000)),
        ("grpcRoute.match", Rule::Also(any(&[there("serviceName"), there("hostname")]))),
        ("grpcRoute.match", Rule::Also(not(&there("methodName")))),
        ("grpcRoute.match.metadata[].match", AtMostOne(TEXTS)),
    ];
    rules.extend(requests!("httpRoute.match", "http2Route.match"));
    rules.extend(headers!(
        "httpRoute.match.headers",
        "http2Route.match.headers",
        "grpcRoute.match.metadata"
    ));
    rules.extend(each! { ["httpRoute", "http2Route"] {
        ".match": AtMostOne(&["prefix", "path"]),
        ".match": Filled(&["prefix", "path", "hostname"]),
        ".action.rewrite": Filled(&["prefix", "path", "hostname"]),
        ".action.rewrite": AtMostOne(&["prefix", "path"]),
        ".action.rewrite.path.exact": SHORT,
        ".action.rewrite.prefix": AtMostOne(&["defaultPrefix", "value"]),
        ".action.rewrite.prefix.defaultPrefix": SWITCH,
        ".action.rewrite.prefix.value": Pattern("^/(.*/)?$"),
        ".action.rewrite.prefix.value": SHORT,
        ".action.rewrite.hostname.defaultTargetHostname": SWITCH,
    }});
    rules.extend(each! { ["httpRoute", "http2Route", "grpcRoute"] {
        "": Required(&["match", "action"]),
        ".match.hostname": OneOf(&["exact", "suffix"]),
        ".match.hostname.exact": Count(1, 253),
        ".match.hostname.suffix": Count(1, 253),
        ".action": Required(&["target"]),
        ".action.target.virtualService": AtMostOne(&["virtualServiceRef", "virtualServiceARN"]),
        ".action.target.virtualService.virtualServiceRef": Required(&["name"]),
        ".action.target.virtualService.virtualServiceRef.name": FILLED,
    }});
    rules
}
