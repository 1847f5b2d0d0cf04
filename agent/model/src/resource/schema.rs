//! The schemas of what custom resources ask for, as their types have them.

use schemars::{JsonSchema, Schema, generate::SchemaSettings};

use super::{
    Kind, app_mesh, destination_rule, gateway, legacy_policy, security, service_entry, sidecar,
    virtual_service,
};

/// The schema of a kind's `spec`; `None` for kinds that the API server knows by itself.
pub fn of_spec(kind: Kind) -> Option<Schema> {
    Some(match kind {
        Kind::Namespace
        | Kind::Pod
        | Kind::Service
        | Kind::Endpoints
        | Kind::EndpointSlice
        | Kind::ConfigMap
        | Kind::MutatingWebhookConfiguration => return None,
        Kind::ServiceEntry => schema::<service_entry::ServiceEntrySpec>(),
        Kind::WorkloadEntry => schema::<service_entry::WorkloadEntrySpec>(),
        Kind::Sidecar => schema::<sidecar::SidecarSpec>(),
        Kind::VirtualService => schema::<virtual_service::VirtualServiceSpec>(),
        Kind::DestinationRule => schema::<destination_rule::DestinationRuleSpec>(),
        Kind::Gateway => schema::<gateway::GatewaySpec>(),
        Kind::WorkloadGroup => schema::<gateway::WorkloadGroupSpec>(),
        Kind::PeerAuthentication => schema::<security::PeerAuthenticationSpec>(),
        Kind::AuthorizationPolicy => schema::<security::AuthorizationPolicySpec>(),
        Kind::RequestAuthentication => schema::<security::RequestAuthenticationSpec>(),
        Kind::MeshPolicy | Kind::Policy => schema::<legacy_policy::PolicySpec>(),
        Kind::Mesh => schema::<app_mesh::MeshSpec>(),
        Kind::VirtualNode => schema::<app_mesh::node::VirtualNodeSpec>(),
        Kind::VirtualRouter => schema::<app_mesh::route::VirtualRouterSpec>(),
        Kind::AppMeshVirtualService => schema::<app_mesh::VirtualServiceSpec>(),
        Kind::VirtualGateway => schema::<app_mesh::node::VirtualGatewaySpec>(),
        Kind::GatewayRoute => schema::<app_mesh::route::GatewayRouteSpec>(),
        Kind::BackendGroup => schema::<app_mesh::BackendGroupSpec>(),
    })
}

fn schema<T: JsonSchema>() -> Schema {
    let settings = SchemaSettings::openapi3().with(|settings| settings.inline_subschemas = true);
    settings.into_generator().into_root_schema_for::<T>()
}
