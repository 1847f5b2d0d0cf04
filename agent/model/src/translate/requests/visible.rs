//! Hosts as one client sees them, and who is behind their ports.

use std::{collections::BTreeSet, net::IpAddr, num::NonZeroU16, sync::Arc};

use super::{
    super::workloads::{Labels, Workload},
    RequestModel,
};
use crate::{
    address,
    endpoints::{Endpoint, Endpoints},
    registry::{Ports, Scope, Service, ServicePort},
    requests::{backend::PortOfHost, host::Domain},
    resource::{Kind, Object, ObjectKey, tag::REVISION},
};

/// On a workload that is no pod: mutual TLS can be spoken with it.
const TLS_MODE: &str = "security.istio.io/tlsMode";

/// A host: the service that holds it, and who serves each of its ports.
#[derive(Debug)]
pub(super) struct VisibleHost {
    pub(super) host: Arc<str>,
    pub(super) holder: Arc<Service>,
    pub(super) ports: Vec<VisiblePort>,
}

/// A port under a host. Datagrams are none of requests' business.
pub(super) type VisiblePort = PortOfHost;

/// An endpoint with all that is known of the workload there.
#[derive(Clone, Debug)]
pub(super) struct KnownEndpoint {
    pub(super) address: IpAddr,
    pub(super) port: NonZeroU16,
    pub(super) weight: u32,
    pub(super) locality: String,
    pub(super) labels: Labels,
    pub(super) identity: Option<String>,
    pub(super) enrolled: bool,
}

impl VisibleHost {
    /// The port of a number.
    pub(super) fn port(&self, number: u16) -> Option<&VisiblePort> {
        self.ports.iter().find(|port| port.number() == number)
    }

    /// The names by which a client of a namespace may ask for the services that serve a port of the host.
    pub(super) fn domains(&self, service: &Service, client: &str) -> BTreeSet<Domain> {
        let mut domains: BTreeSet<Domain> = [Domain::new(&self.host)].into();
        if service.key.kind == Kind::Service {
            let ObjectKey { namespace, name, .. } = &service.key;
            domains.insert(Domain::new(&format!("{name}.{namespace}.svc")));
            domains.insert(Domain::new(&format!("{name}.{namespace}")));
            if client == namespace.as_str() {
                domains.insert(Domain::new(name));
            }
        }
        let single = service.addresses.iter().filter(|one| address::is_host(**one));
        domains.extend(single.map(|one| Domain::from(one.addr())));
        domains
    }
}

impl PortOfHost {
    pub(super) fn port(&self) -> &ServicePort {
        &self.service.ports[self.index]
    }

    pub(super) fn number(&self) -> u16 {
        self.port().number
    }
}

impl RequestModel {
    /// The hosts that a scope shows.
    pub(super) fn visible(&self, scope: &Scope) -> Vec<Arc<VisibleHost>> {
        let hosts = self.registry.hosts(scope).into_iter();
        hosts.map(|(host, claims)| self.visible_host(host, &claims)).collect()
    }

    /// A host that the first of some services holds, and the others lend ports.
    fn visible_host(&self, host: &str, claims: &[(&Arc<Service>, Ports)]) -> Arc<VisibleHost> {
        let served = || {
            claims.iter().flat_map(|(service, shown)| {
                let own = service.ports.iter().enumerate();
                let own = own.filter(|(index, port)| shown.contains(*index) && port.is_stream());
                own.map(|(index, _)| (*service, index))
            })
        };
        let is_it = |(): &(), one: &VisibleHost| {
            let same = |(port, (service, index)): (&VisiblePort, (&Arc<Service>, usize))| {
                Arc::ptr_eq(&port.service, service) && port.index == index
            };
            *one.host == *host
                && one.ports.len() == served().count()
                && one.ports.iter().zip(served()).all(same)
        };
        let holder = claims[0].0;
        let (pool, about) = (&self.views.shared.hosts, Arc::as_ptr(holder).addr());
        if let Some(known) = pool.find(about, is_it) {
            return known;
        }
        let host: Arc<str> = host.into();
        let port = |(service, index): (&Arc<Service>, usize)| VisiblePort {
            host: Arc::clone(&host),
            service: Arc::clone(service),
            index,
        };
        let ports = served().map(port).collect();
        let made = Arc::new(VisibleHost { holder: Arc::clone(holder), ports, host });
        pool.put(about, (), &made);
        made
    }

    /// Where a port is; of a Kubernetes Service its endpoints are looked up.
    pub(super) fn endpoints(&self, at: &VisiblePort) -> Endpoints {
        let (service, port) = (&at.service, at.port());
        match &port.endpoints {
            None => {
                let served = self.endpoints.served(&service.key, port).ready.into_iter();
                let served = served
                    .map(|(at, number)| Endpoint::new(at, number.unwrap_or(port.dialled()), 1));
                let mut all: Vec<Endpoint> = served.collect();
                all.sort_unstable();
                all.dedup();
                Endpoints::Listed(all.into())
            }
            Some(Endpoints::Named { names, first_only, mutual }) if service.resolves_hosts => {
                let own = names.iter().filter(|name| *name.host == *at.host).cloned().collect();
                Endpoints::Named { names: own, first_only: *first_only, mutual: *mutual }
            }
            Some(other) => other.clone(),
        }
    }

    /// Who is at an endpoint: what its object says, and what is known of a pod. An address without
    /// a known workload has no identity.
    pub(super) fn known(&self, service: &Service, at: &Endpoint) -> KnownEndpoint {
        let Endpoint { address, port, weight, locality, workload: stated, mutual: _ } = at;
        let pod = self.workloads.at(*address);
        let mut labels = pod.map(|one| one.labels.clone()).unwrap_or_default();
        labels.extend(stated.iter().flat_map(|one| one.labels.clone()));
        let account = stated.as_ref().map(|one| one.service_account.as_str());
        let account = account.filter(|account| !account.is_empty());
        let own = account.map(|account| self.identity(&service.key.namespace, account, &labels));
        let of_pod = || pod.map(|pod| self.identity_of(pod));
        let says = stated.is_some() && labels.get(TLS_MODE).is_some_and(|mode| mode == "istio");
        KnownEndpoint {
            address: *address,
            port: *port,
            weight: *weight,
            locality: locality.clone(),
            identity: own.or_else(of_pod),
            enrolled: says || pod.map_or_else(|| self.may_enrol(service, at), |one| one.enrolled),
            labels,
        }
    }

    /// Whether a pod that is not known yet may be in the mesh. Nothing is sent to it in plaintext by
    /// mistake: what speaks to it waits until it is known.
    fn may_enrol(&self, service: &Service, at: &Endpoint) -> bool {
        let of_pods = || match self.objects.get(&service.key) {
            Some(Object::Service(service)) => service.has_selector(),
            _ => false,
        };
        at.workload.is_none()
            && self.steered.is_in_mesh(&service.key.namespace)
            && !self.workloads.is_host(at.address)
            && of_pods()
    }

    /// As whom a pod speaks.
    pub(super) fn identity_of(&self, pod: &Workload) -> String {
        self.identity(&pod.namespace, &pod.service_account, &pod.labels)
    }

    fn identity(&self, namespace: &str, account: &str, labels: &Labels) -> String {
        let revision = labels.get(REVISION).map(String::as_str);
        let governed = self.revisions.of_label(revision, self.namespace(namespace));
        governed.settings.identity(namespace, account)
    }

    /// Who may answer for a service.
    pub(super) fn identities(&self, at: &VisiblePort) -> BTreeSet<String> {
        let service = &at.service;
        let own = service.ports.iter().enumerate().filter(|(_, port)| port.is_stream());
        let own = own.flat_map(|(index, _)| {
            let port = VisiblePort { index, ..at.clone() };
            match self.endpoints(&port) {
                Endpoints::Listed(all) => all.to_vec(),
                _ => Vec::new(),
            }
        });
        let own = own.filter_map(|endpoint| self.known(service, &endpoint).identity);
        own.chain(service.certificate_names.iter().cloned()).collect()
    }
}
