//! Services that no cluster has yet. Manifests give no address, which a cluster adds, so one is
//! supposed: what would be said of the lack of one holds of no cluster.

use std::{
    net::{IpAddr, Ipv6Addr},
    sync::Arc,
};

use crate::{
    resource::{Object, Objects},
    snapshot::{Finding, Severity, code},
};

/// The prefix that leads nowhere, RFC 6666: no manifest names its addresses.
const NOWHERE: u128 = 0x0100 << 112;

/// Gives each such Service an address of its own, and says once that it did.
pub(super) fn suppose(objects: &mut Objects) -> Option<Finding> {
    let without = objects.services().filter(|service| {
        let is_stored = service.metadata.uid.is_some();
        let needs_one = !service.headless && service.external_name.is_none();
        needs_one && !is_stored && service.addresses.is_empty()
    });
    let without: Vec<_> = without.cloned().collect();
    let first = Object::Service(Arc::clone(without.first()?)).key();
    let count = without.len();
    for (service, number) in without.into_iter().zip(1_u128..) {
        let mut service = Arc::unwrap_or_clone(service);
        service.addresses = [IpAddr::V6(Ipv6Addr::from_bits(NOWHERE + number))].into();
        objects.insert(Object::Service(Arc::new(service)));
    }
    let others = if count > 1 { format!(" and {} more", count - 1) } else { String::new() };
    let message = format!(
        "{}{others} have no address here, which a cluster gives them: one is supposed",
        first.name
    );
    let (severity, field) = (Severity::Info, "spec.clusterIP");
    Some(Finding::new(severity, code::NO_ADDRESS, &first, field, message))
}
