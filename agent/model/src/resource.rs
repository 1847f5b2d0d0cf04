//! Objects as they are on the wire: typed, whole, and not interpreted. The one place besides
//! `translate` that knows dialects.
//!
//! ```text
//! text ─► documents ─► parse ─► Object          every field typed; what we do not know is a Finding
//!                               └► validate ─► Finding   an Error refuses the object by name
//! ```
//!
//! A kind is added by a line in [`Kind`] and in [`Object`], and in the dispatch of [`parse()`] and of
//! [`validate`].

#[macro_use]
mod schema_fields;

pub mod app_mesh;
mod check;
mod custom;
pub mod destination_rule;
pub(crate) mod duration;
mod endpoint_slice;
pub mod gateway;
pub mod legacy_policy;
pub mod mesh_config;
mod parse;
pub mod protocol;
mod refused;
#[cfg(feature = "schema")]
pub mod schema;
pub mod security;
mod service;
pub mod service_entry;
mod shape;
pub mod sidecar;
mod store;
pub mod tag;
pub mod traffic;
pub mod virtual_service;
mod yaml;
mod yaml_words;

use std::sync::Arc;

use k8s_openapi::api::core::v1::{Endpoints, Namespace, Pod};

pub use crate::object::{Described, Kind, Metadata, ObjectKey, Pairs, Short};
pub(crate) use check::is_domain;
pub use check::validate;
pub use custom::Custom;
pub use endpoint_slice::EndpointSlice;
pub use parse::{Parsed, ResourceError, parse};
pub use refused::{Governing, MayBe, Reach, Refused, may_be};
pub use service::Service;
pub use shape::ShapeError;
pub use store::Objects;
pub use yaml::{Document, NotYaml, Part, YamlError, documents, split};

macro_rules! objects {
    ($($variant:ident $kind:ident $type:ty;)+) => {
        /// An object of a kind that is read. Cheap to clone.
        #[derive(Clone, Debug, PartialEq)]
        pub enum Object {
            $(
                #[doc = concat!("See [`Kind::", stringify!($kind), "`].")]
                $variant(Arc<$type>)
            ),+
        }

        impl Object {
            /// The kind.
            pub const fn kind(&self) -> Kind {
                match self { $(Self::$variant(_) => Kind::$kind),+ }
            }

            /// Name, namespace, labels, annotations and age.
            pub fn metadata(&self) -> &dyn Described {
                match self { $(Self::$variant(object) => &object.metadata),+ }
            }

            /// Whether both are the very same object in memory, and so surely equal.
            pub fn is_same(&self, other: &Self) -> bool {
                match (self, other) {
                    $((Self::$variant(one), Self::$variant(other)) => Arc::ptr_eq(one, other),)+
                    _ => false,
                }
            }
        }
    };
}

objects! {
    Namespace Namespace Namespace;
    Pod Pod Pod;
    Service Service Service;
    Endpoints Endpoints Endpoints;
    EndpointSlice EndpointSlice EndpointSlice;
    MeshConfig ConfigMap mesh_config::MeshConfigMap;
    RevisionTag MutatingWebhookConfiguration tag::RevisionTag;
    ServiceEntry ServiceEntry service_entry::ServiceEntry;
    WorkloadEntry WorkloadEntry service_entry::WorkloadEntry;
    Sidecar Sidecar sidecar::Sidecar;
    VirtualService VirtualService virtual_service::VirtualService;
    DestinationRule DestinationRule destination_rule::DestinationRule;
    Gateway Gateway gateway::Gateway;
    WorkloadGroup WorkloadGroup gateway::WorkloadGroup;
    PeerAuthentication PeerAuthentication security::PeerAuthentication;
    AuthorizationPolicy AuthorizationPolicy security::AuthorizationPolicy;
    RequestAuthentication RequestAuthentication security::RequestAuthentication;
    MeshPolicy MeshPolicy legacy_policy::MeshPolicy;
    Policy Policy legacy_policy::LegacyPolicy;
    Mesh Mesh app_mesh::Mesh;
    VirtualNode VirtualNode app_mesh::VirtualNode;
    VirtualRouter VirtualRouter app_mesh::VirtualRouter;
    AppMeshVirtualService AppMeshVirtualService app_mesh::VirtualService;
    VirtualGateway VirtualGateway app_mesh::VirtualGateway;
    GatewayRoute GatewayRoute app_mesh::GatewayRoute;
    BackendGroup BackendGroup app_mesh::BackendGroup;
}

impl Object {
    /// What tells it from another.
    pub fn key(&self) -> ObjectKey {
        ObjectKey::of(self.kind(), self.metadata())
    }
}
