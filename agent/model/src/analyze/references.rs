//! Namespaces that are named and do not exist. Told only where namespaces are given at all: a few
//! manifests by themselves name many that live elsewhere.

use std::collections::BTreeSet;

use crate::{
    resource::{Object, ObjectKey, Objects},
    snapshot::{Finding, Severity, code},
};

pub(super) fn find(objects: &Objects) -> Vec<Finding> {
    let known: BTreeSet<&str> =
        objects.namespaces().filter_map(|one| one.metadata.name.as_deref()).collect();
    if known.is_empty() {
        return Vec::new();
    }
    let mut findings = Vec::new();
    let mut name = |key: &ObjectKey, namespace: &str, field: String| {
        if !["*", ".", "~"].contains(&namespace) && !known.contains(namespace) {
            let message = format!("there is no namespace {namespace:?}");
            let code = code::REFERENCE_UNKNOWN;
            findings.push(Finding::new(Severity::Warning, code, key, field, message));
        }
    };
    for entry in objects.service_entries() {
        let key = Object::ServiceEntry(entry.clone()).key();
        for (index, namespace) in entry.spec.export_to.iter().enumerate() {
            name(&key, namespace, format!("spec.exportTo[{index}]"));
        }
    }
    for sidecar in objects.sidecars() {
        let key = Object::Sidecar(sidecar.clone()).key();
        for (listener, egress) in sidecar.spec.egress.iter().enumerate() {
            for (index, host) in egress.hosts.iter().enumerate() {
                let namespace = host.split_once('/').map_or("*", |(namespace, _)| namespace);
                name(&key, namespace, format!("spec.egress[{listener}].hosts[{index}]"));
            }
        }
    }
    findings
}
