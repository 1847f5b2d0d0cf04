//! Whether the HTTP rules of a `VirtualService` are valid: what they match and where they lead.

use std::collections::BTreeMap;

use super::{
    Report,
    destination::{check_destination, check_match_gateways, check_weights},
    http_answer, http_headers, http_patience,
    names::{check_labels, is_label},
    values::{check_text, exactly_one, set},
};
use crate::{
    finding::code,
    resource::virtual_service::{HttpMatch, HttpRoute, StringMatch, VirtualServiceSpec},
};

/// What a request has beside its headers.
const PSEUDO_HEADERS: [&str; 5] = [":method", ":scheme", ":authority", ":path", ":status"];

pub(super) fn check(spec: &VirtualServiceSpec, report: &mut Report<'_>) {
    for (index, rule) in spec.http.iter().enumerate() {
        let path = format!("spec.http[{index}]");
        check_action(spec, rule, &path, report);
        for (index, one) in rule.matches.iter().enumerate() {
            check_match(spec, one, &format!("{path}.match[{index}]"), report);
        }
        check_route(rule, &path, report);
        http_headers::check(rule.headers.as_deref(), &format!("{path}.headers"), report);
        http_answer::check(rule, &path, report);
        http_patience::check(rule, &path, report);
        http_headers::check_cors(rule, &path, report);
    }
}

fn check_action(spec: &VirtualServiceSpec, rule: &HttpRoute, path: &str, report: &mut Report<'_>) {
    let actions = set([
        ("route", !rule.route.is_empty()),
        ("redirect", rule.redirect.is_some()),
        ("directResponse", rule.direct_response.is_some()),
        ("delegate", rule.delegate.is_some()),
    ]);
    if actions == ["directResponse", "delegate"] {
        let message = "the delegate's rules answer, so directResponse does nothing: remove it";
        report.warn(code::CONFLICT, format!("{path}.directResponse"), message);
    } else {
        exactly_one(&actions, "route, redirect, directResponse and delegate", path, report);
    }
    if rule.delegate.is_some() && spec.hosts.is_empty() {
        let message = "a delegate cannot delegate: there is one level only";
        report.error(code::CONFLICT, format!("{path}.delegate"), message);
    }
    if rule.delegate.is_some() || (rule.redirect.is_none() && rule.direct_response.is_none()) {
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
            // An empty beginning is every path's; of the others nothing begins with it alone.
            if name != "uri" && text.prefix.as_deref() == Some("") {
                let message = "the prefix is empty: leave the match out for anything";
                report.error(code::PATTERN, format!("{path}.{name}"), message);
            }
        }
    }
    check_header_names(spec, one, path, report);
    check_labels(&one.source_labels, &format!("{path}.sourceLabels"), report);
    if !one.source_namespace.is_empty() && !is_label(&one.source_namespace) {
        let message = format!("{:?} is no namespace's name", one.source_namespace);
        report.error(code::REFERENCE, format!("{path}.sourceNamespace"), message);
    }
    check_texts(&one.headers, &format!("{path}.headers"), report);
    check_texts(&one.without_headers, &format!("{path}.withoutHeaders"), report);
    check_texts(&one.query_params, &format!("{path}.queryParams"), report);
    if spec.hosts.is_empty() && !one.gateways.is_empty() {
        let message = "a delegate's gateways are those of the object that delegates: remove them";
        report.warn(code::CONFLICT, format!("{path}.gateways"), message);
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
        if name.is_empty() && path.ends_with("queryParams") {
            let message = "no parameter has an empty name, so this never holds: give it";
            report.warn(code::PATTERN, field, message);
        } else if *text != StringMatch::default() && text.regex.as_deref() != Some("*") {
            check_text(text, &field, report);
            if text.prefix.as_deref() == Some("") {
                let message = "the prefix is empty: leave the text out to ask for the name alone";
                report.error(code::PATTERN, field, message);
            }
        }
    }
}

/// Names of headers, and claims of a token in their place, which only gateways look at.
fn check_header_names(
    spec: &VirtualServiceSpec,
    one: &HttpMatch,
    path: &str,
    report: &mut Report<'_>,
) {
    for (of, texts) in [("headers", &one.headers), ("withoutHeaders", &one.without_headers)] {
        for name in texts.keys() {
            let field = format!("{path}.{of}[{name}]");
            if http_headers::is_claim(name) {
                if !spec.is_for_gateways() {
                    let message = "claims of tokens are looked at by gateways only: list gateways \
                                   without mesh";
                    report.error(code::CONFLICT, field, message);
                }
            } else if !http_headers::is_name(name) && !PSEUDO_HEADERS.contains(&name.as_str()) {
                let message = format!("{name:?} is no header's name: write it as in a request");
                report.error(code::PATTERN, field, message);
            }
        }
    }
}

fn check_route(rule: &HttpRoute, path: &str, report: &mut Report<'_>) {
    let weights: Vec<i32> = rule.route.iter().map(|one| one.weight).collect();
    check_weights(&weights, &format!("{path}.route"), report);
    let of_rule = rule.headers.as_deref().map_or(0, http_headers::authorities);
    let rewritten = rule.rewrite.as_ref().is_some_and(|rewrite| !rewrite.authority.is_empty());
    for (index, one) in rule.route.iter().enumerate() {
        let path = format!("{path}.route[{index}]");
        check_destination(one.destination.as_ref(), &format!("{path}.destination"), report);
        http_headers::check(one.headers.as_deref(), &format!("{path}.headers"), report);
        let here = one.headers.as_deref().map_or(0, http_headers::authorities);
        if rewritten && here > 0 {
            let message = "the rewrite sets the authority, and this does nothing: set it once";
            report.warn(code::CONFLICT, format!("{path}.headers.request.set"), message);
        }
    }
    if usize::from(rewritten) + of_rule > 1 {
        let message = "the authority is set already: set it once";
        report.error(code::CONFLICT, format!("{path}.headers.request.set"), message);
    }
}
