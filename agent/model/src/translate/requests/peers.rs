//! Whether workloads take plaintext: by mesh, namespace, workload and port, today's objects and the
//! legacy ones.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use k8s_openapi::api::core::v1::Pod;

use super::{
    super::annotation::created,
    super::workloads::{Labels, Workload},
    RequestModel,
    destination::contains,
    legacy::{self, accepted},
};
use crate::{
    requests::server::Server,
    resource::{
        Kind, ObjectKey, Objects, Reach,
        security::{MtlsMode, PeerAuthentication},
    },
};

/// What a workload accepts by default: both.
const USUAL: MtlsMode = MtlsMode::Permissive;

#[derive(Debug)]
pub(super) struct Peers {
    /// For the whole mesh.
    mesh: MtlsMode,
    /// For namespaces; where a mode is not set, the mesh's.
    namespaces: BTreeMap<String, MtlsMode>,
    /// For workloads, by namespace, the oldest first.
    workloads: BTreeMap<String, Vec<Arc<PeerAuthentication>>>,
    legacy: legacy::Policies,
    /// Namespaces of whose workloads a refused object may select any; empty for all of the mesh.
    strict: BTreeSet<String>,
}

impl Peers {
    pub(super) fn new(objects: &Objects, root: &str) -> Self {
        let mut all: Vec<&Arc<PeerAuthentication>> = objects.peer_authentications().collect();
        all.sort_by_key(|one| (created(&one.metadata), one.metadata.name.clone()));
        let legacy = legacy::Policies::new(objects);
        let mut mesh = None;
        let mut namespaces: BTreeMap<String, MtlsMode> = BTreeMap::new();
        let mut workloads: BTreeMap<String, Vec<_>> = BTreeMap::new();
        for one in all {
            let namespace = one.metadata.namespace.clone().unwrap_or_default();
            let mode = one.spec.mtls.as_ref().map_or(MtlsMode::Unset, |mtls| mtls.mode);
            match (selector(one).is_some(), namespace == root) {
                (false, true) => _ = mesh.get_or_insert(mode),
                (false, false) => _ = namespaces.entry(namespace).or_insert(mode),
                (true, false) => workloads.entry(namespace).or_default().push(one.clone()),
                // Neither of the mesh nor of a workload.
                (true, true) => {}
            }
        }
        // Today's object stands before a legacy one of the same scope.
        let mesh = mesh.map(|mode| set_or(mode, USUAL)).or(legacy.mesh).unwrap_or(USUAL);
        for (namespace, mode) in &legacy.namespaces {
            namespaces.entry(namespace.clone()).or_insert(*mode);
        }
        let unknown = [Kind::PeerAuthentication, Kind::Policy];
        let unknown = unknown.iter().flat_map(|kind| objects.refused_of(*kind));
        let unknown = unknown.filter(|(_, refused)| refused.reach == Reach::Unknown);
        let namespace = |key: &ObjectKey| {
            if key.namespace == root { String::new() } else { key.namespace.to_string() }
        };
        let strict = unknown.map(|(key, _)| namespace(key)).collect();
        Self { mesh, namespaces, workloads, legacy, strict }
    }

    fn is_strict(&self, namespace: &str) -> bool {
        self.strict.contains("") || self.strict.contains(namespace)
    }

    /// What clients assume of a namespace's workloads: what is said of single ones they do not
    /// look at.
    pub(super) fn of_namespace(&self, namespace: &str) -> MtlsMode {
        let own = self.namespaces.get(namespace).copied().unwrap_or_default();
        set_or(own, self.mesh)
    }
}

const fn set_or(mode: MtlsMode, wider: MtlsMode) -> MtlsMode {
    match mode {
        MtlsMode::Unset => wider,
        set => set,
    }
}

/// The labels that an object asks for; an empty selector is none.
fn selector(one: &PeerAuthentication) -> Option<&Labels> {
    let labels = one.spec.selector.as_ref().map(|selector| &selector.match_labels);
    labels.filter(|labels| !labels.is_empty())
}

impl RequestModel {
    /// What a pod accepts.
    pub(super) fn server_of(&self, pod: &Pod, workload: &Workload) -> Server {
        let wider = self.peers().of_namespace(&workload.namespace);
        if self.peers().is_strict(&workload.namespace) {
            return Server { other: accepted(MtlsMode::Strict), ports: BTreeMap::new() };
        }
        let mut own = self.peers().workloads.get(&workload.namespace).into_iter().flatten();
        let own =
            own.find(|one| selector(one).is_some_and(|labels| contains(&workload.labels, labels)));
        let Some(own) = own else {
            return self.peers().legacy.server(&self.objects, pod, workload, wider);
        };
        let mode = own.spec.mtls.as_ref().map_or(MtlsMode::Unset, |mtls| mtls.mode);
        let mode = set_or(mode, wider);
        let by_port = own.spec.port_level_mtls.iter().flatten().filter_map(|(port, mtls)| {
            Some((port.parse().ok()?, accepted(set_or(mtls.mode, mode))))
        });
        Server { other: accepted(mode), ports: by_port.collect() }
    }
}
