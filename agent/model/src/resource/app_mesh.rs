//! `appmesh.k8s.aws/v1beta2`: what its kinds share, and its whole schema below.

pub mod common;
mod membership;
pub mod node;
pub mod route;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use serde::Deserialize;

use super::Custom;

pub use membership::{
    Enrolment, INJECTOR, MembershipError, Workload, enrolment, enrolment_in, gateway_of, mesh_of,
    selects, workload_of,
};

/// The mesh; cluster scope.
pub type Mesh = Custom<MeshSpec>;
/// The pods behind one name.
pub type VirtualNode = Custom<node::VirtualNodeSpec>;
/// Routes from a name to nodes.
pub type VirtualRouter = Custom<route::VirtualRouterSpec>;
/// A name.
pub type VirtualService = Custom<VirtualServiceSpec>;
/// Pods at the edge of the mesh.
pub type VirtualGateway = Custom<node::VirtualGatewaySpec>;
/// A route from a gateway to a name.
pub type GatewayRoute = Custom<route::GatewayRouteSpec>;
/// Names that several nodes may dial.
pub type BackendGroup = Custom<BackendGroupSpec>;

schema_fields! {
    /// The `spec` of a [`Mesh`].
    MeshSpec {
        aws_name: Option<String>,
        namespace_selector: Option<LabelSelector>,
        egress_filter: Option<EgressFilter>,
        mesh_owner: Option<String>,
        mesh_service_discovery: Option<MeshServiceDiscovery>,
    }
    /// What nodes may dial besides their backends.
    EgressFilter {
        #[serde(rename = "type")]
        kind: EgressFilterType,
    }
    /// Which family a name is resolved to.
    MeshServiceDiscovery { ip_preference: Option<IpPreference> }
    /// The mesh that an object is in; the controller writes it.
    MeshReference { name: String, uid: String }
    /// An object, by default of the same namespace.
    Reference { namespace: Option<String>, name: String }
    /// The `spec` of a [`VirtualService`].
    VirtualServiceSpec {
        aws_name: Option<String>,
        provider: Option<Provider>,
        mesh_ref: Option<MeshReference>,
    }
    /// What answers for a name.
    Provider {
        virtual_node: Option<NodeProvider>,
        virtual_router: Option<RouterProvider>,
    }
    /// A node that answers.
    NodeProvider {
        virtual_node_ref: Option<Reference>,
        #[serde(rename = "virtualNodeARN")]
        virtual_node_arn: Option<String>,
    }
    /// A router that answers.
    RouterProvider {
        virtual_router_ref: Option<Reference>,
        #[serde(rename = "virtualRouterARN")]
        virtual_router_arn: Option<String>,
    }
    /// The `spec` of a [`BackendGroup`].
    BackendGroupSpec {
        virtualservices: Vec<Reference>,
        mesh_ref: Option<MeshReference>,
    }
}

/// What nodes may dial besides their backends.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum EgressFilterType {
    /// Anything.
    AllowAll,
    /// Nothing: what a mesh without a filter means.
    #[default]
    DropAll,
}

/// Which family a name is resolved to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[expect(non_camel_case_types, reason = "the schema's own names")]
pub enum IpPreference {
    /// Only IPv6.
    IPv6_ONLY,
    /// Only IPv4.
    IPv4_ONLY,
    /// IPv4, else IPv6.
    IPv4_PREFERRED,
    /// IPv6, else IPv4.
    IPv6_PREFERRED,
}

impl MeshSpec {
    /// What nodes may dial besides their backends.
    pub fn egress(&self) -> EgressFilterType {
        self.egress_filter.as_ref().map_or(EgressFilterType::DropAll, |filter| filter.kind)
    }
}
