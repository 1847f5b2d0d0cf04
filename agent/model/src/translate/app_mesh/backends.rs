//! What each node and each gateway may dial: `VirtualService`s of its own mesh.

use std::collections::{BTreeMap, BTreeSet};

use super::{ARN, AppMesh, Notes, list, not_found, referred, virtual_service};
use crate::{
    finding::{Finding, Severity, code},
    registry::List,
    resource::{
        Kind, Object, ObjectKey,
        app_mesh::{
            GatewayRoute, Mesh, Reference, VirtualNode, gateway_of,
            route::{RouteAction, TargetService},
        },
    },
};

/// The list of each node and gateway that is in a mesh.
pub(super) fn read(
    app_mesh: &AppMesh<'_>,
    findings: &mut Vec<Finding>,
) -> BTreeMap<ObjectKey, List> {
    let mut lists = BTreeMap::new();
    for node in app_mesh.objects.virtual_nodes() {
        let key = ObjectKey::of(Kind::VirtualNode, &node.metadata);
        let Some(mesh) = app_mesh.mesh(&key.namespace) else { continue };
        let mut notes = Notes::new(&key);
        let mut picker = Picker { app_mesh, mesh, notes: &mut notes, members: BTreeSet::new() };
        picker.node(node);
        let members = picker.members;
        findings.append(&mut notes.findings);
        lists.insert(key.clone(), List { members, ..list(key, mesh) });
    }
    for gateway in app_mesh.objects.virtual_gateways() {
        let key = ObjectKey::of(Kind::VirtualGateway, &gateway.metadata);
        if let Some(mesh) = app_mesh.mesh(&key.namespace) {
            lists.insert(key.clone(), list(key, mesh));
        }
    }
    for route in app_mesh.objects.gateway_routes() {
        route_to(app_mesh, route, &mut lists, findings);
    }
    lists
}

/// Adds a route's targets to the list of its gateway.
fn route_to(
    app_mesh: &AppMesh<'_>,
    route: &GatewayRoute,
    lists: &mut BTreeMap<ObjectKey, List>,
    findings: &mut Vec<Finding>,
) {
    let own = ObjectKey::of(Kind::GatewayRoute, &route.metadata);
    let Some(namespace) = app_mesh.namespaces.get(own.namespace.as_str()) else { return };
    let Some(mesh) = app_mesh.mesh(&own.namespace) else { return };
    let gateways = app_mesh.objects.virtual_gateways().map(|gateway| &**gateway);
    let gateway = match gateway_of(route, namespace, gateways) {
        Ok(gateway) => ObjectKey::of(Kind::VirtualGateway, &gateway.metadata),
        Err(error) => {
            let message = format!("{error}; the object has no effect");
            let (severity, code) = (Severity::Error, code::MEMBERSHIP);
            return findings.push(Finding::new(severity, code, &own, "metadata.labels", message));
        }
    };
    let mut notes = Notes::new(&own);
    let mut picker = Picker { app_mesh, mesh, notes: &mut notes, members: BTreeSet::new() };
    picker.route(route);
    let mut members = picker.members;
    findings.append(&mut notes.findings);
    if let Some(list) = lists.get_mut(&gateway) {
        list.members.append(&mut members);
    }
}

/// Picks the members of one list.
struct Picker<'a, 'b> {
    app_mesh: &'a AppMesh<'a>,
    mesh: &'a Mesh,
    notes: &'a mut Notes<'b>,
    members: BTreeSet<ObjectKey>,
}

impl Picker<'_, '_> {
    fn node(&mut self, node: &VirtualNode) {
        let own = node.metadata.namespace.as_deref().unwrap_or_default();
        for (index, backend) in node.spec.backends.iter().enumerate() {
            let field = format!("spec.backends[{index}].virtualService");
            match &backend.virtual_service.virtual_service_ref {
                Some(reference) => self.service(reference, own, &field),
                None => self.notes.warn(code::NOT_SUPPORTED, &field, ARN),
            }
        }
        for (index, reference) in node.spec.backend_groups.iter().enumerate() {
            let field = format!("spec.backendGroups[{index}]");
            let wanted = referred(Kind::BackendGroup, reference, own);
            match self.app_mesh.objects.get(&wanted) {
                Some(Object::BackendGroup(group)) => {
                    for service in &group.spec.virtualservices {
                        self.service(service, &wanted.namespace, &field);
                    }
                }
                _ => not_found(&field, &wanted, self.notes),
            }
        }
    }

    fn route(&mut self, route: &GatewayRoute) {
        let spec = &route.spec;
        let http = |name, route: &Option<crate::resource::app_mesh::route::HttpRoute>| {
            route.as_ref().map(|one| (name, one.action.clone()))
        };
        let grpc = spec.grpc_route.as_ref().map(|one| ("grpcRoute", one.action.clone()));
        let all =
            [http("httpRoute", &spec.http_route), http("http2Route", &spec.http2_route), grpc];
        for (name, action) in all.into_iter().flatten() {
            self.target(&action, &format!("spec.{name}.action.target.virtualService"), route);
        }
    }

    fn target(&mut self, action: &RouteAction, field: &str, route: &GatewayRoute) {
        let own = route.metadata.namespace.as_deref().unwrap_or_default();
        match action.target.as_ref().map(|target| &target.virtual_service) {
            Some(TargetService { virtual_service_ref: Some(reference), .. }) => {
                self.service(reference, own, field);
            }
            Some(TargetService { virtual_service_ref: None, .. }) => {
                self.notes.warn(code::NOT_SUPPORTED, field, ARN);
            }
            None => {}
        }
    }

    fn service(&mut self, reference: &Reference, own: &str, field: &str) {
        let wanted = referred(Kind::AppMeshVirtualService, reference, own);
        if virtual_service(self.app_mesh.objects, &wanted).is_none() {
            return not_found(field, &wanted, self.notes);
        }
        let mesh = self.app_mesh.mesh(&wanted.namespace);
        if mesh.map(|mesh| &mesh.metadata.name) != Some(&self.mesh.metadata.name) {
            let own = self.mesh.metadata.name.as_deref().unwrap_or_default();
            let message =
                format!("{wanted} is not in Mesh {own}, and so cannot be dialled from it");
            return self.notes.warn(code::MEMBERSHIP, field, message);
        }
        self.members.insert(wanted);
    }
}
