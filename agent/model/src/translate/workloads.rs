//! Who is behind an address, and which of them a `ServiceEntry` may select as endpoints: pods and
//! `WorkloadEntry`s of its own namespace.

use std::{
    collections::BTreeMap,
    net::IpAddr,
    sync::{Arc, OnceLock},
};

use hashbrown::{HashMap, HashSet};
use k8s_openapi::api::core::v1::{Namespace, Pod};

use super::{enrol, pod_facts, workload_name::workload_name};
use crate::{
    pod::{PodId, WorkloadName},
    resource::{Objects, service_entry::WorkloadEntrySpec, traffic::WorkloadSelector},
};

pub(super) type Labels = BTreeMap<String, String>;

/// A pod as others see it.
#[derive(Debug)]
pub(super) struct Workload {
    pub(super) id: PodId,
    pub(super) namespace: String,
    pub(super) name: Arc<WorkloadName>,
    pub(super) labels: Labels,
    pub(super) service_account: String,
    /// Whether it is in the mesh, so that mutual TLS can be spoken with it.
    pub(super) enrolled: bool,
}

/// A workload that an entry may select.
#[derive(Debug)]
pub(super) struct Selectable {
    pub(super) address: IpAddr,
    pub(super) spec: WorkloadEntrySpec,
}

/// All workloads. Nothing is collected before the first lookup: most clusters have no entry that
/// selects, and most agents are never asked where requests lead.
#[derive(Debug, Default)]
pub(super) struct Workloads {
    objects: Objects,
    by_address: OnceLock<ByAddress>,
    selectable: OnceLock<BTreeMap<String, Vec<Selectable>>>,
}

impl Workloads {
    pub(super) fn new(objects: &Objects) -> Self {
        let (by_address, selectable) = (OnceLock::new(), OnceLock::new());
        Self { objects: objects.clone(), by_address, selectable }
    }

    /// The pod that has an address. Pods on the host's network share the node's and are not told
    /// apart.
    pub(super) fn at(&self, address: IpAddr) -> Option<&Arc<Workload>> {
        self.by_address().pods.get(&address)
    }

    /// Whether an address is a node's: that of pods on the host's network.
    pub(super) fn is_host(&self, address: IpAddr) -> bool {
        self.by_address().hosts.contains(&address)
    }

    fn by_address(&self) -> &ByAddress {
        self.by_address.get_or_init(|| by_address(&self.objects))
    }

    /// Those of a namespace that a selector picks.
    pub(super) fn selected(
        &self,
        namespace: &str,
        selector: &WorkloadSelector,
    ) -> impl Iterator<Item = &Selectable> {
        let all = self.selectable.get_or_init(|| selectable(&self.objects)).get(namespace);
        all.into_iter().flatten().filter(|one| selector.selects(&one.spec.labels))
    }
}

/// Who is behind each address.
#[derive(Debug, Default)]
struct ByAddress {
    pods: HashMap<IpAddr, Arc<Workload>>,
    /// Of pods on the host's network.
    hosts: HashSet<IpAddr>,
}

fn by_address(objects: &Objects) -> ByAddress {
    let named = |one: &Arc<Namespace>| Some((one.metadata.name.clone()?, one.clone()));
    let namespaces: HashMap<String, Arc<Namespace>> =
        objects.namespaces().filter_map(named).collect();
    let mut found = ByAddress::default();
    for pod in objects.pods().filter(|pod| !pod_facts::is_finished(pod)) {
        if pod.spec.as_ref().and_then(|spec| spec.host_network) == Some(true) {
            found.hosts.extend(pod_facts::pod_addresses(pod));
            continue;
        }
        let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
        let workload = Arc::new(workload(pod, namespaces.get(namespace).map(Arc::as_ref)));
        let addresses = pod_facts::pod_addresses(pod);
        found.pods.extend(addresses.into_iter().map(|address| (address, workload.clone())));
    }
    found
}

/// A pod as others see it.
pub(super) fn workload(pod: &Pod, of: Option<&Namespace>) -> Workload {
    let namespace = pod.metadata.namespace.clone().unwrap_or_default();
    let account = pod.spec.as_ref().and_then(|spec| spec.service_account_name.as_deref());
    Workload {
        id: PodId {
            namespace: namespace.clone(),
            name: pod.metadata.name.clone().unwrap_or_default(),
        },
        name: Arc::new(workload_name(pod)),
        labels: pod.metadata.labels.clone().unwrap_or_default(),
        service_account: account.unwrap_or("default").to_owned(),
        enrolled: enrol::not_enrolled(pod, &namespace, of).is_none(),
        namespace,
    }
}

fn selectable(objects: &Objects) -> BTreeMap<String, Vec<Selectable>> {
    let mut found: BTreeMap<String, Vec<Selectable>> = BTreeMap::new();
    let mut add = |namespace: &Option<String>, address, spec| {
        let namespace = namespace.clone().unwrap_or_default();
        found.entry(namespace).or_default().push(Selectable { address, spec });
    };
    let ready = |pod: &&Arc<Pod>| !pod_facts::is_finished(pod) && pod_facts::is_ready(pod);
    for pod in objects.pods().filter(ready) {
        let labels = pod.metadata.labels.clone().unwrap_or_default();
        let spec = WorkloadEntrySpec { labels, ..WorkloadEntrySpec::default() };
        if let Some(address) = pod_facts::pod_addresses(pod).first() {
            add(&pod.metadata.namespace, *address, spec);
        }
    }
    for entry in objects.workload_entries() {
        let mut spec = entry.spec.clone();
        // Labels of the object win over those of its spec.
        spec.labels.extend(entry.metadata.labels.iter().cloned());
        if let Ok(address) = spec.address.parse() {
            add(&entry.metadata.namespace, address, spec);
        }
    }
    found
}
