//! Whether a `Gateway` is valid.

use std::collections::BTreeSet;

use super::{
    Report,
    names::{
        check_port_name, check_port_number, check_protocol, is_ip, is_label, is_wildcard_domain,
    },
    values::required,
};
use crate::{
    finding::code,
    resource::{
        gateway::{GatewaySpec, Server},
        sidecar::ServerTls,
    },
};

pub(super) fn check(spec: &GatewaySpec, report: &mut Report<'_>) {
    required(!spec.servers.is_empty(), "spec.servers", report);
    let mut names = BTreeSet::new();
    for (index, server) in spec.servers.iter().enumerate() {
        let path = format!("spec.servers[{index}]");
        check_server(server, &path, report);
        let name = server.port.as_ref().map(|port| port.name.as_str());
        if name.is_some_and(|name| !names.insert(name)) {
            let message = "another server's port has this name: give each its own";
            report.error(code::PORT_TWICE, format!("{path}.port.name"), message);
        }
    }
}

fn check_server(server: &Server, path: &str, report: &mut Report<'_>) {
    required(server.port.is_some(), &format!("{path}.port"), report);
    required(!server.hosts.is_empty(), &format!("{path}.hosts"), report);
    for (index, host) in server.hosts.iter().enumerate() {
        let (namespace, name) = host.split_once('/').unwrap_or(("*", host));
        let fits = (["*", "."].contains(&namespace) || is_label(namespace))
            && (name == "*" || is_wildcard_domain(name));
        if !fits {
            let message = format!(
                "{host:?}: use a DNS name, *.suffix or \"*\", with namespace/ before it if need be"
            );
            report.error(code::HOST, format!("{path}.hosts[{index}]"), message);
        }
    }
    check_bind(server, path, report);
    let Some(port) = &server.port else { return };
    check_port_name(&port.name, &format!("{path}.port.name"), report);
    if !server.bind.starts_with("unix://") {
        check_port_number(port.number, &format!("{path}.port.number"), report);
    }
    let protocol = format!("{path}.port.protocol");
    required(!port.protocol.is_empty(), &protocol, report);
    check_protocol(&port.protocol, &[], &protocol, report);
    let ends_tls = ["HTTPS", "TLS"].iter().any(|one| port.protocol.eq_ignore_ascii_case(one));
    match &server.tls {
        None => {
            if ends_tls {
                required(false, &format!("{path}.tls"), report);
            }
        }
        Some(tls) => check_tls(tls, ends_tls, &format!("{path}.tls"), report),
    }
}

/// An address of the pod; a Unix socket has no port, and no gateway here serves one.
fn check_bind(server: &Server, path: &str, report: &mut Report<'_>) {
    let bind = server.bind.as_str();
    if !bind.is_empty() && !is_ip(bind) && !bind.starts_with("unix://") {
        let message = format!("{bind:?} is not an IP: use one of the gateway's pods, or 0.0.0.0");
        report.error(code::BIND, format!("{path}.bind"), message);
    }
    let number = server.port.as_ref().map_or(0, |port| port.number);
    if bind.starts_with("unix://") && number != 0 {
        let message = "a Unix socket has no port: use number 0";
        report.error(code::BIND, format!("{path}.port.number"), message);
    }
}

fn check_tls(tls: &ServerTls, ends_tls: bool, path: &str, report: &mut Report<'_>) {
    const MODES: [&str; 7] = [
        "",
        "PASSTHROUGH",
        "SIMPLE",
        "MUTUAL",
        "OPTIONAL_MUTUAL",
        "AUTO_PASSTHROUGH",
        "ISTIO_MUTUAL",
    ];
    if !MODES.contains(&tls.mode.as_str()) {
        let message = format!("{:?}: use one of {}", tls.mode, MODES[1..].join(", "));
        report.error(code::RANGE, format!("{path}.mode"), message);
    }
    if ends_tls && tls.https_redirect {
        let message = "httpsRedirect is for plaintext ports: remove it";
        report.error(code::CONFLICT, format!("{path}.httpsRedirect"), message);
    }
    let needs_certificate = ["SIMPLE", "MUTUAL", "OPTIONAL_MUTUAL"].contains(&tls.mode.as_str());
    let by_secret = !tls.credential_name.is_empty() || !tls.credential_names.is_empty();
    let in_files = !tls.server_certificate.is_empty() && !tls.private_key.is_empty();
    if needs_certificate && !by_secret && !in_files && tls.tls_certificates.is_empty() {
        let message = "this mode needs a certificate: give credentialName, or serverCertificate \
                       and privateKey";
        report.error(code::REQUIRED, path, message);
    }
    if tls.mode == "MUTUAL" && !by_secret && tls.ca_certificates.is_empty() {
        required(false, &format!("{path}.caCertificates"), report);
    }
}
