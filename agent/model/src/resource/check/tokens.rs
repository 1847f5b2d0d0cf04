//! Whether a `RequestAuthentication` is valid.

use serde_json::Value;

use super::{
    Report, attributes, target,
    values::{Zero, at_most_one, check_duration, required, set},
};
use crate::{
    finding::code,
    resource::security::{JwtRule, RequestAuthenticationSpec},
};

pub(super) fn check(spec: &RequestAuthenticationSpec, report: &mut Report<'_>) {
    target::check(spec.selector.as_ref(), spec.target_ref.as_ref(), &spec.target_refs, report);
    for (index, rule) in spec.jwt_rules.iter().enumerate() {
        check_rule(rule, &format!("spec.jwtRules[{index}]"), report);
    }
}

fn check_rule(rule: &JwtRule, path: &str, report: &mut Report<'_>) {
    if rule.issuer.is_empty() && rule.jwks_uri.is_empty() {
        let message = "neither issuer nor jwksUri is given: give one";
        report.error(code::REQUIRED, format!("{path}.issuer"), message);
    }
    let keys = set([("jwksUri", !rule.jwks_uri.is_empty()), ("jwks", !rule.jwks.is_empty())]);
    at_most_one(&keys, path, report);
    if !rule.jwks_uri.is_empty() && !is_web(&rule.jwks_uri) {
        let message = format!("{:?}: use http://HOST/… or https://HOST/…", rule.jwks_uri);
        report.error(code::REFERENCE, format!("{path}.jwksUri"), message);
    }
    if !rule.jwks.is_empty() {
        check_keys(&rule.jwks, &format!("{path}.jwks"), report);
    }
    for (name, list) in [
        ("audiences", &rule.audiences),
        ("fromParams", &rule.from_params),
        ("fromCookies", &rule.from_cookies),
        ("spaceDelimitedClaims", &rule.space_delimited_claims),
    ] {
        attributes::check_filled(list, &format!("{path}.{name}"), report);
    }
    for (index, header) in rule.from_headers.iter().enumerate() {
        let field = format!("{path}.fromHeaders[{index}].name");
        required(!header.name.is_empty(), &field, report);
    }
    for (index, made) in rule.output_claim_to_headers.iter().enumerate() {
        let path = format!("{path}.outputClaimToHeaders[{index}]");
        required(!made.claim.is_empty(), &format!("{path}.claim"), report);
        let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"-_".contains(&byte);
        let field = format!("{path}.header");
        if made.header.is_empty() {
            required(false, &field, report);
        } else if !made.header.bytes().all(fits) {
            let message = format!("{:?} is no header: use letters, digits, - and _", made.header);
            report.error(code::PATTERN, field, message);
        }
    }
    check_duration(rule.timeout.as_ref(), Zero::Refused, &format!("{path}.timeout"), report);
}

/// `http` or `https`, and a port that is a number.
fn is_web(text: &str) -> bool {
    let Some((scheme, rest)) = text.split_once(':') else { return false };
    let is_known = ["http", "https"].iter().any(|one| scheme.eq_ignore_ascii_case(one));
    let host = rest.trim_start_matches('/').split(['/', '?', '#']).next().unwrap_or_default();
    let host = host.rsplit_once('@').map_or(host, |(_, host)| host);
    let port = match host.rsplit_once(']') {
        Some((_, port)) => port.strip_prefix(':'),
        None => host.split_once(':').map(|(_, port)| port),
    };
    let is_odd = |letter: char| letter.is_control() || letter == ' ';
    let has_port = port.is_none_or(|port| port.bytes().all(|byte| byte.is_ascii_digit()));
    is_known && has_port && !text.contains(is_odd)
}

/// A set of keys, or a single one, as RFC 7517 writes them.
fn check_keys(text: &str, field: &str, report: &mut Report<'_>) {
    let found: Option<Value> = serde_json::from_str(text).ok();
    let keys = match found {
        Some(Value::Object(set)) if set.contains_key("keys") => match set.get("keys") {
            Some(Value::Array(keys)) => Some(keys.clone()),
            _ => None,
        },
        Some(key @ Value::Object(_)) => Some(vec![key]),
        _ => None,
    };
    let Some(keys) = keys.filter(|keys| keys.iter().all(is_key)) else {
        let message = "this is no set of keys: use JSON such as {\"keys\": [{\"kty\": …}]}";
        report.error(code::PATTERN, field, message);
        return;
    };
    let is_private = |key: &Value| key["kty"] == "oct" || key.get("d").is_some();
    if keys.iter().any(is_private) {
        let message = "a private key is in it, which everybody who reads the object can use: keep \
                       public keys only";
        report.warn(code::CONFLICT, field, message);
    }
}

/// The parts that each type of key cannot be without.
fn is_key(key: &Value) -> bool {
    let has = |parts: &[&str]| {
        parts.iter().all(|part| key[*part].as_str().is_some_and(|value| !value.is_empty()))
    };
    match key["kty"].as_str() {
        Some("RSA") => has(&["n", "e"]),
        Some("EC") => has(&["crv", "x", "y"]),
        Some("OKP") => has(&["crv", "x"]),
        Some("oct") => has(&["k"]),
        _ => false,
    }
}
