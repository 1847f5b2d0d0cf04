//! Entries that are less, or more, of an allowlist than they look.

use std::{collections::HashMap, net::IpAddr};

use crate::{
    egress::DefaultAction,
    registry::{Origin, Registry},
    resource::{Objects, traffic::OutboundMode},
    snapshot::{Finding, Severity, code},
    translate::{address, pod_addresses},
};

pub(super) fn find(
    objects: &Objects,
    registry: &Registry,
    outbound: DefaultAction,
) -> Vec<Finding> {
    let mut findings = of_pods(objects, registry);
    if outbound == DefaultAction::AllowAny && !any_sidecar_restricts(objects) {
        findings.extend(without_allowlist(registry));
    }
    findings
}

fn of_pods(objects: &Objects, registry: &Registry) -> Vec<Finding> {
    let mut owners: HashMap<IpAddr, String> = HashMap::new();
    for pod in objects.pods() {
        // A pod on the host's network has the node's address, which others may well name.
        if pod.spec.as_ref().and_then(|spec| spec.host_network) == Some(true) {
            continue;
        }
        let metadata = &pod.metadata;
        let name = |part: &Option<String>| part.clone().unwrap_or_default();
        let id = format!("{}/{}", name(&metadata.namespace), name(&metadata.name));
        owners.extend(pod_addresses(pod).into_iter().map(|address| (address, id.clone())));
    }
    let mut findings = Vec::new();
    for definition in registry.definitions().iter().filter(|one| one.origin == Origin::Declared) {
        let rules = definition.ports.iter().flat_map(|port| &port.rules);
        for cidr in rules.map(|rule| rule.cidr).filter(|cidr| address::is_host(*cidr)) {
            if let Some(pod) = owners.get(&cidr.addr()) {
                let message = format!(
                    "{} is the address of pod {pod}, and the next pod will have another: declare \
                     a Service instead",
                    cidr.addr()
                );
                let (severity, key) = (Severity::Warning, &definition.key);
                let code = code::ADDRESS_IS_A_PODS;
                findings.push(Finding::new(severity, code, key, "spec.addresses", message));
            }
        }
    }
    findings
}

fn any_sidecar_restricts(objects: &Objects) -> bool {
    objects.sidecars().any(|sidecar| {
        let policy = sidecar.spec.outbound_traffic_policy.as_ref();
        policy.is_some_and(|policy| policy.mode == OutboundMode::RegistryOnly)
    })
}

fn without_allowlist(registry: &Registry) -> impl Iterator<Item = Finding> {
    let declared = registry.definitions().iter().filter(|one| one.origin == Origin::Declared);
    declared.map(|definition| {
        let message = "the mesh's outboundTrafficPolicy is ALLOW_ANY, so this entry allows nothing \
                       that is not allowed anyhow: set REGISTRY_ONLY for an allowlist";
        Finding::new(Severity::Info, code::NO_ALLOWLIST, &definition.key, "spec", message)
    })
}
