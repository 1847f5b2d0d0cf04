//! Whether a `DestinationRule` is valid.

use std::collections::BTreeSet;

use super::{
    Report, balancer, client_tls,
    export::{self, Exported},
    names::{
        check_labels, check_port_number, check_selecting, is_domain, is_ip, is_label,
        is_wildcard_domain,
    },
    pool,
    values::{Zero, at_most_one, check_duration, check_percent, check_range, required, set},
};
use crate::{
    finding::code,
    resource::destination_rule::{
        DestinationRuleSpec, OutlierDetection, PortPolicy, TrafficPolicy, Tunnel,
    },
};

pub(super) fn check(spec: &DestinationRuleSpec, report: &mut Report<'_>) {
    if spec.host != "*" && !is_wildcard_domain(&spec.host) {
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
    let what = match &spec.workload_selector {
        Some(_) => Exported::SettingsOfPods,
        None => Exported::Settings,
    };
    export::check(&spec.export_to, what, "spec.exportTo", report);
    if let Some(selector) = &spec.workload_selector {
        check_selecting(&selector.match_labels, "spec.workloadSelector.matchLabels", report);
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
    let outliers = policy.outlier_detection.as_ref();
    let balancer = policy.load_balancer.as_ref();
    balancer::check(balancer, outliers, &format!("{path}.loadBalancer"), report);
    pool::check(policy.connection_pool.as_ref(), &format!("{path}.connectionPool"), report);
    check_outliers(outliers, &format!("{path}.outlierDetection"), report);
    client_tls::check(policy.tls.as_ref(), &format!("{path}.tls"), report);
    let mut numbers = BTreeSet::new();
    for (index, port) in policy.port_level_settings.iter().enumerate() {
        let path = format!("{path}.portLevelSettings[{index}]");
        check_port(port, &path, report);
        let number = port.port.as_ref().map(|port| port.number);
        if number.is_some_and(|number| !numbers.insert(number)) {
            let message = "this port has settings already, and only the first count: join them";
            report.warn(code::PORT_TWICE, format!("{path}.port.number"), message);
        }
    }
    if let Some(tunnel) = &policy.tunnel {
        check_tunnel(tunnel, &format!("{path}.tunnel"), report);
    }
    let budget = policy.retry_budget.as_ref().and_then(|budget| budget.percent);
    check_percent(budget, &format!("{path}.retryBudget.percent"), report);
}

fn check_tunnel(tunnel: &Tunnel, path: &str, report: &mut Report<'_>) {
    if !["", "CONNECT", "POST"].contains(&tunnel.protocol.as_str()) {
        let message = format!("{:?}: use CONNECT or POST", tunnel.protocol);
        report.error(code::RANGE, format!("{path}.protocol"), message);
    }
    let host = &tunnel.target_host;
    if !is_ip(host) && !is_domain(host) {
        let message = format!("{host:?} is not a host: use a DNS name or an IP");
        report.error(code::HOST, format!("{path}.targetHost"), message);
    }
    check_port_number(tunnel.target_port, &format!("{path}.targetPort"), report);
}

fn check_port(policy: &PortPolicy, path: &str, report: &mut Report<'_>) {
    required(policy.port.is_some(), &format!("{path}.port"), report);
    if policy.port.as_ref().is_some_and(|port| !(1..=65_535).contains(&port.number)) {
        let message = "no port has this number, so these settings are for none: use 1 to 65535";
        report.warn(code::PORT_NUMBER, format!("{path}.port.number"), message);
    }
    if *policy == (PortPolicy { port: policy.port.clone(), ..PortPolicy::default() }) {
        let message = "the port's policy says nothing: give it a setting or remove it";
        report.error(code::REQUIRED, path, message);
    }
    let outliers = policy.outlier_detection.as_ref();
    let balancer = policy.load_balancer.as_ref();
    balancer::check(balancer, outliers, &format!("{path}.loadBalancer"), report);
    pool::check(policy.connection_pool.as_ref(), &format!("{path}.connectionPool"), report);
    check_outliers(outliers, &format!("{path}.outlierDetection"), report);
    client_tls::check(policy.tls.as_ref(), &format!("{path}.tls"), report);
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
    for (index, status) in outliers.outlier_detection_http_error_codes.iter().enumerate() {
        let field = format!("{path}.outlierDetectionHttpErrorCodes[{index}]");
        check_range(Some(i64::from(*status)), (100, 599), &field, report);
    }
    if outliers.consecutive_errors.is_some_and(|count| count != 0) {
        let message = "an old name: use consecutiveGatewayErrors or consecutive5xxErrors";
        report.warn(code::DEPRECATED, format!("{path}.consecutiveErrors"), message);
    }
    let local = outliers.consecutive_local_origin_failures.is_some_and(|count| count > 0);
    if local && outliers.split_external_local_origin_errors != Some(true) {
        let message = "needs splitExternalLocalOriginErrors: true";
        report.error(code::CONFLICT, format!("{path}.consecutiveLocalOriginFailures"), message);
    }
}
