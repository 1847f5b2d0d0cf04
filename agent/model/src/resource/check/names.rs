//! Names: DNS labels and names, ports, protocols, labels.

use std::{collections::BTreeMap, net::IpAddr};

use super::Report;
use crate::{
    finding::code,
    resource::{protocol::AppProtocol, traffic::WorkloadSelector},
};

/// RFC 1123, of any case as Istio has it.
pub(super) fn is_label(text: &str) -> bool {
    let edge = |byte: Option<&u8>| byte.is_some_and(u8::is_ascii_alphanumeric);
    let bytes = text.as_bytes();
    bytes.len() <= 63
        && edge(bytes.first())
        && edge(bytes.last())
        && bytes.iter().all(|byte| byte.is_ascii_alphanumeric() || *byte == b'-')
}

/// A name of labels, with or without a dot at the end; a last label of digits is an IP gone wrong.
pub(crate) fn is_domain(text: &str) -> bool {
    let name = text.strip_suffix('.').unwrap_or(text);
    let numeric = |label: &str| label.bytes().all(|byte| byte.is_ascii_digit());
    !name.is_empty()
        && text.len() <= 255
        && name.split('.').all(is_label)
        && !name.rsplit('.').next().is_some_and(numeric)
}

/// A domain whose first label may be `*`, or start with `*` or `*-`.
pub(super) fn is_wildcard_domain(text: &str) -> bool {
    let (first, rest) = text.split_once('.').map_or((text, None), |(one, rest)| (one, Some(rest)));
    let Some(tail) = first.strip_prefix('*') else {
        // A label by itself is no IP gone wrong.
        return is_domain(text) || (rest.is_none() && is_label(text));
    };
    let tail = tail.strip_prefix('-').unwrap_or(tail);
    let first_fits = first == "*" || (is_label(tail) && first.len() <= 63);
    first_fits && text.len() <= 255 && rest.is_none_or(is_domain)
}

pub(super) fn is_ip(text: &str) -> bool {
    text.parse::<IpAddr>().is_ok()
}

pub(super) fn check_port_number(number: u32, field: &str, report: &mut Report<'_>) {
    if !(1..=65_535).contains(&number) {
        let message = format!("{number} is not a port: use 1 to 65535");
        report.error(code::PORT_NUMBER, field, message);
    }
}

pub(super) fn check_port_name(name: &str, field: &str, report: &mut Report<'_>) {
    if !is_label(name) {
        let message = format!(
            "{name:?} is not a port name: use up to 63 letters, digits and dashes, for instance \
             \"tcp-db\""
        );
        report.error(code::PORT_NAME, field, message);
    }
}

/// An empty protocol leaves it to detection.
pub(super) fn check_protocol(name: &str, field: &str, report: &mut Report<'_>) {
    let known = name.is_empty() || AppProtocol::named(name).is_some();
    if !known {
        let message = format!(
            "{name:?} is no protocol: use TCP, UDP, TLS, HTTP, HTTPS, HTTP2, GRPC, GRPC-WEB, \
             MONGO, REDIS, MYSQL, or leave it out for detection"
        );
        report.error(code::PROTOCOL, field, message);
    }
}

/// A host as Sidecars and Gateways name it: in full, and a wildcard covers whole labels.
pub(super) fn is_whole_host(name: &str) -> bool {
    let is_partial = name.starts_with('*') && !name.starts_with("*.");
    name == "*" || (name.contains('.') && !is_partial && is_wildcard_domain(name))
}

/// What follows `unix://`: a file's absolute path, or an abstract name.
pub(super) fn is_socket(path: &str) -> bool {
    path.starts_with('@') || (path.starts_with('/') && !path.ends_with('/'))
}

/// The name that a proxy gives to a host and port which it passes TLS through to:
/// `outbound_.PORT_._.HOST`.
pub(super) fn is_passed_through(text: &str) -> bool {
    let mut parts = text.split('_');
    let (first, port, host) = (parts.next(), parts.next(), parts.nth(1));
    let has_digit = port.is_some_and(|port| port.bytes().any(|byte| byte.is_ascii_digit()));
    let has_letter = host.is_some_and(|host| host.bytes().any(|byte| byte.is_ascii_alphabetic()));
    first == Some("outbound") && has_digit && has_letter && text.len() <= 255
}

pub(super) fn check_selector(selector: Option<&WorkloadSelector>, report: &mut Report<'_>) {
    let Some(selector) = selector else { return };
    check_selecting(&selector.labels, "spec.workloadSelector.labels", report);
}

/// Labels that select. Those that no object can have select nothing, and are taken.
pub(super) fn check_selecting(
    labels: &BTreeMap<String, String>,
    field: &str,
    report: &mut Report<'_>,
) {
    if labels.is_empty() {
        let message = "no labels select every workload of the namespace: name some, or leave the \
                       selector out";
        report.warn(code::EMPTY_SELECTOR, field, message);
    }
    for (key, value) in labels {
        if key.is_empty() || key.contains('*') || value.contains('*') {
            let message = format!("{key}={value}: a selector takes whole labels, no wildcards");
            report.error(code::LABEL, field, message);
        }
    }
}

pub(super) fn check_labels(
    labels: &BTreeMap<String, String>,
    field: &str,
    report: &mut Report<'_>,
) {
    for (key, value) in labels {
        if !fits_label(key, value) {
            let message = format!("{key}={value} is a label that no object can have");
            report.error(code::LABEL, field, message);
        }
    }
}

/// Whether an object can have a label.
pub(super) fn fits_label(key: &str, value: &str) -> bool {
    let name = key.rsplit_once('/').map_or(key, |(_, name)| name);
    let prefix = key.rsplit_once('/').map(|(prefix, _)| prefix);
    is_label_text(name)
        && prefix.is_none_or(is_domain)
        && (value.is_empty() || is_label_text(value))
}

fn is_label_text(text: &str) -> bool {
    let edge = |byte: Option<&u8>| byte.is_some_and(u8::is_ascii_alphanumeric);
    let bytes = text.as_bytes();
    let inner = |byte: &u8| byte.is_ascii_alphanumeric() || b"-_.".contains(byte);
    bytes.len() <= 63 && edge(bytes.first()) && edge(bytes.last()) && bytes.iter().all(inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_told_from_what_only_looks_like_them() {
        for (text, domain, wildcard) in [
            ("a.example.com", true, true),
            ("A.example.com", true, true),
            ("localhost", true, true),
            ("80", false, true),
            ("example.com.", true, true),
            ("*.example.com", false, true),
            ("*-a.example.com", false, true),
            ("*a.example.com", false, true),
            ("a.*.com", false, false),
            ("a*.example.com", false, false),
            ("10.0.0.1", false, false),
            ("-a.com", false, false),
            ("a_b.com", false, false),
            ("a..com", false, false),
            ("", false, false),
        ] {
            assert_eq!((is_domain(text), is_wildcard_domain(text)), (domain, wildcard), "{text}");
        }
        assert!(!is_domain(&format!("{}.com", "a".repeat(64))));
        assert!(!is_domain(&vec!["abcdefgh"; 30].join(".")));
    }
}
