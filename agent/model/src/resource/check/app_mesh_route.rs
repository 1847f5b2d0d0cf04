//! Whether the routes of App Mesh's routers are valid, and what they have in common with those of
//! gateways.

use std::collections::BTreeSet;

use super::{
    Report,
    app_mesh::{check_reference, check_time, check_timeout},
    values::{
        check_length, check_pattern, check_range, exactly_one, one_or_nothing, required, set,
    },
};
use crate::{
    finding::code,
    resource::app_mesh::route::{
        GrpcMatch, HeaderMatch, HttpMatch, RetryPolicy, Route, RouteAction, VirtualRouterSpec,
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
        required(!route.name.is_empty(), &format!("{path}.name"), report);
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
        check_route(route, &path, report);
    }
}

fn check_route(route: &Route, path: &str, report: &mut Report<'_>) {
    for (name, http) in [("httpRoute", &route.http_route), ("http2Route", &route.http2_route)] {
        let Some(http) = http else { continue };
        let path = format!("{path}.{name}");
        let given =
            set([("prefix", http.matches.prefix.is_some()), ("path", http.matches.path.is_some())]);
        exactly_one(&given, "prefix and path", &format!("{path}.match"), report);
        check_match(&http.matches, &format!("{path}.match"), report);
        check_retries(http.retry_policy.as_ref(), &path, report);
        check_timeout(http.timeout.as_ref(), &format!("{path}.timeout"), report);
        check_targets(&http.action, &format!("{path}.action"), report);
    }
    if let Some(grpc) = &route.grpc_route {
        let path = format!("{path}.grpcRoute");
        let GrpcMatch { service_name, method_name, metadata, .. } = &grpc.matches;
        if method_name.is_some() {
            required(service_name.is_some(), &format!("{path}.match.serviceName"), report);
        }
        check_length(method_name.as_ref(), 50, &format!("{path}.match.methodName"), report);
        check_headers(metadata, Empty::Taken, &format!("{path}.match.metadata"), report);
        check_retries(grpc.retry_policy.as_ref(), &path, report);
        check_timeout(grpc.timeout.as_ref(), &format!("{path}.timeout"), report);
        check_targets(&grpc.action, &format!("{path}.action"), report);
    }
    if let Some(tcp) = &route.tcp_route {
        let path = format!("{path}.tcpRoute");
        check_timeout(tcp.timeout.as_ref(), &format!("{path}.timeout"), report);
        check_targets(&tcp.action, &format!("{path}.action"), report);
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
    check_time(per_try, &format!("{path}.perRetryTimeout"), report);
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

const METHODS: [&str; 9] =
    ["CONNECT", "DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT", "TRACE"];

pub(super) fn check_word(
    word: Option<&String>,
    known: &[&str],
    field: &str,
    report: &mut Report<'_>,
) {
    if let Some(word) = word.filter(|word| !known.contains(&word.as_str())) {
        let message = format!("found {word:?}, expected one of {}", known.join(", "));
        report.error(code::RANGE, field, message);
    }
}

pub(super) fn check_match(matches: &HttpMatch, path: &str, report: &mut Report<'_>) {
    check_word(matches.method.as_ref(), &METHODS, &format!("{path}.method"), report);
    let schemes = ["http", "https"];
    check_word(matches.scheme.as_ref(), &schemes, &format!("{path}.scheme"), report);
    if matches.prefix.as_ref().is_some_and(|prefix| !prefix.starts_with('/')) {
        let message = "a prefix starts with /: write it so";
        report.error(code::PATTERN, format!("{path}.prefix"), message);
    }
    if let Some(text) = &matches.path {
        let given = set([("exact", text.exact.is_some()), ("regex", text.regex.is_some())]);
        exactly_one(&given, "exact and regex", &format!("{path}.path"), report);
        check_length(text.exact.as_ref(), 255, &format!("{path}.path.exact"), report);
        check_length(text.regex.as_ref(), 255, &format!("{path}.path.regex"), report);
        if let Some(regex) = &text.regex {
            check_pattern(regex, &format!("{path}.path.regex"), report);
        }
    }
    check_headers(&matches.headers, Empty::Refused, &format!("{path}.headers"), report);
    let parameters = &matches.query_parameters;
    let field = format!("{path}.queryParameters");
    if parameters.len() > MAX_HEADERS {
        let message = format!("{} names: a match has up to {MAX_HEADERS}", parameters.len());
        report.error(code::COUNT, field.clone(), message);
    }
    for (index, parameter) in parameters.iter().enumerate() {
        let path = format!("{field}[{index}]");
        required(!parameter.name.is_empty(), &format!("{path}.name"), report);
        if let Some(value) = &parameter.matches {
            required(value.exact.is_some(), &format!("{path}.match.exact"), report);
        }
    }
}

/// What a match without a value is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Empty {
    Refused,
    Taken,
}

pub(super) fn check_headers(
    headers: &[HeaderMatch],
    empty: Empty,
    path: &str,
    report: &mut Report<'_>,
) {
    if headers.len() > MAX_HEADERS {
        let message = format!("{} names: a match has up to {MAX_HEADERS}", headers.len());
        report.error(code::COUNT, path, message);
    }
    for (index, header) in headers.iter().enumerate() {
        check_length(Some(&header.name), 50, &format!("{path}[{index}].name"), report);
        let Some(value) = &header.matches else { continue };
        let path = format!("{path}[{index}].match");
        let given = set([
            ("exact", value.exact.is_some()),
            ("prefix", value.prefix.is_some()),
            ("range", value.range.is_some()),
            ("regex", value.regex.is_some()),
            ("suffix", value.suffix.is_some()),
        ]);
        let of = "exact, prefix, range, regex and suffix";
        match empty {
            Empty::Refused => exactly_one(&given, of, &path, report),
            Empty::Taken => one_or_nothing(&given, of, &path, report),
        }
        for (name, text) in [
            ("exact", &value.exact),
            ("prefix", &value.prefix),
            ("regex", &value.regex),
            ("suffix", &value.suffix),
        ] {
            check_length(text.as_ref(), 255, &format!("{path}.{name}"), report);
        }
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
        let field = format!("{path}.virtualNodeRef");
        check_reference(target.virtual_node_ref.as_ref(), &field, report);
    }
}
