//! App Mesh: what a node's pods may dial, what they accept, and what a gateway's pods serve.
//!
//! Decisions where the dialect leaves it to a proxy's defaults, so that they are values here:
//! endpoints take turns, dialling may take ten seconds, a retry goes to another endpoint. What a
//! listener's own timeout cuts short is told at the destination that has the listener.

mod edge;
mod matches;
mod node;
mod router;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use k8s_openapi::api::core::v1::Pod;

use super::{Client, RequestModel};
use crate::{
    requests::{
        gateway::Gateway,
        host::Domain,
        outbound::{Outbound, StreamRoute},
        route::{VirtualHost, each_name_once},
        server::Server,
    },
    resource::{
        Kind, Object, ObjectKey,
        app_mesh::{
            Enrolment, Reference, VirtualNode, VirtualService,
            common::Protocol,
            node::{ClientPolicy, ClientTls},
        },
    },
    translate::app_mesh::enrolment_within,
};
use router::Table;

/// Where nothing says which port a name is served on.
const WEB: u16 = 80;

/// How a name is dialled.
#[derive(Clone, Copy, Debug)]
struct Dialling<'a> {
    client: &'a Client,
    tls: Option<&'a ClientTls>,
}

impl RequestModel {
    pub(super) fn enrolment(&self, pod: &Pod) -> Option<Enrolment<'_>> {
        let name = pod.metadata.namespace.clone()?;
        let namespace = self.namespace(&name)?;
        enrolment_within(&self.objects, pod, namespace).ok()
    }

    /// The node that a pod is.
    pub(super) fn node_of(&self, pod: &Pod) -> Option<&VirtualNode> {
        match self.enrolment(pod)? {
            Enrolment::Node(_, node) => Some(node),
            Enrolment::Gateway(..) => None,
        }
    }

    pub(super) fn app_mesh_outbound(&self, pod: &Pod) -> Option<Outbound> {
        match self.enrolment(pod)? {
            Enrolment::Node(_, node) => Some(self.backends_of(pod, node)),
            // What a gateway dials follows from what it serves.
            Enrolment::Gateway(..) => Some(Outbound::default()),
        }
    }

    pub(super) fn app_mesh_server(&self, pod: &Pod) -> Option<Server> {
        match self.enrolment(pod)? {
            Enrolment::Node(_, node) => Some(node::server(&node.spec.listeners)),
            Enrolment::Gateway(_, gateway) => Some(node::server(&gateway.spec.listeners)),
        }
    }

    pub(super) fn app_mesh_gateway(&self, pod: &Pod) -> Option<Gateway> {
        match self.enrolment(pod)? {
            Enrolment::Node(..) => None,
            Enrolment::Gateway(mesh, gateway) => {
                Some(self.virtual_gateway(&self.app_mesh_client(pod), mesh, gateway))
            }
        }
    }

    fn app_mesh_client(&self, pod: &Pod) -> Client {
        let namespace = pod.metadata.namespace.clone().unwrap_or_default();
        self.client_of(namespace, pod.metadata.labels.clone().unwrap_or_default(), None)
    }

    /// The names that a node declares as its backends; every other name is as without a mesh.
    fn backends_of(&self, pod: &Pod, node: &VirtualNode) -> Outbound {
        let client = self.app_mesh_client(pod);
        let mut outbound = Outbound::default();
        let usual = node.spec.backend_defaults.as_ref().and_then(|one| one.client_policy.as_ref());
        for (service, own) in self.declared(node) {
            let policy: Option<&ClientPolicy> = own.or(usual);
            let tls = policy.and_then(|policy| policy.tls.as_ref());
            self.dial(&Dialling { client: &client, tls }, service, &mut outbound);
        }
        for port in outbound.ports.values_mut() {
            let port = Arc::make_mut(port);
            port.any.hosts = each_name_once(&port.any.hosts);
        }
        outbound
    }

    /// A node's backends, and those of the groups that it names.
    fn declared<'a>(
        &'a self,
        node: &'a VirtualNode,
    ) -> Vec<(&'a VirtualService, Option<&'a ClientPolicy>)> {
        let own = space(node.metadata.namespace.as_ref());
        let mut found = Vec::new();
        for backend in &node.spec.backends {
            let one = &backend.virtual_service;
            let service = one.virtual_service_ref.as_ref();
            let service = service.and_then(|reference| self.virtual_service(reference, own));
            found.extend(service.map(|service| (service, one.client_policy.as_ref())));
        }
        for reference in &node.spec.backend_groups {
            let namespace = reference.namespace.as_deref().unwrap_or(own);
            let key = key(Kind::BackendGroup, namespace, &reference.name);
            let Some(Object::BackendGroup(group)) = self.objects.get(&key) else { continue };
            let members = group.spec.virtualservices.iter();
            let members = members.filter_map(|one| self.virtual_service(one, namespace));
            found.extend(members.map(|service| (service, None)));
        }
        found
    }

    fn virtual_service(&self, reference: &Reference, own: &str) -> Option<&VirtualService> {
        let namespace = reference.namespace.as_deref().unwrap_or(own);
        let key = key(Kind::AppMeshVirtualService, namespace, &reference.name);
        match self.objects.get(&key)? {
            Object::AppMeshVirtualService(service) => Some(service),
            _ => None,
        }
    }

    /// A name on each of its ports.
    fn dial(&self, how: &Dialling<'_>, service: &VirtualService, outbound: &mut Outbound) {
        for (number, protocol, table) in self.tables(how, service) {
            let port = Arc::make_mut(outbound.ports.entry(number).or_default());
            match table {
                Table::Http(routes) if protocol != Protocol::Tcp => {
                    let host = VirtualHost { domains: self.names(service), routes };
                    port.any.hosts.push(Arc::new(host));
                }
                Table::Http(_) => {}
                Table::Tcp { to, idle } => {
                    let route = Arc::new(StreamRoute { names: BTreeSet::new(), to, idle });
                    // A name without a Service has no address that tells its connections from others.
                    for net in self.addresses(how.client, service) {
                        let listener = port.at.entry(net).or_default();
                        listener.tcp.get_or_insert_with(|| Arc::clone(&route));
                    }
                }
            }
        }
    }

    /// The addresses of the Service that has the same name: connections carry no name.
    fn addresses(&self, client: &Client, service: &VirtualService) -> Vec<ipnet::IpNet> {
        let host = Domain::new(&self.full_name(service));
        let found = client.reachable.get(host.as_str());
        found.map(|seen| seen.holder.addresses.to_vec()).unwrap_or_default()
    }

    fn full_name(&self, service: &VirtualService) -> String {
        let (name, namespace) = names(service);
        format!("{name}.{namespace}.svc.{}", &self.domain)
    }

    /// The names that clients use; never the bare name, which is the Service's.
    fn names(&self, service: &VirtualService) -> BTreeSet<Domain> {
        let (name, namespace) = names(service);
        let short = format!("{name}.{namespace}");
        let all = [aws_name(service), format!("{short}.svc"), self.full_name(service), short];
        all.iter().map(|one| Domain::new(one)).collect()
    }
}

/// The name that the mesh knows a service by.
fn aws_name(service: &VirtualService) -> String {
    let (name, namespace) = names(service);
    service.spec.aws_name.clone().unwrap_or_else(|| format!("{name}.{namespace}"))
}

fn names(service: &VirtualService) -> (&str, &str) {
    (space(service.metadata.name.as_ref()), space(service.metadata.namespace.as_ref()))
}

fn space(text: Option<&String>) -> &str {
    text.map_or("", String::as_str)
}

fn key(kind: Kind, namespace: &str, name: &str) -> ObjectKey {
    ObjectKey::new(kind, namespace, name)
}

/// Something by port, in the order of the ports.
type ByPort<T> = BTreeMap<u16, T>;
