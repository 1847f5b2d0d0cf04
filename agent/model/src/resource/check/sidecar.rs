//! Whether a `Sidecar` is valid.

use std::collections::BTreeSet;

use super::{
    Report,
    destination::check_destination,
    names::{
        check_port_name, check_port_number, check_protocol, check_selector, is_domain, is_ip,
        is_label, is_socket, is_whole_host,
    },
    pool, server_tls,
};
use crate::{
    finding::code,
    resource::{
        protocol::{AppProtocol, Family},
        sidecar::{
            CaptureMode, EgressListener, IngressListener, ServerTls, SidecarPort, SidecarSpec,
        },
        traffic::{OutboundMode, OutboundTrafficPolicy},
    },
};

pub(super) fn check(spec: &SidecarSpec, report: &mut Report<'_>) {
    check_selector(spec.workload_selector.as_ref(), report);
    let SidecarSpec { ingress, egress, inbound_connection_pool, outbound_traffic_policy, .. } =
        spec;
    if ingress.is_empty()
        && egress.is_empty()
        && inbound_connection_pool.is_none()
        && outbound_traffic_policy.is_none()
    {
        let message = "the Sidecar says nothing: give it egress or outboundTrafficPolicy";
        report.error(code::EMPTY_SIDECAR, "spec", message);
    }
    check_ingress(ingress, report);
    check_egress(egress, report);
    if let Some(policy) = outbound_traffic_policy {
        check_policy(policy, report);
    }
    pool::check(inbound_connection_pool.as_ref(), "spec.inboundConnectionPool", report);
    if inbound_connection_pool.is_some() {
        let message = "limits on what comes in are not applied here";
        report.warn(code::FIELD_WITHOUT_EFFECT, "spec.inboundConnectionPool", message);
    }
}

fn check_ingress(listeners: &[IngressListener], report: &mut Report<'_>) {
    let mut numbers = BTreeSet::new();
    for (index, listener) in listeners.iter().enumerate() {
        let path = format!("spec.ingress[{index}]");
        let Some(port) = &listener.port else {
            let message = "a listener for what comes in needs a port";
            report.error(code::INGRESS, format!("{path}.port"), message);
            continue;
        };
        check_port(port, &path, report);
        check_port_number(port.number, &format!("{path}.port.number"), report);
        if !listener.bind.is_empty() && !is_ip(&listener.bind) {
            let message = format!("{:?} is not an IP", listener.bind);
            report.error(code::BIND, format!("{path}.bind"), message);
        }
        if !numbers.insert(port.number) {
            let message = format!("port {} has a listener already", port.number);
            report.error(code::INGRESS, format!("{path}.port.number"), message);
        }
        if !is_endpoint(&listener.default_endpoint) {
            let message = format!(
                "{:?}: use 127.0.0.1:PORT, 0.0.0.0:PORT, [::1]:PORT, [::]:PORT or unix://PATH",
                listener.default_endpoint
            );
            report.error(code::INGRESS, format!("{path}.defaultEndpoint"), message);
        }
        if let Some(tls) = &listener.tls {
            check_tls(tls, port, &format!("{path}.tls"), report);
        }
        pool::check(listener.connection_pool.as_ref(), &format!("{path}.connectionPool"), report);
        let family = AppProtocol::named(&port.protocol).map(AppProtocol::family);
        let has_http = listener.connection_pool.as_ref().is_some_and(|pool| pool.http.is_some());
        if has_http && family != Some(Family::Http) {
            let message = "the port is not HTTP, so only the limits for tcp count: remove http, or \
                           say protocol: HTTP";
            report.warn(code::FIELD_WITHOUT_EFFECT, format!("{path}.connectionPool.http"), message);
        }
    }
    if !listeners.is_empty() {
        let message = "listeners for what comes in are not made here: traffic reaches the pod's \
                       own ports as it is";
        report.warn(code::FIELD_WITHOUT_EFFECT, "spec.ingress", message);
    }
}

fn check_tls(tls: &ServerTls, port: &SidecarPort, path: &str, report: &mut Report<'_>) {
    let refused = [
        ("httpsRedirect", tls.https_redirect),
        ("credentialName", !tls.credential_name.is_empty()),
        ("credentialNames", !tls.credential_names.is_empty()),
        ("tlsCertificates", !tls.tls_certificates.is_empty()),
        ("subjectAltNames", !tls.subject_alt_names.is_empty()),
        ("mode", ["ISTIO_MUTUAL", "AUTO_PASSTHROUGH"].contains(&tls.mode.as_str())),
    ];
    for (field, is_set) in refused {
        if is_set {
            let message = match field {
                "mode" => format!("mode {} is not for a Sidecar: use SIMPLE or MUTUAL", tls.mode),
                _ => format!("{field} is not for a Sidecar: remove it"),
            };
            report.error(code::INGRESS, format!("{path}.{field}"), message);
        }
    }
    let family = AppProtocol::named(&port.protocol).map(AppProtocol::family);
    if family != Some(Family::Tls) {
        let message = "no TLS is ended on this port: use protocol HTTPS or TLS, or remove tls";
        report.error(code::INGRESS, path, message);
    }
    server_tls::check(tls, path, report);
}

fn is_endpoint(text: &str) -> bool {
    if text.is_empty() {
        return true;
    }
    if let Some(socket) = text.strip_prefix("unix://") {
        return is_socket(socket);
    }
    let Some((host, port)) = text.rsplit_once(':') else { return false };
    let known = ["", "127.0.0.1", "0.0.0.0", "[::1]", "[::]"].contains(&host);
    known && port.parse::<u16>().is_ok_and(|port| port != 0)
}

fn check_port(port: &SidecarPort, path: &str, report: &mut Report<'_>) {
    if !port.name.is_empty() {
        check_port_name(&port.name, &format!("{path}.port.name"), report);
    }
    check_protocol(&port.protocol, &format!("{path}.port.protocol"), report);
    if port.target_port != 0 {
        let message = "targetPort has no effect in a Sidecar: remove it";
        report.error(code::PORT_NUMBER, format!("{path}.port.targetPort"), message);
    }
}

fn check_egress(listeners: &[EgressListener], report: &mut Report<'_>) {
    let (mut numbers, mut sockets) = (BTreeSet::new(), BTreeSet::new());
    for (index, listener) in listeners.iter().enumerate() {
        let path = format!("spec.egress[{index}]");
        match &listener.port {
            None if index + 1 < listeners.len() => {
                let message = "a listener without a port is for all the rest: move it to the end, \
                               and have only one";
                report.error(code::EGRESS_PORT, format!("{path}.port"), message);
            }
            None => {}
            Some(port) => {
                check_port(port, &path, report);
                check_bind(listener, port, &path, report);
                let is_new = if port.number == 0 {
                    sockets.insert(listener.bind.as_str())
                } else {
                    numbers.insert(port.number)
                };
                if !is_new {
                    let message = "another listener has this port already: put the hosts together";
                    report.error(code::EGRESS_PORT, format!("{path}.port.number"), message);
                }
            }
        }
        if !listener.bind.is_empty() || listener.capture_mode != CaptureMode::Default {
            let message = "no listener is bound for what goes out: only port and hosts count";
            report.warn(code::FIELD_WITHOUT_EFFECT, format!("{path}.bind"), message);
        }
        check_egress_hosts(&listener.hosts, &path, report);
    }
}

fn check_bind(listener: &EgressListener, port: &SidecarPort, path: &str, report: &mut Report<'_>) {
    let field = format!("{path}.bind");
    if port.number == 0 {
        if !listener.bind.strip_prefix("unix://").is_some_and(is_socket) {
            let message = "port 0 is for a Unix socket: bind it to unix://PATH, or give a port";
            report.error(code::BIND, field, message);
        } else if listener.capture_mode == CaptureMode::Iptables {
            let message = "a Unix socket cannot be redirected: captureMode DEFAULT or NONE";
            report.error(code::BIND, format!("{path}.captureMode"), message);
        }
        return;
    }
    check_port_number(port.number, &format!("{path}.port.number"), report);
    if !listener.bind.is_empty() && !is_ip(&listener.bind) {
        let message = format!("{:?} is not an IP", listener.bind);
        report.error(code::BIND, field, message);
    }
}

fn check_egress_hosts(hosts: &[String], path: &str, report: &mut Report<'_>) {
    if hosts.is_empty() {
        let message = "a listener lets hosts through, so name at least one: \"*/*\" is all, \
                       \"~/*\" is none";
        report.error(code::EGRESS_HOST, format!("{path}.hosts"), message);
    }
    let own = report.key.namespace.clone();
    let mut seen: BTreeSet<(&str, &str)> = BTreeSet::new();
    for (index, host) in hosts.iter().enumerate() {
        let field = format!("{path}.hosts[{index}]");
        let parts = host.split_once('/').filter(|(namespace, name)| is_host(namespace, name));
        let Some((namespace, name)) = parts else {
            let message = format!(
                "{host:?} is not namespace/dnsName: the namespace is a name, \"*\", \".\" or \
                 \"~\"; the name is a DNS name in full, *.suffix or \"*\""
            );
            report.error(code::EGRESS_HOST, field, message);
            continue;
        };
        if namespace.len() > 1 && namespace.starts_with('~') {
            // Taken as anything else it would let through what it takes away.
            let message = format!(
                "{host:?} takes hosts away, which is not supported: name those \
                                   that are let through"
            );
            report.error(code::EGRESS_HOST, field, message);
            continue;
        }
        if namespace == "~" && name != "*" {
            let message = format!("{host:?} is in no namespace, so it matches no service");
            report.warn(code::FIELD_WITHOUT_EFFECT, field, message);
            continue;
        }
        let namespace = if namespace == "." { own.as_str() } else { namespace };
        let covered = [(namespace, name), (namespace, "*"), ("*", "*")];
        if covered.iter().any(|one| seen.contains(one)) {
            let message = format!("{host:?} is covered by a host before it: remove it");
            report.warn(code::EGRESS_HOST_TWICE, field, message);
        }
        seen.insert((namespace, name));
    }
}

fn is_host(namespace: &str, name: &str) -> bool {
    let of = namespace.strip_prefix('~').unwrap_or(namespace);
    let is_none = of.is_empty() && namespace == "~";
    (is_none || of == "*" || of == "." || is_label(of)) && is_whole_host(name)
}

fn check_policy(policy: &OutboundTrafficPolicy, report: &mut Report<'_>) {
    let field = "spec.outboundTrafficPolicy";
    if policy.mode == OutboundMode::AllowAnyDynamicDns {
        let message = "ALLOW_ANY_DYNAMIC_DNS is for the mesh only: use ALLOW_ANY or REGISTRY_ONLY";
        report.error(code::OUTBOUND_POLICY, format!("{field}.mode"), message);
    }
    let Some(proxy) = &policy.egress_proxy else { return };
    let field = format!("{field}.egressProxy");
    if policy.mode != OutboundMode::AllowAny {
        let message = "an egress proxy goes with mode ALLOW_ANY only: REGISTRY_ONLY is also what a \
                       policy without mode means";
        report.error(code::OUTBOUND_POLICY, field.clone(), message);
    }
    if !is_domain(&proxy.host) || proxy.port.is_none() {
        let message = "an egress proxy needs a host and a port";
        report.error(code::OUTBOUND_POLICY, field.clone(), message);
    } else {
        check_destination(Some(proxy), &field, report);
    }
    let message = "an egress proxy is not supported: unknown traffic goes out directly";
    report.warn(code::NOT_SUPPORTED, field, message);
}
