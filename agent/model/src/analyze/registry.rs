//! Entries that are less, or more, of an allowlist than they look.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

use ipnet::IpNet;

use crate::{
    address,
    egress::DefaultAction,
    finding::{Finding, Severity, code},
    registry::{Authority, Registry},
    resource::{Objects, traffic::OutboundMode},
    translate::pod_addresses,
};

pub(super) fn find(
    objects: &Objects,
    registry: &Registry,
    outbound: DefaultAction,
) -> Vec<Finding> {
    let mut findings = of_pods(objects, registry);
    if outbound == DefaultAction::AllowAny && !any_sidecar_restricts(objects) {
        let given = objects.mesh_configs().next().is_some();
        let most = if given { usize::MAX } else { 1 };
        findings.extend(without_allowlist(registry, given).take(most));
    }
    findings
}

fn of_pods(objects: &Objects, registry: &Registry) -> Vec<Finding> {
    let mut owners: BTreeMap<IpAddr, String> = BTreeMap::new();
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
    for service in registry.services().iter().filter(|one| one.authority == Authority::Declared) {
        let rules = service.ports.iter().flat_map(|port| &port.rules);
        let cidrs: BTreeSet<IpNet> = rules.map(|rule| rule.cidr).collect();
        for message in cidrs.into_iter().filter_map(|cidr| about_pods(cidr, &owners)) {
            let (severity, key) = (Severity::Warning, &service.key);
            let code = code::ADDRESS_IS_A_PODS;
            findings.push(Finding::new(severity, code, key, "spec.addresses", message));
        }
    }
    findings
}

/// What is to be said of pods that have the addresses of a prefix. A whole port is told elsewhere.
fn about_pods(cidr: IpNet, owners: &BTreeMap<IpAddr, String>) -> Option<String> {
    if cidr.prefix_len() == 0 {
        return None;
    }
    let within: Vec<&String> =
        owners.range(cidr.network()..=cidr.broadcast()).map(|(_, pod)| pod).collect();
    let pod = within.first()?;
    Some(if address::is_host(cidr) {
        format!(
            "{} is the address of pod {pod}, and the next pod will have another: declare a Service \
             instead",
            cidr.addr()
        )
    } else {
        let others = match within.len() - 1 {
            0 => String::new(),
            more => format!(" and {more} more"),
        };
        format!(
            "{cidr} holds addresses of pods ({pod}{others}): this allows to reach them past their \
             Services; narrow it to what lies outside the cluster"
        )
    })
}

fn any_sidecar_restricts(objects: &Objects) -> bool {
    objects.sidecars().any(|sidecar| {
        let policy = sidecar.spec.outbound_traffic_policy.as_ref();
        policy.is_some_and(|policy| policy.mode == OutboundMode::RegistryOnly)
    })
}

/// Where no settings are given, those of the mesh may say anything.
fn without_allowlist(registry: &Registry, given: bool) -> impl Iterator<Item = Finding> {
    let declared = registry.services().iter().filter(|one| one.authority == Authority::Declared);
    declared.map(move |service| {
        let message = if given {
            "the mesh's outboundTrafficPolicy is ALLOW_ANY, so this entry allows nothing that is \
             not allowed anyhow: set REGISTRY_ONLY for an allowlist"
        } else {
            "no settings of the mesh are given, and without any everything is allowed: entries \
             are an allowlist where outboundTrafficPolicy is REGISTRY_ONLY"
        };
        Finding::new(Severity::Info, code::NO_ALLOWLIST, &service.key, "spec", message)
    })
}
