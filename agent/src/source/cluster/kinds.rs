//! What is watched, and how narrowly.
//!
//! Endpoints are not watched: the control plane mirrors those that people write into `EndpointSlices`
//! (<https://kubernetes.io/docs/concepts/services-networking/endpoint-slices/>), and a Service with
//! thousands of pods changes one slice of a hundred addresses where it would change all of its
//! Endpoints.

use std::fmt;

use agent_model::resource::{Kind, mesh_config};
use kube::{Api, Client, api::DynamicObject, core::ApiResource};

/// One kind as the API server serves it.
#[derive(Debug)]
pub(super) struct Watched {
    pub(super) kind: Kind,
    /// Empty for the core group.
    pub(super) group: &'static str,
    /// The versions that can be read, the preferred one first.
    pub(super) versions: &'static [&'static str],
    pub(super) plural: &'static str,
    pub(super) reach: Reach,
    /// Whether a cluster may lack it: a custom resource.
    pub(super) custom: bool,
}

/// Which objects of a kind are asked for.
#[derive(Clone, Copy, Debug)]
pub(super) enum Reach {
    /// All of them.
    All,
    /// Those with this node in `spec.nodeName`.
    Node,
    /// One, by namespace and name.
    One(&'static str, &'static str),
}

const ISTIO: &str = "networking.istio.io";
const ISTIO_VERSIONS: &[&str] = &["v1", "v1beta1", "v1alpha3"];

const fn core(kind: Kind, plural: &'static str, reach: Reach) -> Watched {
    Watched { kind, group: "", versions: &["v1"], plural, reach, custom: false }
}

const fn istio(kind: Kind, plural: &'static str) -> Watched {
    let (group, versions) = (ISTIO, ISTIO_VERSIONS);
    Watched { kind, group, versions, plural, reach: Reach::All, custom: true }
}

/// All that is watched. `deploy/rbac.yaml` grants just this.
pub(super) static ALL: [Watched; 8] = [
    core(Kind::Namespace, "namespaces", Reach::All),
    core(Kind::Pod, "pods", Reach::Node),
    core(Kind::Service, "services", Reach::All),
    core(Kind::ConfigMap, "configmaps", Reach::One(mesh_config::NAMESPACE, mesh_config::NAME)),
    Watched {
        group: "discovery.k8s.io",
        ..core(Kind::EndpointSlice, "endpointslices", Reach::All)
    },
    istio(Kind::ServiceEntry, "serviceentries"),
    istio(Kind::WorkloadEntry, "workloadentries"),
    istio(Kind::Sidecar, "sidecars"),
];

impl Watched {
    /// Its name and path in one version.
    pub(super) fn resource(&self, version: &str) -> ApiResource {
        let api_version = match self.group {
            "" => version.to_owned(),
            group => format!("{group}/{version}"),
        };
        ApiResource {
            group: self.group.to_owned(),
            version: version.to_owned(),
            api_version,
            kind: self.kind.name().to_owned(),
            plural: self.plural.to_owned(),
        }
    }

    /// The requests for it.
    pub(super) fn api(&self, client: &Client, resource: &ApiResource) -> Api<DynamicObject> {
        match self.reach {
            Reach::One(namespace, _) => Api::namespaced_with(client.clone(), namespace, resource),
            Reach::All | Reach::Node => Api::all_with(client.clone(), resource),
        }
    }

    /// The field selector that narrows them.
    pub(super) fn fields(&self, node: &str) -> Option<String> {
        match self.reach {
            Reach::All => None,
            Reach::Node => Some(format!("spec.nodeName={node}")),
            Reach::One(_, name) => Some(format!("metadata.name={name}")),
        }
    }

    /// The name of an object of it as a place.
    pub(super) fn place(&self, namespace: &str, name: &str) -> String {
        match namespace {
            "" => format!("{self}/{name}"),
            _ => format!("{self}/{namespace}/{name}"),
        }
    }
}

/// As an RBAC rule and `kubectl` name it.
impl fmt::Display for Watched {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.group {
            "" => f.write_str(self.plural),
            group => write!(f, "{}.{group}", self.plural),
        }
    }
}

#[cfg(test)]
mod tests;
