//! What is watched, and how narrowly.
//!
//! Endpoints are not watched: the control plane mirrors those that people write into `EndpointSlices`
//! (<https://kubernetes.io/docs/concepts/services-networking/endpoint-slices/>), and a Service with
//! thousands of pods changes one slice of a hundred addresses where it would change all of its
//! Endpoints.

use std::{
    fmt,
    sync::{Arc, LazyLock},
};

use agent_model::resource::{Kind, mesh_config, tag};
use kube::{Api, Client, api::DynamicObject, core::ApiResource};

/// One kind as the API server serves it.
#[derive(Debug)]
pub(super) struct Watched {
    pub(super) kind: Kind,
    pub(super) reach: Reach,
}

/// Which objects of a kind are asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Reach {
    /// All of them.
    All,
    /// Those with this node in `spec.nodeName`.
    Node,
    /// Those of a namespace with another node there; of all namespaces where none is said.
    Elsewhere(Option<Arc<str>>),
    /// One, by namespace and name.
    One(&'static str, &'static str),
    /// All of a namespace but for one.
    Others(&'static str, &'static str),
    /// Those that have a label.
    Labelled(&'static str),
}

/// All that is watched: what has an effect, and what only is held against its rules, so that its
/// errors and what of it is not honoured are told. `deploy/base/rbac.yaml` grants just this.
pub(super) static ALL: LazyLock<Vec<Arc<Watched>>> = LazyLock::new(|| {
    let watched = Kind::ALL.iter().filter(|kind| **kind != Kind::Endpoints);
    let watched = watched.map(|kind| Watched { kind: *kind, reach: reach(*kind) });
    let revisions = Reach::Others(mesh_config::NAMESPACE, mesh_config::NAME);
    let revisions = Watched { kind: Kind::ConfigMap, reach: revisions };
    watched.chain([revisions]).map(Arc::new).collect()
});

fn reach(kind: Kind) -> Reach {
    match kind {
        Kind::Pod => Reach::Node,
        Kind::ConfigMap => Reach::One(mesh_config::NAMESPACE, mesh_config::NAME),
        Kind::MutatingWebhookConfiguration => Reach::Labelled(tag::TAG),
        _ => Reach::All,
    }
}

/// The entry that an object of a kind comes by; `None` for a kind that is not watched.
pub(super) fn of(kind: Kind, name: &str) -> Option<&'static Arc<Watched>> {
    let holds = |reach: &Reach| match reach {
        Reach::One(_, one) => name == *one,
        Reach::Others(_, one) => name != *one,
        Reach::All | Reach::Node | Reach::Elsewhere(_) | Reach::Labelled(_) => true,
    };
    ALL.iter().find(|watched| watched.kind == kind && holds(&watched.reach))
}

impl Watched {
    /// The pods of a namespace, or of all, that run on other nodes.
    pub(super) fn elsewhere(namespace: Option<&Arc<str>>) -> Self {
        Self { kind: Kind::Pod, reach: Reach::Elsewhere(namespace.cloned()) }
    }

    /// Its group; empty for the core's.
    pub(super) const fn group(&self) -> &'static str {
        self.kind.group()
    }

    /// Whether a cluster may lack it: a custom resource.
    pub(super) const fn is_custom(&self) -> bool {
        self.kind.is_custom()
    }

    /// Whether an agent that may not read it goes on without: only clusters with several revisions
    /// of Istio have any.
    pub(super) const fn is_optional(&self) -> bool {
        matches!(self.reach, Reach::Others(..) | Reach::Labelled(_))
    }

    /// Its name and path in one version.
    pub(super) fn resource(&self, version: &str) -> ApiResource {
        let api_version = match self.group() {
            "" => version.to_owned(),
            group => format!("{group}/{version}"),
        };
        ApiResource {
            group: self.group().to_owned(),
            version: version.to_owned(),
            api_version,
            kind: self.kind.name().to_owned(),
            plural: self.kind.plural().to_owned(),
        }
    }

    /// The requests for it.
    pub(super) fn api(&self, client: &Client, resource: &ApiResource) -> Api<DynamicObject> {
        match &self.reach {
            Reach::One(namespace, _) | Reach::Others(namespace, _) => {
                Api::namespaced_with(client.clone(), namespace, resource)
            }
            Reach::Elsewhere(Some(namespace)) => {
                Api::namespaced_with(client.clone(), namespace, resource)
            }
            Reach::All | Reach::Node | Reach::Elsewhere(None) | Reach::Labelled(_) => {
                Api::all_with(client.clone(), resource)
            }
        }
    }

    /// The field selector that narrows them.
    pub(super) fn fields(&self, node: &str) -> Option<String> {
        match &self.reach {
            Reach::All | Reach::Labelled(_) => None,
            Reach::Node => Some(format!("spec.nodeName={node}")),
            // Nor those that no node has yet.
            Reach::Elsewhere(_) => Some(format!("spec.nodeName!={node},spec.nodeName!=")),
            Reach::One(_, name) => Some(format!("metadata.name={name}")),
            Reach::Others(_, name) => Some(format!("metadata.name!={name}")),
        }
    }

    /// The label selector that does.
    pub(super) fn labels(&self) -> Option<String> {
        match &self.reach {
            Reach::Labelled(label) => Some((*label).to_owned()),
            _ => None,
        }
    }

    /// The name of an object of it as a place.
    pub(super) fn place(&self, namespace: &str, name: &str) -> String {
        match (&self.reach, namespace) {
            (Reach::Elsewhere(_), _) => format!("{self}@other-nodes/{namespace}/{name}"),
            (_, "") => format!("{self}/{name}"),
            _ => format!("{self}/{namespace}/{name}"),
        }
    }

    /// What is watched, for people; no two are alike.
    pub(super) fn label(&self) -> String {
        match &self.reach {
            Reach::Elsewhere(Some(namespace)) => format!("{self} of {namespace} on other nodes"),
            Reach::Elsewhere(None) => format!("{self} on other nodes"),
            Reach::Others(namespace, name) => format!("{self} of {namespace} but {name}"),
            Reach::All | Reach::Node | Reach::One(..) | Reach::Labelled(_) => self.to_string(),
        }
    }
}

/// As an RBAC rule and `kubectl` name it.
impl fmt::Display for Watched {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.group() {
            "" => f.write_str(self.kind.plural()),
            group => write!(f, "{}.{group}", self.kind.plural()),
        }
    }
}

#[cfg(test)]
mod tests;
