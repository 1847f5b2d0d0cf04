//! Whether an `AuthorizationPolicy` is valid. One that is misread would let through what it was to
//! deny, so every value is looked at.

use super::{
    Report, attributes, target,
    values::{required, set},
};
use crate::{
    finding::code,
    resource::security::{Action, AuthorizationPolicySpec, Condition, Operation, Rule, Source},
};

pub(super) fn check(spec: &AuthorizationPolicySpec, report: &mut Report<'_>) {
    target::check(spec.selector.as_ref(), spec.target_ref.as_ref(), &spec.target_refs, report);
    if matches!(spec.action, Action::Deny | Action::Custom) && spec.rules.is_empty() {
        let message = "without rules this is never asked: use [{}] for every request";
        report.error(code::REQUIRED, "spec.rules", message);
    }
    if spec.action == Action::Custom {
        let name = spec.provider.as_ref().map_or("", |provider| provider.name.as_str());
        let field = if spec.provider.is_some() { "spec.provider.name" } else { "spec.provider" };
        required(!name.is_empty(), field, report);
    } else if spec.provider.is_some() {
        let message = "a provider goes with action CUSTOM only: remove it";
        report.error(code::CONFLICT, "spec.provider", message);
    }
    for (index, rule) in spec.rules.iter().enumerate() {
        check_rule(spec.action, rule, &format!("spec.rules[{index}]"), report);
    }
}

fn check_rule(action: Action, rule: &Rule, path: &str, report: &mut Report<'_>) {
    for (index, from) in rule.from.iter().enumerate() {
        let path = format!("{path}.from[{index}].source");
        let given = from.source.as_ref().filter(|source| **source != Source::default());
        required(given.is_some(), &path, report);
        if let Some(source) = given {
            check_source(action, source, &path, report);
        }
    }
    for (index, to) in rule.to.iter().enumerate() {
        let path = format!("{path}.to[{index}].operation");
        let given = to.operation.as_ref().filter(|operation| **operation != Operation::default());
        required(given.is_some(), &path, report);
        if let Some(operation) = given {
            check_operation(operation, &path, report);
        }
    }
    for (index, when) in rule.when.iter().enumerate() {
        check_condition(action, when, &format!("{path}.when[{index}]"), report);
    }
    warn_about_tcp(action, rule, path, report);
}

/// A connection has no such attributes, and a deny rule leaves them out there.
fn warn_about_tcp(action: Action, rule: &Rule, path: &str, report: &mut Report<'_>) {
    let sources: Vec<&Source> = rule.from.iter().filter_map(|from| from.source.as_ref()).collect();
    let operations: Vec<&Operation> =
        rule.to.iter().filter_map(|to| to.operation.as_ref()).collect();
    let by_source = sources.iter().any(|source| {
        let only_requests = Source {
            request_principals: source.request_principals.clone(),
            not_request_principals: source.not_request_principals.clone(),
            trust_domains: source.trust_domains.clone(),
            not_trust_domains: source.not_trust_domains.clone(),
            ..Source::default()
        };
        **source != only_requests
    });
    let by_port = operations.iter().any(|one| !one.ports.is_empty() || !one.not_ports.is_empty());
    let only_requests = (!sources.is_empty() && operations.is_empty() && !by_source)
        || (!operations.is_empty() && !by_port);
    if action == Action::Deny && only_requests {
        let message = "only attributes of requests are named, which plain TCP does not have: every \
                       connection to a TCP port is denied; name the ports that are meant";
        report.warn(code::DENIES_ALL_TCP, path, message);
    }
}

fn check_source(action: Action, source: &Source, path: &str, report: &mut Report<'_>) {
    let lists: [(&str, &Vec<String>); 14] = [
        ("principals", &source.principals),
        ("notPrincipals", &source.not_principals),
        ("requestPrincipals", &source.request_principals),
        ("notRequestPrincipals", &source.not_request_principals),
        ("namespaces", &source.namespaces),
        ("notNamespaces", &source.not_namespaces),
        ("serviceAccounts", &source.service_accounts),
        ("notServiceAccounts", &source.not_service_accounts),
        ("trustDomains", &source.trust_domains),
        ("notTrustDomains", &source.not_trust_domains),
        ("ipBlocks", &source.ip_blocks),
        ("notIpBlocks", &source.not_ip_blocks),
        ("remoteIpBlocks", &source.remote_ip_blocks),
        ("notRemoteIpBlocks", &source.not_remote_ip_blocks),
    ];
    for (name, list) in lists {
        let field = format!("{path}.{name}");
        match name {
            "serviceAccounts" | "notServiceAccounts" => {
                attributes::check_accounts(list, &field, report);
            }
            "trustDomains" | "notTrustDomains" => {
                attributes::check_trust_domains(list, &field, report);
            }
            name if name.ends_with("Blocks") => attributes::check_blocks(list, &field, report),
            _ => attributes::check_filled(list, &field, report),
        }
        if action == Action::Custom && !name.ends_with("Blocks") && !list.is_empty() {
            let message = "cannot be asked for with action CUSTOM: leave it to the provider";
            report.error(code::CONFLICT, field, message);
        }
    }
    let accounts = !source.service_accounts.is_empty() || !source.not_service_accounts.is_empty();
    let others = set([
        ("principals", !source.principals.is_empty()),
        ("notPrincipals", !source.not_principals.is_empty()),
        ("namespaces", !source.namespaces.is_empty()),
        ("notNamespaces", !source.not_namespaces.is_empty()),
    ]);
    if accounts && !others.is_empty() {
        let message = format!("serviceAccounts do not go with {}: keep one", others.join(" and "));
        report.error(code::ONE_OF, path, message);
    }
}

fn check_operation(operation: &Operation, path: &str, report: &mut Report<'_>) {
    for (name, list) in [("ports", &operation.ports), ("notPorts", &operation.not_ports)] {
        attributes::check_ports(list, &format!("{path}.{name}"), report);
    }
    for (name, list) in [
        ("hosts", &operation.hosts),
        ("notHosts", &operation.not_hosts),
        ("methods", &operation.methods),
        ("notMethods", &operation.not_methods),
    ] {
        attributes::check_filled(list, &format!("{path}.{name}"), report);
    }
    for (name, list) in [("paths", &operation.paths), ("notPaths", &operation.not_paths)] {
        attributes::check_paths(list, &format!("{path}.{name}"), report);
    }
}

fn check_condition(action: Action, when: &Condition, path: &str, report: &mut Report<'_>) {
    let Condition { key, values, not_values } = when;
    let field = format!("{path}.key");
    if key.is_empty() {
        required(false, &field, report);
        return;
    }
    if values.is_empty() && not_values.is_empty() {
        required(false, &format!("{path}.values"), report);
        return;
    }
    if action == Action::Custom && attributes::is_identity(key) {
        let message =
            format!("{key} cannot be asked for with action CUSTOM: leave it to the provider");
        report.error(code::CONFLICT, field.clone(), message);
    }
    if !attributes::check_key(key, &field, report) {
        return;
    }
    for (name, list) in [("values", values), ("notValues", not_values)] {
        attributes::check_values(key, list, &format!("{path}.{name}"), report);
    }
}
