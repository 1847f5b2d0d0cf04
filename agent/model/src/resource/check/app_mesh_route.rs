//! Whether App Mesh's routes are valid: those of routers and of gateways.

use std::collections::BTreeSet;

use super::{
    Report,
    values::{at_most_one, check_pattern, check_range, exactly_one, required, set},
};
use crate::{
    finding::code,
    resource::app_mesh::route::{
        GatewayRouteSpec, GrpcRoute, HeaderMatch, HttpMatch, RetryPolicy, Rewrite, RouteAction,
        VirtualRouterSpec,
    },
};

/// How many headers a match may name.
const MAX_HEADERS: usize = 10;

pub(super) fn check_router(spec: &VirtualRouterSpec, report: &mut Report<'_>) {
    for (index, listener) in spec.listeners.iter().enumerate() {
        let path = format!("spec.listeners[{index}].portMapping");
        check_range(Some(listener.port_mapping.port), (1, 65_535), &format!("{path}.port"), report);
        required(listener.port_mapping.protocol.is_some(), &format!("{path}.protocol"), report);
    }
    let mut names = BTreeSet::new();
    for (index, route) in spec.routes.iter().enumerate() {
        let path = format!("spec.routes[{index}]");
        if !names.insert(route.name.as_str()) {
            let message = format!("{:?} names another route already", route.name);
            report.error(code::TWICE, format!("{path}.name"), message);
        }
        check_range(route.priority, (0, 1000), &format!("{path}.priority"), report);
        let given = set([
            ("httpRoute", route.http_route.is_some()),
            ("http2Route", route.http2_route.is_some()),
            ("grpcRoute", route.grpc_route.is_some()),
            ("tcpRoute", route.tcp_route.is_some()),
        ]);
        exactly_one(&given, "httpRoute, http2Route, grpcRoute and tcpRoute", &path, report);
        for (name, http) in [("httpRoute", &route.http_route), ("http2Route", &route.http2_route)] {
            let Some(http) = http else { continue };
            let path = format!("{path}.{name}");
            let given = set([
                ("prefix", http.matches.prefix.is_some()),
                ("path", http.matches.path.is_some()),
            ]);
            exactly_one(&given, "prefix and path", &format!("{path}.match"), report);
            check_match(&http.matches, &format!("{path}.match"), report);
            check_retries(http.retry_policy.as_ref(), &path, report);
            check_targets(&http.action, &format!("{path}.action"), report);
        }
        if let Some(grpc) = &route.grpc_route {
            let path = format!("{path}.grpcRoute");
            if grpc.matches.method_name.is_some() {
                required(
                    grpc.matches.service_name.is_some(),
                    &format!("{path}.match.serviceName"),
                    report,
                );
            }
            check_headers(&grpc.matches.metadata, &format!("{path}.match.metadata"), report);
            check_retries(grpc.retry_policy.as_ref(), &path, report);
            check_targets(&grpc.action, &format!("{path}.action"), report);
        }
        if let Some(tcp) = &route.tcp_route {
            check_targets(&tcp.action, &format!("{path}.tcpRoute.action"), report);
        }
    }
}

/// What each list of events may hold.
const HTTP_EVENTS: [&str; 4] = ["client-error", "gateway-error", "server-error", "stream-error"];
const TCP_EVENTS: [&str; 1] = ["connection-error"];
const GRPC_EVENTS: [&str; 5] =
    ["cancelled", "deadline-exceeded", "internal", "resource-exhausted", "unavailable"];

fn check_retries(policy: Option<&RetryPolicy>, path: &str, report: &mut Report<'_>) {
    let Some(policy) = policy else { return };
    let path = format!("{path}.retryPolicy");
    required(policy.max_retries.is_some(), &format!("{path}.maxRetries"), report);
    check_range(policy.max_retries, (0, i64::MAX), &format!("{path}.maxRetries"), report);
    let per_try = policy.per_retry_timeout.as_ref();
    required(per_try.is_some(), &format!("{path}.perRetryTimeout"), report);
    let value = per_try.map(|time| time.value);
    check_range(value, (0, i64::MAX), &format!("{path}.perRetryTimeout.value"), report);
    let lists: [(&str, &Vec<String>, &[&str]); 3] = [
        ("httpRetryEvents", &policy.http_retry_events, &HTTP_EVENTS),
        ("tcpRetryEvents", &policy.tcp_retry_events, &TCP_EVENTS),
        ("grpcRetryEvents", &policy.grpc_retry_events, &GRPC_EVENTS),
    ];
    if lists.iter().all(|(_, events, _)| events.is_empty()) {
        let message = "no event is named, so nothing is tried again: name one";
        report.error(code::REQUIRED, path.clone(), message);
    }
    for (name, events, known) in lists {
        for (index, event) in events.iter().enumerate() {
            if !known.contains(&event.as_str()) {
                let message = format!("{event:?}: use one of {}", known.join(", "));
                report.error(code::RANGE, format!("{path}.{name}[{index}]"), message);
            }
        }
    }
}

fn check_match(matches: &HttpMatch, path: &str, report: &mut Report<'_>) {
    if matches.prefix.as_ref().is_some_and(|prefix| !prefix.starts_with('/')) {
        let message = "a prefix starts with /: write it so";
        report.error(code::PATTERN, format!("{path}.prefix"), message);
    }
    if let Some(text) = &matches.path {
        let given = set([("exact", text.exact.is_some()), ("regex", text.regex.is_some())]);
        exactly_one(&given, "exact and regex", &format!("{path}.path"), report);
        if let Some(regex) = &text.regex {
            check_pattern(regex, &format!("{path}.path.regex"), report);
        }
    }
    check_headers(&matches.headers, &format!("{path}.headers"), report);
}

fn check_headers(headers: &[HeaderMatch], path: &str, report: &mut Report<'_>) {
    if headers.len() > MAX_HEADERS {
        let message = format!("{} names: a match has up to {MAX_HEADERS}", headers.len());
        report.error(code::COUNT, path, message);
    }
    for (index, header) in headers.iter().enumerate() {
        let Some(value) = &header.matches else { continue };
        let path = format!("{path}[{index}].match");
        let given = set([
            ("exact", value.exact.is_some()),
            ("prefix", value.prefix.is_some()),
            ("range", value.range.is_some()),
            ("regex", value.regex.is_some()),
            ("suffix", value.suffix.is_some()),
        ]);
        exactly_one(&given, "exact, prefix, range, regex and suffix", &path, report);
        if let Some(regex) = &value.regex {
            check_pattern(regex, &format!("{path}.regex"), report);
        }
        if value.range.as_ref().is_some_and(|range| range.start >= range.end) {
            let message = "start is below end, which is not part of the range";
            report.error(code::RANGE, format!("{path}.range"), message);
        }
    }
}

fn check_targets(action: &RouteAction, path: &str, report: &mut Report<'_>) {
    let field = format!("{path}.weightedTargets");
    let count = i64::try_from(action.weighted_targets.len()).unwrap_or(i64::MAX);
    check_range(Some(count), (1, 10), &field, report);
    for (index, target) in action.weighted_targets.iter().enumerate() {
        let path = format!("{field}[{index}]");
        check_range(Some(target.weight), (0, 100), &format!("{path}.weight"), report);
        let given = set([
            ("virtualNodeRef", target.virtual_node_ref.is_some()),
            ("virtualNodeARN", target.virtual_node_arn.is_some()),
        ]);
        exactly_one(&given, "virtualNodeRef and virtualNodeARN", &path, report);
    }
}

pub(super) fn check_gateway_route(spec: &GatewayRouteSpec, report: &mut Report<'_>) {
    check_range(spec.priority, (0, 1000), "spec.priority", report);
    let given = set([
        ("httpRoute", spec.http_route.is_some()),
        ("http2Route", spec.http2_route.is_some()),
        ("grpcRoute", spec.grpc_route.is_some()),
    ]);
    exactly_one(&given, "httpRoute, http2Route and grpcRoute", "spec", report);
    for (name, http) in [("httpRoute", &spec.http_route), ("http2Route", &spec.http2_route)] {
        let Some(http) = http else { continue };
        let path = format!("spec.{name}");
        let matches = &http.matches;
        let given = set([("prefix", matches.prefix.is_some()), ("path", matches.path.is_some())]);
        at_most_one(&given, &format!("{path}.match"), report);
        if given.is_empty() && matches.hostname.is_none() {
            let message = "none of prefix, path and hostname is given: give one";
            report.error(code::ONE_OF, format!("{path}.match"), message);
        }
        check_match(matches, &format!("{path}.match"), report);
        required(http.action.target.is_some(), &format!("{path}.action.target"), report);
        check_rewrite(http.action.rewrite.as_ref(), &format!("{path}.action.rewrite"), report);
    }
    if let Some(grpc) = &spec.grpc_route {
        check_gateway_grpc(grpc, report);
    }
}

/// A gateway knows calls by service and host, never by method.
fn check_gateway_grpc(grpc: &GrpcRoute, report: &mut Report<'_>) {
    let (path, matches) = ("spec.grpcRoute", &grpc.matches);
    if matches.service_name.is_none() && matches.hostname.is_none() && matches.metadata.is_empty() {
        let message = "none of serviceName, hostname and metadata is given: give one";
        report.error(code::ONE_OF, format!("{path}.match"), message);
    }
    if matches.method_name.is_some() {
        let message = "a gateway does not look at methods: leave it to the router";
        report.error(code::CONFLICT, format!("{path}.match.methodName"), message);
    }
    check_headers(&matches.metadata, &format!("{path}.match.metadata"), report);
    required(grpc.action.target.is_some(), &format!("{path}.action.target"), report);
}

fn check_rewrite(rewrite: Option<&Rewrite>, path: &str, report: &mut Report<'_>) {
    let Some(rewrite) = rewrite else { return };
    at_most_one(
        &set([("prefix", rewrite.prefix.is_some()), ("path", rewrite.path.is_some())]),
        path,
        report,
    );
    let Some(prefix) = &rewrite.prefix else { return };
    let given = set([
        ("defaultPrefix", prefix.default_prefix.is_some()),
        ("value", prefix.value.is_some()),
    ]);
    exactly_one(&given, "defaultPrefix and value", &format!("{path}.prefix"), report);
    if prefix.value.as_ref().is_some_and(|value| !value.starts_with('/') || !value.ends_with('/')) {
        let message = "a prefix starts and ends with /: write it so";
        report.error(code::PATTERN, format!("{path}.prefix.value"), message);
    }
}
