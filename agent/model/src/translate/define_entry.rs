//! A `ServiceEntry` as the registry has it. Endpoints that are all IPs need no resolving and count
//! as STATIC.

use std::{net::IpAddr, num::NonZeroU16, sync::Arc};

use super::{
    Notes, annotation,
    exposure::exposure,
    resolved::{Resolved, Spread, named},
    rules::source,
    workloads::{Selectable, Workloads},
};
use crate::{
    address,
    endpoints::{Endpoint, Endpoints, StatedWorkload},
    finding::code,
    names::{Answer, Answers},
    registry::{Authority, Likeness, Service, ServicePort},
    resource::{
        Kind, ObjectKey,
        protocol::AppProtocol,
        service_entry::{
            self, Location, Resolution, ServiceEntry, ServiceEntrySpec, WorkloadEntrySpec,
        },
    },
};

pub(super) fn define(entry: &ServiceEntry, workloads: &Workloads, answers: &Answers) -> Service {
    let key = ObjectKey::of(Kind::ServiceEntry, &entry.metadata);
    let mut notes = Notes::new(&key);
    let spec = &entry.spec;
    let hosts: Vec<String> = spec.hosts.iter().map(|host| host.to_ascii_lowercase()).collect();
    let addresses = spec.addresses.iter().filter_map(|text| address::net(text)).collect();
    let mut resolved = Resolved::new(answers);
    let targets = targets(spec, &mut resolved, &mut notes);
    let selected = spec.workload_selector.as_ref();
    let selected = selected.map(|one| workloads.selected(&key.namespace, one).collect());
    let listed = listed(spec, selected.unwrap_or_default());
    let reader = Reader { spec, host: hosts.first(), targets, listed, key: &key };
    let ports = spec.ports.iter().enumerate();
    let ports = ports.filter_map(|(index, port)| reader.port(index, port, &mut notes)).collect();
    let likeness = Likeness {
        resolution: resolution_name(spec.resolution),
        labels: entry.metadata.labels.clone(),
        selector: spec.workload_selector.clone().unwrap_or_default().labels,
    };
    Service {
        created: annotation::created(&entry.metadata),
        authority: Authority::Declared,
        exposure: exposure(&spec.export_to),
        alias: None,
        addresses,
        external: spec.location == Location::MeshExternal,
        headless: false,
        resolves_hosts: is_by_name(spec) && spec.endpoints.is_empty(),
        certificate_names: spec.subject_alt_names.clone().into(),
        names: resolved.names.into(),
        likeness,
        ports,
        findings: notes.findings,
        hosts,
        key,
    }
}

/// A name, or an IP in place of one, that connections are carried to.
struct NamedTarget<'a> {
    host: &'a str,
    answer: Arc<Answer>,
    endpoint: Option<&'a WorkloadEntrySpec>,
}

/// Whether what it names has to be resolved.
fn is_by_name(spec: &ServiceEntrySpec) -> bool {
    matches!(spec.resolution, Resolution::Dns | Resolution::DnsRoundRobin)
        && !are_ips(&spec.endpoints)
}

/// What has to be resolved: the endpoints, else the hosts. Nothing where all of it is IPs.
fn targets<'a>(
    spec: &'a ServiceEntrySpec,
    resolved: &mut Resolved<'_>,
    notes: &mut Notes<'_>,
) -> Vec<NamedTarget<'a>> {
    if !is_by_name(spec) {
        return Vec::new();
    }
    let mut look_up = |host: &'a str, field: String, endpoint| NamedTarget {
        host,
        answer: resolved.look_up(host, &field, notes),
        endpoint,
    };
    if spec.endpoints.is_empty() {
        let hosts = spec.hosts.iter().enumerate();
        return hosts.map(|(at, host)| look_up(host, format!("spec.hosts[{at}]"), None)).collect();
    }
    let endpoints = spec.endpoints.iter().enumerate();
    endpoints
        .map(|(at, one)| look_up(&one.address, format!("spec.endpoints[{at}].address"), Some(one)))
        .collect()
}

fn are_ips(endpoints: &[WorkloadEntrySpec]) -> bool {
    let is_ip = |endpoint: &WorkloadEntrySpec| endpoint.address.parse::<IpAddr>().is_ok();
    !endpoints.is_empty() && endpoints.iter().all(is_ip)
}

const fn resolution_name(resolution: Resolution) -> &'static str {
    match resolution {
        Resolution::None => "NONE",
        Resolution::Static => "STATIC",
        Resolution::Dns => "DNS",
        Resolution::DnsRoundRobin => "DNS_ROUND_ROBIN",
        Resolution::DynamicDns => "DYNAMIC_DNS",
    }
}

/// An endpoint that an object states, and where it is; `None` for what is no IP.
struct Stated<'a> {
    spec: &'a WorkloadEntrySpec,
    address: Option<IpAddr>,
    workload: Option<Arc<StatedWorkload>>,
}

fn listed<'a>(spec: &'a ServiceEntrySpec, selected: Vec<&'a Selectable>) -> Vec<Stated<'a>> {
    let stated = spec.endpoints.iter().map(|one| (one.address.parse().ok(), one));
    let selected = selected.into_iter().map(|one| (Some(one.address), &one.spec));
    let all = stated.chain(selected).map(|(address, spec)| {
        let says = !spec.labels.is_empty() || !spec.service_account.is_empty();
        let workload = || StatedWorkload {
            labels: spec.labels.clone(),
            service_account: spec.service_account.clone(),
        };
        Stated { spec, address, workload: says.then(|| Arc::new(workload())) }
    });
    all.collect()
}

/// An entry, and all that its ports have in common.
struct Reader<'a> {
    spec: &'a ServiceEntrySpec,
    host: Option<&'a String>,
    targets: Vec<NamedTarget<'a>>,
    listed: Vec<Stated<'a>>,
    key: &'a ObjectKey,
}

impl Reader<'_> {
    fn port(
        &self,
        index: usize,
        port: &service_entry::ServicePort,
        notes: &mut Notes<'_>,
    ) -> Option<ServicePort> {
        let number = port_number(port.number)?;
        let field = format!("spec.ports[{index}]");
        let protocol = match port.protocol.as_str() {
            "" => AppProtocol::Auto,
            named => AppProtocol::named(named)?,
        };
        Some(ServicePort {
            number: number.get(),
            source: source(self.key, &field, self.host.map(String::as_str)),
            protocol: Some(protocol),
            name: port.name.as_str().into(),
            steered: false,
            endpoints: Some(self.endpoints(port, number, notes)),
            rules: Box::default(),
            outlived: Box::default(),
        })
    }

    /// Where connections to a port go.
    fn endpoints(
        &self,
        port: &service_entry::ServicePort,
        number: NonZeroU16,
        notes: &mut Notes<'_>,
    ) -> Endpoints {
        let target = port_number(port.target_port).unwrap_or(number);
        let named = |spread, first_only| {
            let names = self.names(port, target, spread);
            Endpoints::Named { names, first_only, mutual: false }
        };
        match self.spec.resolution {
            Resolution::None => Endpoints::Dialled { port: target, mutual: false },
            Resolution::DynamicDns => Endpoints::AsRequested { port: target },
            Resolution::Dns if is_by_name(self.spec) => named(Spread::All, false),
            Resolution::DnsRoundRobin if is_by_name(self.spec) => named(Spread::First, true),
            Resolution::Static | Resolution::Dns | Resolution::DnsRoundRobin => {
                self.addresses(port, target, notes)
            }
        }
    }

    fn addresses(
        &self,
        port: &service_entry::ServicePort,
        target: NonZeroU16,
        notes: &mut Notes<'_>,
    ) -> Endpoints {
        let mut found = Vec::with_capacity(self.listed.len());
        for (index, Stated { spec, address, workload }) in self.listed.iter().enumerate() {
            let Some(address) = *address else {
                let message =
                    format!("{:?} is not an IP: this endpoint gets no connections", spec.address);
                let field = format!("spec.endpoints[{index}].address");
                notes.warn(code::NOT_SUPPORTED, &field, message);
                continue;
            };
            let port = endpoint_port(spec, port, target);
            found.push(Endpoint {
                locality: spec.locality.clone(),
                workload: workload.clone(),
                ..Endpoint::new(address, port, spec.weight.max(1))
            });
        }
        found.sort_unstable();
        found.dedup();
        Endpoints::Listed(found.into())
    }

    fn names(
        &self,
        port: &service_entry::ServicePort,
        target: NonZeroU16,
        spread: Spread,
    ) -> Arc<[crate::endpoints::NamedEndpoint]> {
        let names = self.targets.iter().map(|NamedTarget { host, answer, endpoint }| {
            let port = endpoint.map_or(target, |endpoint| endpoint_port(endpoint, port, target));
            let weight = endpoint.map_or(1, |endpoint| endpoint.weight);
            named(host, (port, weight), answer, spread)
        });
        names.collect()
    }
}

fn port_number(number: u32) -> Option<NonZeroU16> {
    u16::try_from(number).ok().and_then(NonZeroU16::new)
}

fn endpoint_port(
    endpoint: &WorkloadEntrySpec,
    port: &service_entry::ServicePort,
    target: NonZeroU16,
) -> NonZeroU16 {
    endpoint.ports.get(&port.name).and_then(|own| port_number(*own)).unwrap_or(target)
}
