//! Services as requests see them, whether the cluster or an entry declares them.

use std::{collections::BTreeSet, net::IpAddr, num::NonZeroU16, sync::Arc};

use ipnet::IpNet;

use super::{
    super::{endpoints::Index, workloads::Workloads as Selectable},
    workload::{Labels, Workloads, identity},
};
use crate::{
    address,
    requests::{backend::Named, host::Domain},
    resource::{
        Kind, ObjectKey,
        protocol::AppProtocol,
        service_entry::{Location, Resolution, ServiceEntry, ServicePort, WorkloadEntrySpec},
    },
};

/// On a workload that is no pod: mutual TLS can be spoken with it.
const TLS_MODE: &str = "security.istio.io/tlsMode";

/// A service under one of its hosts.
#[derive(Debug)]
pub(super) struct Service {
    pub(super) key: ObjectKey,
    pub(super) host: String,
    /// What it is dialled at; none for one that is reached by name, or at its endpoints.
    pub(super) addresses: Vec<IpNet>,
    /// Whether it is outside the mesh, so that no identity is expected of it.
    pub(super) external: bool,
    /// Whether its endpoints are dialled themselves.
    pub(super) headless: bool,
    /// Shared by all who see them: a port may have a thousand endpoints.
    pub(super) ports: Vec<Arc<Port>>,
    /// Names that the server's certificate may carry.
    pub(super) certificate_names: Vec<String>,
    /// The name that this one is another word for.
    pub(super) alias_of: Option<String>,
}

#[derive(Debug)]
pub(super) struct Port {
    pub(super) number: u16,
    pub(super) protocol: AppProtocol,
    pub(super) endpoints: ServiceEndpoints,
}

/// Where a port is served.
#[derive(Clone, Debug)]
pub(super) enum ServiceEndpoints {
    Listed(Vec<ServiceEndpoint>),
    Dialled { port: u16 },
    Named { names: Vec<Named>, first_only: bool },
    AsRequested { port: u16 },
}

#[derive(Clone, Debug)]
pub(super) struct ServiceEndpoint {
    pub(super) address: IpAddr,
    pub(super) port: NonZeroU16,
    pub(super) weight: u32,
    pub(super) locality: String,
    pub(super) labels: Labels,
    pub(super) identity: Option<String>,
    pub(super) enrolled: bool,
}

/// What services are made from.
pub(super) struct Sources<'a> {
    pub(super) endpoints: &'a Index<'a>,
    pub(super) workloads: &'a Workloads,
    pub(super) selectable: &'a Selectable,
    pub(super) domain: &'a str,
    pub(super) trust_domain: &'a str,
}

impl Service {
    /// The names that a client of a namespace may ask for.
    pub(super) fn domains(&self, client: &str, domain: &str) -> BTreeSet<Domain> {
        let mut domains: BTreeSet<Domain> = [Domain::new(&self.host)].into();
        if self.key.kind == Kind::Service {
            let ObjectKey { namespace, name, .. } = &self.key;
            debug_assert!(self.host.ends_with(domain));
            domains.insert(Domain::new(&format!("{name}.{namespace}.svc")));
            domains.insert(Domain::new(&format!("{name}.{namespace}")));
            if client == namespace {
                domains.insert(Domain::new(name));
            }
        }
        let single = self.addresses.iter().filter(|one| address::is_host(**one));
        domains.extend(single.map(|one| Domain::from(one.addr())));
        domains
    }

    pub(super) fn port(&self, number: u16) -> Option<&Arc<Port>> {
        self.ports.iter().find(|port| port.number == number)
    }

    fn endpoints(&self) -> impl Iterator<Item = &ServiceEndpoint> {
        self.ports.iter().flat_map(|port| match &port.endpoints {
            ServiceEndpoints::Listed(endpoints) => &endpoints[..],
            _ => &[],
        })
    }

    /// Who may answer for it.
    pub(super) fn identities(&self) -> BTreeSet<String> {
        let own = self.endpoints().filter_map(|endpoint| endpoint.identity.clone());
        own.chain(self.certificate_names.iter().cloned()).collect()
    }
}

impl Sources<'_> {
    /// A Kubernetes Service.
    pub(super) fn cluster(&self, service: &crate::resource::Service) -> Vec<Arc<Service>> {
        let metadata = &service.metadata;
        let key = ObjectKey::of(Kind::Service, metadata);
        let external = service.external_name.as_ref().map(|name| name.to_ascii_lowercase());
        let ports = service.ports.iter();
        let ports = ports.filter(|port| port.protocol.as_deref().unwrap_or("TCP") == "TCP");
        let ports = ports.filter_map(|port| {
            let number = NonZeroU16::new(u16::try_from(port.port).ok()?)?;
            let name = port.name.as_deref().unwrap_or_default();
            let app = port.app_protocol.as_deref();
            let endpoints = match &external {
                Some(host) => {
                    let named = Named { host: host.clone(), port: number.get() };
                    ServiceEndpoints::Named { names: vec![named], first_only: false }
                }
                None => ServiceEndpoints::Listed(self.served(&key, name, number)),
            };
            let protocol = AppProtocol::of_service_port(app, name, number.get());
            Some(Arc::new(Port { number: number.get(), protocol, endpoints }))
        });
        let ports = ports.collect();
        let addresses = service.addresses.iter().copied().map(IpNet::from).collect();
        vec![Arc::new(Service {
            host: format!("{}.{}.svc.{}", key.name, key.namespace, self.domain)
                .to_ascii_lowercase(),
            addresses,
            external: external.is_some(),
            headless: service.headless,
            ports,
            certificate_names: Vec::new(),
            alias_of: external,
            key,
        })]
    }

    fn served(&self, key: &ObjectKey, name: &str, number: NonZeroU16) -> Vec<ServiceEndpoint> {
        let mut endpoints = Vec::new();
        for subset in self.endpoints.of(&key.namespace, &key.name) {
            let Some(port) = subset.ports.get(name) else { continue };
            let port = port.and_then(NonZeroU16::new).unwrap_or(number);
            endpoints.extend(subset.addresses.iter().map(|address| self.of_pod(*address, port)));
        }
        endpoints.sort_by_key(|endpoint| (endpoint.address, endpoint.port));
        endpoints.dedup_by_key(|endpoint| (endpoint.address, endpoint.port));
        endpoints
    }

    /// An address that may be a pod's. One that is nobody's has no identity.
    fn of_pod(&self, address: IpAddr, port: NonZeroU16) -> ServiceEndpoint {
        let workload = self.workloads.at(address);
        ServiceEndpoint {
            address,
            port,
            weight: 1,
            locality: String::new(),
            labels: workload.map(|one| one.labels.clone()).unwrap_or_default(),
            identity: workload.map(|one| one.identity.clone()),
            enrolled: workload.is_some_and(|one| one.enrolled),
        }
    }

    /// A `ServiceEntry`, once for each of its hosts.
    pub(super) fn entry(&self, entry: &ServiceEntry) -> Vec<Arc<Service>> {
        let spec = &entry.spec;
        let key = ObjectKey::of(Kind::ServiceEntry, &entry.metadata);
        let of_host = |host: &String| {
            let host = host.to_ascii_lowercase();
            let ports = spec.ports.iter().filter_map(|port| {
                let number = NonZeroU16::new(u16::try_from(port.number).ok()?)?;
                let protocol = match port.protocol.as_str() {
                    "" => AppProtocol::Auto,
                    named => AppProtocol::named(named)?,
                };
                let endpoints = self.entry_endpoints(entry, &host, port, number);
                let number = number.get();
                (protocol != AppProtocol::Udp)
                    .then(|| Arc::new(Port { number, protocol, endpoints }))
            });
            Arc::new(Service {
                ports: ports.collect(),
                addresses: spec.addresses.iter().filter_map(|text| address::net(text)).collect(),
                external: spec.location == Location::MeshExternal,
                headless: false,
                certificate_names: spec.subject_alt_names.clone(),
                alias_of: None,
                key: key.clone(),
                host,
            })
        };
        spec.hosts.iter().map(of_host).collect()
    }

    fn entry_endpoints(
        &self,
        entry: &ServiceEntry,
        host: &str,
        port: &ServicePort,
        number: NonZeroU16,
    ) -> ServiceEndpoints {
        let spec = &entry.spec;
        let target = u16::try_from(port.target_port).ok().and_then(NonZeroU16::new);
        let target = target.unwrap_or(number);
        let namespace = entry.metadata.namespace.as_deref().unwrap_or_default();
        let own = |one: &WorkloadEntrySpec| {
            let own = one.ports.get(&port.name).and_then(|own| u16::try_from(*own).ok());
            own.and_then(NonZeroU16::new).unwrap_or(target)
        };
        let is_ip = |one: &WorkloadEntrySpec| one.address.parse::<IpAddr>().is_ok();
        let by_name = matches!(spec.resolution, Resolution::Dns | Resolution::DnsRoundRobin);
        let listed = spec.resolution == Resolution::Static
            || (by_name && !spec.endpoints.is_empty() && spec.endpoints.iter().all(is_ip));
        match spec.resolution {
            Resolution::None => ServiceEndpoints::Dialled { port: target.get() },
            Resolution::DynamicDns => ServiceEndpoints::AsRequested { port: target.get() },
            _ if listed => {
                let stated = spec.endpoints.iter().filter_map(|one| {
                    Some(self.stated(one, one.address.parse().ok()?, own(one), namespace))
                });
                let mut endpoints: Vec<ServiceEndpoint> = stated.collect();
                if let Some(selector) = &spec.workload_selector {
                    let selected = self.selectable.selected(namespace, selector);
                    endpoints.extend(
                        selected.map(|(at, one)| self.stated(one, at, own(one), namespace)),
                    );
                }
                endpoints.sort_by_key(|endpoint| (endpoint.address, endpoint.port));
                ServiceEndpoints::Listed(endpoints)
            }
            _ => {
                let named = |one: &WorkloadEntrySpec| Named {
                    host: one.address.to_ascii_lowercase(),
                    port: own(one).get(),
                };
                let mut all: Vec<Named> = spec.endpoints.iter().map(named).collect();
                if all.is_empty() {
                    all.push(Named { host: host.to_owned(), port: target.get() });
                }
                let first_only = spec.resolution == Resolution::DnsRoundRobin;
                ServiceEndpoints::Named { names: all, first_only }
            }
        }
    }

    /// An endpoint that an object states, or a pod that it selects.
    fn stated(
        &self,
        one: &WorkloadEntrySpec,
        at: IpAddr,
        port: NonZeroU16,
        namespace: &str,
    ) -> ServiceEndpoint {
        let pod = self.of_pod(at, port);
        let mut labels = pod.labels;
        labels.extend(one.labels.clone());
        let account = Some(&one.service_account).filter(|account| !account.is_empty());
        let identity = account.map(|account| identity(self.trust_domain, namespace, account));
        let enrolled = pod.enrolled || labels.get(TLS_MODE).is_some_and(|mode| mode == "istio");
        ServiceEndpoint {
            weight: one.weight.max(1),
            locality: one.locality.clone(),
            labels,
            identity: identity.or(pod.identity),
            enrolled,
            ..pod
        }
    }
}
