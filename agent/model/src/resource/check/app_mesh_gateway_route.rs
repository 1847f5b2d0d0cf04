//! Whether the routes of App Mesh's gateways are valid.

use super::{
    Report,
    app_mesh::check_reference,
    app_mesh_route::{Empty, check_headers, check_match, check_word},
    values::{at_most_one, check_length, check_range, exactly_one, one_or_nothing, required, set},
};
use crate::{
    finding::code,
    resource::app_mesh::route::{
        GatewayRouteSpec, GatewayTarget, GrpcRoute, HostnameMatch, Rewrite,
    },
};

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
        check_hostname(matches.hostname.as_ref(), &format!("{path}.match.hostname"), report);
        check_target(http.action.target.as_ref(), &format!("{path}.action.target"), report);
        check_rewrite(http.action.rewrite.as_ref(), &format!("{path}.action.rewrite"), report);
    }
    if let Some(grpc) = &spec.grpc_route {
        check_gateway_grpc(grpc, report);
    }
}

/// A gateway knows calls by service and host, never by method.
fn check_gateway_grpc(grpc: &GrpcRoute, report: &mut Report<'_>) {
    let (path, matches) = ("spec.grpcRoute", &grpc.matches);
    if matches.service_name.is_none() && matches.hostname.is_none() {
        let message = "neither serviceName nor hostname is given: give one";
        report.error(code::ONE_OF, format!("{path}.match"), message);
    }
    check_hostname(matches.hostname.as_ref(), &format!("{path}.match.hostname"), report);
    if matches.method_name.is_some() {
        let message = "a gateway does not look at methods: leave it to the router";
        report.error(code::CONFLICT, format!("{path}.match.methodName"), message);
    }
    let field = format!("{path}.match.metadata");
    check_headers(&matches.metadata, Empty::Taken, &field, report);
    check_target(grpc.action.target.as_ref(), &format!("{path}.action.target"), report);
}

fn check_hostname(hostname: Option<&HostnameMatch>, path: &str, report: &mut Report<'_>) {
    let Some(HostnameMatch { exact, suffix }) = hostname else { return };
    let given = set([("exact", exact.is_some()), ("suffix", suffix.is_some())]);
    exactly_one(&given, "exact and suffix", path, report);
    check_length(exact.as_ref(), 253, &format!("{path}.exact"), report);
    check_length(suffix.as_ref(), 253, &format!("{path}.suffix"), report);
}

fn check_target(target: Option<&GatewayTarget>, path: &str, report: &mut Report<'_>) {
    required(target.is_some(), path, report);
    let Some(GatewayTarget { virtual_service, port: _ }) = target else { return };
    let path = format!("{path}.virtualService");
    let given = set([
        ("virtualServiceRef", virtual_service.virtual_service_ref.is_some()),
        ("virtualServiceARN", virtual_service.virtual_service_arn.is_some()),
    ]);
    one_or_nothing(&given, "virtualServiceRef and virtualServiceARN", &path, report);
    let field = format!("{path}.virtualServiceRef");
    check_reference(virtual_service.virtual_service_ref.as_ref(), &field, report);
}

const SWITCH: [&str; 2] = ["ENABLED", "DISABLED"];

fn check_rewrite(rewrite: Option<&Rewrite>, path: &str, report: &mut Report<'_>) {
    let Some(rewrite) = rewrite else { return };
    if rewrite.prefix.is_none() && rewrite.path.is_none() && rewrite.hostname.is_none() {
        let message = "the rewrite changes nothing: give it prefix, path or hostname";
        report.error(code::REQUIRED, path, message);
    }
    let hostname = rewrite.hostname.as_ref().and_then(|one| one.default_target_hostname.as_ref());
    check_word(hostname, &SWITCH, &format!("{path}.hostname.defaultTargetHostname"), report);
    if let Some(whole) = &rewrite.path {
        check_length(whole.exact.as_ref(), 255, &format!("{path}.path.exact"), report);
    }
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
    one_or_nothing(&given, "defaultPrefix and value", &format!("{path}.prefix"), report);
    let field = format!("{path}.prefix.defaultPrefix");
    check_word(prefix.default_prefix.as_ref(), &SWITCH, &field, report);
    check_length(prefix.value.as_ref(), 255, &format!("{path}.prefix.value"), report);
    if prefix.value.as_ref().is_some_and(|value| !value.starts_with('/') || !value.ends_with('/')) {
        let message = "a prefix starts and ends with /: write it so";
        report.error(code::PATTERN, format!("{path}.prefix.value"), message);
    }
}
