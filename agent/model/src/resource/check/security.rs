//! Whether policies about peers are valid, the legacy ones included.

use super::{
    Report,
    names::{check_port_number, check_selecting, is_label},
    values::{exactly_one, set},
};
use crate::{
    finding::code,
    resource::{legacy_policy::PolicySpec, security::PeerAuthenticationSpec},
};

pub(super) fn check_peers(spec: &PeerAuthenticationSpec, report: &mut Report<'_>) {
    if let Some(selector) = &spec.selector {
        check_selecting(&selector.match_labels, "spec.selector.matchLabels", report);
    }
    let selects = spec.selector.as_ref().is_some_and(|one| !one.match_labels.is_empty());
    let Some(by_port) = &spec.port_level_mtls else { return };
    if by_port.is_empty() {
        let message = "no port is named: name one, or leave portLevelMtls out";
        report.error(code::REQUIRED, "spec.portLevelMtls", message);
    } else if !selects {
        let message = "modes by port need a selector with labels: name the pods";
        report.error(code::REQUIRED, "spec.selector", message);
    }
    for port in by_port.keys() {
        if !port.parse::<u16>().is_ok_and(|port| port != 0) {
            let message = format!("{port:?} is not a port: use a container's port, 1 to 65535");
            report.error(code::PORT_NUMBER, format!("spec.portLevelMtls[{port}]"), message);
        }
    }
}

pub(super) fn check_mesh_policy(spec: &PolicySpec, report: &mut Report<'_>) {
    check_default_name("a MeshPolicy", report);
    if !spec.targets.is_empty() {
        let message = "a MeshPolicy is for the whole mesh: remove targets, or use a Policy";
        report.error(code::CONFLICT, "spec.targets", message);
    }
}

pub(super) fn check_policy(spec: &PolicySpec, report: &mut Report<'_>) {
    if spec.targets.is_empty() {
        check_default_name("a Policy without targets", report);
    }
    for (index, target) in spec.targets.iter().enumerate() {
        let path = format!("spec.targets[{index}]");
        if !is_label(&target.name) {
            let message = format!("{:?}: give a service's short name", target.name);
            report.error(code::REFERENCE, format!("{path}.name"), message);
        }
        for (index, port) in target.ports.iter().enumerate() {
            let given = set([("number", port.number.is_some()), ("name", port.name.is_some())]);
            let field = format!("{path}.ports[{index}]");
            exactly_one(&given, "number and name", &field, report);
            if let Some(number) = port.number {
                check_port_number(number, &format!("{path}.ports[{index}].number"), report);
            }
        }
    }
}

fn check_default_name(what: &str, report: &mut Report<'_>) {
    if report.key.name != "default" {
        let message = format!("{what} must be named \"default\": rename it");
        report.error(code::REFERENCE, "metadata.name", message);
    }
}
