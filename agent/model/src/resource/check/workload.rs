//! Whether an endpoint is valid: of a `ServiceEntry`, by itself as a `WorkloadEntry`, and as the
//! template of a `WorkloadGroup`.

use super::{
    Report,
    names::{check_labels, check_port_name, check_port_number, is_domain, is_ip, is_socket},
    values::{at_most_one, check_range, required, set},
};
use crate::{
    finding::code,
    resource::{
        gateway::{HttpProbe, Probe, WorkloadGroupSpec},
        service_entry::WorkloadEntrySpec,
    },
};

/// What an address may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Addresses {
    /// An IP, or a socket on the same node.
    Static,
    /// An IP or a name.
    Resolved,
    /// All of these: which resolution it is for is not known.
    Any,
}

impl Addresses {
    const fn wanted(self) -> &'static str {
        match self {
            Self::Static => "an IP or unix://PATH",
            Self::Resolved => "an IP or a DNS name",
            Self::Any => "an IP, a DNS name or unix://PATH",
        }
    }
}

/// The ports' names are those of the service, where it is known.
pub(super) fn check_endpoint(
    endpoint: &WorkloadEntrySpec,
    addresses: Addresses,
    service_ports: Option<&[&str]>,
    path: &str,
    report: &mut Report<'_>,
) {
    check_address(endpoint, addresses, path, report);
    let is_socket = endpoint.address.starts_with("unix://");
    if is_socket && !endpoint.ports.is_empty() {
        let message = "a Unix socket has no ports: remove them";
        report.error(code::ENDPOINT_PORT, format!("{path}.ports"), message);
    }
    if is_socket && service_ports.is_some_and(|ports| ports.len() != 1) {
        let message = "a Unix socket serves exactly one port of the entry: give it one";
        report.error(code::ENDPOINT_PORT, format!("{path}.address"), message);
    }
    check_labels(&endpoint.labels, &format!("{path}.labels"), report);
    for (name, number) in &endpoint.ports {
        let field = format!("{path}.ports[{name}]");
        match service_ports {
            Some(ports) if !ports.contains(&name.as_str()) => {
                let message = format!("the entry has no port named {name:?}: use one of its names");
                report.error(code::ENDPOINT_PORT, field.clone(), message);
            }
            Some(_) => {}
            None => check_port_name(name, &field, report),
        }
        check_port_number(*number, &field, report);
    }
}

fn check_address(
    endpoint: &WorkloadEntrySpec,
    addresses: Addresses,
    path: &str,
    report: &mut Report<'_>,
) {
    let field = format!("{path}.address");
    let address = endpoint.address.as_str();
    let takes_names = addresses != Addresses::Static;
    let socket = address.strip_prefix("unix://").filter(|_| addresses != Addresses::Resolved);
    if let Some(socket) = socket {
        if !is_socket(socket) {
            let message = format!(
                "{address:?}: give the socket's absolute path, without a slash at the end, or \
                 @NAME for an abstract one"
            );
            report.error(code::ENDPOINT_ADDRESS, field, message);
        }
    } else if address.is_empty() && !endpoint.network.is_empty() && addresses != Addresses::Resolved
    {
        // It may be reached by that network's gateway alone.
        let message = format!(
            "no address is given, so the endpoint is reached by the gateway of network {:?} or not \
             at all",
            endpoint.network
        );
        report.warn(code::ENDPOINT_ADDRESS, field, message);
    } else if !(is_ip(address) || (takes_names && is_domain(address))) {
        let wanted = addresses.wanted();
        report.error(
            code::ENDPOINT_ADDRESS,
            field,
            format!("found {address:?}, expected {wanted}"),
        );
    }
}

pub(super) fn check_entry(spec: &WorkloadEntrySpec, report: &mut Report<'_>) {
    check_endpoint(spec, Addresses::Any, None, "spec", report);
}

/// The address of a template is filled in for each workload, so it need not be there.
pub(super) fn check_group(spec: &WorkloadGroupSpec, report: &mut Report<'_>) {
    required(spec.template.is_some(), "spec.template", report);
    if let Some(template) = &spec.template {
        let mut filled_in = template.clone();
        if filled_in.address.is_empty() {
            "127.0.0.1".clone_into(&mut filled_in.address);
        }
        check_endpoint(&filled_in, Addresses::Any, None, "spec.template", report);
    }
    if let Some(metadata) = &spec.metadata {
        check_labels(&metadata.labels, "spec.metadata.labels", report);
    }
    if let Some(probe) = &spec.probe {
        check_probe(probe, "spec.probe", report);
    }
}

fn check_probe(probe: &Probe, path: &str, report: &mut Report<'_>) {
    for (name, value) in [
        ("initialDelaySeconds", probe.initial_delay_seconds),
        ("timeoutSeconds", probe.timeout_seconds),
        ("periodSeconds", probe.period_seconds),
        ("successThreshold", probe.success_threshold),
        ("failureThreshold", probe.failure_threshold),
    ] {
        let most = i64::from(i32::MAX);
        check_range(Some(i64::from(value)), (0, most), &format!("{path}.{name}"), report);
    }
    let given = set([
        ("httpGet", probe.http_get.is_some()),
        ("tcpSocket", probe.tcp_socket.is_some()),
        ("exec", probe.exec.is_some()),
        ("grpc", probe.grpc.is_some()),
    ]);
    at_most_one(&given, path, report);
    if given.is_empty() {
        let message = "the probe asks nothing: give it httpGet, tcpSocket or exec";
        report.error(code::ONE_OF, path, message);
    }
    if let Some(http) = &probe.http_get {
        check_http_probe(http, &format!("{path}.httpGet"), report);
    }
    if let Some(tcp) = &probe.tcp_socket {
        check_port_number(tcp.port, &format!("{path}.tcpSocket.port"), report);
    }
    if let Some(exec) = &probe.exec {
        required(!exec.command.is_empty(), &format!("{path}.exec.command"), report);
        if exec.command.iter().any(String::is_empty) {
            let message = "a part of the command is empty: remove it";
            report.error(code::REQUIRED, format!("{path}.exec.command"), message);
        }
    }
    if probe.grpc.is_some() {
        let message = "Istio's own validation takes no gRPC probe: use httpGet, tcpSocket or exec";
        report.error(code::ONE_OF, format!("{path}.grpc"), message);
    }
}

fn check_http_probe(http: &HttpProbe, path: &str, report: &mut Report<'_>) {
    check_port_number(http.port, &format!("{path}.port"), report);
    if !["", "HTTP", "HTTPS"].contains(&http.scheme.as_str()) {
        let message = format!("found {:?}, expected HTTP or HTTPS", http.scheme);
        report.error(code::RANGE, format!("{path}.scheme"), message);
    }
    for (index, header) in http.http_headers.iter().enumerate() {
        let fits = |byte: u8| byte == b'-' || byte.is_ascii_alphanumeric();
        if header.name.is_empty() || !header.name.bytes().all(fits) {
            let message = format!("{:?} is no header: use letters, digits and dashes", header.name);
            report.error(code::PATTERN, format!("{path}.httpHeaders[{index}].name"), message);
        }
    }
}
