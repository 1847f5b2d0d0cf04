//! Whether a selector of Kubernetes' own form is one: the rules that an API server has for those of
//! its own objects. One that breaks them would select nothing, and whom it was to select would be in
//! no mesh.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, LabelSelectorRequirement};

use super::{
    Report,
    names::{check_labels, fits_label},
    values::required,
};
use crate::{finding::code, resource::ObjectKey};

/// The operators, and whether they are about values.
const OPERATORS: [(&str, bool); 4] =
    [("In", true), ("NotIn", true), ("Exists", false), ("DoesNotExist", false)];

/// Whether a selector keeps the rules.
pub(in crate::resource) fn is_sound(selector: Option<&LabelSelector>, key: &ObjectKey) -> bool {
    let mut report = Report::new(key);
    check(selector, "", &mut report);
    report.findings.is_empty()
}

pub(super) fn check(selector: Option<&LabelSelector>, field: &str, report: &mut Report<'_>) {
    let Some(LabelSelector { match_labels, match_expressions }) = selector else { return };
    let labels = match_labels.iter().flatten().map(|(key, value)| (key.clone(), value.clone()));
    let labels: BTreeMap<String, String> = labels.collect();
    check_labels(&labels, &format!("{field}.matchLabels"), report);
    for (index, one) in match_expressions.iter().flatten().enumerate() {
        check_requirement(one, &format!("{field}.matchExpressions[{index}]"), report);
    }
}

fn check_requirement(one: &LabelSelectorRequirement, path: &str, report: &mut Report<'_>) {
    let LabelSelectorRequirement { key, operator, values } = one;
    required(!key.is_empty(), &format!("{path}.key"), report);
    required(!operator.is_empty(), &format!("{path}.operator"), report);
    if !key.is_empty() && !fits_label(key, "") {
        let message = format!("{key:?} is a label that no object can have");
        report.error(code::LABEL, format!("{path}.key"), message);
    }
    let known = OPERATORS.iter().find(|(name, _)| name == operator);
    let values = values.as_deref().unwrap_or_default();
    let field = format!("{path}.values");
    match known {
        None if operator.is_empty() => {}
        None => {
            let message = format!("found {operator:?}, expected In, NotIn, Exists or DoesNotExist");
            report.error(code::RANGE, format!("{path}.operator"), message);
        }
        Some((_, true)) => required(!values.is_empty(), &field, report),
        Some((_, false)) if !values.is_empty() => {
            let message = format!("{operator} is about the key alone: leave the values out");
            report.error(code::COUNT, field.clone(), message);
        }
        Some((_, false)) => {}
    }
    for (index, value) in values.iter().enumerate().filter(|(_, value)| !fits_label(key, value)) {
        if fits_label(key, "") {
            let message = format!("{value:?} is a value that no label can have");
            report.error(code::LABEL, format!("{field}[{index}]"), message);
        }
    }
}
