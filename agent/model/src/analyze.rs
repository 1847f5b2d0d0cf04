//! What can be told of manifests without a cluster: each object by itself, what of it cannot be
//! honoured, and how objects stand to each other.
//!
//! Nothing here changes what is enforced; translation does not read it.

mod references;
mod registry;
mod shadow;
mod sidecars;
#[cfg(test)]
mod tests;

use crate::{
    resource::{Objects, validate},
    snapshot::{Finding, Severity},
    translate,
};

/// All findings about some objects, sorted. Objects that are invalid by themselves are reported,
/// and otherwise taken as not there.
pub fn analyze(objects: &Objects) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut valid = Objects::default();
    for (_, object) in objects.iter() {
        let found = validate(object);
        if found.iter().all(|finding| finding.severity < Severity::Error) {
            valid.insert(object.clone());
        }
        findings.extend(found);
    }
    let outline = translate::outline(&valid);
    findings.extend(outline.findings);
    findings.extend(shadow::find(&valid, &outline.registry));
    findings.extend(registry::find(&valid, &outline.registry, outline.outbound));
    findings.extend(sidecars::find(&valid));
    findings.extend(references::find(&valid));
    findings.extend(
        translate::requests::RequestModel::new(&valid, translate::CLUSTER_DOMAIN).findings(),
    );
    findings.sort();
    findings.dedup();
    findings
}
