//! What a pod may reach, by one slow look at each object: who holds a name that several claim is
//! left out, so this says yes where either of them would.

use std::{net::IpAddr, num::NonZeroU16};

use agent_model::{
    names::Answers,
    resource::{
        Described as _, EndpointSlice, Objects, Service,
        service_entry::{Resolution, ServiceEntry},
    },
};
use ipnet::IpNet;

pub(crate) struct Oracle<'a> {
    pub(crate) objects: &'a Objects,
    pub(crate) answers: &'a Answers,
    pub(crate) client: &'a str,
}

impl Oracle<'_> {
    /// Whether something that the pod sees is at an address and port, or may be by its name.
    pub(crate) fn allows(&self, address: IpAddr, port: NonZeroU16) -> bool {
        let services = self.objects.services().any(|one| self.service(one, address, port.get()));
        services || self.objects.service_entries().any(|one| self.entry(one, address, port.get()))
    }

    /// Whether something that the pod sees has this very name.
    pub(crate) fn declares(&self, host: &str) -> bool {
        let services = self.objects.services().any(|one| {
            let (name, owner) = (one.metadata.name(), one.metadata.namespace());
            let export = one.metadata.annotation("networking.istio.io/exportTo");
            let export: Vec<String> = export.into_iter().map(str::to_owned).collect();
            let own = format!("{name}.{owner}.svc.cluster.local");
            own == host && self.sees(&export, owner, &[own])
        });
        let mut entries = self
            .objects
            .service_entries()
            .filter(|one| one.spec.hosts.iter().any(|own| own == host));
        services
            || entries.any(|one| {
                self.sees(&one.spec.export_to, one.metadata.namespace(), &one.spec.hosts)
            })
    }

    fn service(&self, service: &Service, address: IpAddr, port: u16) -> bool {
        let (name, namespace) = (service.metadata.name(), service.metadata.namespace());
        let host = format!("{name}.{namespace}.svc.cluster.local");
        let export = service.metadata.annotation("networking.istio.io/exportTo");
        let export: Vec<String> = export.into_iter().map(str::to_owned).collect();
        if !self.sees(&export, namespace, &[host]) {
            return false;
        }
        service.ports.iter().filter(|one| one.protocol.as_deref() != Some("UDP")).any(|one| {
            let own = i32::from(port) == one.port;
            let port_name = one.name.clone().unwrap_or_default();
            let by_name = own && (port_name.starts_with("http") || port_name.starts_with("grpc"));
            let is_own = own && service.addresses.contains(&address);
            let served = |slice: &EndpointSlice| {
                let on = |(name, number): &(String, Option<u16>)| {
                    *name == port_name && *number == Some(port)
                };
                slice.service.as_deref() == Some(name)
                    && slice.metadata.namespace() == namespace
                    && slice.ready.contains(&address)
                    && slice.ports.iter().any(on)
            };
            let slices = || self.objects.endpoint_slices().any(|slice| served(slice));
            let outside = service.external_name.as_ref();
            by_name
                || is_own
                || (service.headless && slices())
                || (own && outside.is_some_and(|name| self.answers_with(name, address)))
        })
    }

    fn entry(&self, entry: &ServiceEntry, address: IpAddr, port: u16) -> bool {
        let spec = &entry.spec;
        if !self.sees(&spec.export_to, entry.metadata.namespace(), &spec.hosts) {
            return false;
        }
        let within = spec.addresses.iter().any(|text| {
            let net = text.parse::<IpNet>().or_else(|_| text.parse().map(IpAddr::into));
            net.is_ok_and(|net| net.contains(&address))
        });
        let by_names = matches!(spec.resolution, Resolution::Dns | Resolution::DnsRoundRobin);
        spec.ports.iter().filter(|one| one.number == u32::from(port)).any(|one| {
            match (one.protocol.as_str(), spec.addresses.is_empty()) {
                ("UDP", _) => false,
                ("TCP", true) if by_names && spec.endpoints.is_empty() => {
                    spec.hosts.iter().any(|host| self.answers_with(host, address))
                }
                ("TCP" | "", false) => within,
                // At any address, or by a name on any address.
                _ => true,
            }
        })
    }

    fn answers_with(&self, name: &str, address: IpAddr) -> bool {
        self.answers.get(name).is_some_and(|answer| answer.allowed().any(|one| one == address))
    }

    fn sees(&self, export: &[String], owner: &str, hosts: &[String]) -> bool {
        let exported = export.is_empty()
            || export
                .iter()
                .any(|to| to == "*" || *to == self.client || (to == "." && owner == self.client));
        let mut sidecars =
            self.objects.sidecars().filter(|one| one.metadata.namespace() == self.client);
        exported
            && sidecars.next().is_none_or(|sidecar| {
                let mut wanted = sidecar.spec.egress.iter().flat_map(|one| &one.hosts);
                wanted.any(|text| {
                    let (namespace, host) = text.split_once('/').expect("namespace/host");
                    let from = namespace == "*"
                        || namespace == owner
                        || (namespace == "." && owner == self.client);
                    from && hosts.iter().any(|one| host == "*" || host == one)
                })
            })
    }
}
