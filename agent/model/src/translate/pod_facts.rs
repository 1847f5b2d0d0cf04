//! What a Pod says about itself, whatever mesh it is in.

use std::net::IpAddr;

use k8s_openapi::api::core::v1::Pod;

/// Unless it says that it is not.
pub(super) fn is_ready(pod: &Pod) -> bool {
    let conditions = pod.status.as_ref().and_then(|status| status.conditions.as_deref());
    !conditions.unwrap_or_default().iter().any(|one| one.type_ == "Ready" && one.status == "False")
}

/// A pod's addresses.
pub(crate) fn pod_addresses(pod: &Pod) -> Vec<IpAddr> {
    addresses(pod).0
}

/// A pod's addresses, and what of them cannot be read.
pub(super) fn addresses(pod: &Pod) -> (Vec<IpAddr>, Vec<String>) {
    let Some(status) = &pod.status else { return (Vec::new(), Vec::new()) };
    let all = status.pod_ips.iter().flatten().map(|one| &one.ip).chain(&status.pod_ip);
    let (mut addresses, mut unread) = (Vec::new(), Vec::new());
    for text in all.filter(|text| !text.is_empty()) {
        match text.parse::<IpAddr>() {
            Ok(address) if !addresses.contains(&address) => addresses.push(address),
            Ok(_) => {}
            Err(_) => unread.push(text.clone()),
        }
    }
    (addresses, unread)
}

/// Whether it has ended, so that its address may be another pod's.
pub(super) fn is_finished(pod: &Pod) -> bool {
    let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref());
    matches!(phase, Some("Succeeded" | "Failed"))
}
