//! A `VirtualService` as rules: the addresses that its name and its nodes' names lead to, on the
//! ports of its listeners.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    num::NonZeroU16,
    sync::Arc,
};

use ipnet::IpNet;

use super::{
    ARN, Notes,
    name_target::{Addresses, NameInputs, NameTarget, name_target},
    not_found, referred,
};
use crate::{
    egress::{Action, Protocol},
    finding::code,
    names::Answer,
    registry::{Authority, Likeness, Service, ServicePort},
    resource::{
        Described as _, Kind, Object, ObjectKey, Short,
        app_mesh::{
            Provider, VirtualNode, VirtualRouter, VirtualService,
            common::{PortMapping, Protocol as Spoken},
            route::{Route, WeightedTarget},
        },
        protocol::AppProtocol,
    },
    translate::{
        annotation,
        resolved::Resolved,
        rules::{ALLOWED, BY_NAME, PortRules, source},
    },
};

pub(super) fn define(service: &VirtualService, inputs: &NameInputs<'_>) -> Service {
    let key = ObjectKey::of(Kind::AppMeshVirtualService, &service.metadata);
    let mut notes = Notes::new(&key);
    let (full, hosts) = names(service, &key, inputs.domain);
    let created = annotation::created(&service.metadata);
    let resolved = Resolved::new(inputs.answers);
    let mut maker =
        Maker { key: &key, created, inputs, resolved, seen: BTreeSet::new(), ports: Vec::new() };
    let provided = provided(service, inputs, &mut notes)
        .filter(|provided| !provided.ports.is_empty())
        .unwrap_or_else(|| nothing(&key, inputs));
    maker.name(&full, &hosts, &provided, &mut notes);
    for (node, port) in &provided.targets {
        maker.node(node, *port, provided.field, &mut notes);
    }
    let Maker { ports, resolved, .. } = maker;
    Service {
        created,
        hosts,
        alias: None,
        names: resolved.names.into(),
        authority: Authority::Declared,
        exposure: None,
        addresses: Box::default(),
        external: false,
        headless: false,
        resolves_hosts: false,
        certificate_names: Box::default(),
        likeness: Likeness::default(),
        ports,
        findings: notes.findings,
        key,
    }
}

/// The name in full, and all names that a request may have: the controller's default is
/// `name.namespace`, and clients dial what their resolver completes.
fn names(service: &VirtualService, key: &ObjectKey, domain: &str) -> (String, Vec<String>) {
    let short = format!("{}.{}", key.name, key.namespace);
    let full = format!("{short}.svc.{domain}");
    let own = service.spec.aws_name.as_ref().map(|name| name.to_ascii_lowercase());
    let own = own.filter(|name| !name.is_empty());
    let mut names = vec![full.clone(), format!("{short}.svc"), short];
    names.extend(own.filter(|own| !names.contains(own)));
    (full, names)
}

/// Where nothing says which port a name is served on.
const WEB: NonZeroU16 = NonZeroU16::new(80).expect("not zero");

/// What answers for a name.
struct Provided<'a> {
    /// Where the name says so.
    field: &'static str,
    /// The ports that it is dialled on, and what becomes of connections to them.
    ports: BTreeMap<NonZeroU16, Action>,
    /// The nodes behind it, with the port of each that a route gives.
    targets: Vec<(&'a VirtualNode, Option<NonZeroU16>)>,
}

fn provided<'a>(
    service: &VirtualService,
    inputs: &NameInputs<'a>,
    notes: &mut Notes<'_>,
) -> Option<Provided<'a>> {
    let own = service.metadata.namespace.as_deref().unwrap_or_default();
    let Some(Provider { virtual_node, virtual_router }) = &service.spec.provider else {
        let message = "nothing answers for this name, so that its requests get 503: give a \
                       virtualNode or a virtualRouter";
        notes.warn(code::NO_ADDRESS, "spec.provider", message);
        return None;
    };
    if let Some(provider) = virtual_node {
        let field = "spec.provider.virtualNode";
        let node = node(provider.virtual_node_ref.as_ref(), own, (inputs, field), notes)?;
        // Where the node is at the name itself, bytes go there anyway.
        let tcp = if is_at(node, service, inputs) { Action::Direct } else { ALLOWED };
        let ports = ports(node.spec.listeners.iter().map(|one| &one.port_mapping), tcp);
        return Some(Provided { field, ports, targets: vec![(node, None)] });
    }
    let field = "spec.provider.virtualRouter";
    let Some(reference) = virtual_router.as_ref()?.virtual_router_ref.as_ref() else {
        notes.warn(code::NOT_SUPPORTED, field, ARN);
        return None;
    };
    let wanted = referred(Kind::VirtualRouter, reference, own);
    let Some(Object::VirtualRouter(router)) = inputs.objects.get(&wanted) else {
        not_found(field, &wanted, notes);
        return None;
    };
    let ports = ports(router.spec.listeners.iter().map(|one| &one.port_mapping), ALLOWED);
    let targets = targets(router, &wanted.namespace, (inputs, field), notes);
    Some(Provided { field, ports, targets })
}

/// A name that nothing answers for: its requests get 503 from the proxy, on each port that clients
/// may know it by, and none of them reaches the Service of the same name.
fn nothing<'a>(key: &ObjectKey, inputs: &NameInputs<'a>) -> Provided<'a> {
    let own = ObjectKey::new(Kind::Service, &*key.namespace, &*key.name);
    let stated = match inputs.objects.get(&own) {
        Some(Object::Service(service)) => {
            let stated = service.ports.iter().filter_map(|port| port_number(port.port.into()));
            stated.collect()
        }
        _ => BTreeSet::new(),
    };
    let ports = if stated.is_empty() { BTreeSet::from([WEB]) } else { stated };
    let ports = ports.into_iter().map(|port| (port, BY_NAME)).collect();
    Provided { field: "spec.provider", ports, targets: Vec::new() }
}

fn node<'a>(
    reference: Option<&crate::resource::app_mesh::Reference>,
    own: &str,
    (inputs, field): (&NameInputs<'a>, &str),
    notes: &mut Notes<'_>,
) -> Option<&'a VirtualNode> {
    let Some(reference) = reference else {
        notes.warn(code::NOT_SUPPORTED, field, ARN);
        return None;
    };
    let wanted = referred(Kind::VirtualNode, reference, own);
    if let Some(Object::VirtualNode(node)) = inputs.objects.get(&wanted) {
        return Some(node);
    }
    not_found(field, &wanted, notes);
    None
}

/// The nodes that a router's routes lead to; one without a share gets nothing.
fn targets<'a>(
    router: &VirtualRouter,
    own: &str,
    (inputs, field): (&NameInputs<'a>, &str),
    notes: &mut Notes<'_>,
) -> Vec<(&'a VirtualNode, Option<NonZeroU16>)> {
    let all = router.spec.routes.iter().flat_map(weighted).filter(|target| target.weight != 0);
    let found = all.filter_map(|target| {
        let node = node(target.virtual_node_ref.as_ref(), own, (inputs, field), notes)?;
        Some((node, target.port.and_then(port_number)))
    });
    found.collect()
}

fn weighted(route: &Route) -> impl Iterator<Item = &WeightedTarget> {
    let http = route.http_route.iter().chain(&route.http2_route).map(|one| &one.action);
    let grpc = route.grpc_route.iter().map(|one| &one.action);
    let tcp = route.tcp_route.iter().map(|one| &one.action);
    http.chain(grpc).chain(tcp).flat_map(|action| &action.weighted_targets)
}

/// Whether a node's own name leads where the name of a service does.
fn is_at(node: &VirtualNode, service: &VirtualService, inputs: &NameInputs<'_>) -> bool {
    let discovery = node.spec.service_discovery.as_ref().and_then(|one| one.dns.as_ref());
    let Some(dns) = discovery else { return false };
    let (name, namespace) = (service.metadata.name(), service.metadata.namespace());
    let own = name_target(&format!("{name}.{namespace}.svc"), namespace, inputs);
    let of_node = name_target(&dns.hostname, node.metadata.namespace(), inputs);
    matches!(own, NameTarget::At(_)) && own == of_node
}

/// What is no plain TCP has routes, or the dialect's own fifteen seconds at least.
fn ports<'a>(
    mappings: impl Iterator<Item = &'a PortMapping>,
    tcp: Action,
) -> BTreeMap<NonZeroU16, Action> {
    let action = |mapping: &PortMapping| match mapping.protocol.unwrap_or(Spoken::Tcp) {
        Spoken::Http | Spoken::Http2 | Spoken::Grpc => ALLOWED,
        Spoken::Tcp => tcp,
    };
    let mut found = BTreeMap::new();
    for mapping in mappings {
        if let Some(port) = port_number(mapping.port) {
            found.entry(port).or_insert_with(|| action(mapping));
        }
    }
    found
}

fn port_number(number: i64) -> Option<NonZeroU16> {
    u16::try_from(number).ok().and_then(NonZeroU16::new)
}

/// Yields to every other rule for the same address and port.
const YOUNGEST: u32 = u32::MAX;

/// What some rules lead to.
struct Led<'a> {
    host: &'a str,
    /// Where the name says so.
    field: &'a str,
    /// Of two rules for one address and port the older one decides.
    age: u32,
}

impl Led<'_> {
    fn rules(&self, key: &ObjectKey, port: NonZeroU16) -> PortRules {
        PortRules::new(source(key, self.field, Some(self.host)), self.age, port)
    }
}

/// Makes the rules of one name; an address and port that has one gets no other.
struct Maker<'a> {
    key: &'a ObjectKey,
    created: u32,
    inputs: &'a NameInputs<'a>,
    resolved: Resolved<'a>,
    seen: BTreeSet<(IpAddr, NonZeroU16)>,
    ports: Vec<ServicePort>,
}

impl Maker<'_> {
    /// Where clients get by the name itself.
    fn name(
        &mut self,
        full: &str,
        hosts: &[String],
        provided: &Provided<'_>,
        notes: &mut Notes<'_>,
    ) {
        let mut outside = None;
        let mut addresses = Addresses::default();
        for host in hosts {
            match name_target(host, &self.key.namespace, self.inputs) {
                NameTarget::At(found) => {
                    addresses.ready.extend(found.ready);
                    addresses.unready.extend(found.unready);
                }
                NameTarget::Outside(name)
                    if name != format!("{}.{}", self.key.name, self.key.namespace) =>
                {
                    outside = Some(name);
                }
                NameTarget::Outside(_) | NameTarget::Nowhere => {}
            }
        }
        if addresses.ready.is_empty() && outside.is_none() {
            let message =
                format!("{full} leads nowhere: make a Service of this name for clients to dial");
            notes.warn(code::NO_ADDRESS, "metadata.name", message);
        }
        let of = Led { host: full, field: provided.field, age: self.created };
        self.rules(&of, &addresses, &provided.ports);
        if let Some(name) = outside {
            let answer = self.resolved.look_up(&name, "spec.awsName", notes);
            self.answer(&of, &answer, &provided.ports);
        }
    }

    /// Where a node behind it is.
    fn node(
        &mut self,
        node: &VirtualNode,
        port: Option<NonZeroU16>,
        field: &str,
        notes: &mut Notes<'_>,
    ) {
        let Some(dns) = node.spec.service_discovery.as_ref().and_then(|one| one.dns.as_ref())
        else {
            return;
        };
        let namespace = node.metadata.namespace.as_deref().unwrap_or_default();
        let of_listeners =
            || node.spec.listeners.iter().filter_map(|one| port_number(one.port_mapping.port));
        let ports: BTreeSet<NonZeroU16> =
            port.map_or_else(|| of_listeners().collect(), |port| BTreeSet::from([port]));
        // Routes are for the name, and not for what is behind it.
        let ports = ports.into_iter().map(|port| (port, Action::Direct)).collect();
        // Where a node is has its own name as well, its routes decide.
        let of = Led { host: &dns.hostname, field, age: YOUNGEST };
        let found = match name_target(&dns.hostname, namespace, self.inputs) {
            NameTarget::At(found) => found,
            NameTarget::Outside(name) => {
                let answer = self.resolved.look_up(&name, field, notes);
                return self.answer(&of, &answer, &ports);
            }
            NameTarget::Nowhere => Addresses::default(),
        };
        // Also without an address: the name is still listed, and its open connections go on.
        self.rules(&of, &found, &ports);
        if found.ready.is_empty() {
            let node = ObjectKey::of(Kind::VirtualNode, &node.metadata);
            let message = format!("{} of {node} leads nowhere: it has no Service", dns.hostname);
            notes.warn(code::NO_ADDRESS, field, message);
        }
    }

    fn rules(&mut self, of: &Led<'_>, addresses: &Addresses, ports: &BTreeMap<NonZeroU16, Action>) {
        for (port, action) in ports {
            let mut rules = of.rules(self.key, *port);
            for address in &addresses.ready {
                if self.seen.insert((*address, *port)) {
                    rules.tcp(IpNet::from(*address), *action);
                }
            }
            for address in &addresses.unready {
                rules.keep(Protocol::Tcp, IpNet::from(*address), *port, *action);
            }
            self.add(rules);
        }
    }

    /// The rules of a name outside the cluster.
    fn answer(&mut self, of: &Led<'_>, answer: &Answer, ports: &BTreeMap<NonZeroU16, Action>) {
        for (port, action) in ports {
            let mut rules = of.rules(self.key, *port);
            rules.answer(Protocol::Tcp, answer, *action);
            self.add(rules);
        }
    }

    fn add(&mut self, rules: PortRules) {
        let (number, source) = (rules.number().get(), Arc::clone(&rules.source));
        let (rules, outlived) = rules.finish();
        let (name, protocol) = (Short::default(), Some(AppProtocol::Tcp));
        let (steered, endpoints) = (true, None);
        let port =
            ServicePort { number, source, rules, outlived, protocol, name, steered, endpoints };
        self.ports.push(port);
    }
}
