//! Whether a `ServiceEntry` is valid.

use std::collections::BTreeSet;

use super::{
    Report, export,
    names::{
        check_labels, check_port_name, check_port_number, check_protocol, check_selector,
        is_domain, is_ip, is_wildcard_domain,
    },
};
use crate::{
    address,
    finding::code,
    resource::{
        protocol::{AppProtocol, Family, is_server_first},
        service_entry::{Location, Resolution, ServiceEntrySpec, WorkloadEntrySpec},
    },
};

/// How many hosts, and how many addresses, the schema lets an entry have.
const MAX_HOSTS: usize = 256;
const MAX_ADDRESSES: usize = 256;

pub(super) fn check(spec: &ServiceEntrySpec, report: &mut Report<'_>) {
    check_selector(spec.workload_selector.as_ref(), report);
    check_hosts(spec, report);
    check_addresses(spec, report);
    check_ports(spec, report);
    check_endpoints(spec, report);
    check_resolution(spec, report);
    check_hosts_on_ports(spec, report);
    export::check(&spec.export_to, "spec.exportTo", report);
    note_without_effect(spec, report);
}

fn check_hosts(spec: &ServiceEntrySpec, report: &mut Report<'_>) {
    if spec.hosts.is_empty() || spec.hosts.len() > MAX_HOSTS {
        let message = format!("{} hosts: an entry has 1 to {MAX_HOSTS}", spec.hosts.len());
        report.error(code::COUNT, "spec.hosts", message);
    }
    for (index, host) in spec.hosts.iter().enumerate() {
        let field = format!("spec.hosts[{index}]");
        if host == "*" || !is_wildcard_domain(host) {
            let message = format!(
                "{host:?} is not a host: use a DNS name or *.suffix; an IP belongs under \
                 spec.addresses"
            );
            report.error(code::HOST, field, message);
        } else if host.starts_with('*') && !host.starts_with("*.") {
            let message = format!(
                "{host:?} covers a part of a label, which nothing matches: use \
                                   *.suffix"
            );
            report.warn(code::PARTIAL_WILDCARD, field, message);
        }
    }
}

fn check_addresses(spec: &ServiceEntrySpec, report: &mut Report<'_>) {
    if spec.addresses.len() > MAX_ADDRESSES {
        let message = format!(
            "{} addresses: an entry has up to {MAX_ADDRESSES}; use a CIDR or several entries",
            spec.addresses.len()
        );
        report.error(code::COUNT, "spec.addresses", message);
    }
    let takes_cidrs = matches!(spec.resolution, Resolution::None | Resolution::Static);
    for (index, text) in spec.addresses.iter().enumerate() {
        let field = format!("spec.addresses[{index}]");
        if address::net(text).is_none() {
            let message = format!("{text:?} is neither an IP nor a CIDR");
            report.error(code::ADDRESS, field, message);
        } else if text.contains('/') && !takes_cidrs {
            let message = format!("{text:?} is a CIDR: only resolution NONE and STATIC take one");
            report.error(code::CIDR_WITH_RESOLUTION, field, message);
        }
    }
}

fn check_ports(spec: &ServiceEntrySpec, report: &mut Report<'_>) {
    let (mut names, mut numbers) = (BTreeSet::new(), BTreeSet::new());
    for (index, port) in spec.ports.iter().enumerate() {
        let field = |name: &str| format!("spec.ports[{index}].{name}");
        check_port_name(&port.name, &field("name"), report);
        check_port_number(port.number, &field("number"), report);
        check_protocol(&port.protocol, &[], &field("protocol"), report);
        if port.target_port != 0 {
            check_port_number(port.target_port, &field("targetPort"), report);
        }
        if !names.insert(port.name.as_str()) {
            let message = format!("{:?} names another port already", port.name);
            report.error(code::PORT_TWICE, field("name"), message);
        }
        if !numbers.insert(port.number) {
            let message = format!("{} is another port's number already", port.number);
            report.error(code::PORT_TWICE, field("number"), message);
        }
        warn_about_port(spec, index, report);
    }
}

/// What is valid, and hardly meant.
fn warn_about_port(spec: &ServiceEntrySpec, index: usize, report: &mut Report<'_>) {
    let port = &spec.ports[index];
    let family = match port.protocol.as_str() {
        "" => Some(Family::Auto),
        named => AppProtocol::named(named).map(AppProtocol::family),
    };
    let field = format!("spec.ports[{index}]");
    let by_address = matches!(family, Some(Family::Auto | Family::Opaque | Family::Datagram));
    if spec.addresses.is_empty() && by_address && spec.resolution == Resolution::None {
        let message = format!(
            "without spec.addresses this allows every address on port {}: list the addresses",
            port.number
        );
        report.warn(code::ADDRESSES_NEEDED, field, message);
        return;
    }
    let whole = |text: &String| address::net(text).is_some_and(|net| net.prefix_len() == 0);
    if by_address && spec.addresses.iter().any(whole) {
        let message = format!("spec.addresses allow every address on port {}", port.number);
        report.warn(code::WHOLE_PORT_OPEN, field, message);
        return;
    }
    let is_server_first = u16::try_from(port.number).is_ok_and(is_server_first);
    if family == Some(Family::Auto) && is_server_first {
        let message = "servers on this port speak first, and detection waits for the client's \
                       bytes: say protocol: TCP";
        report.warn(code::SERVER_FIRST, field, message);
    }
}

fn check_endpoints(spec: &ServiceEntrySpec, report: &mut Report<'_>) {
    if spec.workload_selector.is_some() && !spec.endpoints.is_empty() {
        let message = "endpoints and workloadSelector exclude each other: remove one";
        report.error(code::ENDPOINTS_WITH, "spec.endpoints", message);
    }
    for (index, endpoint) in spec.endpoints.iter().enumerate() {
        let path = format!("spec.endpoints[{index}]");
        let takes_names = matches!(spec.resolution, Resolution::Dns | Resolution::DnsRoundRobin);
        check_endpoint_address(endpoint, takes_names, &path, report);
        check_labels(&endpoint.labels, &format!("{path}.labels"), report);
        for (name, number) in &endpoint.ports {
            let field = format!("{path}.ports[{name}]");
            if !spec.ports.iter().any(|port| port.name == *name) {
                let message = format!("the entry has no port named {name:?}");
                report.error(code::ENDPOINT_PORT, field.clone(), message);
            }
            check_port_number(*number, &field, report);
        }
    }
}

fn check_endpoint_address(
    endpoint: &WorkloadEntrySpec,
    takes_names: bool,
    path: &str,
    report: &mut Report<'_>,
) {
    let field = format!("{path}.address");
    let address = endpoint.address.as_str();
    if let Some(socket) = address.strip_prefix("unix://") {
        if takes_names {
            let message = "a Unix socket is no name: use resolution STATIC";
            report.error(code::ENDPOINT_ADDRESS, field, message);
        } else if !socket.starts_with('/') && !socket.starts_with('@') {
            let message = format!("{address:?}: give the socket's absolute path");
            report.error(code::ENDPOINT_ADDRESS, field, message);
        } else if !endpoint.ports.is_empty() {
            let message = "a Unix socket has no ports: remove them";
            report.error(code::ENDPOINT_PORT, format!("{path}.ports"), message);
        }
        return;
    }
    let fits = is_ip(address) || (takes_names && is_domain(address));
    // An endpoint on another network may be reached by that network's gateway alone.
    let by_network = address.is_empty() && !endpoint.network.is_empty() && !takes_names;
    if !fits && !by_network {
        let wanted = if takes_names { "an IP or a DNS name" } else { "an IP" };
        let message = format!("{address:?}: this resolution takes {wanted}");
        report.error(code::ENDPOINT_ADDRESS, field, message);
    }
}

pub(super) fn check_workload(spec: &WorkloadEntrySpec, report: &mut Report<'_>) {
    check_endpoint_address(spec, true, "spec", report);
    check_labels(&spec.labels, "spec.labels", report);
    for (name, number) in &spec.ports {
        check_port_number(*number, &format!("spec.ports[{name}]"), report);
    }
}

fn check_resolution(spec: &ServiceEntrySpec, report: &mut Report<'_>) {
    let has_selector = spec.workload_selector.is_some();
    match spec.resolution {
        Resolution::None => {
            if !spec.endpoints.is_empty() {
                let message = "resolution NONE goes where the client dials: remove the endpoints, \
                               or use STATIC";
                report.error(code::ENDPOINTS_WITH, "spec.endpoints", message);
            }
            if has_selector {
                warn_selector(report);
            }
        }
        Resolution::Static => {}
        Resolution::Dns | Resolution::DnsRoundRobin => {
            if spec.endpoints.is_empty() && spec.hosts.iter().any(|host| !is_domain(host)) {
                let message = "a wildcard cannot be resolved: list endpoints, or use resolution \
                               NONE or DYNAMIC_DNS";
                report.error(code::WILDCARD_RESOLUTION, "spec.hosts", message);
            }
            if spec.resolution == Resolution::DnsRoundRobin && spec.endpoints.len() > 1 {
                let message = "DNS_ROUND_ROBIN takes one endpoint at most: use DNS";
                report.error(code::COUNT, "spec.endpoints", message);
            }
            if has_selector {
                warn_selector(report);
            }
        }
        Resolution::DynamicDns => check_dynamic_dns(spec, report),
    }
}

fn warn_selector(report: &mut Report<'_>) {
    let message = "this resolution does not look at workloads: use STATIC, or remove the selector";
    report.warn(code::ENDPOINTS_WITH, "spec.workloadSelector", message);
}

fn check_dynamic_dns(spec: &ServiceEntrySpec, report: &mut Report<'_>) {
    let mut error = |field: &str, message: &str| report.error(code::DYNAMIC_DNS, field, message);
    if spec.hosts.iter().any(|host| !host.starts_with('*')) {
        error("spec.hosts", "DYNAMIC_DNS is for wildcards only: use DNS for a whole name");
    }
    if !spec.addresses.is_empty() {
        error("spec.addresses", "DYNAMIC_DNS takes no addresses: the request's name decides");
    }
    if !spec.endpoints.is_empty() || spec.workload_selector.is_some() {
        error("spec.endpoints", "DYNAMIC_DNS takes no endpoints: the request's name decides");
    }
    for (index, port) in spec.ports.iter().enumerate() {
        let carries_name = matches!(
            AppProtocol::named(&port.protocol),
            Some(
                AppProtocol::Http
                    | AppProtocol::Http2
                    | AppProtocol::Grpc
                    | AppProtocol::Tls
                    | AppProtocol::Https
            )
        );
        if !carries_name {
            let field = format!("spec.ports[{index}].protocol");
            error(&field, "DYNAMIC_DNS needs a name in the request: HTTP, HTTP2, GRPC or TLS");
        }
    }
}

/// Plain TCP carries no name, so it cannot tell one host from another.
fn check_hosts_on_ports(spec: &ServiceEntrySpec, report: &mut Report<'_>) {
    if spec.hosts.len() < 2 || spec.resolution == Resolution::None {
        return;
    }
    for (index, port) in spec.ports.iter().enumerate() {
        let family = AppProtocol::named(&port.protocol).map(AppProtocol::family);
        if matches!(family, Some(Family::Http | Family::Tls)) {
            continue;
        }
        let message = "several hosts share a port that is neither HTTP nor TLS, and nothing tells \
                       them apart: use one entry for each";
        report.error(code::HOSTS_ON_TCP, format!("spec.ports[{index}]"), message);
    }
}

/// Fields that are understood, and have nothing to act on yet.
fn note_without_effect(spec: &ServiceEntrySpec, report: &mut Report<'_>) {
    if !spec.subject_alt_names.is_empty() {
        let message = "TLS is not originated here yet, so these names are not checked";
        report.warn(code::FIELD_WITHOUT_EFFECT, "spec.subjectAltNames", message);
    }
    if spec.location == Location::MeshInternal {
        let message = "mutual TLS is not spoken here yet: the service is reached as it is";
        report.warn(code::FIELD_WITHOUT_EFFECT, "spec.location", message);
    }
}
