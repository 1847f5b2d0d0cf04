//! Whether a `ServiceEntry` is valid.

use std::collections::BTreeSet;

use super::{
    Report,
    export::{self, Exported},
    names::{
        check_port_name, check_port_number, check_protocol, check_selector, is_domain,
        is_wildcard_domain,
    },
    workload::{Addresses, check_endpoint},
};
use crate::{
    address,
    finding::code,
    resource::{
        Metadata,
        protocol::{AppProtocol, Family, is_server_first},
        service_entry::{Location, Resolution, ServiceEntrySpec},
    },
};

/// How many hosts, and how many addresses, the schema lets an entry have.
const MAX_HOSTS: usize = 256;
const MAX_ADDRESSES: usize = 256;
const MAX_PORTS: usize = 256;

const WAYPOINT: &str = "istio.io/use-waypoint";

pub(super) fn check(metadata: &Metadata, spec: &ServiceEntrySpec, report: &mut Report<'_>) {
    check_selector(spec.workload_selector.as_ref(), report);
    check_hosts(spec, report);
    check_addresses(spec, report);
    check_ports(spec, report);
    check_endpoints(spec, report);
    check_resolution(metadata, spec, report);
    check_hosts_on_ports(spec, report);
    export::check(&spec.export_to, Exported::Service, "spec.exportTo", report);
    warn_about_nothing(spec, report);
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
        } else if host.starts_with('*')
            && !host.starts_with("*.")
            && spec.resolution != Resolution::DynamicDns
        {
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
    if spec.ports.len() > MAX_PORTS {
        let message = format!("{} ports: an entry has up to {MAX_PORTS}", spec.ports.len());
        report.error(code::COUNT, "spec.ports", message);
    }
    let (mut names, mut numbers) = (BTreeSet::new(), BTreeSet::new());
    for (index, port) in spec.ports.iter().enumerate() {
        let field = |name: &str| format!("spec.ports[{index}].{name}");
        check_port_name(&port.name, &field("name"), report);
        check_port_number(port.number, &field("number"), report);
        check_protocol(&port.protocol, &field("protocol"), report);
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
    let takes_names = matches!(spec.resolution, Resolution::Dns | Resolution::DnsRoundRobin);
    let addresses = if takes_names { Addresses::Resolved } else { Addresses::Static };
    let ports: Vec<&str> = spec.ports.iter().map(|port| port.name.as_str()).collect();
    for (index, endpoint) in spec.endpoints.iter().enumerate() {
        let path = format!("spec.endpoints[{index}]");
        check_endpoint(endpoint, addresses, Some(&ports), &path, report);
    }
}

fn check_resolution(metadata: &Metadata, spec: &ServiceEntrySpec, report: &mut Report<'_>) {
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
        Resolution::DynamicDns => check_dynamic_dns(metadata, spec, report),
    }
}

fn warn_selector(report: &mut Report<'_>) {
    let message = "this resolution does not look at workloads: use STATIC, or remove the selector";
    report.warn(code::ENDPOINTS_WITH, "spec.workloadSelector", message);
}

fn check_dynamic_dns(metadata: &Metadata, spec: &ServiceEntrySpec, report: &mut Report<'_>) {
    if spec.workload_selector.is_some() {
        warn_selector(report);
    }
    let mut error = |field: &str, message: &str| report.error(code::DYNAMIC_DNS, field, message);
    if spec.hosts.iter().any(|host| !host.starts_with('*')) {
        error("spec.hosts", "DYNAMIC_DNS is for wildcards only: use DNS for a whole name");
    }
    if !spec.addresses.is_empty() {
        error("spec.addresses", "DYNAMIC_DNS takes no addresses: the request's name decides");
    }
    if !spec.endpoints.is_empty() {
        error("spec.endpoints", "DYNAMIC_DNS takes no endpoints: the request's name decides");
    }
    let waypoint = metadata.labels.get(WAYPOINT).unwrap_or_default();
    let uses_waypoint = !waypoint.is_empty() && !waypoint.eq_ignore_ascii_case("none");
    if spec.location == Location::MeshInternal && uses_waypoint {
        error("spec.location", "DYNAMIC_DNS with a waypoint is for MESH_EXTERNAL only");
    }
    for (index, port) in spec.ports.iter().enumerate() {
        let named = ["HTTP", "HTTP2", "GRPC", "TLS"];
        if !named.iter().any(|one| port.protocol.eq_ignore_ascii_case(one)) {
            let field = format!("spec.ports[{index}].protocol");
            error(&field, "DYNAMIC_DNS needs a name in the request: use HTTP, HTTP2, GRPC or TLS");
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
        let is_resolved = matches!(spec.resolution, Resolution::Dns | Resolution::DnsRoundRobin);
        if family == Some(Family::Tls) && is_resolved && !spec.addresses.is_empty() {
            let message = "several hosts share the addresses and a port for TLS: use one entry for \
                           each host";
            report.warn(code::HOSTS_ON_TCP, format!("spec.ports[{index}]"), message);
        }
        if matches!(family, Some(Family::Http | Family::Tls)) {
            continue;
        }
        let message = "several hosts share a port that is neither HTTP nor TLS, and nothing tells \
                       them apart: use one entry for each";
        report.error(code::HOSTS_ON_TCP, format!("spec.ports[{index}]"), message);
    }
}

/// What can be taken as it stands, and opens nothing.
fn warn_about_nothing(spec: &ServiceEntrySpec, report: &mut Report<'_>) {
    if spec.ports.is_empty() {
        let message = "no ports are declared, so this allows nothing: declare those that clients \
                       may reach";
        report.warn(code::ALLOWS_NOTHING, "spec.ports", message);
    }
    let has_endpoints = !spec.endpoints.is_empty() || spec.workload_selector.is_some();
    // Datagrams go where they are sent, whatever the endpoints.
    let connects = spec.ports.iter().any(|port| !port.protocol.eq_ignore_ascii_case("UDP"));
    if spec.resolution == Resolution::Static && !has_endpoints && connects {
        let message = "resolution STATIC without endpoints has nowhere to go, so this allows no \
                       connection: list endpoints, or use NONE or DNS";
        report.warn(code::ALLOWS_NOTHING, "spec.endpoints", message);
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
