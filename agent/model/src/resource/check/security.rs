//! Whether policies about peers and access are valid, the legacy ones included.

use super::{
    Report,
    names::{check_port_number, is_label},
    values::{at_most_one, required, set},
};
use crate::{
    address,
    finding::code,
    resource::{
        legacy_policy::PolicySpec,
        security::{Action, AuthorizationPolicySpec, Operation, PeerAuthenticationSpec, Source},
    },
};

pub(super) fn check_peers(spec: &PeerAuthenticationSpec, report: &mut Report<'_>) {
    let selects = spec.selector.as_ref().is_some_and(|one| !one.match_labels.is_empty());
    if !spec.port_level_mtls.is_empty() && !selects {
        let message = "modes by port need a selector with labels: name the pods";
        report.error(code::REQUIRED, "spec.selector", message);
    }
    for port in spec.port_level_mtls.keys() {
        if !port.parse::<u16>().is_ok_and(|port| port != 0) {
            let message = format!("{port:?} is not a port: use a container's port, 1 to 65535");
            report.error(code::PORT_NUMBER, format!("spec.portLevelMtls[{port}]"), message);
        }
    }
}

pub(super) fn check_access(spec: &AuthorizationPolicySpec, report: &mut Report<'_>) {
    let targets = spec.target_ref.is_some() || !spec.target_refs.is_empty();
    at_most_one(
        &set([("selector", spec.selector.is_some()), ("targetRefs", targets)]),
        "spec",
        report,
    );
    if spec.action == Action::Deny && spec.rules.is_empty() {
        let message = "DENY without rules denies nothing: use [{}] to deny all";
        report.error(code::REQUIRED, "spec.rules", message);
    }
    if spec.action == Action::Custom {
        required(spec.provider.is_some(), "spec.provider", report);
    } else if spec.provider.is_some() {
        let message = "a provider goes with action CUSTOM only: remove it";
        report.error(code::CONFLICT, "spec.provider", message);
    }
    for (index, rule) in spec.rules.iter().enumerate() {
        let path = format!("spec.rules[{index}]");
        for (index, from) in rule.from.iter().enumerate() {
            let path = format!("{path}.from[{index}].source");
            check_source(from.source.as_ref(), &path, report);
        }
        for (index, to) in rule.to.iter().enumerate() {
            check_operation(
                to.operation.as_ref(),
                &format!("{path}.to[{index}].operation"),
                report,
            );
        }
        for (index, when) in rule.when.iter().enumerate() {
            let path = format!("{path}.when[{index}]");
            required(!when.key.is_empty(), &format!("{path}.key"), report);
            let has_values = !when.values.is_empty() || !when.not_values.is_empty();
            required(has_values, &format!("{path}.values"), report);
        }
    }
}

fn check_source(source: Option<&Source>, path: &str, report: &mut Report<'_>) {
    let given = source.filter(|source| **source != Source::default());
    required(given.is_some(), path, report);
    let Some(source) = given else { return };
    let blocks = [
        ("ipBlocks", &source.ip_blocks),
        ("notIpBlocks", &source.not_ip_blocks),
        ("remoteIpBlocks", &source.remote_ip_blocks),
        ("notRemoteIpBlocks", &source.not_remote_ip_blocks),
    ];
    for (name, list) in blocks {
        for (index, text) in list.iter().enumerate() {
            if address::net(text).is_none() {
                let message = format!("{text:?} is neither an IP nor a CIDR");
                report.error(code::ADDRESS, format!("{path}.{name}[{index}]"), message);
            }
        }
    }
}

fn check_operation(operation: Option<&Operation>, path: &str, report: &mut Report<'_>) {
    let given = operation.filter(|operation| **operation != Operation::default());
    required(given.is_some(), path, report);
    let Some(operation) = given else { return };
    for (name, list) in [("ports", &operation.ports), ("notPorts", &operation.not_ports)] {
        for (index, port) in list.iter().enumerate() {
            if !port.parse::<u16>().is_ok_and(|port| port != 0) {
                let message = format!("{port:?} is not a port: use 1 to 65535");
                report.error(code::PORT_NUMBER, format!("{path}.{name}[{index}]"), message);
            }
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
