//! Whether the TLS of App Mesh's objects is valid: what listeners end and what backends are dialled
//! with.

use super::{
    Report,
    values::{check_length, check_range, exactly_one, required, set},
};
use crate::{
    finding::code,
    resource::app_mesh::node::{
        Certificate, ClientPolicy, FileCertificate, ListenerTls, Trust, Validation,
    },
};

pub(super) fn check_listener(tls: &ListenerTls, path: &str, report: &mut Report<'_>) {
    required(tls.certificate.is_some(), &format!("{path}.certificate"), report);
    if let Some(certificate) = &tls.certificate {
        check_certificate(certificate, &format!("{path}.certificate"), report);
    }
    if let Some(validation) = &tls.validation {
        check_validation(validation, &format!("{path}.validation"), report);
    }
}

fn check_certificate(certificate: &Certificate, path: &str, report: &mut Report<'_>) {
    let Certificate { acm, file, sds } = certificate;
    let given = set([("acm", acm.is_some()), ("file", file.is_some()), ("sds", sds.is_some())]);
    exactly_one(&given, "acm, file and sds", path, report);
    if let Some(acm) = acm {
        let field = format!("{path}.acm.certificateARN");
        required(!acm.certificate_arn.is_empty(), &field, report);
    }
    if let Some(FileCertificate { certificate_chain, private_key }) = file {
        check_length(
            Some(certificate_chain),
            255,
            &format!("{path}.file.certificateChain"),
            report,
        );
        check_length(Some(private_key), 255, &format!("{path}.file.privateKey"), report);
    }
    if let Some(sds) = sds {
        required(!sds.secret_name.is_empty(), &format!("{path}.sds.secretName"), report);
    }
}

fn check_validation(validation: &Validation, path: &str, report: &mut Report<'_>) {
    let path = format!("{path}.trust");
    required(validation.trust.is_some(), &path, report);
    let Some(Trust { acm, file, sds }) = &validation.trust else { return };
    let given = set([("acm", acm.is_some()), ("file", file.is_some()), ("sds", sds.is_some())]);
    exactly_one(&given, "acm, file and sds", &path, report);
    if let Some(acm) = acm {
        let count = acm.certificate_authority_arns.len();
        let field = format!("{path}.acm.certificateAuthorityARNs");
        required(count > 0, &field, report);
        if count > 3 {
            report.error(code::COUNT, field, format!("{count} authorities: name up to 3"));
        }
    }
    if let Some(file) = file {
        let field = format!("{path}.file.certificateChain");
        check_length(Some(&file.certificate_chain), 255, &field, report);
    }
    if let Some(sds) = sds {
        required(!sds.secret_name.is_empty(), &format!("{path}.sds.secretName"), report);
    }
}

pub(super) fn check_client(policy: Option<&ClientPolicy>, path: &str, report: &mut Report<'_>) {
    let Some(tls) = policy.and_then(|policy| policy.tls.as_ref()) else { return };
    let path = format!("{path}.clientPolicy.tls");
    for (index, port) in tls.ports.iter().enumerate() {
        check_range(Some(*port), (1, 65_535), &format!("{path}.ports[{index}]"), report);
    }
    if let Some(certificate) = &tls.certificate {
        check_certificate(certificate, &format!("{path}.certificate"), report);
    }
    required(tls.validation.is_some(), &format!("{path}.validation"), report);
    if let Some(validation) = &tls.validation {
        check_validation(validation, &format!("{path}.validation"), report);
    }
}
