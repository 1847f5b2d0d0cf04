//! What a policy is bound to: pods by their labels, or other objects by their names.

use super::{
    Report,
    names::check_selecting,
    values::{at_most_one, required, set},
};
use crate::{
    finding::code,
    resource::security::{Selector, TargetRef},
};

/// Group and kind of what a policy may be bound to.
const TARGETS: [(&str, &str); 4] = [
    ("", "Service"),
    ("networking.istio.io", "ServiceEntry"),
    ("gateway.networking.k8s.io", "Gateway"),
    ("gateway.networking.k8s.io", "GatewayClass"),
];

pub(super) fn check(
    selector: Option<&Selector>,
    target: Option<&TargetRef>,
    targets: &[TargetRef],
    report: &mut Report<'_>,
) {
    let given = set([
        ("selector", selector.is_some()),
        ("targetRef", target.is_some()),
        ("targetRefs", !targets.is_empty()),
    ]);
    at_most_one(&given, "spec", report);
    if let Some(selector) = selector {
        check_selecting(&selector.match_labels, "spec.selector.matchLabels", report);
    }
    if let Some(target) = target {
        check_target(target, "spec.targetRef", report);
    }
    for (index, target) in targets.iter().enumerate() {
        check_target(target, &format!("spec.targetRefs[{index}]"), report);
    }
}

fn check_target(target: &TargetRef, path: &str, report: &mut Report<'_>) {
    let TargetRef { group, kind, name, namespace } = target;
    required(!name.is_empty(), &format!("{path}.name"), report);
    if !namespace.is_empty() {
        let message = "an object of another namespace cannot be named: remove it";
        report.error(code::REFERENCE, format!("{path}.namespace"), message);
    }
    let group = if group == "core" { "" } else { group.as_str() };
    if !TARGETS.contains(&(group, kind.as_str())) {
        let message = format!(
            "found {kind:?} of group {group:?}, expected a Service, a ServiceEntry of \
             networking.istio.io, or a Gateway or GatewayClass of gateway.networking.k8s.io"
        );
        report.error(code::REFERENCE, path, message);
    }
}
