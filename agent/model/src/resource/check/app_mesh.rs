//! Whether App Mesh's objects are valid: nodes, gateways and names. Routes are beside.

use std::collections::BTreeSet;

use super::{
    Report, app_mesh_tls, selector,
    values::{at_most_one, check_length, check_range, exactly_one, one_or_nothing, required, set},
};
use crate::{
    finding::code,
    resource::app_mesh::{
        BackendGroupSpec, IpPreference, MeshSpec, NodeProvider, Reference, RouterProvider,
        VirtualServiceSpec,
        common::{Duration, Protocol, Timeout},
        node::{CloudMap, ConnectionPool, Listener, Logging, VirtualGatewaySpec, VirtualNodeSpec},
    },
};

const ANY: i64 = i64::MAX;

pub(super) fn check_node(spec: &VirtualNodeSpec, report: &mut Report<'_>) {
    selector::check(spec.pod_selector.as_ref(), "spec.podSelector", report);
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
    if let Some(dns) = spec.service_discovery.as_ref().and_then(|one| one.dns.as_ref()) {
        required(!dns.hostname.is_empty(), "spec.serviceDiscovery.dns.hostname", report);
    }
    if let Some(map) = spec.service_discovery.as_ref().and_then(|one| one.aws_cloud_map.as_ref()) {
        check_cloud_map(map, "spec.serviceDiscovery.awsCloudMap", report);
    }
    let usual = spec.backend_defaults.as_ref().and_then(|one| one.client_policy.as_ref());
    app_mesh_tls::check_client(usual, "spec.backendDefaults", report);
    check_logging(spec.logging.as_ref(), report);
    check_backends(spec, report);
}

fn check_backends(spec: &VirtualNodeSpec, report: &mut Report<'_>) {
    for (index, group) in spec.backend_groups.iter().enumerate() {
        required(!group.name.is_empty(), &format!("spec.backendGroups[{index}].name"), report);
    }
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
        if let Some(service) = by_ref {
            required(!service.name.is_empty(), &format!("{path}.virtualServiceRef.name"), report);
        }
        app_mesh_tls::check_client(service.client_policy.as_ref(), &path, report);
        let identity = (named, by_arn.clone());
        if identity != (None, None) && !seen.insert(identity) {
            report.error(code::TWICE, path, "this backend is there already: remove it");
        }
    }
}

pub(super) fn check_gateway(spec: &VirtualGatewaySpec, report: &mut Report<'_>) {
    for (of, field) in [
        (&spec.namespace_selector, "spec.namespaceSelector"),
        (&spec.pod_selector, "spec.podSelector"),
        (&spec.gateway_route_selector, "spec.gatewayRouteSelector"),
    ] {
        selector::check(of.as_ref(), field, report);
    }
    check_listeners(&spec.listeners, report);
    let usual = spec.backend_defaults.as_ref().and_then(|one| one.client_policy.as_ref());
    app_mesh_tls::check_client(usual, "spec.backendDefaults", report);
    check_logging(spec.logging.as_ref(), report);
    for (index, listener) in spec.listeners.iter().enumerate() {
        let checked = listener.health_check.as_ref().and_then(|check| check.protocol);
        if checked == Some(Protocol::Tcp) {
            let message = "a gateway's health is asked over http, http2 or grpc: use one of them";
            let field = format!("spec.listeners[{index}].healthCheck.protocol");
            report.error(code::RANGE, field, message);
        }
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
    if let Some(NodeProvider { virtual_node_ref: by_ref, virtual_node_arn: by_arn }) =
        &provider.virtual_node
    {
        let path = "spec.provider.virtualNode";
        let given =
            set([("virtualNodeRef", by_ref.is_some()), ("virtualNodeARN", by_arn.is_some())]);
        one_or_nothing(&given, "virtualNodeRef and virtualNodeARN", path, report);
        check_reference(by_ref.as_ref(), &format!("{path}.virtualNodeRef"), report);
    }
    if let Some(RouterProvider { virtual_router_ref: by_ref, virtual_router_arn: by_arn }) =
        &provider.virtual_router
    {
        let path = "spec.provider.virtualRouter";
        let given =
            set([("virtualRouterRef", by_ref.is_some()), ("virtualRouterARN", by_arn.is_some())]);
        one_or_nothing(&given, "virtualRouterRef and virtualRouterARN", path, report);
        check_reference(by_ref.as_ref(), &format!("{path}.virtualRouterRef"), report);
    }
}

pub(super) fn check_reference(named: Option<&Reference>, path: &str, report: &mut Report<'_>) {
    required(named.is_none_or(|one| !one.name.is_empty()), &format!("{path}.name"), report);
}

pub(super) fn check_mesh(spec: &MeshSpec, report: &mut Report<'_>) {
    selector::check(spec.namespace_selector.as_ref(), "spec.namespaceSelector", report);
    let preference = spec.mesh_service_discovery.as_ref().and_then(|one| one.ip_preference);
    if matches!(preference, Some(IpPreference::IPv4_PREFERRED | IpPreference::IPv6_PREFERRED)) {
        let message = "found a preference, expected IPv4_ONLY or IPv6_ONLY";
        report.error(code::RANGE, "spec.meshServiceDiscovery.ipPreference", message);
    }
}

pub(super) fn check_group(spec: &BackendGroupSpec, report: &mut Report<'_>) {
    for (index, service) in spec.virtualservices.iter().enumerate() {
        check_reference(Some(service), &format!("spec.virtualservices[{index}]"), report);
    }
}

fn check_cloud_map(map: &CloudMap, path: &str, report: &mut Report<'_>) {
    let CloudMap { namespace_name, service_name, attributes } = map;
    check_length(Some(namespace_name), 1024, &format!("{path}.namespaceName"), report);
    check_length(Some(service_name), 1024, &format!("{path}.serviceName"), report);
    for (index, attribute) in attributes.iter().enumerate() {
        let path = format!("{path}.attributes[{index}]");
        check_length(Some(&attribute.key), 255, &format!("{path}.key"), report);
        check_length(Some(&attribute.value), 1024, &format!("{path}.value"), report);
    }
}

fn check_logging(logging: Option<&Logging>, report: &mut Report<'_>) {
    let log = logging.and_then(|logging| logging.access_log.as_ref());
    let Some(file) = log.and_then(|log| log.file.as_ref()) else { return };
    let path = "spec.logging.accessLog.file";
    check_length(Some(&file.path), 255, &format!("{path}.path"), report);
    let Some(format) = &file.format else { return };
    for (index, item) in format.json.iter().enumerate() {
        let path = format!("{path}.format.json[{index}]");
        required(!item.key.is_empty(), &format!("{path}.key"), report);
        required(!item.value.is_empty(), &format!("{path}.value"), report);
    }
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
            for (name, time) in [
                ("interval", &outliers.interval),
                ("baseEjectionDuration", &outliers.base_ejection_duration),
            ] {
                check_time(time.as_ref(), &format!("{path}.{name}"), report);
            }
        }
        if let Some(pool) = &listener.connection_pool {
            check_pool(pool, &format!("{path}.connectionPool"), report);
        }
        if let Some(tls) = &listener.tls {
            app_mesh_tls::check_listener(tls, &format!("{path}.tls"), report);
        }
        if let Some(timeout) = &listener.timeout {
            let given = set([
                ("tcp", timeout.tcp.is_some()),
                ("http", timeout.http.is_some()),
                ("http2", timeout.http2.is_some()),
                ("grpc", timeout.grpc.is_some()),
            ]);
            at_most_one(&given, &format!("{path}.timeout"), report);
            for (name, timeout) in [
                ("tcp", &timeout.tcp),
                ("http", &timeout.http),
                ("http2", &timeout.http2),
                ("grpc", &timeout.grpc),
            ] {
                check_timeout(timeout.as_ref(), &format!("{path}.timeout.{name}"), report);
            }
        }
    }
}

fn check_pool(pool: &ConnectionPool, path: &str, report: &mut Report<'_>) {
    let ConnectionPool { tcp, http, http2, grpc } = pool;
    let given = set([
        ("tcp", tcp.is_some()),
        ("http", http.is_some()),
        ("http2", http2.is_some()),
        ("grpc", grpc.is_some()),
    ]);
    exactly_one(&given, "tcp, http, http2 and grpc", path, report);
    let pending = http.as_ref().and_then(|http| http.max_pending_requests);
    for (name, most) in [
        ("tcp.maxConnections", tcp.as_ref().map(|tcp| tcp.max_connections)),
        ("http.maxConnections", http.as_ref().map(|http| http.max_connections)),
        ("http.maxPendingRequests", pending),
        ("http2.maxRequests", http2.as_ref().map(|http2| http2.max_requests)),
        ("grpc.maxRequests", grpc.as_ref().map(|grpc| grpc.max_requests)),
    ] {
        check_range(most, (1, ANY), &format!("{path}.{name}"), report);
    }
}

pub(super) fn check_timeout(timeout: Option<&Timeout>, path: &str, report: &mut Report<'_>) {
    let Some(Timeout { per_request, idle }) = timeout else { return };
    check_time(per_request.as_ref(), &format!("{path}.perRequest"), report);
    check_time(idle.as_ref(), &format!("{path}.idle"), report);
}

pub(super) fn check_time(time: Option<&Duration>, path: &str, report: &mut Report<'_>) {
    check_range(time.map(|time| time.value), (0, ANY), &format!("{path}.value"), report);
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
        let message = "a path is for checks over HTTP only, and is not looked at here";
        report.info(code::FIELD_WITHOUT_EFFECT, format!("{path}.path"), message);
    }
}
