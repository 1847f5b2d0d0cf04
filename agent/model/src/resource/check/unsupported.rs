//! Kinds that are read, held against their rules, and not acted on yet: each field that is set is
//! reported, with what happens meanwhile.

use super::{Report, app_mesh_effect, traffic_effect};
use crate::{
    finding::code,
    resource::{Object, legacy_policy::PolicySpec, schema_fields::manifest_name},
};

const GATEWAYS: &str = "no listener is opened here yet: the gateway's own pods serve it";
const IDENTITY: &str = "no workload is registered here";
const ACCESS: &str = "requests are not held against it here yet: nothing is denied by this object";
const TOKENS: &str = "tokens are not looked at here: every request passes as without this object";

/// Reports what a legacy policy asks of tokens.
fn origins(spec: &PolicySpec, report: &mut Report<'_>) {
    for field in spec.set_fields() {
        let is_of_tokens = match field {
            "peers" => spec.peers.iter().any(|peer| peer.jwt.is_some()),
            field => field.starts_with("origin") || field == "principal_binding",
        };
        if is_of_tokens {
            let field = format!("spec.{}", manifest_name(field));
            report.warn(code::NOT_SUPPORTED, field, TOKENS);
        }
    }
}

/// Reports what of an object has no effect.
pub(super) fn note(object: &Object, report: &mut Report<'_>) {
    let (fields, meanwhile) = match object {
        Object::VirtualService(one) => return traffic_effect::routes(&one.spec, report),
        Object::DestinationRule(one) => return traffic_effect::clients(&one.spec, report),
        Object::Gateway(one) => (one.spec.set_fields(), GATEWAYS),
        Object::WorkloadGroup(one) => (one.spec.set_fields(), IDENTITY),
        Object::AuthorizationPolicy(one) => (one.spec.set_fields(), ACCESS),
        Object::RequestAuthentication(one) => (one.spec.set_fields(), TOKENS),
        Object::MeshPolicy(one) | Object::Policy(one) => return origins(&one.spec, report),
        Object::Mesh(_)
        | Object::VirtualNode(_)
        | Object::VirtualRouter(_)
        | Object::AppMeshVirtualService(_)
        | Object::VirtualGateway(_)
        | Object::GatewayRoute(_)
        | Object::BackendGroup(_) => return app_mesh_effect::note(object, report),
        Object::Namespace(_)
        | Object::Pod(_)
        | Object::Service(_)
        | Object::Endpoints(_)
        | Object::EndpointSlice(_)
        | Object::MeshConfig(_)
        | Object::RevisionTag(_)
        | Object::ServiceEntry(_)
        | Object::WorkloadEntry(_)
        | Object::PeerAuthentication(_)
        | Object::Sidecar(_) => return,
    };
    if fields.is_empty() {
        report.warn(code::NOT_SUPPORTED, "spec", meanwhile);
    }
    for field in fields {
        let field = format!("spec.{}", manifest_name(field));
        report.warn(code::NOT_SUPPORTED, field, meanwhile);
    }
}
