//! What is exempt from the registry: resolvers, the agent's own health, and what a pod excludes.

use std::{
    net::{IpAddr, SocketAddr},
    num::NonZeroU16,
    sync::Arc,
};

use ipnet::IpNet;
use k8s_openapi::api::core::v1::Pod;

use super::{
    annotation,
    annotation::{EXCLUDE_PORTS, EXCLUDE_RANGES, IGNORED_PORTS, IGNORED_RANGES, INCLUDE},
    context::{Exclusions, NodeContext},
    endpoints::Index,
};
use crate::{
    address,
    egress::{Action, Class, Protocol, Rule, RuleSource},
    finding::{Finding, Severity, code},
    pod::PodId,
    resource::{Described as _, Kind, Object, Objects, Service, Short},
};

const DNS_PORT: NonZeroU16 = NonZeroU16::new(53).expect("53 is not zero");
/// Where the cluster's own resolver lives.
const SYSTEM: &str = "kube-system";
const BOTH: [Protocol; 2] = [Protocol::Tcp, Protocol::Udp];

/// What is exempt for every pod of the node.
#[derive(Debug, Default)]
pub(super) struct NodeRules {
    /// For the cluster's own resolver.
    pub(super) of_cluster: Vec<Rule>,
    /// The same for open connections alone.
    pub(super) outlived: Vec<Rule>,
    /// All rules.
    pub(super) all: Vec<Rule>,
}

/// See [`NodeRules`].
pub(super) fn of_node(objects: &Objects, node: &NodeContext) -> NodeRules {
    let index = Index::new(objects);
    let (mut of_cluster, mut outlived) = (Vec::new(), Vec::new());
    for object in objects.of_kind_in(Kind::Service, SYSTEM) {
        if let Object::Service(service) = object
            && is_cluster_dns(service)
        {
            cluster_dns(service, &index, (&mut of_cluster, &mut outlived));
        }
    }
    let mut rules = of_cluster.clone();
    let of_resolvers = source("Agent", "", &node.node_name, "resolv.conf");
    resolve(&node.own_resolvers, &of_resolvers, &mut rules);
    if let Some(admin) = node.admin.filter(is_reachable)
        && let Some(port) = NonZeroU16::new(admin.port())
    {
        let source = source("Agent", "", &node.node_name, "--admin");
        rules.push(rule(Protocol::Tcp, IpNet::from(admin.ip()), Some(port), &source));
    }
    NodeRules { of_cluster, outlived, all: rules }
}

/// An address that a pod's connection could have as its destination.
fn is_reachable(admin: &SocketAddr) -> bool {
    !admin.ip().is_unspecified() && !admin.ip().is_loopback()
}

/// The cluster's resolver by its usual name or its usual label; both live in `kube-system` only, so
/// a label in another namespace cannot open port 53.
fn is_cluster_dns(service: &Service) -> bool {
    let metadata = &service.metadata;
    metadata.namespace.as_deref() == Some(SYSTEM)
        && (metadata.name.as_deref() == Some("kube-dns")
            || metadata.label("k8s-app") == Some("kube-dns"))
}

fn cluster_dns(
    service: &Service,
    index: &Index,
    (rules, outlived): (&mut Vec<Rule>, &mut Vec<Rule>),
) {
    let name = service.metadata.name.clone().unwrap_or_default();
    let of_service = source("Service", SYSTEM, &name, "spec.clusterIPs");
    for address in &service.addresses {
        serve(*address, DNS_PORT, &of_service, rules);
    }
    let of_endpoints = source("Service", SYSTEM, &name, "endpoints");
    let on_dns_port = |port: &&k8s_openapi::api::core::v1::ServicePort| port.port == 53;
    for subset in index.of(SYSTEM, &name) {
        for port in service.ports.iter().filter(on_dns_port) {
            let served = subset.ports.get(port.name.as_deref().unwrap_or_default());
            let Some(served) = served else { continue };
            let served = served.and_then(NonZeroU16::new).unwrap_or(DNS_PORT);
            subset.addresses.iter().for_each(|one| serve(*one, served, &of_endpoints, rules));
            subset.unready.iter().for_each(|one| serve(*one, served, &of_endpoints, outlived));
        }
    }
}

/// A resolver on loopback is the pod itself.
fn resolve(resolvers: &[IpAddr], source: &Arc<RuleSource>, rules: &mut Vec<Rule>) {
    for resolver in resolvers.iter().filter(|one| !one.is_loopback()) {
        serve(*resolver, DNS_PORT, source, rules);
    }
}

/// A resolver answers over UDP and, what is too long for that, over TCP.
fn serve(address: IpAddr, port: NonZeroU16, source: &Arc<RuleSource>, rules: &mut Vec<Rule>) {
    let cidr = IpNet::from(address);
    rules.extend(BOTH.map(|protocol| rule(protocol, cidr, Some(port), source)));
}

/// Whose annotations a pod has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Dialect {
    Istio,
    AppMesh,
}

/// What a pod asks for itself, on a node that has it otherwise.
const IGNORED: &str = "ignored: this node does not let pods leave the allowlist";

/// The port that App Mesh leaves alone where a pod does not say which.
const SSH: NonZeroU16 = NonZeroU16::new(22).expect("22 is not zero");

/// What is exempt for one pod.
pub(super) fn of_pod(
    (pod, id): (&Pod, &PodId),
    dialect: Dialect,
    node: &NodeContext,
    findings: &mut Vec<Finding>,
) -> Vec<Rule> {
    let mut rules = Vec::new();
    let of_file = node.resolvers.get(id).map(Vec::as_slice).unwrap_or_default();
    resolve(of_file, &of_pod_and_its_like(pod, id, "resolv.conf"), &mut rules);
    let mut notes = Excluder { pod, id, honour: node.exclusions, findings, rules: &mut rules };
    notes.resolve();
    let (ranges, ports) = match dialect {
        Dialect::Istio => (EXCLUDE_RANGES, EXCLUDE_PORTS),
        Dialect::AppMesh => (IGNORED_RANGES, IGNORED_PORTS),
    };
    notes.exclude(ranges, |text| address::net(text).map(|cidr| (vec![cidr], None)));
    notes.exclude(ports, |text| {
        text.parse().ok().map(|port: NonZeroU16| (address::everywhere().to_vec(), Some(port)))
    });
    match dialect {
        Dialect::AppMesh => notes.ignore_ssh(),
        Dialect::Istio => notes.refuse_inclusions(),
    }
    rules
}

type Excluded = (Vec<IpNet>, Option<NonZeroU16>);

struct Excluder<'a> {
    pod: &'a Pod,
    id: &'a PodId,
    honour: Exclusions,
    findings: &'a mut Vec<Finding>,
    rules: &'a mut Vec<Rule>,
}

impl Excluder<'_> {
    fn resolve(&mut self) {
        const FIELD: &str = "spec.dnsConfig.nameservers";
        let config = self.pod.spec.as_ref().and_then(|spec| spec.dns_config.as_ref());
        let named = config.and_then(|config| config.nameservers.as_ref()).into_iter().flatten();
        let named: Vec<IpAddr> = named.filter_map(|text| text.parse().ok()).collect();
        if named.is_empty() {
            return;
        }
        if self.honour == Exclusions::Ignore {
            return self.note(code::FIELD_WITHOUT_EFFECT, FIELD, IGNORED);
        }
        resolve(&named, &of_pod_and_its_like(self.pod, self.id, FIELD), self.rules);
    }

    fn exclude(&mut self, name: &str, read: impl Fn(&str) -> Option<Excluded>) {
        let Some(value) = self.pod.metadata.annotation(name) else { return };
        if self.honour == Exclusions::Ignore {
            return self.note(code::FIELD_WITHOUT_EFFECT, annotation::path(name), IGNORED);
        }
        let source = of_pod_and_its_like(self.pod, self.id, &annotation::path(name));
        for text in annotation::list(value) {
            let Some((cidrs, port)) = read(text) else {
                let message = format!("{text:?} cannot be read; the rest of the list is honoured");
                self.note(code::ANNOTATION, annotation::path(name), message);
                continue;
            };
            for cidr in cidrs {
                self.rules.extend(BOTH.map(|protocol| rule(protocol, cidr, port, &source)));
            }
        }
    }

    fn refuse_inclusions(&mut self) {
        for name in INCLUDE {
            if self.pod.metadata.annotation(name).is_some() {
                let message = "not honoured: all of the pod's traffic is judged";
                self.note(code::NOT_SUPPORTED, annotation::path(name), message);
            }
        }
    }

    /// Where a pod does not say which ports are ignored, App Mesh has one; of TCP alone, since
    /// nothing else ever gets to its Envoy.
    fn ignore_ssh(&mut self) {
        let says = self.pod.metadata.annotation(IGNORED_PORTS).is_some();
        if says || self.honour == Exclusions::Ignore {
            return;
        }
        let source = source("Default", "", IGNORED_PORTS, "22");
        let everywhere = address::everywhere();
        let rules = everywhere.map(|cidr| rule(Protocol::Tcp, cidr, Some(SSH), &source));
        self.rules.extend(rules);
    }

    fn note(&mut self, code: &'static str, field: impl Into<Short>, message: impl Into<String>) {
        let key = self.id.key();
        self.findings.push(Finding::new(Severity::Warning, code, &key, field, message));
    }
}

/// Pods that one object makes say the same of themselves, and share their rules: the source is not
/// one of them but all, by what their names begin with.
fn of_pod_and_its_like(pod: &Pod, id: &PodId, field: &str) -> Arc<RuleSource> {
    let like = pod.metadata.generate_name.as_ref().map(|start| format!("{start}*"));
    source("Pod", &id.namespace, like.as_ref().unwrap_or(&id.name), field)
}

fn source(kind: &'static str, namespace: &str, name: &str, field: &str) -> Arc<RuleSource> {
    let (namespace, name, field) = (namespace.into(), name.into(), field.into());
    Arc::new(RuleSource { kind, namespace, name, field, host: None })
}

fn rule(
    protocol: Protocol,
    cidr: IpNet,
    port: Option<NonZeroU16>,
    source: &Arc<RuleSource>,
) -> Rule {
    let (class, action, age) = (Class::Exempt, Action::Direct, 0);
    Rule { class, protocol, cidr, port, action, age, source: source.clone() }
}
