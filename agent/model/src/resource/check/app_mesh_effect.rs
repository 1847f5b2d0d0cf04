//! What of App Mesh's objects has no effect yet: who may dial whom is honoured, and what goes where;
//! nothing is encrypted, and gateways open no listener.

use super::Report;
use crate::{
    finding::code,
    resource::{
        Object,
        app_mesh::{
            MeshSpec,
            common::Protocol,
            node::{Listener, VirtualGatewaySpec, VirtualNodeSpec},
            route::GatewayRouteSpec,
        },
        schema_fields::manifest_name,
    },
};

const CLIENTS: &str = "requests fail with 503 where TLS is enforced and its certificates are in no file \
                       below --tls-dir; other connections are made without it";
const LISTENERS: &str = "what arrives is handed on as it is: nothing is limited, checked or \
                         decrypted here yet";
const GATEWAYS: &str = "no listener is opened here yet: the gateway's own pods serve it";
const LOGGING: &str = "requests are not seen here yet: connections are in `sekisho flows`";
const CLOUD_MAP: &str = "AWS is not asked: requests go to the pods that the node selects, other \
                         connections where the Service of the dialled name takes them";
const FAMILIES: &str = "both families are allowed, whichever a name resolves to";
const OWNER: &str = "accounts of AWS mean nothing here";

/// Reports what of an object has no effect.
pub(super) fn note(object: &Object, report: &mut Report<'_>) {
    match object {
        Object::Mesh(one) => mesh(&one.spec, report),
        Object::VirtualNode(one) => node(&one.spec, report),
        Object::VirtualGateway(one) => gateway(&one.spec, report),
        Object::GatewayRoute(one) => gateway_route(&one.spec, report),
        _ => {}
    }
}

fn without(report: &mut Report<'_>, is_set: bool, field: &str, meanwhile: &str) {
    if is_set {
        report.warn(code::NOT_SUPPORTED, field, meanwhile);
    }
}

fn mesh(spec: &MeshSpec, report: &mut Report<'_>) {
    without(report, spec.mesh_owner.is_some(), "spec.meshOwner", OWNER);
    let discovery = spec.mesh_service_discovery.is_some();
    without(report, discovery, "spec.meshServiceDiscovery", FAMILIES);
}

fn node(spec: &VirtualNodeSpec, report: &mut Report<'_>) {
    for (index, listener) in spec.listeners.iter().enumerate() {
        let is_tcp = listener.port_mapping.protocol.is_none_or(|one| one == Protocol::Tcp);
        // Clients give up and leave endpoints out by these, where they send requests.
        let is_clients = |field: &str| matches!(field, "outlier_detection" | "timeout") && !is_tcp;
        let fields = listener.set_fields().into_iter();
        for field in fields.filter(|field| *field != "port_mapping" && !is_clients(field)) {
            let field = format!("spec.listeners[{index}].{}", manifest_name(field));
            without(report, true, &field, LISTENERS);
        }
    }
    let cloud_map = spec.service_discovery.as_ref().is_some_and(|one| one.aws_cloud_map.is_some());
    without(report, cloud_map, "spec.serviceDiscovery.awsCloudMap", CLOUD_MAP);
    for (index, backend) in spec.backends.iter().enumerate() {
        let field = format!("spec.backends[{index}].virtualService.clientPolicy");
        without(report, backend.virtual_service.client_policy.is_some(), &field, CLIENTS);
    }
    without(report, spec.backend_defaults.is_some(), "spec.backendDefaults", CLIENTS);
    without(report, spec.logging.is_some(), "spec.logging", LOGGING);
}

fn gateway(spec: &VirtualGatewaySpec, report: &mut Report<'_>) {
    let listeners: &[Listener] = &spec.listeners;
    without(report, !listeners.is_empty(), "spec.listeners", GATEWAYS);
    without(report, spec.backend_defaults.is_some(), "spec.backendDefaults", CLIENTS);
    without(report, spec.logging.is_some(), "spec.logging", LOGGING);
}

/// Its target is what the gateway's pods may dial; the rest is for what serves the gateway.
fn gateway_route(spec: &GatewayRouteSpec, report: &mut Report<'_>) {
    without(report, spec.grpc_route.is_some(), "spec.grpcRoute", GATEWAYS);
    without(report, spec.http_route.is_some(), "spec.httpRoute", GATEWAYS);
    without(report, spec.http2_route.is_some(), "spec.http2Route", GATEWAYS);
}
