//! `MeshPolicy` and `Policy`: by mesh, namespace and service; the narrowest one stands alone.

use std::{collections::BTreeMap, sync::Arc};

use k8s_openapi::{
    api::core::v1::{Pod, ServicePort},
    apimachinery::pkg::util::intstr::IntOrString,
};

use super::{super::annotation::created, super::workloads::Workload};
use crate::{
    requests::server::{Acceptance, Server, ServerTls},
    resource::{
        Kind, Object, ObjectKey, Objects, Service,
        legacy_policy::{LegacyPolicy, Target, TargetPort},
        security::MtlsMode,
    },
};

#[derive(Debug)]
pub(super) struct Policies {
    pub(super) mesh: Option<MtlsMode>,
    pub(super) namespaces: BTreeMap<String, MtlsMode>,
    /// Those that name services, the oldest first.
    targeted: Vec<Arc<LegacyPolicy>>,
}

impl Policies {
    pub(super) fn new(objects: &Objects) -> Self {
        let mut targeted: Vec<Arc<LegacyPolicy>> = Vec::new();
        let mut namespaces = BTreeMap::new();
        for policy in objects.policies() {
            if policy.spec.targets.is_empty() {
                let namespace = policy.metadata.namespace.clone().unwrap_or_default();
                namespaces.entry(namespace).or_insert_with(|| policy.spec.mode());
            } else {
                targeted.push(policy.clone());
            }
        }
        targeted.sort_by_key(|one| (created(&one.metadata), one.metadata.name.clone()));
        let mesh = objects.mesh_policies().next().map(|one| one.spec.mode());
        Self { mesh, namespaces, targeted }
    }

    /// What a pod accepts, where policies name services that select it.
    pub(super) fn server(
        &self,
        objects: &Objects,
        pod: &Pod,
        workload: &Workload,
        wider: MtlsMode,
    ) -> Server {
        let (mut other, mut ports) = (None, BTreeMap::new());
        for policy in &self.targeted {
            let namespace = policy.metadata.namespace.as_deref();
            if namespace != Some(workload.namespace.as_str()) {
                continue;
            }
            for target in &policy.spec.targets {
                let Some(service) = service(objects, &workload.namespace, target) else { continue };
                if !service.selects(&workload.labels) {
                    continue;
                }
                if target.ports.is_empty() {
                    other.get_or_insert(policy.spec.mode());
                }
                for port in target.ports.iter().filter_map(|port| listened(&service, pod, port)) {
                    ports.entry(port).or_insert_with(|| accepted(policy.spec.mode()));
                }
            }
        }
        Server { other: accepted(other.unwrap_or(wider)), ports }
    }
}

fn service(objects: &Objects, namespace: &str, target: &Target) -> Option<Arc<Service>> {
    match objects.get(&ObjectKey::new(Kind::Service, namespace, &*target.name)) {
        Some(Object::Service(service)) => Some(service.clone()),
        _ => None,
    }
}

/// The port that a pod listens on for a service's port.
fn listened(service: &Service, pod: &Pod, wanted: &TargetPort) -> Option<u16> {
    let port = service.ports.iter().find(|port| match (&wanted.name, wanted.number) {
        (Some(name), _) => port.name.as_ref() == Some(name),
        (None, Some(number)) => i64::from(port.port) == i64::from(number),
        (None, None) => false,
    });
    port.and_then(|port| target_port(port, pod))
}

/// The port of a pod that a Service's port leads to; a name is looked up in the pod.
pub(super) fn target_port(port: &ServicePort, pod: &Pod) -> Option<u16> {
    match &port.target_port {
        None => u16::try_from(port.port).ok(),
        Some(IntOrString::Int(number)) => u16::try_from(*number).ok(),
        Some(IntOrString::String(name)) => {
            let containers = pod.spec.as_ref().map(|spec| &spec.containers[..]).unwrap_or_default();
            let mut ports = containers.iter().flat_map(|one| one.ports.iter().flatten());
            let found = ports.find(|one| one.name.as_ref() == Some(name));
            found.and_then(|one| u16::try_from(one.container_port).ok())
        }
    }
}

/// A mode in the model's words.
pub(super) const fn accepted(mode: MtlsMode) -> Acceptance {
    Acceptance::of(match mode {
        MtlsMode::Disable => ServerTls::Plain,
        MtlsMode::Unset | MtlsMode::Permissive => ServerTls::MeshOrPlain,
        MtlsMode::Strict => ServerTls::MeshOnly,
    })
}
