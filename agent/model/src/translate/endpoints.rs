//! The endpoints of Services: `EndpointSlice`s, or `Endpoints` where a Service has no slice.

use std::{cell::RefCell, collections::BTreeMap, net::IpAddr, sync::Arc};

use hashbrown::HashMap;
use k8s_openapi::api::core::v1::Endpoints;

use crate::resource::{EndpointSlice, Kind, Object, ObjectKey, Objects};

/// Ready addresses with the ports that they serve.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Subset {
    pub(super) addresses: Vec<IpAddr>,
    /// By the Service port's name; `None` for a port that is not said.
    pub(super) ports: BTreeMap<String, Option<u16>>,
}

/// Endpoints by Service. Most Services are reached at their own address, so nothing is collected
/// before somebody asks, and then what the Service's namespace has.
#[derive(Debug)]
pub(super) struct Index<'a> {
    objects: &'a Objects,
    sliced: RefCell<HashMap<String, ByService>>,
}

type ByService = HashMap<String, Vec<Arc<EndpointSlice>>>;

impl<'a> Index<'a> {
    pub(super) fn new(objects: &'a Objects) -> Self {
        Self { objects, sliced: RefCell::default() }
    }

    /// The subsets of a Service.
    pub(super) fn of(&self, namespace: &str, name: &str) -> Vec<Subset> {
        let mut sliced = self.sliced.borrow_mut();
        let by_service = sliced.entry_ref(namespace).or_insert_with(|| self.collect(namespace));
        if let Some(slices) = by_service.get(name) {
            return slices.iter().map(|slice| of_slice(slice)).collect();
        }
        match self.objects.get(&ObjectKey::new(Kind::Endpoints, namespace, name)) {
            Some(Object::Endpoints(endpoints)) => of_endpoints(endpoints),
            _ => Vec::new(),
        }
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
    Subset { addresses: slice.ready.to_vec(), ports: slice.ports.iter().cloned().collect() }
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
