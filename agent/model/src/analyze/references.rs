//! Namespaces that are named and do not exist. Told only where namespaces are given at all: a few
//! manifests by themselves name many that live elsewhere.

use std::collections::BTreeSet;

use crate::{
    finding::{Finding, Severity, code},
    resource::{Object, ObjectKey, Objects, security::AuthorizationPolicy},
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
    for object in objects.virtual_services() {
        let key = Object::VirtualService(object.clone()).key();
        for (index, namespace) in object.spec.export_to.iter().enumerate() {
            name(&key, namespace, format!("spec.exportTo[{index}]"));
        }
    }
    for object in objects.destination_rules() {
        let key = Object::DestinationRule(object.clone()).key();
        for (index, namespace) in object.spec.export_to.iter().enumerate() {
            name(&key, namespace, format!("spec.exportTo[{index}]"));
        }
    }
    for policy in objects.authorization_policies() {
        let key = Object::AuthorizationPolicy(policy.clone()).key();
        for (field, namespace) in asked_of(policy) {
            name(&key, namespace, field);
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

/// The whole names among the namespaces that a policy asks for, each with its field.
fn asked_of(policy: &AuthorizationPolicy) -> Vec<(String, &str)> {
    let mut found = Vec::new();
    for (rule, one) in policy.spec.rules.iter().enumerate() {
        for (from, one) in one.from.iter().enumerate() {
            let Some(source) = &one.source else { continue };
            for (name, list) in
                [("namespaces", &source.namespaces), ("notNamespaces", &source.not_namespaces)]
            {
                for (at, namespace) in list.iter().enumerate().filter(|(_, one)| !one.contains('*'))
                {
                    let path = format!("spec.rules[{rule}].from[{from}].source.{name}[{at}]");
                    found.push((path, namespace.as_str()));
                }
            }
        }
    }
    found
}
