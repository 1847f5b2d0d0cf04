//! Annotations of Istio's that change what an object of its kinds means.

use super::Report;
use crate::{
    finding::code,
    resource::{Kind, Object, security::Action},
};

const DRY_RUN: &str = "istio.io/dry-run";

/// What the control plane writes on objects of its own; on others it would speak for it.
const INTERNAL: [&str; 3] = [
    "internal.istio.io/parents",
    "internal.istio.io/parent-namespace",
    "internal.istio.io/webhook-always-reject",
];

/// What Go reads as true or false.
const BOOLEANS: [&str; 12] =
    ["1", "t", "T", "TRUE", "true", "True", "0", "f", "F", "FALSE", "false", "False"];

pub(super) fn check(object: &Object, report: &mut Report<'_>) {
    if !is_istios(object.kind()) {
        return;
    }
    let metadata = object.metadata();
    for name in INTERNAL {
        if metadata.annotation(name).is_some() {
            let message = "this is for the control plane alone: remove it";
            report.error(code::ANNOTATION, format!("metadata.annotations[{name}]"), message);
        }
    }
    let Some(value) = metadata.annotation(DRY_RUN) else { return };
    let field = format!("metadata.annotations[{DRY_RUN}]");
    let Object::AuthorizationPolicy(policy) = object else {
        let message = "only an AuthorizationPolicy can be tried out: remove it";
        report.error(code::ANNOTATION, field, message);
        return;
    };
    if !matches!(policy.spec.action, Action::Allow | Action::Deny) {
        let message = "only ALLOW and DENY can be tried out: remove it";
        report.error(code::ANNOTATION, field, message);
    } else if !BOOLEANS.contains(&value) {
        let message = format!("found {value:?}, expected true or false");
        report.error(code::ANNOTATION, field, message);
    }
}

fn is_istios(kind: Kind) -> bool {
    ["networking.istio.io", "security.istio.io"].contains(&kind.group())
}
