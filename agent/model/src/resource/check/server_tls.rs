//! Whether the TLS that a listener ends is valid: of a `Gateway`, and of a `Sidecar`.

use std::collections::BTreeSet;

use super::{
    Report,
    values::{at_most_one, required, set},
};
use crate::{finding::code, resource::sidecar::ServerTls};

const MODES: [&str; 6] =
    ["PASSTHROUGH", "SIMPLE", "MUTUAL", "OPTIONAL_MUTUAL", "AUTO_PASSTHROUGH", "ISTIO_MUTUAL"];
const VERSIONS: [&str; 5] = ["TLS_AUTO", "TLSV1_0", "TLSV1_1", "TLSV1_2", "TLSV1_3"];

/// The suites that Envoy's library knows.
const CIPHERS: [&str; 15] = [
    "AES128-GCM-SHA256",
    "AES128-SHA",
    "AES256-GCM-SHA384",
    "AES256-SHA",
    "DES-CBC3-SHA",
    "ECDHE-ECDSA-AES128-GCM-SHA256",
    "ECDHE-ECDSA-AES128-SHA",
    "ECDHE-ECDSA-AES256-GCM-SHA384",
    "ECDHE-ECDSA-AES256-SHA",
    "ECDHE-ECDSA-CHACHA20-POLY1305",
    "ECDHE-RSA-AES128-GCM-SHA256",
    "ECDHE-RSA-AES128-SHA",
    "ECDHE-RSA-AES256-GCM-SHA384",
    "ECDHE-RSA-AES256-SHA",
    "ECDHE-RSA-CHACHA20-POLY1305",
];

/// A mode that is not given passes through.
pub(super) fn passes_through(tls: &ServerTls) -> bool {
    ["", "PASSTHROUGH", "AUTO_PASSTHROUGH"].contains(&tls.mode.as_str())
}

pub(super) fn check(tls: &ServerTls, path: &str, report: &mut Report<'_>) {
    if !tls.mode.is_empty() && !MODES.contains(&tls.mode.as_str()) {
        let message = format!("found {:?}, expected one of {}", tls.mode, MODES.join(", "));
        report.error(code::RANGE, format!("{path}.mode"), message);
        return;
    }
    check_versions(tls, path, report);
    check_ciphers(&tls.cipher_suites, &format!("{path}.cipherSuites"), report);
    let given = certificates(tls);
    if tls.mode == "ISTIO_MUTUAL" {
        if !given.is_empty() {
            let message =
                format!("ISTIO_MUTUAL brings its own certificates: remove {}", given.join(" and "));
            report.error(code::CONFLICT, path, message);
        }
        return;
    }
    if passes_through(tls) && (!given.is_empty() || !tls.ca_crl.is_empty()) {
        let message = "TLS is passed through, so the certificates given here are not used: remove \
                       them, or give the mode that needs them";
        report.warn(code::FIELD_WITHOUT_EFFECT, path, message);
    }
    let pair = !tls.server_certificate.is_empty() && !tls.private_key.is_empty();
    let sources = set([
        ("serverCertificate with privateKey", pair),
        ("credentialName", !tls.credential_name.is_empty()),
        ("credentialNames", !tls.credential_names.is_empty()),
        ("tlsCertificates", !tls.tls_certificates.is_empty()),
    ]);
    at_most_one(&sources, path, report);
    let by_secret = !tls.credential_name.is_empty() || !tls.credential_names.is_empty();
    if !passes_through(tls) && !by_secret {
        check_files(tls, path, report);
    }
    check_revoked(tls, by_secret, path, report);
}

/// What of certificates is given, by its field.
fn certificates(tls: &ServerTls) -> Vec<&'static str> {
    set([
        ("serverCertificate", !tls.server_certificate.is_empty()),
        ("privateKey", !tls.private_key.is_empty()),
        ("caCertificates", !tls.ca_certificates.is_empty()),
        ("tlsCertificates", !tls.tls_certificates.is_empty()),
        ("credentialName", !tls.credential_name.is_empty()),
        ("credentialNames", !tls.credential_names.is_empty()),
    ])
}

fn check_files(tls: &ServerTls, path: &str, report: &mut Report<'_>) {
    if tls.mode != "SIMPLE" {
        let field = format!("{path}.caCertificates");
        required(!tls.ca_certificates.is_empty(), &field, report);
    }
    if tls.tls_certificates.is_empty() {
        if tls.server_certificate.is_empty() || tls.private_key.is_empty() {
            let message = "this mode needs a certificate: give credentialName, or \
                           serverCertificate and privateKey";
            report.error(code::REQUIRED, path, message);
        }
        return;
    }
    for (index, pair) in tls.tls_certificates.iter().enumerate() {
        let path = format!("{path}.tlsCertificates[{index}]");
        let field = format!("{path}.serverCertificate");
        required(!pair.server_certificate.is_empty(), &field, report);
        required(!pair.private_key.is_empty(), &format!("{path}.privateKey"), report);
    }
    if tls.tls_certificates.len() > 2 {
        let message = "only the first two certificates are used: remove the rest";
        report.warn(code::COUNT, format!("{path}.tlsCertificates"), message);
    }
}

fn check_revoked(tls: &ServerTls, by_secret: bool, path: &str, report: &mut Report<'_>) {
    let field = format!("{path}.caCrl");
    if tls.ca_crl.is_empty() {
        return;
    }
    if !tls.credential_name.is_empty() && !passes_through(tls) {
        // The list belongs into the secret; Istio's own check ends before it where there is one.
        let message = "with credentialName the list of revoked certificates is taken from the \
                       secret, and this one is not used: put it there";
        report.warn(code::FIELD_WITHOUT_EFFECT, field, message);
    } else if !tls.credential_name.is_empty() {
        let message = "caCrl does not go with credentialName: put the list into the secret";
        report.error(code::CONFLICT, field, message);
    } else if tls.mode == "SIMPLE" && !by_secret {
        let message = "SIMPLE asks no client for a certificate: remove caCrl, or use MUTUAL";
        report.error(code::CONFLICT, field, message);
    }
}

fn check_versions(tls: &ServerTls, path: &str, report: &mut Report<'_>) {
    for (name, version) in [
        ("minProtocolVersion", &tls.min_protocol_version),
        ("maxProtocolVersion", &tls.max_protocol_version),
    ] {
        if !version.is_empty() && !VERSIONS.contains(&version.as_str()) {
            let message = format!("found {version:?}, expected one of {}", VERSIONS.join(", "));
            report.error(code::RANGE, format!("{path}.{name}"), message);
        }
    }
    let is_old = ["TLSV1_0", "TLSV1_1"].contains(&tls.min_protocol_version.as_str());
    if is_old && tls.cipher_suites.is_empty() {
        let message = "no suite that is on by default goes with a version below TLSV1_2: list \
                       cipherSuites that do";
        report.warn(code::FIELD_WITHOUT_EFFECT, format!("{path}.minProtocolVersion"), message);
    }
}

fn check_ciphers(suites: &[String], path: &str, report: &mut Report<'_>) {
    let mut seen = BTreeSet::new();
    for (index, suite) in suites.iter().enumerate() {
        let field = format!("{path}[{index}]");
        // What starts otherwise is an expression that takes suites away or sorts them.
        let is_name = suite.bytes().next().is_some_and(|byte| byte.is_ascii_alphanumeric());
        if is_name && suite != "ALL" && !CIPHERS.contains(&suite.as_str()) {
            let message = format!("{suite:?} is no suite that is known, and is left out");
            report.warn(code::FIELD_WITHOUT_EFFECT, field, message);
        } else if !seen.insert(suite) {
            let message = format!("{suite:?} is there already: remove it");
            report.warn(code::TWICE, field, message);
        }
    }
}
