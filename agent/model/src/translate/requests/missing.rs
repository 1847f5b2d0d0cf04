//! What objects about requests name that does not exist: subsets without any service, hosts of policies.

use std::collections::BTreeSet;

use super::{RequestModel, findings::destinations, named};
use crate::{
    finding::{Finding, Severity, code},
    requests::host::Domain,
    resource::{Object, security::AuthorizationPolicy},
};

impl RequestModel {
    /// Where no service is given, a rule for the host still says which subsets there are.
    pub(super) fn subsets_missing(&self, findings: &mut Vec<Finding>) {
        for object in self.objects.virtual_services() {
            let key = Object::VirtualService(object.clone()).key();
            for (field, to) in destinations(object) {
                let host = named::expand(&to.host, &key.namespace, &self.domain);
                let mut rules = self.rules().for_host(&host).peekable();
                let is_there = rules.peek().is_none()
                    || to.subset.is_empty()
                    || rules.any(|rule| rule.subsets.iter().any(|one| one.name == to.subset));
                if !is_there {
                    let message = format!(
                        "Referenced host+subset in destinationrule not found: {:?}. Requests for \
                         it fail with 503",
                        format!("{}+{}", to.host, to.subset)
                    );
                    let (severity, code) = (Severity::Error, code::REFERENCE_UNKNOWN);
                    let field = format!("{field}.subset");
                    findings.push(Finding::new(severity, code, &key, field, message));
                }
            }
        }
    }

    /// Hosts that a policy names and the registry does not have.
    pub(super) fn access_to_nobody(&self, findings: &mut Vec<Finding>) {
        if self.registry.services().is_empty() {
            return;
        }
        let hosts: BTreeSet<Domain> = self
            .registry
            .services()
            .iter()
            .flat_map(|one| &one.hosts)
            .map(|host| Domain::new(host))
            .collect();
        for policy in self.objects.authorization_policies() {
            let key = Object::AuthorizationPolicy(policy.clone()).key();
            for (rule, to, at, text) in named_hosts(policy) {
                let name = text.rsplit_once(':').map_or(text.as_str(), |(name, _)| name);
                let host = Domain::new(&named::expand(name, &key.namespace, &self.domain));
                if text.contains('*') || hosts.iter().any(|one| one.covers(&host)) {
                    continue;
                }
                let field = format!("spec.rules[{rule}].to[{to}].operation.hosts[{at}]");
                let message = format!(
                    "Referenced host not found: {text:?}. Declare it, or name one that is there"
                );
                let (severity, code) = (Severity::Warning, code::REFERENCE_UNKNOWN);
                findings.push(Finding::new(severity, code, &key, field, message));
            }
        }
    }
}

/// Rule, operation, place and text of each host that a policy lets through or not.
fn named_hosts(
    policy: &AuthorizationPolicy,
) -> impl Iterator<Item = (usize, usize, usize, &String)> {
    policy.spec.rules.iter().enumerate().flat_map(|(rule, one)| {
        one.to.iter().enumerate().flat_map(move |(to, one)| {
            let hosts = one.operation.iter().flat_map(|operation| &operation.hosts);
            hosts.enumerate().map(move |(at, host)| (rule, to, at, host))
        })
    })
}
