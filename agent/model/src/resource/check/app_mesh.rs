//! Whether App Mesh's objects are valid: nodes, gateways and names. Routes are beside.

use std::collections::BTreeSet;

use super::{
    Report,
    values::{at_most_one, check_range, exactly_one, required, set},
};
use crate::{
    finding::code,
    resource::app_mesh::{
        VirtualServiceSpec,
        common::Protocol,
        node::{
            Certificate, ClientPolicy, Listener, ListenerTls, Trust, Validation,
            VirtualGatewaySpec, VirtualNodeSpec,
        },
    },
};

const ANY: i64 = i64::MAX;

pub(super) fn check_node(spec: &VirtualNodeSpec, report: &mut Report<'_>) {
    check_listeners(&spec.listeners, report);
    if !spec.listeners.is_empty() {
        required(spec.service_discovery.is_some(), "spec.serviceDiscovery", report);
    }
    if let Some(discovery) = &spec.service_discovery {
        let given = set([
            ("dns", discovery.dns.is_some()),
            ("awsCloudMap", discovery.aws_cloud_map.is_some()),
        ]);
        exactly_one(&given, "dns and awsCloudMap", "spec.serviceDiscovery", report);
    }
    let usual = spec.backend_defaults.as_ref().and_then(|one| one.client_policy.as_ref());
    check_client(usual, "spec.backendDefaults", report);
    let mut seen = BTreeSet::new();
    for (index, backend) in spec.backends.iter().enumerate() {
        let path = format!("spec.backends[{index}].virtualService");
        let service = &backend.virtual_service;
        let (by_ref, by_arn) = (&service.virtual_service_ref, &service.virtual_service_arn);
        let given =
            set([("virtualServiceRef", by_ref.is_some()), ("virtualServiceARN", by_arn.is_some())]);
        exactly_one(&given, "virtualServiceRef and virtualServiceARN", &path, report);
        let named = by_ref.as_ref().map(|one| {
            let namespace =
                one.namespace.clone().unwrap_or_else(|| report.key.namespace.to_string());
            (namespace, one.name.clone())
        });
        check_client(service.client_policy.as_ref(), &path, report);
        let identity = (named, by_arn.clone());
        if identity != (None, None) && !seen.insert(identity) {
            report.error(code::TWICE, path, "this backend is there already: remove it");
        }
    }
}

pub(super) fn check_gateway(spec: &VirtualGatewaySpec, report: &mut Report<'_>) {
    check_listeners(&spec.listeners, report);
    let usual = spec.backend_defaults.as_ref().and_then(|one| one.client_policy.as_ref());
    check_client(usual, "spec.backendDefaults", report);
    for (index, listener) in spec.listeners.iter().enumerate() {
        if listener.port_mapping.protocol == Some(Protocol::Tcp) {
            let message = "a gateway serves http, http2 and grpc: use one of them";
            report.error(
                code::RANGE,
                format!("spec.listeners[{index}].portMapping.protocol"),
                message,
            );
        }
    }
}

pub(super) fn check_service(spec: &VirtualServiceSpec, report: &mut Report<'_>) {
    let Some(provider) = &spec.provider else { return };
    let given = set([
        ("virtualNode", provider.virtual_node.is_some()),
        ("virtualRouter", provider.virtual_router.is_some()),
    ]);
    exactly_one(&given, "virtualNode and virtualRouter", "spec.provider", report);
}

fn check_listeners(listeners: &[Listener], report: &mut Report<'_>) {
    for (index, listener) in listeners.iter().enumerate() {
        let path = format!("spec.listeners[{index}]");
        let mapping = &listener.port_mapping;
        check_range(Some(mapping.port), (1, 65_535), &format!("{path}.portMapping.port"), report);
        required(mapping.protocol.is_some(), &format!("{path}.portMapping.protocol"), report);
        check_health(listener, &format!("{path}.healthCheck"), report);
        if let Some(outliers) = &listener.outlier_detection {
            let path = format!("{path}.outlierDetection");
            let (errors, share) = (outliers.max_server_errors, outliers.max_ejection_percent);
            check_range(Some(errors), (1, ANY), &format!("{path}.maxServerErrors"), report);
            check_range(Some(share), (0, 100), &format!("{path}.maxEjectionPercent"), report);
        }
        if let Some(pool) = &listener.connection_pool {
            let given = set([
                ("tcp", pool.tcp.is_some()),
                ("http", pool.http.is_some()),
                ("http2", pool.http2.is_some()),
                ("grpc", pool.grpc.is_some()),
            ]);
            exactly_one(
                &given,
                "tcp, http, http2 and grpc",
                &format!("{path}.connectionPool"),
                report,
            );
        }
        if let Some(tls) = &listener.tls {
            check_listener_tls(tls, &format!("{path}.tls"), report);
        }
        if let Some(timeout) = &listener.timeout {
            let given = set([
                ("tcp", timeout.tcp.is_some()),
                ("http", timeout.http.is_some()),
                ("http2", timeout.http2.is_some()),
                ("grpc", timeout.grpc.is_some()),
            ]);
            at_most_one(&given, &format!("{path}.timeout"), report);
        }
    }
}

fn check_listener_tls(tls: &ListenerTls, path: &str, report: &mut Report<'_>) {
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
}

fn check_validation(validation: &Validation, path: &str, report: &mut Report<'_>) {
    let path = format!("{path}.trust");
    required(validation.trust.is_some(), &path, report);
    let Some(Trust { acm, file, sds }) = &validation.trust else { return };
    let given = set([("acm", acm.is_some()), ("file", file.is_some()), ("sds", sds.is_some())]);
    exactly_one(&given, "acm, file and sds", &path, report);
    if acm.as_ref().is_some_and(|acm| acm.certificate_authority_arns.is_empty()) {
        required(false, &format!("{path}.acm.certificateAuthorityARNs"), report);
    }
}

fn check_client(policy: Option<&ClientPolicy>, path: &str, report: &mut Report<'_>) {
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

fn check_health(listener: &Listener, path: &str, report: &mut Report<'_>) {
    let Some(check) = &listener.health_check else { return };
    for (name, value, range) in [
        ("healthyThreshold", check.healthy_threshold, (2, 10)),
        ("unhealthyThreshold", check.unhealthy_threshold, (2, 10)),
        ("intervalMillis", check.interval_millis, (5_000, 300_000)),
        ("timeoutMillis", check.timeout_millis, (2_000, 60_000)),
    ] {
        check_range(Some(value), range, &format!("{path}.{name}"), report);
    }
    check_range(check.port, (1, 65_535), &format!("{path}.port"), report);
    required(check.protocol.is_some(), &format!("{path}.protocol"), report);
    let over_http = matches!(check.protocol, Some(Protocol::Http | Protocol::Http2));
    if over_http {
        required(check.path.is_some(), &format!("{path}.path"), report);
    } else if check.path.is_some() {
        let message = "a path is for checks over HTTP only: remove it";
        report.error(code::CONFLICT, format!("{path}.path"), message);
    }
}
