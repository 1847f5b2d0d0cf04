//! Whether a `DestinationRule` is valid.

use std::collections::BTreeSet;

use super::{
    Report, export,
    names::{check_labels, check_port_number, is_ip, is_label, is_wildcard_domain},
    values::{Zero, at_most_one, check_duration, check_range, exactly_one, required, set},
};
use crate::{
    finding::code,
    resource::{
        destination_rule::{
            ClientTls, ClientTlsMode, DestinationRuleSpec, LoadBalancer, OutlierDetection,
            PortPolicy, TrafficPolicy, Tunnel,
        },
        sidecar::ConnectionPool,
    },
};

/// The largest table that spreads keys.
const MAX_TABLE: u64 = 5_000_011;

pub(super) fn check(spec: &DestinationRuleSpec, report: &mut Report<'_>) {
    if !is_ip(&spec.host) && spec.host != "*" && !is_wildcard_domain(&spec.host) {
        let message = format!("{:?} is not a host: use a DNS name or *.suffix", spec.host);
        report.error(code::HOST, "spec.host", message);
    }
    check_policy(spec.traffic_policy.as_deref(), "spec.trafficPolicy", report);
    let mut names = BTreeSet::new();
    for (index, subset) in spec.subsets.iter().enumerate() {
        let path = format!("spec.subsets[{index}]");
        if !is_label(&subset.name) {
            let message =
                format!("{:?} is not a subset's name: use letters, digits and dashes", subset.name);
            report.error(code::REFERENCE, format!("{path}.name"), message);
        }
        if !names.insert(subset.name.as_str()) {
            let message = format!("{:?} names another subset already", subset.name);
            report.error(code::TWICE, format!("{path}.name"), message);
        }
        check_labels(&subset.labels, &format!("{path}.labels"), report);
        check_policy(subset.traffic_policy.as_deref(), &format!("{path}.trafficPolicy"), report);
    }
    export::check(&spec.export_to, "spec.exportTo", report);
    if let Some(selector) = &spec.workload_selector {
        check_labels(&selector.match_labels, "spec.workloadSelector.matchLabels", report);
    }
}

fn check_policy(policy: Option<&TrafficPolicy>, path: &str, report: &mut Report<'_>) {
    let Some(policy) = policy else { return };
    if *policy == TrafficPolicy::default() {
        report.error(
            code::REQUIRED,
            path,
            "the policy says nothing: give it a setting or remove it",
        );
    }
    let given =
        [("tunnel", policy.tunnel.is_some()), ("proxyProtocol", policy.proxy_protocol.is_some())];
    at_most_one(&set(given), path, report);
    check_balancer(policy.load_balancer.as_ref(), &format!("{path}.loadBalancer"), report);
    check_pool(policy.connection_pool.as_ref(), &format!("{path}.connectionPool"), report);
    check_outliers(policy.outlier_detection.as_ref(), &format!("{path}.outlierDetection"), report);
    check_tls(policy.tls.as_ref(), &format!("{path}.tls"), report);
    let mut numbers = BTreeSet::new();
    for (index, port) in policy.port_level_settings.iter().enumerate() {
        let path = format!("{path}.portLevelSettings[{index}]");
        check_port(port, &path, report);
        let number = port.port.as_ref().map(|port| port.number);
        if number.is_some_and(|number| !numbers.insert(number)) {
            let message = "this port has settings already, and only the first count: join them";
            report.error(code::PORT_TWICE, format!("{path}.port.number"), message);
        }
    }
    if let Some(tunnel) = &policy.tunnel {
        check_tunnel(tunnel, &format!("{path}.tunnel"), report);
    }
}

fn check_tunnel(tunnel: &Tunnel, path: &str, report: &mut Report<'_>) {
    if !["", "CONNECT", "POST"].contains(&tunnel.protocol.as_str()) {
        let message = format!("{:?}: use CONNECT or POST", tunnel.protocol);
        report.error(code::RANGE, format!("{path}.protocol"), message);
    }
    let host = &tunnel.target_host;
    if host.starts_with('*') || (!is_ip(host) && !is_wildcard_domain(host)) {
        let message = format!("{host:?} is not a host: use a DNS name or an IP");
        report.error(code::HOST, format!("{path}.targetHost"), message);
    }
    check_port_number(tunnel.target_port, &format!("{path}.targetPort"), report);
}

fn check_port(policy: &PortPolicy, path: &str, report: &mut Report<'_>) {
    required(policy.port.is_some(), &format!("{path}.port"), report);
    if let Some(port) = &policy.port {
        check_port_number(port.number, &format!("{path}.port.number"), report);
    }
    check_balancer(policy.load_balancer.as_ref(), &format!("{path}.loadBalancer"), report);
    check_pool(policy.connection_pool.as_ref(), &format!("{path}.connectionPool"), report);
    check_outliers(policy.outlier_detection.as_ref(), &format!("{path}.outlierDetection"), report);
    check_tls(policy.tls.as_ref(), &format!("{path}.tls"), report);
}

fn check_balancer(balancer: Option<&LoadBalancer>, path: &str, report: &mut Report<'_>) {
    let Some(balancer) = balancer else { return };
    let given = [
        ("simple", balancer.simple.is_some()),
        ("consistentHash", balancer.consistent_hash.is_some()),
    ];
    at_most_one(&set(given), path, report);
    let Some(hash) = &balancer.consistent_hash else { return };
    let path = format!("{path}.consistentHash");
    let keys = set([
        ("httpHeaderName", hash.http_header_name.is_some()),
        ("httpCookie", hash.http_cookie.is_some()),
        ("useSourceIp", hash.use_source_ip.is_some()),
        ("httpQueryParameterName", hash.http_query_parameter_name.is_some()),
    ]);
    exactly_one(
        &keys,
        "httpHeaderName, httpCookie, useSourceIp and httpQueryParameterName",
        &path,
        report,
    );
    at_most_one(
        &set([("ringHash", hash.ring_hash.is_some()), ("maglev", hash.maglev.is_some())]),
        &path,
        report,
    );
    if let Some(cookie) = &hash.http_cookie {
        required(!cookie.name.is_empty(), &format!("{path}.httpCookie.name"), report);
        check_duration(
            cookie.ttl.as_ref(),
            Zero::Allowed,
            &format!("{path}.httpCookie.ttl"),
            report,
        );
    }
    let size = hash.maglev.as_ref().and_then(|maglev| maglev.table_size);
    if let Some(size) = size.filter(|size| *size >= MAX_TABLE || !is_prime(*size)) {
        let message = format!("{size}: use a prime below {MAX_TABLE}");
        report.error(code::RANGE, format!("{path}.maglev.tableSize"), message);
    }
}

fn is_prime(number: u64) -> bool {
    number > 1 && (2..=number.isqrt()).all(|divisor| !number.is_multiple_of(divisor))
}

fn check_pool(pool: Option<&ConnectionPool>, path: &str, report: &mut Report<'_>) {
    let Some(pool) = pool else { return };
    if pool.tcp.is_none() && pool.http.is_none() {
        report.error(code::REQUIRED, path, "the pool has no limit: give it tcp or http");
    }
    let count = |value: i32, field: &str, report: &mut Report<'_>| {
        check_range(Some(i64::from(value)), (0, i64::MAX), field, report);
    };
    if let Some(tcp) = &pool.tcp {
        let path = format!("{path}.tcp");
        count(tcp.max_connections, &format!("{path}.maxConnections"), report);
        check_duration(
            tcp.connect_timeout.as_ref(),
            Zero::Refused,
            &format!("{path}.connectTimeout"),
            report,
        );
        check_duration(
            tcp.idle_timeout.as_ref(),
            Zero::Allowed,
            &format!("{path}.idleTimeout"),
            report,
        );
        if let Some(keepalive) = &tcp.tcp_keepalive {
            let path = format!("{path}.tcpKeepalive");
            for (name, time) in [("time", &keepalive.time), ("interval", &keepalive.interval)] {
                check_duration(time.as_ref(), Zero::Refused, &format!("{path}.{name}"), report);
            }
        }
        let most = tcp.max_connection_duration.as_ref();
        check_duration(most, Zero::Refused, &format!("{path}.maxConnectionDuration"), report);
    }
    if let Some(http) = &pool.http {
        let path = format!("{path}.http");
        let per_connection = http.max_requests_per_connection;
        count(per_connection, &format!("{path}.maxRequestsPerConnection"), report);
        count(http.max_retries, &format!("{path}.maxRetries"), report);
        count(http.max_concurrent_streams, &format!("{path}.maxConcurrentStreams"), report);
        check_duration(
            http.idle_timeout.as_ref(),
            Zero::Allowed,
            &format!("{path}.idleTimeout"),
            report,
        );
    }
}

fn check_outliers(outliers: Option<&OutlierDetection>, path: &str, report: &mut Report<'_>) {
    let Some(outliers) = outliers else { return };
    let OutlierDetection { interval, base_ejection_time, .. } = outliers;
    check_duration(interval.as_ref(), Zero::Refused, &format!("{path}.interval"), report);
    check_duration(
        base_ejection_time.as_ref(),
        Zero::Refused,
        &format!("{path}.baseEjectionTime"),
        report,
    );
    let ejection = i64::from(outliers.max_ejection_percent);
    check_range(Some(ejection), (0, 100), &format!("{path}.maxEjectionPercent"), report);
    let health = i64::from(outliers.min_health_percent);
    check_range(Some(health), (0, 100), &format!("{path}.minHealthPercent"), report);
    let local = outliers.consecutive_local_origin_failures.is_some_and(|count| count > 0);
    if local && outliers.split_external_local_origin_errors != Some(true) {
        let message = "needs splitExternalLocalOriginErrors: true";
        report.error(code::CONFLICT, format!("{path}.consecutiveLocalOriginFailures"), message);
    }
}

fn check_tls(tls: Option<&ClientTls>, path: &str, report: &mut Report<'_>) {
    let Some(tls) = tls else { return };
    let in_files = !tls.client_certificate.is_empty() || !tls.private_key.is_empty();
    let by_secret = !tls.credential_name.is_empty();
    match tls.mode {
        ClientTlsMode::Mutual if by_secret => {
            at_most_one(
                &set([("credentialName", true), ("clientCertificate", in_files)]),
                path,
                report,
            );
        }
        ClientTlsMode::Mutual => {
            required(
                !tls.client_certificate.is_empty(),
                &format!("{path}.clientCertificate"),
                report,
            );
            required(!tls.private_key.is_empty(), &format!("{path}.privateKey"), report);
        }
        ClientTlsMode::IstioMutual if in_files || by_secret || !tls.ca_certificates.is_empty() => {
            let message = "ISTIO_MUTUAL brings its own certificates: remove those given";
            report.error(code::CONFLICT, path, message);
        }
        ClientTlsMode::Disable | ClientTlsMode::Simple | ClientTlsMode::IstioMutual => {}
    }
}
