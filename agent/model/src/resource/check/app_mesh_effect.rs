//! What of App Mesh's objects has no effect yet: who may dial whom is honoured, how it is dialled and
//! which request goes where is not.

use super::Report;
use crate::{
    finding::code,
    resource::{
        Object,
        app_mesh::{
            MeshSpec,
            node::{Listener, VirtualGatewaySpec, VirtualNodeSpec},
            route::{GatewayRouteSpec, Route, VirtualRouterSpec},
        },
        schema_fields::manifest_name,
    },
};

const ROUTES: &str = "requests are not routed here yet: a connection goes where the Service of the \
                      dialled name takes it";
const CLIENTS: &str = "connections are made here without it: no TLS is added";
const LISTENERS: &str = "what arrives is handed on as it is: nothing is limited, checked or \
                         decrypted here yet";
const GATEWAYS: &str = "no listener is opened here yet: the gateway's own pods serve it";
const LOGGING: &str = "requests are not seen here yet: connections are in `sekisho flows`";
const CLOUD_MAP: &str = "AWS is not asked: the node is reached by the Service of the name that leads \
                         to it";
const FAMILIES: &str = "both families are allowed, whichever a name resolves to";
const OWNER: &str = "accounts of AWS mean nothing here";

/// Reports what of an object has no effect.
pub(super) fn note(object: &Object, report: &mut Report<'_>) {
    match object {
        Object::Mesh(one) => mesh(&one.spec, report),
        Object::VirtualNode(one) => node(&one.spec, report),
        Object::VirtualRouter(one) => router(&one.spec, report),
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
        for field in listener.set_fields().into_iter().filter(|field| *field != "port_mapping") {
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

fn router(spec: &VirtualRouterSpec, report: &mut Report<'_>) {
    for (index, route) in spec.routes.iter().enumerate() {
        let does_more = spec.routes.len() > 1 || !is_plain(route);
        without(report, does_more, &format!("spec.routes[{index}]"), ROUTES);
    }
}

/// Whether a route by itself does nothing that its target's Service would not do.
fn is_plain(route: &Route) -> bool {
    let Route { name: _, grpc_route, http_route, http2_route, tcp_route, priority: _ } = route;
    let http = http_route.iter().chain(http2_route).all(|one| {
        let any =
            ["prefix"] == *one.matches.set_fields() && one.matches.prefix.as_deref() == Some("/");
        any && one.retry_policy.is_none()
            && one.timeout.is_none()
            && one.action.weighted_targets.len() == 1
    });
    let grpc = grpc_route.iter().all(|one| {
        one.matches.set_fields().is_empty()
            && one.retry_policy.is_none()
            && one.timeout.is_none()
            && one.action.weighted_targets.len() == 1
    });
    let tcp = tcp_route.iter().all(|one| {
        one.matches.is_none() && one.timeout.is_none() && one.action.weighted_targets.len() == 1
    });
    http && grpc && tcp
}

fn gateway(spec: &VirtualGatewaySpec, report: &mut Report<'_>) {
    let listeners: &[Listener] = &spec.listeners;
    without(report, !listeners.is_empty(), "spec.listeners", GATEWAYS);
    without(report, spec.backend_defaults.is_some(), "spec.backendDefaults", CLIENTS);
    without(report, spec.logging.is_some(), "spec.logging", LOGGING);
}

/// Its target is what the gateway's pods may dial; the rest is for what serves the gateway.
fn gateway_route(spec: &GatewayRouteSpec, report: &mut Report<'_>) {
    without(report, spec.grpc_route.is_some(), "spec.grpcRoute", ROUTES);
    without(report, spec.http_route.is_some(), "spec.httpRoute", ROUTES);
    without(report, spec.http2_route.is_some(), "spec.http2Route", ROUTES);
}
