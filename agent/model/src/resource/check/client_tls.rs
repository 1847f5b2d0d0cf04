//! Whether the TLS that is spoken to a host is valid.

use super::{
    Report,
    names::is_label,
    values::{required, set},
};
use crate::{
    finding::code,
    resource::destination_rule::{ClientTls, ClientTlsMode},
};

pub(super) fn check(tls: Option<&ClientTls>, path: &str, report: &mut Report<'_>) {
    let Some(tls) = tls else { return };
    check_credential(&tls.credential_name, &format!("{path}.credentialName"), report);
    check_unverified(tls, path, report);
    let by_secret = !tls.credential_name.is_empty();
    let in_files = set([
        ("clientCertificate", !tls.client_certificate.is_empty()),
        ("privateKey", !tls.private_key.is_empty()),
        ("caCertificates", !tls.ca_certificates.is_empty()),
        ("caCrl", !tls.ca_crl.is_empty()),
    ]);
    match tls.mode {
        ClientTlsMode::Simple | ClientTlsMode::Mutual if by_secret => {
            if !in_files.is_empty() {
                let message = format!(
                    "credentialName brings all certificates: remove it, or {}",
                    in_files.join(" and ")
                );
                report.error(code::ONE_OF, path, message);
            }
        }
        ClientTlsMode::Mutual => {
            let field = format!("{path}.clientCertificate");
            required(!tls.client_certificate.is_empty(), &field, report);
            required(!tls.private_key.is_empty(), &format!("{path}.privateKey"), report);
        }
        ClientTlsMode::IstioMutual if by_secret || !in_files.is_empty() => {
            let message = "ISTIO_MUTUAL brings its own certificates: those given here are not \
                           used, so remove them";
            report.warn(code::CONFLICT, path, message);
        }
        ClientTlsMode::Disable | ClientTlsMode::Simple | ClientTlsMode::IstioMutual => {}
    }
}

/// What is not looked at needs nothing to look at it with.
fn check_unverified(tls: &ClientTls, path: &str, report: &mut Report<'_>) {
    if tls.insecure_skip_verify != Some(true) {
        return;
    }
    // In a secret, the client's own certificate may be all that is meant.
    let simple_by_secret = tls.mode == ClientTlsMode::Simple && !tls.credential_name.is_empty();
    let given = set([
        ("caCertificates", !tls.ca_certificates.is_empty()),
        ("subjectAltNames", !tls.subject_alt_names.is_empty()),
        ("credentialName", simple_by_secret),
    ]);
    if matches!(tls.mode, ClientTlsMode::Simple | ClientTlsMode::Mutual) && !given.is_empty() {
        let message = format!(
            "with insecureSkipVerify the server's certificate is not looked at: remove it, or {}",
            given.join(" and ")
        );
        report.error(code::CONFLICT, format!("{path}.insecureSkipVerify"), message);
    }
}

/// A secret's name, or `configmap://NAME` in the same namespace.
fn check_credential(name: &str, field: &str, report: &mut Report<'_>) {
    let Some(map) = name.strip_prefix("configmap://") else { return };
    let own = report.key.namespace.clone();
    let (namespace, map) = map.split_once('/').unwrap_or((own.as_str(), map));
    if map.is_empty() || map.contains('/') || !is_label(namespace) {
        let message = format!("{name:?}: use configmap://NAME");
        report.error(code::REFERENCE, field, message);
    } else if namespace != own {
        let message = format!("{name:?} is in another namespace: use one of {own}");
        report.error(code::REFERENCE, field, message);
    }
}
