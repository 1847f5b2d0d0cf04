//! Sidecars that compete for a pod. The oldest one counts, which is seldom what was meant.

use std::{collections::BTreeMap, sync::Arc};

use crate::{
    finding::{Finding, Severity, code},
    resource::{Kind, Object, ObjectKey, Objects, sidecar::Sidecar},
    translate::is_for_all,
};

pub(super) fn find(objects: &Objects) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut for_all: BTreeMap<String, Vec<ObjectKey>> = BTreeMap::new();
    for sidecar in objects.sidecars().filter(|sidecar| is_for_all(sidecar)) {
        let key = key(sidecar);
        for_all.entry(key.namespace.to_string()).or_default().push(key);
    }
    for keys in for_all.values().filter(|keys| keys.len() > 1) {
        let names = names(keys);
        for key in keys {
            let message = format!(
                "{names} are each for the whole namespace, and only the oldest counts: keep one"
            );
            let code = code::SIDECARS_WITHOUT_SELECTOR;
            let field = "spec.workloadSelector";
            findings.push(Finding::new(Severity::Warning, code, key, field, message));
        }
    }
    for pod in objects.pods() {
        let namespace = pod.metadata.namespace.as_deref();
        let labels = pod.metadata.labels.clone().unwrap_or_default();
        let selecting = objects.sidecars().filter(|sidecar| {
            let selector = sidecar.spec.workload_selector.as_ref();
            sidecar.metadata.namespace.as_deref() == namespace
                && !is_for_all(sidecar)
                && selector.is_some_and(|selector| selector.selects(&labels))
        });
        let keys: Vec<ObjectKey> = selecting.map(key).collect();
        if keys.len() > 1 {
            let pod = Object::Pod(Arc::clone(pod)).key();
            let names = names(&keys);
            for key in &keys {
                let message = format!(
                    "{names} all select {pod}, and only the oldest counts: tell them apart"
                );
                let field = "spec.workloadSelector";
                let code = code::SIDECARS_OVERLAP;
                findings.push(Finding::new(Severity::Warning, code, key, field, message));
            }
        }
    }
    findings
}

fn names(keys: &[ObjectKey]) -> String {
    let names: Vec<&str> = keys.iter().map(|key| key.name.as_str()).collect();
    format!("Sidecars {}", names.join(", "))
}

fn key(sidecar: &Arc<Sidecar>) -> ObjectKey {
    let key = Object::Sidecar(Arc::clone(sidecar)).key();
    debug_assert_eq!(key.kind, Kind::Sidecar);
    key
}
