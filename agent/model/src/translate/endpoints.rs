//! The endpoints of Services: `EndpointSlice`s, or `Endpoints` where a Service has no slice.

use std::{
    collections::BTreeMap,
    net::IpAddr,
    num::NonZeroU16,
    sync::{Arc, Mutex, PoisonError},
};

use hashbrown::HashMap;
use k8s_openapi::api::core::v1::{EndpointAddress, Endpoints};

use crate::{
    registry::ServicePort,
    resource::{EndpointSlice, Kind, Object, ObjectKey, Objects},
};

/// Addresses with the ports that they serve.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Subset {
    /// Of those that are ready.
    pub(super) addresses: Vec<IpAddr>,
    /// Of the others.
    pub(super) unready: Vec<IpAddr>,
    /// By the Service port's name; `None` for a port that is not said.
    pub(super) ports: BTreeMap<String, Option<u16>>,
}

/// Where a port is served.
#[derive(Debug, Default)]
pub(super) struct Served {
    pub(super) ready: Vec<(IpAddr, Option<NonZeroU16>)>,
    /// These may have open connections, and get no new ones.
    pub(super) unready: Vec<(IpAddr, Option<NonZeroU16>)>,
}

/// Endpoints by Service. Most Services are reached at their own address, so nothing is collected
/// before the first lookup, and then what the Service's namespace has.
#[derive(Debug, Default)]
pub(super) struct Index {
    objects: Objects,
    sliced: Mutex<HashMap<String, Arc<ByService>>>,
}

type ByService = HashMap<String, Vec<Arc<EndpointSlice>>>;

impl Index {
    pub(super) fn new(objects: &Objects) -> Self {
        Self { objects: objects.clone(), sliced: Mutex::default() }
    }

    /// An index of other objects: what was collected of namespaces whose slices are still the very
    /// same stays.
    pub(super) fn follow(&self, objects: &Objects) -> Self {
        let mut sliced = self.lock().clone();
        if !sliced.is_empty() {
            for key in objects.changes(&self.objects, Kind::EndpointSlice) {
                sliced.remove(key.namespace.as_str());
            }
        }
        Self { objects: objects.clone(), sliced: Mutex::new(sliced) }
    }

    /// The subsets of a Service.
    pub(super) fn of(&self, namespace: &str, name: &str) -> Vec<Subset> {
        let by_service = {
            let mut sliced = self.lock();
            let collect = || Arc::new(self.collect(namespace));
            Arc::clone(sliced.entry_ref(namespace).or_insert_with(collect))
        };
        if let Some(slices) = by_service.get(name) {
            return slices.iter().map(|slice| of_slice(slice)).collect();
        }
        match self.objects.get(&ObjectKey::new(Kind::Endpoints, namespace, name)) {
            Some(Object::Endpoints(endpoints)) => of_endpoints(endpoints),
            _ => Vec::new(),
        }
    }

    /// The addresses that serve a Service's port, and the port that they serve it on; `None` where
    /// they do not say.
    pub(super) fn served(&self, service: &ObjectKey, port: &ServicePort) -> Served {
        let mut served = Served::default();
        for subset in self.of(&service.namespace, &service.name) {
            let Some(port) = subset.ports.get(port.name.as_str()) else { continue };
            let port = port.and_then(NonZeroU16::new);
            served.ready.extend(subset.addresses.iter().map(|address| (*address, port)));
            served.unready.extend(subset.unready.iter().map(|address| (*address, port)));
        }
        served
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<String, Arc<ByService>>> {
        self.sliced.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn collect(&self, namespace: &str) -> ByService {
        let mut by_service = ByService::default();
        for object in self.objects.of_kind_in(Kind::EndpointSlice, namespace) {
            if let Object::EndpointSlice(slice) = object
                && let Some(service) = &slice.service
            {
                by_service.entry_ref(service).or_default().push(Arc::clone(slice));
            }
        }
        by_service
    }
}

fn of_slice(slice: &EndpointSlice) -> Subset {
    Subset {
        addresses: slice.ready.to_vec(),
        unready: slice.unready.to_vec(),
        ports: slice.ports.iter().cloned().collect(),
    }
}

fn of_endpoints(endpoints: &Endpoints) -> Vec<Subset> {
    let subsets = endpoints.subsets.iter().flatten();
    let subsets = subsets.map(|subset| {
        let addresses = |all: &Option<Vec<EndpointAddress>>| {
            let all = all.iter().flatten();
            all.filter_map(|address| address.ip.parse().ok()).collect()
        };
        let ports = subset.ports.iter().flatten();
        let ports = ports
            .map(|port| (port.name.clone().unwrap_or_default(), u16::try_from(port.port).ok()));
        Subset {
            addresses: addresses(&subset.addresses),
            unready: addresses(&subset.not_ready_addresses),
            ports: ports.collect(),
        }
    });
    subsets.collect()
}
