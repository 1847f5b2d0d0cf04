//! Whether a `VirtualService` is valid: its hosts, and its rules for TLS and TCP. The rules for
//! HTTP are beside.

use super::{
    Report,
    destination::{check_destination, check_gateway_name, check_match_gateways, check_weights},
    export::{self, Exported},
    http_route,
    names::{check_labels, check_port_number, is_ip, is_passed_through, is_wildcard_domain},
    unreachable,
    values::required,
};
use crate::{
    address,
    finding::code,
    resource::virtual_service::{RouteDestination, VirtualServiceSpec},
};

pub(super) fn check(spec: &VirtualServiceSpec, report: &mut Report<'_>) {
    check_hosts(spec, report);
    for (index, gateway) in spec.gateways.iter().enumerate() {
        check_gateway_name(gateway, &format!("spec.gateways[{index}]"), report);
    }
    if spec.http.is_empty() && spec.tls.is_empty() && spec.tcp.is_empty() {
        let message = "the VirtualService has no rule: give it http, tls or tcp";
        report.error(code::REQUIRED, "spec", message);
    }
    http_route::check(spec, report);
    check_tls(spec, report);
    check_tcp(spec, report);
    export::check(&spec.export_to, Exported::Settings, "spec.exportTo", report);
    unreachable::check(spec, report);
}

/// Without hosts it is a delegate, which another one gives them.
fn check_hosts(spec: &VirtualServiceSpec, report: &mut Report<'_>) {
    if spec.hosts.is_empty() {
        if !spec.gateways.is_empty() || !spec.tls.is_empty() || !spec.tcp.is_empty() {
            let message = "hosts are required with gateways, tls or tcp: only a delegate, which \
                           has http alone, goes without";
            report.error(code::REQUIRED, "spec.hosts", message);
        }
        return;
    }
    let on_mesh = !spec.is_for_gateways();
    let by_sni =
        spec.tls.iter().flat_map(|rule| &rule.matches).any(|one| !one.sni_hosts.is_empty());
    for (index, host) in spec.hosts.iter().enumerate() {
        let field = format!("spec.hosts[{index}]");
        if host == "*" && on_mesh {
            let message = "\"*\" is for gateways only: name the hosts, or list gateways";
            report.error(code::HOST, field.clone(), message);
        } else if !(is_ip(host)
            || is_wildcard_domain(host)
            || (!on_mesh && by_sni && is_passed_through(host)))
        {
            let message = format!("{host:?} is not a host: use a DNS name, *.suffix or an IP");
            report.error(code::HOST, field.clone(), message);
        }
        if let Some(other) = spec.hosts[..index].iter().find(|one| overlap(one, host)) {
            let message = format!("{host:?} overlaps with {other:?}: remove one");
            if other.eq_ignore_ascii_case(host) && other != host {
                report.warn(code::TWICE, field, message);
            } else {
                report.error(code::TWICE, field, message);
            }
        }
    }
}

fn overlap(one: &str, other: &str) -> bool {
    covers(one, other) || covers(other, one)
}

/// Whether a host is another, or a wildcard for it.
pub(super) fn covers(pattern: &str, host: &str) -> bool {
    let (pattern, host) = (pattern.to_ascii_lowercase(), host.to_ascii_lowercase());
    match pattern.strip_prefix('*') {
        Some(suffix) => host.ends_with(suffix),
        None => pattern == host,
    }
}

fn check_routes(route: &[RouteDestination], path: &str, report: &mut Report<'_>) {
    required(!route.is_empty(), path, report);
    for (index, one) in route.iter().enumerate() {
        check_destination(
            one.destination.as_ref(),
            &format!("{path}[{index}].destination"),
            report,
        );
    }
    check_weights(&route.iter().map(|one| one.weight).collect::<Vec<_>>(), path, report);
}

fn check_tls(spec: &VirtualServiceSpec, report: &mut Report<'_>) {
    for (index, rule) in spec.tls.iter().enumerate() {
        let path = format!("spec.tls[{index}]");
        required(!rule.matches.is_empty(), &format!("{path}.match"), report);
        for (index, one) in rule.matches.iter().enumerate() {
            let path = format!("{path}.match[{index}]");
            required(!one.sni_hosts.is_empty(), &format!("{path}.sniHosts"), report);
            for (index, host) in one.sni_hosts.iter().enumerate() {
                check_sni(spec, host, &format!("{path}.sniHosts[{index}]"), report);
            }
            check_l4(&one.destination_subnets, one.port, &path, report);
            check_labels(&one.source_labels, &format!("{path}.sourceLabels"), report);
            check_match_gateways(spec, &one.gateways, &path, report);
        }
        check_routes(&rule.route, &format!("{path}.route"), report);
    }
}

fn check_tcp(spec: &VirtualServiceSpec, report: &mut Report<'_>) {
    for (index, rule) in spec.tcp.iter().enumerate() {
        let path = format!("spec.tcp[{index}]");
        for (index, one) in rule.matches.iter().enumerate() {
            let path = format!("{path}.match[{index}]");
            check_l4(&one.destination_subnets, one.port, &path, report);
            check_labels(&one.source_labels, &format!("{path}.sourceLabels"), report);
            check_match_gateways(spec, &one.gateways, &path, report);
        }
        check_routes(&rule.route, &format!("{path}.route"), report);
    }
}

/// What clients ask for in their hello: one of the hosts, or a part of one.
fn check_sni(spec: &VirtualServiceSpec, host: &str, field: &str, report: &mut Report<'_>) {
    let passed_through = spec.is_for_gateways() && is_passed_through(host);
    if is_ip(host) {
        let message = format!("{host:?} is an IP, which clients do not send: use a DNS name");
        report.warn(code::HOST, field, message);
    } else if !is_wildcard_domain(host) && !passed_through {
        let message = format!("{host:?} is not a host: use a DNS name or *.suffix");
        report.error(code::HOST, field, message);
    } else if !spec.hosts.iter().any(|known| covers(known, host)) {
        let message = format!("{host:?} is none of spec.hosts: add it there");
        report.error(code::HOST, field, message);
    }
}

fn check_l4(subnets: &[String], port: u32, path: &str, report: &mut Report<'_>) {
    for (index, text) in subnets.iter().enumerate() {
        if address::net(text).is_none() {
            let message = format!("{text:?} is neither an IP nor a CIDR");
            report.error(code::ADDRESS, format!("{path}.destinationSubnets[{index}]"), message);
        }
    }
    if port != 0 {
        check_port_number(port, &format!("{path}.port"), report);
    }
}
