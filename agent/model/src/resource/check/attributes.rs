//! What a policy may ask about a connection or a request, and which values each attribute has.

use super::Report;
use crate::{address, finding::code};

/// The attributes that are whole names.
const NAMES: [&str; 12] = [
    "source.ip",
    "remote.ip",
    "source.namespace",
    "source.serviceAccount",
    "source.principal",
    "source.trustDomain",
    "request.auth.principal",
    "request.auth.audiences",
    "request.auth.presenter",
    "destination.ip",
    "destination.port",
    "connection.sni",
];

/// Those that have a name in brackets behind them.
const MAPS: [&str; 3] = ["request.headers", "request.auth.claims", "experimental.envoy.filters."];

/// The most service accounts of a list, and the most characters of one.
const MAX_ACCOUNTS: usize = 16;
const MAX_ACCOUNT: usize = 320;

/// Whether an attribute is of who asks, and not of where from.
pub(super) fn is_identity(key: &str) -> bool {
    let of_source = ["namespace", "serviceAccount", "trustDomain", "principal"];
    key.strip_prefix("source.").is_some_and(|name| of_source.contains(&name))
        || key.starts_with("request.auth.")
}

/// Whether the attribute exists.
pub(super) fn check_key(key: &str, field: &str, report: &mut Report<'_>) -> bool {
    if NAMES.contains(&key) {
        return true;
    }
    let open = key.find('[').unwrap_or(0);
    let is_map = MAPS.iter().any(|one| key.starts_with(one));
    if is_map && key.ends_with(']') && open > 0 && open + 2 < key.len() {
        return true;
    }
    let message = if is_map {
        format!("{key:?}: name one in brackets, for instance request.headers[User-Agent]")
    } else if key == "destination.namespace" {
        format!("{key} is the policy's own namespace: remove it")
    } else if key.starts_with("destination.labels") {
        format!("{key}: use spec.selector")
    } else {
        format!("{key:?} is no attribute: use one of {}, {}[NAME]", NAMES.join(", "), MAPS[0])
    };
    report.error(code::REFERENCE, field, message);
    false
}

pub(super) fn check_values(key: &str, values: &[String], field: &str, report: &mut Report<'_>) {
    match key {
        "source.ip" | "remote.ip" | "destination.ip" => check_blocks(values, field, report),
        "destination.port" => check_ports(values, field, report),
        "source.serviceAccount" => check_accounts(values, field, report),
        "source.trustDomain" => check_wildcards(values, field, report),
        _ => check_filled(values, field, report),
    }
}

/// An empty text would match nothing, or everything.
pub(super) fn check_filled(values: &[String], field: &str, report: &mut Report<'_>) {
    for (index, _) in values.iter().enumerate().filter(|(_, value)| value.is_empty()) {
        let message = "an empty text is no value: give it, or remove it";
        report.error(code::REQUIRED, format!("{field}[{index}]"), message);
    }
}

pub(super) fn check_blocks(values: &[String], field: &str, report: &mut Report<'_>) {
    for (index, text) in values.iter().enumerate() {
        if address::net(text).is_none() {
            let message = format!("{text:?} is neither an IP nor a CIDR: write it as 10.0.0.0/8");
            report.error(code::ADDRESS, format!("{field}[{index}]"), message);
        }
    }
}

pub(super) fn check_ports(values: &[String], field: &str, report: &mut Report<'_>) {
    for (index, text) in values.iter().enumerate() {
        let field = format!("{field}[{index}]");
        let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        match text.parse::<u16>().ok().filter(|_| digits) {
            Some(0) => {
                let message = "no connection is to port 0, so this never matches: use 1 to 65535";
                report.warn(code::PORT_NUMBER, field, message);
            }
            Some(_) => {}
            None => {
                let message = format!("{text:?} is not a port: use 1 to 65535");
                report.error(code::PORT_NUMBER, field, message);
            }
        }
    }
}

/// `NAME`, or `NAMESPACE/NAME`.
pub(super) fn check_accounts(values: &[String], field: &str, report: &mut Report<'_>) {
    if values.len() > MAX_ACCOUNTS {
        let message = format!("{} names: a list has up to {MAX_ACCOUNTS}", values.len());
        report.error(code::COUNT, field, message);
    }
    for (index, text) in values.iter().enumerate() {
        let parts = text.split('/').count();
        let fits = parts <= 2
            && text.split('/').all(|part| !part.is_empty())
            && !text.contains('*')
            && text.len() <= MAX_ACCOUNT;
        if !fits {
            let message = format!(
                "{text:?}: use NAME or NAMESPACE/NAME, without wildcards and up to {MAX_ACCOUNT} \
                 characters"
            );
            report.error(code::REFERENCE, format!("{field}[{index}]"), message);
        }
    }
}

/// A text, the beginning or the end of one, or `*` for any.
fn check_wildcards(values: &[String], field: &str, report: &mut Report<'_>) {
    check_filled(values, field, report);
    for (index, text) in values.iter().enumerate() {
        let inner = text.strip_prefix('*').or_else(|| text.strip_suffix('*')).unwrap_or(text);
        if inner.contains('*') {
            let message = format!("{text:?}: one * may stand at the beginning or at the end");
            report.error(code::PATTERN, format!("{field}[{index}]"), message);
        }
    }
}

pub(super) fn check_trust_domains(values: &[String], field: &str, report: &mut Report<'_>) {
    check_wildcards(values, field, report);
    for (index, text) in values.iter().enumerate().filter(|(_, text)| text.contains('/')) {
        let message = format!("{text:?}: a trust domain has no slash, as in cluster.local");
        report.error(code::PATTERN, format!("{field}[{index}]"), message);
    }
}

/// `{*}` stands for a segment, and `{**}` for all the rest behind which no other may stand.
pub(super) fn check_paths(values: &[String], field: &str, report: &mut Report<'_>) {
    check_filled(values, field, report);
    for (index, path) in values.iter().enumerate() {
        if !is_template(path) {
            let message = format!(
                "{path:?}: braces are for whole segments, {{*}} for one and {{**}} for the rest, \
                 beside letters, digits and -._~%!$&'()+,;:@="
            );
            report.error(code::PATTERN, format!("{field}[{index}]"), message);
        }
    }
}

fn is_template(path: &str) -> bool {
    let has_template = path.contains("{*}") || path.contains("{**}");
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~%!$&'()+,;:@=".contains(&byte);
    let mut ended = false;
    path.trim_matches('/').split('/').all(|segment| match segment {
        "{*}" => !ended,
        "{**}" => !std::mem::replace(&mut ended, true),
        other if has_template => !other.is_empty() && other.bytes().all(fits),
        other => !other.contains(['{', '}']),
    })
}
