//! Whether an object is valid: Istio's own checks, since its webhook need not be installed. An
//! Error refuses the object, and its last good form stays; a Warning lets it through.

mod access;
mod annotations;
mod app_mesh;
mod app_mesh_effect;
mod app_mesh_gateway_route;
mod app_mesh_route;
mod app_mesh_tls;
mod attributes;
mod balancer;
mod client_tls;
mod destination;
mod destination_rule;
mod entry;
mod export;
mod gateway;
mod http_answer;
mod http_headers;
mod http_patience;
mod http_route;
mod locality;
mod names;
mod pool;
mod security;
mod selector;
mod server_tls;
mod sidecar;
mod target;
mod tokens;
mod traffic_effect;
mod unreachable;
mod unsupported;
mod values;
mod virtual_service;
mod workload;

pub(crate) use self::names::is_domain;
pub(super) use self::selector::is_sound as is_selector_sound;
use super::{Object, ObjectKey, Short};
use crate::finding::{Finding, Severity};

/// What is wrong with an object by itself.
pub fn validate(object: &Object) -> Vec<Finding> {
    let key = object.key();
    let mut report = Report::new(&key);
    match object {
        Object::ServiceEntry(one) => entry::check(&one.metadata, &one.spec, &mut report),
        Object::WorkloadEntry(entry) => workload::check_entry(&entry.spec, &mut report),
        Object::WorkloadGroup(group) => workload::check_group(&group.spec, &mut report),
        Object::Sidecar(sidecar) => sidecar::check(&sidecar.spec, &mut report),
        Object::Service(service) => export::check_annotation(&service.metadata, &mut report),
        Object::VirtualService(one) => virtual_service::check(&one.spec, &mut report),
        Object::DestinationRule(one) => destination_rule::check(&one.spec, &mut report),
        Object::Gateway(one) => gateway::check(&one.spec, &mut report),
        Object::PeerAuthentication(one) => security::check_peers(&one.spec, &mut report),
        Object::AuthorizationPolicy(one) => access::check(&one.spec, &mut report),
        Object::RequestAuthentication(one) => tokens::check(&one.spec, &mut report),
        Object::MeshPolicy(one) => security::check_mesh_policy(&one.spec, &mut report),
        Object::Policy(one) => security::check_policy(&one.spec, &mut report),
        Object::VirtualNode(one) => app_mesh::check_node(&one.spec, &mut report),
        Object::VirtualGateway(one) => app_mesh::check_gateway(&one.spec, &mut report),
        Object::AppMeshVirtualService(one) => app_mesh::check_service(&one.spec, &mut report),
        Object::VirtualRouter(one) => app_mesh_route::check_router(&one.spec, &mut report),
        Object::GatewayRoute(one) => {
            app_mesh_gateway_route::check_gateway_route(&one.spec, &mut report);
        }
        Object::Mesh(one) => app_mesh::check_mesh(&one.spec, &mut report),
        Object::BackendGroup(one) => app_mesh::check_group(&one.spec, &mut report),
        _ => {}
    }
    annotations::check(object, &mut report);
    unsupported::note(object, &mut report);
    report.findings
}

/// Findings of one object, in the making.
struct Report<'a> {
    key: &'a ObjectKey,
    findings: Vec<Finding>,
}

impl<'a> Report<'a> {
    const fn new(key: &'a ObjectKey) -> Self {
        Self { key, findings: Vec::new() }
    }

    fn error(&mut self, code: &'static str, field: impl Into<Short>, message: impl Into<String>) {
        self.findings.push(Finding::new(Severity::Error, code, self.key, field, message));
    }

    fn info(&mut self, code: &'static str, field: impl Into<Short>, message: impl Into<String>) {
        self.findings.push(Finding::new(Severity::Info, code, self.key, field, message));
    }

    fn warn(&mut self, code: &'static str, field: impl Into<Short>, message: impl Into<String>) {
        self.findings.push(Finding::new(Severity::Warning, code, self.key, field, message));
    }
}
