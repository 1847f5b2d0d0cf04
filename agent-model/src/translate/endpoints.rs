//! The endpoints of Services: `EndpointSlice`s, or `Endpoints` where a Service has no slice.

use std::{collections::BTreeMap, net::IpAddr};

use k8s_openapi::api::{
    core::v1::{Endpoints, Service},
    discovery::v1::EndpointSlice,
};

use super::annotation::label;
use crate::resource::Objects;

const SERVICE_NAME: &str = "kubernetes.io/service-name";

/// Ready addresses with the ports that they serve.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Subset {
    pub(super) addresses: Vec<IpAddr>,
    /// By the Service port's name; `None` for a port that is not said.
    pub(super) ports: BTreeMap<String, Option<u16>>,
}

/// Endpoints by Service.
#[derive(Debug, Default)]
pub(super) struct Index {
    sliced: BTreeMap<(String, String), Vec<Subset>>,
    plain: BTreeMap<(String, String), Vec<Subset>>,
}

impl Index {
    pub(super) fn new(objects: &Objects) -> Self {
        let mut index = Self::default();
        for slice in objects.endpoint_slices() {
            let namespace = slice.metadata.namespace.clone().unwrap_or_default();
            if let Some(service) = label(&slice.metadata, SERVICE_NAME) {
                let key = (namespace, service.to_owned());
                index.sliced.entry(key).or_default().push(of_slice(slice));
            }
        }
        for endpoints in objects.endpoints() {
            let metadata = &endpoints.metadata;
            let key = (
                metadata.namespace.clone().unwrap_or_default(),
                metadata.name.clone().unwrap_or_default(),
            );
            index.plain.insert(key, of_endpoints(endpoints));
        }
        index
    }

    /// The subsets of a Service.
    pub(super) fn of(&self, namespace: &str, name: &str) -> &[Subset] {
        let key = (namespace.to_owned(), name.to_owned());
        let found = self.sliced.get(&key).or_else(|| self.plain.get(&key));
        found.map_or(&[], Vec::as_slice)
    }
}

/// Whether a Service has no address of its own on purpose.
pub(super) fn is_headless(service: &Service) -> bool {
    let spec = service.spec.as_ref();
    spec.and_then(|spec| spec.cluster_ip.as_deref()) == Some("None")
}

fn of_slice(slice: &EndpointSlice) -> Subset {
    // Unset means ready: the API says to take it so.
    let ready = slice.endpoints.iter().filter(|endpoint| {
        endpoint.conditions.as_ref().and_then(|conditions| conditions.ready) != Some(false)
    });
    let addresses = ready.flat_map(|endpoint| &endpoint.addresses);
    let ports = slice.ports.iter().flatten();
    let ports = ports.map(|port| {
        let number = port.port.and_then(|number| u16::try_from(number).ok());
        (port.name.clone().unwrap_or_default(), number)
    });
    Subset {
        addresses: addresses.filter_map(|text| text.parse().ok()).collect(),
        ports: ports.collect(),
    }
}

fn of_endpoints(endpoints: &Endpoints) -> Vec<Subset> {
    let subsets = endpoints.subsets.iter().flatten();
    let subsets = subsets.map(|subset| {
        let addresses = subset.addresses.iter().flatten();
        let ports = subset.ports.iter().flatten();
        let ports = ports
            .map(|port| (port.name.clone().unwrap_or_default(), u16::try_from(port.port).ok()));
        Subset {
            addresses: addresses.filter_map(|address| address.ip.parse().ok()).collect(),
            ports: ports.collect(),
        }
    });
    subsets.collect()
}
