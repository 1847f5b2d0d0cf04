//! Objects to the model of requests ([`crate::requests`]): Istio's here, App Mesh's in a module of
//! its own, Services and `ServiceEntry`s for both.
//!
//! ```text
//! Objects ─► World: services by host, rules by namespace, routes by age, peers, gateways
//!              ├─ outbound(pod) ─► what it may dial       Client = namespace, labels, what it sees
//!              ├─ server(pod)   ─► what it accepts
//!              └─ gateway(pod)  ─► what it serves, if it is one
//! ```
//!
//! The world is made once for some objects, and a workload's view of it when somebody asks for it:
//! nothing of this is on the way of a generation to the kernel.

mod actions;
mod app_mesh;
mod backend;
mod delegate;
mod destination;
mod edge;
mod findings;
mod http;
mod legacy;
mod matches;
mod missing;
mod named;
mod outbound;
mod peers;
mod policy;
mod service;
mod settings;
mod stream;
mod virtual_service;
mod workload;

use std::{
    cell::RefCell,
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use k8s_openapi::api::core::v1::Pod;

use super::{NodeContext, app_mesh::AppMesh, endpoints, sidecars, workloads as selectable};
use crate::{
    registry::{Filter, Registry, Scope, Visibility},
    requests::{backend::Target, gateway::Gateway, outbound::Outbound, server::Server},
    resource::{ObjectKey, Objects},
    snapshot::PodId,
};
use destination::DestinationRules;
use peers::Peers;
use service::{Port, Service, Sources};
use settings::Settings;
use virtual_service::VirtualServices;
use workload::{Labels, Workload, Workloads};

/// What some objects mean for requests.
#[derive(Debug)]
pub struct World<'a> {
    objects: &'a Objects,
    domain: &'a str,
    settings: Settings,
    registry: Registry,
    services: HashMap<ObjectKey, Vec<Arc<Service>>>,
    workloads: Workloads,
    sidecars: sidecars::Sidecars,
    routes: VirtualServices,
    rules: DestinationRules,
    peers: Peers,
}

/// Who asks.
#[derive(Debug)]
struct Client {
    namespace: String,
    labels: Labels,
    scope: Scope,
    is_gateway: bool,
    /// What it sees: its own Sidecar's choice.
    seen: Vec<VisibleHost>,
    /// Where routes may lead it: all that is exported to it, since a route that it sees brings its
    /// destinations along.
    reachable: BTreeMap<String, VisibleHost>,
    /// Made so far: by object, host, port and subset.
    backends: RefCell<BTreeMap<Part, Target>>,
}

type Part = (ObjectKey, String, u16, Option<String>);

/// A host as one client sees it: the service that holds it, and who serves each of its ports.
#[derive(Clone, Debug)]
struct VisibleHost {
    holder: Arc<Service>,
    ports: Vec<(Arc<Service>, Arc<Port>)>,
}

impl<'a> World<'a> {
    /// The world of some objects.
    pub fn new(objects: &'a Objects, domain: &'a str) -> Self {
        let settings = Settings::read(objects);
        let node = NodeContext { cluster_domain: domain.to_owned(), ..NodeContext::new("") };
        let app_mesh = AppMesh::read(objects, &mut Vec::new());
        let mut fresh = super::Interner::default();
        super::define((objects, &app_mesh), &node, &mut fresh);
        let registry = fresh.registry(settings.services.clone());
        let workloads = Workloads::new(objects, &settings.trust_domain);
        let sources = Sources {
            endpoints: &endpoints::Index::new(objects),
            workloads: &workloads,
            selectable: &selectable::Workloads::new(objects),
            domain,
            trust_domain: &settings.trust_domain,
        };
        let clusters = objects.services().map(|one| sources.cluster(one));
        let entries = objects.service_entries().map(|one| sources.entry(one));
        let all = clusters.chain(entries).filter(|all| !all.is_empty());
        let services = all.map(|all| (all[0].key.clone(), all)).collect();
        Self {
            objects,
            domain,
            registry,
            services,
            sidecars: sidecars::Sidecars::new(objects, &settings.root_namespace),
            routes: VirtualServices::new(objects, domain, &settings.routes),
            rules: DestinationRules::new(
                objects,
                domain,
                &settings.rules,
                &settings.root_namespace,
            ),
            peers: Peers::new(objects, &settings.root_namespace),
            workloads,
            settings,
        }
    }

    /// What a pod may dial; `None` if there is no such pod, or it is in no mesh.
    pub fn outbound(&self, id: &PodId) -> Option<Outbound> {
        let pod = self.pod(id)?;
        if let Some(outbound) = self.app_mesh_outbound(pod) {
            return Some(outbound);
        }
        let workload = self.workload(pod)?;
        workload.enrolled.then(|| self.outbound_of(&self.client(pod)))
    }

    /// What a pod accepts; `None` if there is no such pod, or it is in no mesh.
    pub fn server(&self, id: &PodId) -> Option<Server> {
        let pod = self.pod(id)?;
        if let Some(server) = self.app_mesh_server(pod) {
            return Some(server);
        }
        let workload = self.workload(pod)?;
        workload.enrolled.then(|| self.server_of(pod, &workload))
    }

    /// What a pod serves at the edge; `None` if it is no gateway.
    pub fn gateway(&self, id: &PodId) -> Option<Gateway> {
        let pod = self.pod(id)?;
        self.app_mesh_gateway(pod).or_else(|| self.gateway_of(pod))
    }

    /// The pods of these objects.
    pub fn pods(&self) -> impl Iterator<Item = PodId> {
        self.objects.pods().map(|pod| PodId {
            namespace: pod.metadata.namespace.clone().unwrap_or_default(),
            name: pod.metadata.name.clone().unwrap_or_default(),
        })
    }

    fn pod(&self, id: &PodId) -> Option<&'a Pod> {
        match self.objects.get(&id.key()) {
            Some(crate::resource::Object::Pod(pod)) => Some(pod),
            _ => None,
        }
    }

    fn workload(&self, pod: &Pod) -> Option<Arc<Workload>> {
        let addresses = super::pod_facts::pod_addresses(pod);
        addresses.first().and_then(|address| self.workloads.at(*address)).cloned()
    }

    /// A pod as a client of the mesh.
    fn client(&self, pod: &Pod) -> Client {
        let namespace = pod.metadata.namespace.clone().unwrap_or_default();
        let labels = pod.metadata.labels.clone().unwrap_or_default();
        let sidecar = self.sidecars.of(&namespace, &labels);
        let filter = sidecar.and_then(|sidecar| sidecars::filter(sidecar, &namespace));
        self.client_of(namespace, labels, filter)
    }

    fn client_of(&self, namespace: String, labels: Labels, filter: Option<Filter>) -> Client {
        let scope =
            Scope { namespace: namespace.clone(), visibility: Visibility::Exported(filter) };
        let all = Scope { namespace: namespace.clone(), visibility: Visibility::Exported(None) };
        let reachable = self.seen(&all).into_iter();
        Client {
            seen: self.seen(&scope),
            reachable: reachable.map(|seen| (seen.holder.host.clone(), seen)).collect(),
            namespace,
            labels,
            scope,
            is_gateway: false,
            backends: RefCell::default(),
        }
    }

    /// The hosts that a scope shows.
    fn seen(&self, scope: &Scope) -> Vec<VisibleHost> {
        let service = |key: &ObjectKey, host: &str| {
            self.services.get(key)?.iter().find(|one| one.host == host).cloned()
        };
        let mut seen = Vec::new();
        for (host, claims) in self.registry.hosts(scope) {
            let mut ports = Vec::new();
            for (definition, shown) in &claims {
                let Some(of) = service(&definition.key, host) else { continue };
                for (index, defined) in definition.ports.iter().enumerate() {
                    let port = of.port(defined.number).filter(|_| shown.contains(index));
                    ports.extend(port.map(|port| (of.clone(), Arc::clone(port))));
                }
            }
            if let Some(holder) = service(&claims[0].0.key, host) {
                seen.push(VisibleHost { holder, ports });
            }
        }
        seen
    }
}
