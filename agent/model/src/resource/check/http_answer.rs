//! Whether answers made on the spot, and what becomes of a request's address, are valid.

use super::{
    Report,
    values::{
        at_most_one, check_pattern, check_range, check_status, one_or_nothing, required, set,
    },
};
use crate::{
    finding::code,
    resource::virtual_service::{Body, DirectResponse, HttpRoute, Redirect, StringMatch},
};

/// The most that an answer made on the spot may carry, and from where on it weighs on every proxy.
const MAX_BODY: usize = 1 << 20;
const LARGE_BODY: usize = 100 << 10;

pub(super) fn check(rule: &HttpRoute, path: &str, report: &mut Report<'_>) {
    if let Some(redirect) = &rule.redirect {
        check_redirect(redirect, &format!("{path}.redirect"), report);
        check_prefixes(rule, path, report);
    }
    if let Some(answer) = &rule.direct_response {
        check_response(answer, &format!("{path}.directResponse"), report);
    }
    check_rewrite(rule, path, report);
}

fn check_redirect(redirect: &Redirect, path: &str, report: &mut Report<'_>) {
    let says = !redirect.uri.is_empty()
        || !redirect.prefix_rewrite.is_empty()
        || !redirect.authority.is_empty()
        || redirect.port.is_some()
        || redirect.derive_port.is_some()
        || !redirect.scheme.is_empty();
    if !says {
        let message = "the redirect changes nothing: give it uri, authority, port or scheme";
        report.error(code::REQUIRED, path, message);
    }
    let uri = !redirect.uri.is_empty();
    at_most_one(
        &set([("uri", uri), ("prefixRewrite", !redirect.prefix_rewrite.is_empty())]),
        path,
        report,
    );
    let port = redirect.port.is_some();
    at_most_one(
        &set([("port", port), ("derivePort", redirect.derive_port.is_some())]),
        path,
        report,
    );
    if !["", "http", "https"].contains(&redirect.scheme.as_str()) {
        let message = format!("{:?}: use http or https", redirect.scheme);
        report.error(code::RANGE, format!("{path}.scheme"), message);
    }
    let status = (redirect.redirect_code != 0).then_some(i64::from(redirect.redirect_code));
    check_range(status, (300, 399), &format!("{path}.redirectCode"), report);
    if redirect.port.is_some_and(|port| port > 65_535) {
        let message = "no port has this number: use 1 to 65535";
        report.error(code::PORT_NUMBER, format!("{path}.port"), message);
    }
}

/// What takes the place of a prefix needs one in each match.
fn check_prefixes(rule: &HttpRoute, path: &str, report: &mut Report<'_>) {
    if rule.redirect.as_ref().is_none_or(|redirect| redirect.prefix_rewrite.is_empty()) {
        return;
    }
    let other = |uri: &StringMatch| uri.prefix.is_none();
    if rule.matches.iter().filter_map(|one| one.uri.as_ref()).any(other) {
        let message = "prefixRewrite needs every uri to be matched by prefix: use uri instead";
        report.error(code::CONFLICT, format!("{path}.redirect.prefixRewrite"), message);
    }
}

fn check_response(answer: &DirectResponse, path: &str, report: &mut Report<'_>) {
    check_status(Some(i64::from(answer.status)), &format!("{path}.status"), report);
    let Some(Body { string, bytes }) = &answer.body else { return };
    let path = format!("{path}.body");
    let given = set([("string", string.is_some()), ("bytes", bytes.is_some())]);
    one_or_nothing(&given, "string and bytes", &path, report);
    if bytes.as_ref().is_some_and(|bytes| !is_base64(bytes)) {
        let message = "this is no base64: encode it, or use string";
        report.error(code::PATTERN, format!("{path}.bytes"), message);
    }
    let length = string.as_ref().map_or(0, String::len);
    // Four characters of base64 are three bytes.
    let length = length.max(bytes.as_ref().map_or(0, |bytes| bytes.len() / 4 * 3));
    if length > MAX_BODY {
        let message = format!("a body is {MAX_BODY} bytes at most: serve it from a service");
        report.error(code::RANGE, path, message);
    } else if length > LARGE_BODY {
        let message = format!("{length} bytes in every proxy's memory: serve it from a service");
        report.warn(code::RANGE, path, message);
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
        let field_of_text = format!("{path}.uriRegexRewrite.rewrite");
        required(!regex.rewrite.is_empty(), &field_of_text, report);
        check_pattern(&regex.pattern, &field, report);
    }
}

/// Of either alphabet, with its padding.
fn is_base64(text: &str) -> bool {
    let digits = text.trim_end_matches('=');
    let padding = text.len() - digits.len();
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"+/-_".contains(&byte);
    digits.bytes().all(fits) && padding <= 2 && text.len().is_multiple_of(4)
}
