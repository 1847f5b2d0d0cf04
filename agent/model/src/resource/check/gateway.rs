//! Whether a `Gateway` is valid.

use std::collections::BTreeSet;

use super::{
    Report,
    names::{check_port_number, check_protocol, is_ip, is_label, is_socket, is_whole_host},
    server_tls,
    values::required,
};
use crate::{
    finding::code,
    resource::{
        gateway::{GatewayPort, GatewaySpec, Server},
        protocol::{AppProtocol, Family},
        sidecar::ServerTls,
    },
};

pub(super) fn check(spec: &GatewaySpec, report: &mut Report<'_>) {
    let name = report.key.name.clone();
    if !is_label(&name) {
        let message =
            format!("{name:?} is no gateway's name: use up to 63 letters, digits and dashes");
        report.error(code::REFERENCE, "metadata.name", message);
    }
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
        let is_namespace = ["*", "."].contains(&namespace) || is_label(namespace);
        let is_ip = is_ip(name) && name.contains('.');
        if !is_namespace || !(is_whole_host(name) || is_ip) {
            let message = format!(
                "{host:?}: use a DNS name in full, *.suffix or \"*\", with namespace/ before it if \
                 need be"
            );
            report.error(code::HOST, format!("{path}.hosts[{index}]"), message);
        }
    }
    check_bind(server, path, report);
    if let Some(port) = &server.port {
        check_port(server, port, path, report);
    }
}

fn check_port(server: &Server, port: &GatewayPort, path: &str, report: &mut Report<'_>) {
    if port.name.is_empty() {
        let message = "a gateway's port has a name: give it one";
        report.error(code::PORT_NAME, format!("{path}.port.name"), message);
    }
    if port.number > 0 || !server.bind.starts_with("unix://") {
        check_port_number(port.number, &format!("{path}.port.number"), report);
    }
    if port.target_port != 0 {
        let message = "targetPort has no effect in a Gateway: remove it";
        report.error(code::PORT_NUMBER, format!("{path}.port.targetPort"), message);
    }
    let protocol = format!("{path}.port.protocol");
    required(!port.protocol.is_empty(), &protocol, report);
    check_protocol(&port.protocol, &protocol, report);
    let family = AppProtocol::named(&port.protocol).map(AppProtocol::family);
    match &server.tls {
        None => required(family != Some(Family::Tls), &format!("{path}.tls"), report),
        Some(tls) => check_tls(tls, family, &format!("{path}.tls"), report),
    }
}

/// An address of the pod; a Unix socket has no port, and no gateway here serves one.
fn check_bind(server: &Server, path: &str, report: &mut Report<'_>) {
    let (bind, field) = (server.bind.as_str(), format!("{path}.bind"));
    let number = server.port.as_ref().map_or(0, |port| port.number);
    if let Some(socket) = bind.strip_prefix("unix://") {
        if !is_socket(socket) {
            let message = format!("{bind:?}: give the socket's absolute path, or @NAME");
            report.error(code::BIND, field, message);
        }
        if number != 0 {
            let message = "a Unix socket has no port: use number 0";
            report.error(code::BIND, format!("{path}.port.number"), message);
        }
    } else if !bind.is_empty() && !is_ip(bind) {
        let message = format!("{bind:?} is not an IP: use one of the gateway's pods, or 0.0.0.0");
        report.error(code::BIND, field, message);
    }
}

fn check_tls(tls: &ServerTls, family: Option<Family>, path: &str, report: &mut Report<'_>) {
    if family != Some(Family::Http) && tls.https_redirect {
        let message = "httpsRedirect is for ports of plaintext HTTP: remove it";
        report.warn(code::CONFLICT, format!("{path}.httpsRedirect"), message);
    }
    server_tls::check(tls, path, report);
    let in_files = [&tls.ca_certificates, &tls.private_key, &tls.server_certificate];
    let redirects = family == Some(Family::Http)
        && server_tls::passes_through(tls)
        && in_files.iter().all(|file| file.is_empty());
    if !matches!(family, None | Some(Family::Tls)) && !redirects {
        let message = "no TLS is ended on this port: use protocol HTTPS or TLS, or remove tls but \
                       for httpsRedirect";
        report.error(code::CONFLICT, path, message);
    }
}
