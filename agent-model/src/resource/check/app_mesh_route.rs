//! Whether App Mesh's routes are valid: those of routers and of gateways.

use std::collections::BTreeSet;

use super::{
    Report,
    values::{at_most_one, check_range, exactly_one, required, set},
};
use crate::{
    resource::app_mesh::route::{
        GatewayRouteSpec, HeaderMatch, HttpMatch, Rewrite, RouteAction, VirtualRouterSpec,
    },
    snapshot::code,
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
            check_targets(&grpc.action, &format!("{path}.action"), report);
        }
        if let Some(tcp) = &route.tcp_route {
            check_targets(&tcp.action, &format!("{path}.tcpRoute.action"), report);
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
