//! Objects as they are on the wire: typed, whole, and not interpreted. The one place besides
//! [`crate::translate`] that knows dialects.
//!
//! ```text
//! text ─► documents ─► parse ─► Object          every field typed; what we do not know is a Finding
//!                               └► validate ─► Finding   an Error refuses the object by name
//! ```
//!
//! A kind is added by a variant of [`Kind`] and of [`Object`], and a line in [`parse`]'s dispatch.

mod check;
mod custom;
pub mod mesh_config;
mod parse;
pub mod protocol;
pub mod service_entry;
pub mod sidecar;
mod store;
pub mod traffic;
mod yaml;

use std::{fmt, sync::Arc};

use k8s_openapi::{
    api::{
        core::v1::{Endpoints, Namespace, Pod, Service},
        discovery::v1::EndpointSlice,
    },
    apimachinery::pkg::apis::meta::v1::ObjectMeta,
};

pub use check::validate;
pub use custom::Custom;
pub use parse::{Parsed, ResourceError, parse};
pub use store::Objects;
pub use yaml::{Document, Part, YamlError, documents, split};

/// The kinds that are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// `v1`, cluster scope.
    Namespace,
    /// `v1`.
    Pod,
    /// `v1`.
    Service,
    /// `v1`.
    Endpoints,
    /// `discovery.k8s.io/v1`.
    EndpointSlice,
    /// `v1`; only the mesh's own, see [`mesh_config`].
    ConfigMap,
    /// `networking.istio.io`.
    ServiceEntry,
    /// `networking.istio.io`.
    WorkloadEntry,
    /// `networking.istio.io`.
    Sidecar,
}

impl Kind {
    /// The name in a manifest.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Namespace => "Namespace",
            Self::Pod => "Pod",
            Self::Service => "Service",
            Self::Endpoints => "Endpoints",
            Self::EndpointSlice => "EndpointSlice",
            Self::ConfigMap => "ConfigMap",
            Self::ServiceEntry => "ServiceEntry",
            Self::WorkloadEntry => "WorkloadEntry",
            Self::Sidecar => "Sidecar",
        }
    }

    /// Whether objects of this kind live in a namespace.
    pub const fn is_namespaced(self) -> bool {
        !matches!(self, Self::Namespace)
    }
}

/// What tells one object from another.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ObjectKey {
    /// The kind.
    pub kind: Kind,
    /// The namespace; empty for cluster scope.
    pub namespace: String,
    /// The name.
    pub name: String,
}

impl fmt::Display for ObjectKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { kind, namespace, name } = self;
        match namespace.as_str() {
            "" => write!(f, "{} {name}", kind.name()),
            _ => write!(f, "{} {namespace}/{name}", kind.name()),
        }
    }
}

/// An object of a kind that is read. Cheap to clone.
#[derive(Clone, Debug, PartialEq)]
pub enum Object {
    /// See [`Kind::Namespace`].
    Namespace(Arc<Namespace>),
    /// See [`Kind::Pod`].
    Pod(Arc<Pod>),
    /// See [`Kind::Service`].
    Service(Arc<Service>),
    /// See [`Kind::Endpoints`].
    Endpoints(Arc<Endpoints>),
    /// See [`Kind::EndpointSlice`].
    EndpointSlice(Arc<EndpointSlice>),
    /// See [`Kind::ConfigMap`].
    MeshConfig(Arc<mesh_config::MeshConfigMap>),
    /// See [`Kind::ServiceEntry`].
    ServiceEntry(Arc<service_entry::ServiceEntry>),
    /// See [`Kind::WorkloadEntry`].
    WorkloadEntry(Arc<service_entry::WorkloadEntry>),
    /// See [`Kind::Sidecar`].
    Sidecar(Arc<sidecar::Sidecar>),
}

impl Object {
    /// The kind.
    pub const fn kind(&self) -> Kind {
        match self {
            Self::Namespace(_) => Kind::Namespace,
            Self::Pod(_) => Kind::Pod,
            Self::Service(_) => Kind::Service,
            Self::Endpoints(_) => Kind::Endpoints,
            Self::EndpointSlice(_) => Kind::EndpointSlice,
            Self::MeshConfig(_) => Kind::ConfigMap,
            Self::ServiceEntry(_) => Kind::ServiceEntry,
            Self::WorkloadEntry(_) => Kind::WorkloadEntry,
            Self::Sidecar(_) => Kind::Sidecar,
        }
    }

    /// Name, namespace, labels, annotations and age.
    pub fn metadata(&self) -> &ObjectMeta {
        match self {
            Self::Namespace(object) => &object.metadata,
            Self::Pod(object) => &object.metadata,
            Self::Service(object) => &object.metadata,
            Self::Endpoints(object) => &object.metadata,
            Self::EndpointSlice(object) => &object.metadata,
            Self::MeshConfig(object) => &object.metadata,
            Self::ServiceEntry(object) => &object.metadata,
            Self::WorkloadEntry(object) => &object.metadata,
            Self::Sidecar(object) => &object.metadata,
        }
    }

    /// What tells it from another.
    pub fn key(&self) -> ObjectKey {
        let metadata = self.metadata();
        ObjectKey {
            kind: self.kind(),
            namespace: metadata.namespace.clone().unwrap_or_default(),
            name: metadata.name.clone().unwrap_or_default(),
        }
    }

    /// Whether both are the very same object in memory, and so surely equal.
    pub fn is_same(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Namespace(one), Self::Namespace(other)) => Arc::ptr_eq(one, other),
            (Self::Pod(one), Self::Pod(other)) => Arc::ptr_eq(one, other),
            (Self::Service(one), Self::Service(other)) => Arc::ptr_eq(one, other),
            (Self::Endpoints(one), Self::Endpoints(other)) => Arc::ptr_eq(one, other),
            (Self::EndpointSlice(one), Self::EndpointSlice(other)) => Arc::ptr_eq(one, other),
            (Self::MeshConfig(one), Self::MeshConfig(other)) => Arc::ptr_eq(one, other),
            (Self::ServiceEntry(one), Self::ServiceEntry(other)) => Arc::ptr_eq(one, other),
            (Self::WorkloadEntry(one), Self::WorkloadEntry(other)) => Arc::ptr_eq(one, other),
            (Self::Sidecar(one), Self::Sidecar(other)) => Arc::ptr_eq(one, other),
            _ => false,
        }
    }
}
