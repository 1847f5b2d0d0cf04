//! What can be told of manifests without a cluster: each object by itself, what of it cannot be
//! honoured, and how objects stand to each other.
//!
//! Nothing here changes what is enforced; translation does not read it.

mod addresses;
mod references;
mod registry;
mod shadow;
mod sidecars;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;

use crate::{
    finding::{Finding, Severity},
    resource::{ObjectKey, Objects, validate},
    translate,
};

/// All findings about some objects, sorted. Objects that are invalid by themselves are reported,
/// and otherwise taken as not there.
pub fn analyze(objects: &Objects) -> Vec<Finding> {
    analyze_beside(objects, &BTreeSet::new())
}

/// The same, where some objects were refused before and are not among them.
pub fn analyze_beside(objects: &Objects, refused: &BTreeSet<ObjectKey>) -> Vec<Finding> {
    let (mut findings, mut refused) = (Vec::new(), refused.clone());
    let mut valid = Objects::default();
    for (key, object) in objects.iter() {
        let found = validate(object);
        if found.iter().all(|finding| finding.severity < Severity::Error) {
            valid.insert(object.clone());
        } else {
            refused.insert((**key).clone());
        }
        findings.extend(found);
    }
    findings.extend(addresses::suppose(&mut valid));
    let outline = translate::outline(&valid);
    findings.extend(outline.findings);
    findings.extend(shadow::find(&valid, &outline.registry));
    findings.extend(registry::find(&valid, &outline.registry, outline.outbound));
    findings.extend(sidecars::find(&valid));
    findings.extend(references::find(&valid));
    let model = translate::requests::RequestModel::new(&valid, translate::CLUSTER_DOMAIN);
    findings.extend(model.findings(&refused));
    findings.sort();
    findings.dedup();
    findings
}
