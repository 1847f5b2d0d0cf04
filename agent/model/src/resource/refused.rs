//! What is left of an object that is refused and never was good: whom it would govern, and the
//! strictest that it could have said of them. Without it a mistake in an object that restricts would
//! let everything out.
//!
//! The strictest reading is an object of the same kind, the *stand-in*: whatever follows from objects
//! follows from it without knowing better. Of the object itself only its metadata and its selector are
//! believed. Where not even the selector can be read, it may have selected anything.

mod may_be;
mod metadata;
mod parts;
mod strictest;

use std::collections::BTreeSet;

use k8s_openapi::{api::core::v1::Pod, apimachinery::pkg::apis::meta::v1::LabelSelector};

use super::{
    Kind, Metadata, Object, ObjectKey, legacy_policy, security, traffic::WorkloadSelector,
};
use crate::finding::{Finding, Severity};

pub use may_be::{MayBe, may_be};
pub(super) use parts::Parts;

/// See the module.
#[derive(Clone, Debug, PartialEq)]
pub struct Refused {
    /// The strictest object that may have been meant.
    pub stand_in: Object,
    /// Whom it is for.
    pub reach: Reach,
    /// Whether it may be in any namespace; a Namespace, whether it may be any that has no object.
    pub anywhere: bool,
}

/// Whom a refused object is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    /// Whom the stand-in selects.
    Selected,
    /// Not known: anything that an object of its kind and namespace may select.
    Unknown,
}

/// What selects, of the kinds that restrict.
#[derive(Clone, Debug, PartialEq)]
enum Selector {
    /// The pods or namespaces of App Mesh.
    Labels(Option<LabelSelector>),
    /// The pods of a Sidecar.
    Workload(Option<WorkloadSelector>),
    /// The pods of a policy.
    Pods(Option<security::Selector>),
    /// The services of a legacy policy.
    Targets(Vec<legacy_policy::Target>),
    /// Its kind has none.
    None,
    /// It cannot be read.
    Unknown,
}

/// What else of an object is believed.
#[derive(Clone, Debug)]
enum Rest {
    Nothing,
    /// The root namespace, of the mesh's settings.
    Root(String),
    /// The node of a Pod, its addresses, and whether it is on the host's network.
    OfPod(Box<Pod>),
}

/// The field that selects; `None` for kinds that restrict no pod.
const fn selecting_field(kind: Kind) -> Option<&'static str> {
    match kind {
        Kind::VirtualNode | Kind::VirtualGateway => Some("podSelector"),
        Kind::Mesh => Some("namespaceSelector"),
        Kind::Sidecar => Some("workloadSelector"),
        Kind::PeerAuthentication | Kind::AuthorizationPolicy | Kind::RequestAuthentication => {
            Some("selector")
        }
        Kind::Policy => Some("targets"),
        Kind::MeshPolicy | Kind::ConfigMap | Kind::Namespace | Kind::Pod => Some(""),
        _ => None,
    }
}

impl Refused {
    /// Of an object that could be read, and breaks a rule.
    pub fn of(object: &Object, findings: &[Finding]) -> Option<Self> {
        let key = object.key();
        let field = selecting_field(key.kind)?;
        let within = format!("spec.{field}");
        let breaks = |one: &Finding| {
            one.severity == Severity::Error && !field.is_empty() && one.field.starts_with(&*within)
        };
        let selector =
            if findings.iter().any(breaks) { Selector::Unknown } else { Selector::of(object) };
        let rest = match object {
            Object::MeshConfig(map) => Rest::Root(map.mesh.root_namespace.clone()),
            _ => Rest::Nothing,
        };
        Self::stricter(&key, metadata_of(object), selector, rest)
    }

    /// Of something that may be an object of a kind, of which no more is known. A pod without a name
    /// cannot be judged.
    pub fn unnamed(key: &ObjectKey, anywhere: bool) -> Option<Self> {
        selecting_field(key.kind).filter(|_| key.kind != Kind::Pod)?;
        Some(Self { anywhere, ..Parts::lost().stricter(key)? })
    }
}

impl Selector {
    fn of(object: &Object) -> Self {
        match object {
            Object::VirtualNode(one) => Self::Labels(one.spec.pod_selector.clone()),
            Object::VirtualGateway(one) => Self::Labels(one.spec.pod_selector.clone()),
            Object::Mesh(one) => Self::Labels(one.spec.namespace_selector.clone()),
            Object::Sidecar(one) => Self::Workload(one.spec.workload_selector.clone()),
            Object::PeerAuthentication(one) => Self::Pods(one.spec.selector.clone()),
            Object::AuthorizationPolicy(one) => Self::Pods(one.spec.selector.clone()),
            Object::RequestAuthentication(one) => Self::Pods(one.spec.selector.clone()),
            Object::Policy(one) => Self::Targets(one.spec.targets.clone()),
            _ => Self::None,
        }
    }
}

/// Of the kinds that restrict.
fn metadata_of(object: &Object) -> Metadata {
    match object {
        Object::VirtualNode(one) => one.metadata.clone(),
        Object::VirtualGateway(one) => one.metadata.clone(),
        Object::Mesh(one) => one.metadata.clone(),
        Object::Sidecar(one) => one.metadata.clone(),
        Object::MeshConfig(one) => one.metadata.clone(),
        Object::PeerAuthentication(one) => one.metadata.clone(),
        Object::AuthorizationPolicy(one) => one.metadata.clone(),
        Object::RequestAuthentication(one) => one.metadata.clone(),
        Object::Policy(one) | Object::MeshPolicy(one) => one.metadata.clone(),
        Object::Namespace(one) => one.metadata.clone().into(),
        _ => Metadata::default(),
    }
}

/// The refused objects that govern a pod.
pub type Governing = BTreeSet<ObjectKey>;
