//! Whether the HTTP rules of a `VirtualService` are valid.

use std::collections::BTreeMap;

use super::{
    Report,
    destination::{check_destination, check_match_gateways, check_weights},
    values::{
        Zero, at_most_one, check_duration, check_pattern, check_percent, check_range, exactly_one,
        required, set,
    },
};
use crate::{
    finding::code,
    resource::virtual_service::{
        Fault, Headers, HttpMatch, HttpRoute, Percent, StringMatch, VirtualServiceSpec,
    },
};

/// What a retry may answer to, besides statuses.
const RETRY_ON: [&str; 16] = [
    "5xx",
    "gateway-error",
    "reset",
    "reset-before-request",
    "connect-failure",
    "envoy-ratelimited",
    "retriable-4xx",
    "refused-stream",
    "retriable-status-codes",
    "retriable-headers",
    "http3-post-connect-failure",
    "cancelled",
    "deadline-exceeded",
    "internal",
    "resource-exhausted",
    "unavailable",
];

/// The most that an answer made on the spot may carry.
const MAX_BODY: usize = 1 << 20;

pub(super) fn check(spec: &VirtualServiceSpec, report: &mut Report<'_>) {
    let mut ended_by = None;
    for (index, rule) in spec.http.iter().enumerate() {
        let path = format!("spec.http[{index}]");
        if let Some(before) = ended_by {
            let message = format!("spec.http[{before}] takes every request: move it to the end");
            report.warn(code::UNREACHABLE_RULE, path.clone(), message);
        } else if rule.matches.is_empty() || rule.matches.iter().any(takes_all) {
            ended_by = Some(index);
        }
        check_action(spec, rule, &path, report);
        for (index, one) in rule.matches.iter().enumerate() {
            check_match(spec, one, &format!("{path}.match[{index}]"), report);
        }
        check_route(rule, &path, report);
        check_headers(rule.headers.as_deref(), &format!("{path}.headers"), report);
        check_answers(rule, &path, report);
        check_rewrite(rule, &path, report);
        check_patience(rule, &path, report);
        if let Some(fault) = &rule.fault {
            check_fault(fault, &format!("{path}.fault"), report);
        }
        check_mirrors(rule, &path, report);
        check_cors(rule, &path, report);
    }
}

/// Whether nothing escapes a match: a prefix of the root, or a pattern for anything.
fn takes_all(one: &HttpMatch) -> bool {
    let uri = one.uri.as_ref();
    let by_uri = uri.is_none_or(|uri| {
        uri.prefix.as_deref() == Some("/") || matches!(uri.regex.as_deref(), Some(".*" | "*"))
    });
    let rest =
        HttpMatch { uri: None, name: String::new(), stat_prefix: String::new(), ..one.clone() };
    by_uri && rest == HttpMatch::default()
}

fn check_action(spec: &VirtualServiceSpec, rule: &HttpRoute, path: &str, report: &mut Report<'_>) {
    let actions = set([
        ("route", !rule.route.is_empty()),
        ("redirect", rule.redirect.is_some()),
        ("directResponse", rule.direct_response.is_some()),
        ("delegate", rule.delegate.is_some()),
    ]);
    exactly_one(&actions, "route, redirect, directResponse and delegate", path, report);
    if rule.delegate.is_some() && spec.hosts.is_empty() {
        let message = "a delegate cannot delegate: there is one level only";
        report.error(code::CONFLICT, format!("{path}.delegate"), message);
    }
    if rule.redirect.is_none() && rule.direct_response.is_none() {
        return;
    }
    for (field, is_set) in [("rewrite", rule.rewrite.is_some()), ("fault", rule.fault.is_some())] {
        if is_set {
            let message = "does not go with redirect or directResponse: remove it";
            report.error(code::CONFLICT, format!("{path}.{field}"), message);
        }
    }
}

fn check_match(spec: &VirtualServiceSpec, one: &HttpMatch, path: &str, report: &mut Report<'_>) {
    let single = [
        ("uri", &one.uri),
        ("scheme", &one.scheme),
        ("method", &one.method),
        ("authority", &one.authority),
    ];
    for (name, text) in single {
        if let Some(text) = text {
            check_text(text, &format!("{path}.{name}"), report);
        }
    }
    check_texts(&one.headers, &format!("{path}.headers"), report);
    check_texts(&one.without_headers, &format!("{path}.withoutHeaders"), report);
    check_texts(&one.query_params, &format!("{path}.queryParams"), report);
    if spec.hosts.is_empty() && !one.gateways.is_empty() {
        let message = "a delegate's gateways are those of the object that delegates: remove them";
        report.error(code::CONFLICT, format!("{path}.gateways"), message);
    } else {
        check_match_gateways(spec, &one.gateways, path, report);
    }
    if !one.gateways.is_empty() && !one.source_labels.is_empty() {
        let message = "sourceLabels are ignored where gateways are given: use two matches";
        report.warn(code::MATCH_IGNORED, format!("{path}.sourceLabels"), message);
    }
    if one.port > 65_535 {
        let message = format!("{} is not a port: use 1 to 65535", one.port);
        report.error(code::PORT_NUMBER, format!("{path}.port"), message);
    }
}

/// Here no text at all, and the pattern `*`, mean that the name has to be there.
fn check_texts(texts: &BTreeMap<String, StringMatch>, path: &str, report: &mut Report<'_>) {
    for (name, text) in texts {
        let field = format!("{path}[{name}]");
        if name.is_empty() {
            report.error(code::PATTERN, field, "a name is empty: give it");
        } else if *text != StringMatch::default() && text.regex.as_deref() != Some("*") {
            check_text(text, &field, report);
        }
    }
}

fn check_text(text: &StringMatch, field: &str, report: &mut Report<'_>) {
    let StringMatch { exact, prefix, regex } = text;
    let given =
        set([("exact", exact.is_some()), ("prefix", prefix.is_some()), ("regex", regex.is_some())]);
    exactly_one(&given, "exact, prefix and regex", field, report);
    if let Some(regex) = regex {
        check_pattern(regex, field, report);
    }
    let is_empty = |text: &Option<String>| text.as_deref() == Some("");
    if is_empty(prefix) || is_empty(regex) {
        report.error(
            code::PATTERN,
            field,
            "the pattern is empty: leave the match out for anything",
        );
    }
}

fn check_route(rule: &HttpRoute, path: &str, report: &mut Report<'_>) {
    let weights: Vec<i32> = rule.route.iter().map(|one| one.weight).collect();
    check_weights(&weights, &format!("{path}.route"), report);
    let of_rule = rule.headers.as_deref().is_some_and(sets_authority);
    let rewritten = rule.rewrite.as_ref().is_some_and(|rewrite| !rewrite.authority.is_empty());
    for (index, one) in rule.route.iter().enumerate() {
        let path = format!("{path}.route[{index}]");
        check_destination(one.destination.as_ref(), &format!("{path}.destination"), report);
        check_headers(one.headers.as_deref(), &format!("{path}.headers"), report);
        if rewritten && one.headers.as_deref().is_some_and(sets_authority) {
            let message = "the rewrite sets the authority already: set it once";
            report.error(code::CONFLICT, format!("{path}.headers.request.set"), message);
        }
    }
    if rewritten && of_rule {
        let message = "the rewrite sets the authority already: set it once";
        report.error(code::CONFLICT, format!("{path}.headers.request.set"), message);
    }
}

/// The host cannot be taken away, and what starts with a colon is no header that can be.
fn check_headers(headers: Option<&Headers>, path: &str, report: &mut Report<'_>) {
    let Some(Headers { request, response }) = headers else { return };
    for (name, operations) in [("request", request), ("response", response)] {
        let Some(operations) = operations else { continue };
        for (index, header) in operations.remove.iter().enumerate() {
            if header.starts_with(':') || header.eq_ignore_ascii_case("host") || header.is_empty() {
                let message = format!("{header:?} cannot be removed: name another header");
                report.error(code::CONFLICT, format!("{path}.{name}.remove[{index}]"), message);
            }
        }
        for header in operations.set.keys().chain(operations.add.keys()) {
            if header.is_empty() {
                let message = "a header without a name: give it";
                report.error(code::REQUIRED, format!("{path}.{name}"), message);
            }
        }
    }
}

fn sets_authority(headers: &Headers) -> bool {
    let is_host = |name: &String| name.eq_ignore_ascii_case("host") || name == ":authority";
    headers.request.as_ref().is_some_and(|request| request.set.keys().any(is_host))
}

fn check_answers(rule: &HttpRoute, path: &str, report: &mut Report<'_>) {
    if let Some(redirect) = &rule.redirect {
        let path = format!("{path}.redirect");
        let says = !redirect.uri.is_empty()
            || !redirect.prefix_rewrite.is_empty()
            || !redirect.authority.is_empty()
            || redirect.port.is_some()
            || redirect.derive_port.is_some()
            || !redirect.scheme.is_empty();
        if !says {
            let message = "the redirect changes nothing: give it uri, authority, port or scheme";
            report.error(code::REQUIRED, path.clone(), message);
        }
        let uri = !redirect.uri.is_empty();
        at_most_one(
            &set([("uri", uri), ("prefixRewrite", !redirect.prefix_rewrite.is_empty())]),
            &path,
            report,
        );
        let port = redirect.port.is_some();
        at_most_one(
            &set([("port", port), ("derivePort", redirect.derive_port.is_some())]),
            &path,
            report,
        );
        if !["", "http", "https"].contains(&redirect.scheme.as_str()) {
            let message = format!("{:?}: use http or https", redirect.scheme);
            report.error(code::RANGE, format!("{path}.scheme"), message);
        }
        let status = (redirect.redirect_code != 0).then_some(i64::from(redirect.redirect_code));
        check_range(status, (300, 399), &format!("{path}.redirectCode"), report);
    }
    if let Some(answer) = &rule.direct_response {
        let path = format!("{path}.directResponse");
        check_range(Some(i64::from(answer.status)), (200, 599), &format!("{path}.status"), report);
        let Some(body) = &answer.body else { return };
        let given = set([("string", body.string.is_some()), ("bytes", body.bytes.is_some())]);
        exactly_one(&given, "string and bytes", &format!("{path}.body"), report);
        let length = body.string.as_ref().map_or(0, String::len);
        // Four characters of base64 are three bytes.
        let decoded = body.bytes.as_ref().map_or(0, |bytes| bytes.len() / 4 * 3);
        if length.max(decoded) > MAX_BODY {
            let message = format!("a body is {MAX_BODY} bytes at most: serve it from a service");
            report.error(code::RANGE, format!("{path}.body"), message);
        }
    }
}

fn check_rewrite(rule: &HttpRoute, path: &str, report: &mut Report<'_>) {
    let Some(rewrite) = &rule.rewrite else { return };
    let path = format!("{path}.rewrite");
    let regex = rewrite.uri_regex_rewrite.is_some();
    at_most_one(
        &set([("uri", !rewrite.uri.is_empty()), ("uriRegexRewrite", regex)]),
        &path,
        report,
    );
    if rewrite.uri.is_empty() && rewrite.authority.is_empty() && !regex {
        let message = "the rewrite changes nothing: give it uri, uriRegexRewrite or authority";
        report.error(code::REQUIRED, path.clone(), message);
    }
    if let Some(regex) = &rewrite.uri_regex_rewrite {
        let field = format!("{path}.uriRegexRewrite.match");
        required(!regex.pattern.is_empty(), &field, report);
        check_pattern(&regex.pattern, &field, report);
    }
}

fn check_patience(rule: &HttpRoute, path: &str, report: &mut Report<'_>) {
    check_duration(rule.timeout.as_ref(), Zero::Refused, &format!("{path}.timeout"), report);
    let Some(retries) = &rule.retries else { return };
    let path = format!("{path}.retries");
    let zero = Zero::Refused;
    check_range(
        Some(i64::from(retries.attempts)),
        (0, i64::MAX),
        &format!("{path}.attempts"),
        report,
    );
    check_duration(
        retries.per_try_timeout.as_ref(),
        zero,
        &format!("{path}.perTryTimeout"),
        report,
    );
    check_duration(retries.backoff.as_ref(), zero, &format!("{path}.backoff"), report);
    for word in retries.retry_on.split(',').map(str::trim).filter(|word| !word.is_empty()) {
        let is_status = word.parse().is_ok_and(|status: u16| (100..600).contains(&status));
        if !is_status && !RETRY_ON.contains(&word) {
            let message = format!("{word:?}: use a status or one of {}", RETRY_ON.join(", "));
            report.error(code::RANGE, format!("{path}.retryOn"), message);
        }
    }
}

fn check_fault(fault: &Fault, path: &str, report: &mut Report<'_>) {
    let share = |percent: &Option<Percent>| percent.as_ref().and_then(|percent| percent.value);
    if fault.delay.is_none() && fault.abort.is_none() {
        report.error(code::REQUIRED, path, "the fault does nothing: give it delay or abort");
    }
    if let Some(delay) = &fault.delay {
        let path = format!("{path}.delay");
        let field = format!("{path}.fixedDelay");
        required(delay.fixed_delay.is_some(), &field, report);
        check_duration(delay.fixed_delay.as_ref(), Zero::Refused, &field, report);
        check_percent(share(&delay.percentage), &format!("{path}.percentage"), report);
        if delay.exponential_delay.is_some() {
            let message = "exponential delays do not exist: use fixedDelay";
            report.error(code::CONFLICT, format!("{path}.exponentialDelay"), message);
        }
    }
    if let Some(abort) = &fault.abort {
        let path = format!("{path}.abort");
        let given = set([
            ("httpStatus", abort.http_status.is_some()),
            ("grpcStatus", abort.grpc_status.is_some()),
        ]);
        exactly_one(&given, "httpStatus and grpcStatus", &path, report);
        check_range(
            abort.http_status.map(i64::from),
            (200, 599),
            &format!("{path}.httpStatus"),
            report,
        );
        check_percent(share(&abort.percentage), &format!("{path}.percentage"), report);
        if abort.http2_error.is_some() {
            let message = "HTTP/2 errors cannot be made: use httpStatus";
            report.error(code::CONFLICT, format!("{path}.http2Error"), message);
        }
    }
}

fn check_mirrors(rule: &HttpRoute, path: &str, report: &mut Report<'_>) {
    let given = set([("mirror", rule.mirror.is_some()), ("mirrors", !rule.mirrors.is_empty())]);
    at_most_one(&given, path, report);
    if rule.mirror.is_some() {
        check_destination(rule.mirror.as_ref(), &format!("{path}.mirror"), report);
    }
    let percent = rule.mirror_percentage.as_ref().and_then(|percent| percent.value);
    check_percent(percent, &format!("{path}.mirrorPercentage"), report);
    for (index, mirror) in rule.mirrors.iter().enumerate() {
        let path = format!("{path}.mirrors[{index}]");
        check_destination(mirror.destination.as_ref(), &format!("{path}.destination"), report);
        let percent = mirror.percentage.as_ref().and_then(|percent| percent.value);
        check_percent(percent, &format!("{path}.percentage"), report);
    }
}

fn check_cors(rule: &HttpRoute, path: &str, report: &mut Report<'_>) {
    let Some(cors) = &rule.cors_policy else { return };
    let path = format!("{path}.corsPolicy");
    for (index, origin) in cors.allow_origins.iter().enumerate() {
        check_text(origin, &format!("{path}.allowOrigins[{index}]"), report);
    }
    check_duration(cors.max_age.as_ref(), Zero::Allowed, &format!("{path}.maxAge"), report);
}
