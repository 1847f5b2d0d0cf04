//! Who an object is exported to.

use std::collections::BTreeSet;

use super::{Report, names::is_label};
use crate::{finding::code, resource::Metadata};

const EXPORT_TO: &str = "networking.istio.io/exportTo";

/// What is exported.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Exported {
    /// A service, which may be exported to no namespace: `~`.
    Service,
    /// Settings for services; exported to no namespace they would have no effect.
    Settings,
    /// The same for some pods of the namespace alone.
    SettingsOfPods,
}

pub(super) fn check(list: &[String], what: Exported, field: &str, report: &mut Report<'_>) {
    let own = report.key.namespace.clone();
    let mut seen = BTreeSet::new();
    for (index, entry) in list.iter().enumerate() {
        let field = format!("{field}[{index}]");
        let meant = if entry == "." { own.as_str() } else { entry.as_str() };
        if meant == "~" && what != Exported::Service {
            let message = "\"~\" is for services only: use \".\" to keep it in the namespace, or \
                           remove the object";
            report.error(code::EXPORT_TO, field.clone(), message);
        } else if meant != "*" && meant != "~" && !is_label(meant) {
            let message =
                format!("{entry:?} names no namespace: use \"*\", \".\" or a namespace's name");
            report.error(code::EXPORT_TO, field.clone(), message);
        } else if what == Exported::SettingsOfPods && meant != own {
            let message = format!(
                "with a workloadSelector the object is for its own namespace: use \".\" instead of \
                 {entry:?}"
            );
            report.error(code::EXPORT_TO, field.clone(), message);
        }
        if !seen.insert(meant.to_owned()) {
            let message = format!("{entry:?} is there already (\".\" is {own}): remove it");
            report.error(code::EXPORT_TO, field, message);
        }
    }
    for alone in ["*", "~"] {
        if list.len() > 1 && list.iter().any(|entry| entry == alone) {
            let message = format!("{alone:?} stands alone: remove it or all the others");
            report.error(code::EXPORT_TO, field, message);
        }
    }
}

/// On a Service the same list is an annotation.
pub(super) fn check_annotation(metadata: &Metadata, report: &mut Report<'_>) {
    let Some(value) = metadata.annotations.get(EXPORT_TO) else { return };
    let list: Vec<String> = value.split(',').map(|entry| entry.trim().to_owned()).collect();
    let field = format!("metadata.annotations[{EXPORT_TO}]");
    check(&list, Exported::Service, &field, report);
}
