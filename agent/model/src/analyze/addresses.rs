//! Services that no cluster has yet. Manifests give no address, which a cluster adds, so one is
//! supposed: what would be said of the lack of one holds of no cluster.

use std::{
    collections::BTreeSet,
    net::{IpAddr, Ipv6Addr},
    sync::Arc,
};

use k8s_openapi::{api::core::v1::ServicePort, apimachinery::pkg::util::intstr::IntOrString};

use crate::{
    finding::{Finding, Severity, code},
    resource::{Described as _, EndpointSlice, Metadata, Object, Objects, Service},
};

/// The prefix that leads nowhere, RFC 6666: no manifest names its addresses.
const NOWHERE: u128 = 0x0100 << 112;

/// Gives each such Service an address of its own, or an endpoint where it is headless, and says once
/// that it did.
pub(super) fn suppose(objects: &mut Objects) -> Option<Finding> {
    let served = served(objects);
    let without = objects.services().filter(|service| {
        let is_stored = service.metadata.uid.is_some();
        let reached = if service.headless {
            served.contains(&(service.metadata.namespace(), service.metadata.name()))
        } else {
            !service.addresses.is_empty()
        };
        service.external_name.is_none() && !is_stored && !reached
    });
    let without: Vec<_> = without.cloned().collect();
    let first = Object::Service(Arc::clone(without.first()?)).key();
    let count = without.len();
    for (service, number) in without.into_iter().zip(1_u128..) {
        let address = IpAddr::V6(Ipv6Addr::from_bits(NOWHERE + number));
        let supposed = if service.headless {
            Object::EndpointSlice(Arc::new(slice(&service, address)))
        } else {
            let mut service = Arc::unwrap_or_clone(service);
            service.addresses = [address].into();
            Object::Service(Arc::new(service))
        };
        objects.insert(supposed);
    }
    let message = match count {
        1 => "it has no address here, which a cluster gives it: one is supposed".to_owned(),
        _ => format!(
            "it and {} more have no address here, which a cluster gives them: one is supposed",
            count - 1
        ),
    };
    let (severity, field) = (Severity::Info, "spec.clusterIP");
    Some(Finding::new(severity, code::NO_ADDRESS, &first, field, message))
}

/// The Services that have endpoints, by namespace and name.
fn served(objects: &Objects) -> BTreeSet<(&str, &str)> {
    let slices = objects
        .endpoint_slices()
        .filter_map(|slice| Some((slice.metadata.namespace(), slice.service.as_deref()?)));
    let whole = objects.endpoints().map(|one| (one.metadata.namespace(), one.metadata.name()));
    slices.chain(whole).collect()
}

/// The endpoint of a headless Service.
fn slice(service: &Service, address: IpAddr) -> EndpointSlice {
    let port = |port: &ServicePort| {
        let number = match &port.target_port {
            Some(IntOrString::Int(number)) => *number,
            Some(IntOrString::String(_)) | None => port.port,
        };
        (port.name.clone().unwrap_or_default(), u16::try_from(number).ok())
    };
    let name = service.metadata.name();
    EndpointSlice {
        metadata: Metadata {
            name: Some(format!("{name}-supposed")),
            namespace: service.metadata.namespace.clone(),
            ..Metadata::default()
        },
        service: Some(name.to_owned()),
        address_type: "IPv6".to_owned(),
        ready: [address].into(),
        unready: [].into(),
        ports: service.ports.iter().map(port).collect(),
    }
}
