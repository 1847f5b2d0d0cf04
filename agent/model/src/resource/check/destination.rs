//! What rules for HTTP, TLS and TCP have in common: destinations, weights and gateways.

use super::{
    Report,
    names::{check_port_number, is_domain, is_label, is_wildcard_domain},
    values::{check_range, required},
};
use crate::{
    finding::code,
    resource::{traffic::Destination, virtual_service::VirtualServiceSpec},
};

pub(super) fn check_destination(
    destination: Option<&Destination>,
    field: &str,
    report: &mut Report<'_>,
) {
    let Some(destination) = destination else { return required(false, field, report) };
    if destination.host == "*" || !is_wildcard_domain(&destination.host) {
        let message = format!("{:?} is not a host: name the service", destination.host);
        report.error(code::HOST, format!("{field}.host"), message);
    }
    if !destination.subset.is_empty() && !is_label(&destination.subset) {
        let message =
            format!("{:?} names no subset: use letters, digits and dashes", destination.subset);
        report.error(code::REFERENCE, format!("{field}.subset"), message);
    }
    if let Some(number) = destination.number() {
        check_port_number(number, &format!("{field}.port.number"), report);
    }
}

/// Weights are shares, whatever their sum; a sum of nothing shares nothing out.
pub(super) fn check_weights(weights: &[i32], path: &str, report: &mut Report<'_>) {
    for (index, weight) in weights.iter().enumerate() {
        let field = format!("{path}[{index}].weight");
        check_range(Some(i64::from(*weight)), (0, i64::MAX), &field, report);
    }
    if weights.len() > 1 && weights.iter().all(|weight| *weight == 0) {
        let message = "all weights are 0, so nothing is shared out: give one a weight";
        report.error(code::RANGE, path, message);
    }
}

/// `mesh`, `name`, `namespace/name`, or in the old form `name.namespace.svc.…`.
pub(super) fn check_gateway_name(gateway: &str, field: &str, report: &mut Report<'_>) {
    let fits = match gateway.split_once('/') {
        Some((namespace, name)) => is_label(namespace) && is_label(name),
        None => is_domain(gateway),
    };
    if !fits {
        let message = format!("{gateway:?} names no gateway: use name, namespace/name or mesh");
        report.error(code::REFERENCE, field, message);
    } else if !gateway.contains('/')
        && let [name, namespace, ..] = gateway.split('.').collect::<Vec<_>>()[..]
    {
        let message = format!("{gateway:?} is in an old form: write \"{namespace}/{name}\"");
        report.warn(code::DEPRECATED, field, message);
    }
}

/// A gateway that the object is not for is taken, and its match never holds.
pub(super) fn check_match_gateways(
    spec: &VirtualServiceSpec,
    gateways: &[String],
    path: &str,
    report: &mut Report<'_>,
) {
    for (index, gateway) in gateways.iter().enumerate() {
        let field = format!("{path}.gateways[{index}]");
        check_gateway_name(gateway, &field, report);
        let is_listed =
            spec.gateways.contains(gateway) || (spec.gateways.is_empty() && gateway == "mesh");
        if !is_listed {
            let message = format!(
                "{gateway:?} is none of spec.gateways, so there this never matches: add it, or \
                 remove it here"
            );
            report.warn(code::REFERENCE, field, message);
        }
    }
}
