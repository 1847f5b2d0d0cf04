//! The workloads that a `ServiceEntry` may select as endpoints: pods and `WorkloadEntry`s of its own
//! namespace.

use std::{collections::BTreeMap, net::IpAddr};

use super::pod_facts;
use crate::resource::{Objects, service_entry::WorkloadEntrySpec, traffic::WorkloadSelector};

#[derive(Debug, Default)]
pub(super) struct Workloads {
    by_namespace: BTreeMap<String, Vec<(IpAddr, WorkloadEntrySpec)>>,
}

impl Workloads {
    /// Without a selecting entry nobody asks, and then nothing is collected.
    pub(super) fn new(objects: &Objects) -> Self {
        let mut found = Self::default();
        if objects.service_entries().all(|entry| entry.spec.workload_selector.is_none()) {
            return found;
        }
        for pod in
            objects.pods().filter(|pod| !pod_facts::is_finished(pod) && pod_facts::is_ready(pod))
        {
            let labels = pod.metadata.labels.clone().unwrap_or_default();
            let namespace = pod.metadata.namespace.clone().unwrap_or_default();
            let workload = WorkloadEntrySpec { labels, ..WorkloadEntrySpec::default() };
            let (addresses, _) = pod_facts::addresses(pod);
            if let Some(address) = addresses.first() {
                found.by_namespace.entry(namespace).or_default().push((*address, workload));
            }
        }
        for entry in objects.workload_entries() {
            let mut workload = entry.spec.clone();
            // Labels of the object win over those of its spec.
            workload.labels.extend(entry.metadata.labels.iter().cloned());
            let namespace = entry.metadata.namespace.clone().unwrap_or_default();
            if let Ok(address) = workload.address.parse() {
                found.by_namespace.entry(namespace).or_default().push((address, workload));
            }
        }
        found
    }

    pub(super) fn selected(
        &self,
        namespace: &str,
        selector: &WorkloadSelector,
    ) -> impl Iterator<Item = (IpAddr, &WorkloadEntrySpec)> {
        let all = self.by_namespace.get(namespace).map_or(&[][..], Vec::as_slice);
        let chosen = all.iter().filter(|(_, workload)| selector.selects(&workload.labels));
        chosen.map(|(address, workload)| (*address, workload))
    }
}
