//! Who is behind an address: labels, identity, and whether mutual TLS can be spoken with it.

use std::{collections::BTreeMap, net::IpAddr, sync::Arc};

use hashbrown::HashMap;
use k8s_openapi::api::core::v1::{Namespace, Pod};

use super::super::{enrol, pod_facts};
use crate::resource::Objects;

pub(super) type Labels = BTreeMap<String, String>;

/// A workload.
#[derive(Debug)]
pub(super) struct Workload {
    pub(super) namespace: String,
    pub(super) labels: Labels,
    pub(super) identity: String,
    /// Whether it is in the mesh, so that mutual TLS can be spoken with it.
    pub(super) enrolled: bool,
}

/// Workloads by address. Pods on the host's network share the node's and are not told apart.
#[derive(Debug, Default)]
pub(super) struct Workloads(HashMap<IpAddr, Arc<Workload>>);

impl Workloads {
    pub(super) fn new(objects: &Objects, trust_domain: &str) -> Self {
        let named = |one: &Arc<Namespace>| Some((one.metadata.name.clone()?, one.clone()));
        let namespaces: HashMap<String, Arc<Namespace>> =
            objects.namespaces().filter_map(named).collect();
        let mut found = HashMap::new();
        for pod in objects.pods().filter(|pod| !pod_facts::is_finished(pod)) {
            if pod.spec.as_ref().and_then(|spec| spec.host_network) == Some(true) {
                continue;
            }
            let namespace = pod.metadata.namespace.clone().unwrap_or_default();
            let of = namespaces.get(&namespace).map(Arc::as_ref);
            let workload = Arc::new(Workload {
                labels: pod.metadata.labels.clone().unwrap_or_default(),
                identity: identity(trust_domain, &namespace, account(pod)),
                enrolled: enrol::not_enrolled(pod, &namespace, of).is_none(),
                namespace,
            });
            let addresses = pod_facts::pod_addresses(pod);
            found.extend(addresses.into_iter().map(|address| (address, workload.clone())));
        }
        Self(found)
    }

    pub(super) fn at(&self, address: IpAddr) -> Option<&Arc<Workload>> {
        self.0.get(&address)
    }
}

fn account(pod: &Pod) -> &str {
    let spec = pod.spec.as_ref();
    spec.and_then(|spec| spec.service_account_name.as_deref()).unwrap_or("default")
}

pub(super) fn identity(trust_domain: &str, namespace: &str, account: &str) -> String {
    format!("spiffe://{trust_domain}/ns/{namespace}/sa/{account}")
}
