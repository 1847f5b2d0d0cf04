//! Objects and a node to a [`Snapshot`]. Pure: equal inputs give equal snapshots.
//!
//! ```text
//! Service, ServiceEntry ─► registry::Service, read once            define_*, kept between generations
//!                           ├► its rules                            egress
//!                           └► listeners, when first asked for        requests
//! VirtualService of App Mesh ─► the same, with its rules            app_mesh
//! what is refused ─► the strictest that may have been meant           resource
//! Pod ─► in a mesh? ─► Scope (what it sees, or what it lists)       enrol, registry
//!                      └► + what is exempt ─► RuleSet, shared       exempt, intern
//! ```

mod access_log;
mod aliases;
mod annotation;
mod app_mesh;
mod combine;
mod context;
mod define_entry;
mod define_service;
mod egress;
mod endpoints;
mod enrol;
mod exempt;
mod exposure;
mod governing;
mod intern;
pub mod labels;
mod mesh_config;
mod observe;
mod pod_facts;
mod pods;
mod pods_anywhere;
mod pods_elsewhere;
mod probes;
pub mod requests;
mod resolved;
mod retries;
mod revisions;
mod rules;
mod sidecars;
mod strict;
mod workload_name;
mod workloads;

use std::{collections::BTreeMap, sync::Arc};

use crate::{
    egress::DefaultAction,
    finding::Finding,
    names::Wanted,
    pod::PodId,
    registry::{Registry, Service},
    resource::{Object, Objects},
    snapshot::{PodPlan, Snapshot},
};

use app_mesh::AppMesh;
pub use context::{
    Exclusions, Http, MeshTls, NetnsAnnotation, NodeContext, RuntimeOnlyPod, UnknownPods,
};
pub use intern::Interner;
pub(crate) use pod_facts::pod_addresses;
pub use pods_elsewhere::chosen_among;
use revisions::Revisions;
pub(crate) use sidecars::is_for_all;

/// What the objects mean for a node. The interner carries what did not change over from one
/// generation to the next.
pub fn translate(objects: &Objects, node: &NodeContext, interner: &mut Interner) -> Snapshot {
    let objects = &objects.stricter();
    let (revisions, mut findings) = Revisions::read(objects);
    findings.extend(revisions.unresolved(objects));
    let revisions = Arc::new(revisions);
    let app_mesh = AppMesh::read(objects, &mut findings);
    let listed = define((objects, &app_mesh, &revisions), node, interner);
    findings.extend(listed.iter().flat_map(|service| service.findings.clone()));
    let registry = interner.registry(revisions.main().services.clone()).with_listed(listed);

    let inputs = (objects, &app_mesh);
    let mut planner = pods::Planner::new(inputs, node, &revisions, registry, interner);
    let mut pods: BTreeMap<PodId, PodPlan> = BTreeMap::new();
    for pod in objects.pods() {
        if let Some((id, plan)) = planner.plan(pod, &mut findings) {
            pods.insert(id, plan);
        }
    }
    for known in &node.runtime_only {
        let id = PodId { namespace: known.namespace.clone(), name: known.name.clone() };
        let pod = || Arc::new(known.pod(&node.node_name));
        if !pods.contains_key(&id)
            && let Some((id, plan)) = planner.plan(&pod(), &mut findings)
        {
            // The runtime does not say under which ServiceAccount a pod runs.
            pods.insert(id, PodPlan { identity: None, ..plan });
        }
    }
    let wanted = Wanted { names: planner.take_wanted(), refresh: revisions.dns_refresh() };
    let (registry, members) = planner.finish();
    let registry = Arc::new(registry);
    let inputs = requests::Inputs {
        objects: objects.clone(),
        domain: node.cluster_domain.as_str().into(),
        revisions,
        registry: Arc::clone(&registry),
        endpoints: interner.endpoints(),
        workloads: interner.workloads(),
        steered: interner.steered(),
    };
    let requests = interner.requests(&inputs, members);
    if node.mesh_tls == MeshTls::Off {
        findings.extend(strict::findings(&pods, &*requests));
    }
    let answers = Arc::clone(&node.answers);
    let upstreams = interner.upstreams();
    let findings = interner.findings(findings);
    interner.end();
    Snapshot { pods, upstreams, requests, registry, wanted, answers, findings }
}

/// The default domain of Services' names.
pub(crate) const CLUSTER_DOMAIN: &str = "cluster.local";

/// What of a translation does not depend on a node.
#[derive(Debug)]
pub(crate) struct Outline {
    pub(crate) registry: Registry,
    /// The mesh's own answer where no rule matches.
    pub(crate) outbound: DefaultAction,
    pub(crate) findings: Vec<Finding>,
}

/// What objects mean for every node.
pub(crate) fn outline(objects: &Objects) -> Outline {
    let objects = &objects.stricter();
    let (revisions, mut findings) = Revisions::read(objects);
    if revisions.are_given() {
        // A few manifests by themselves name revisions whose settings are elsewhere.
        findings.extend(revisions.unresolved(objects));
    }
    let app_mesh = AppMesh::read(objects, &mut findings);
    let node = NodeContext::new("");
    let mut interner = Interner::default();
    let listed = define((objects, &app_mesh, &revisions), &node, &mut interner);
    let defined = interner.services().iter().chain(&listed);
    findings.extend(defined.flat_map(|service| service.findings.clone()));
    let mesh = revisions.main();
    findings.extend(pods_anywhere::find((objects, &app_mesh), &revisions, &node));
    let registry = interner.registry(mesh.services.clone()).with_listed(listed);
    Outline { registry, outbound: mesh.outbound, findings }
}

/// The rules of each object, taken over from the generation before where nothing that they follow
/// from has changed. Those that clients list are returned, the others are the interner's.
fn define(
    (objects, app_mesh, revisions): (&Objects, &AppMesh<'_>, &Revisions),
    node: &NodeContext,
    interner: &mut Interner,
) -> Vec<Arc<Service>> {
    interner.look_at(objects, revisions, node);
    let (endpoints, workloads) = (interner.endpoints(), interner.workloads());
    let aliases = aliases::Aliases::new(objects, &node.cluster_domain);
    let answers = &*node.answers;
    let steered = interner.steered();
    let inputs = egress::Inputs { endpoints: &endpoints, answers, steered: &steered };
    interner.begin(objects, (&node.cluster_domain, answers), |object| {
        let (mut defined, depends) = match object {
            Object::Service(service) => {
                let depends = service.headless || service.external_name.is_some();
                let names = (&aliases, answers);
                (define_service::define(service, names, &node.cluster_domain), depends)
            }
            Object::ServiceEntry(entry) => {
                let depends = entry.spec.workload_selector.is_some();
                (define_entry::define(entry, &workloads, answers), depends)
            }
            _ => return None,
        };
        egress::fold(&mut defined, &inputs);
        Some((defined, depends))
    });
    let listed = app_mesh.services().map(|service| {
        interner.listed(app_mesh.define(service, (&endpoints, answers), &node.cluster_domain))
    });
    listed.collect()
}

/// Findings of one object, in the making.
#[derive(Debug)]
struct Notes<'a> {
    key: &'a crate::resource::ObjectKey,
    findings: Vec<Finding>,
}

impl<'a> Notes<'a> {
    fn new(key: &'a crate::resource::ObjectKey) -> Self {
        Self { key, findings: Vec::new() }
    }

    fn tell(&mut self, code: &'static str, field: &str, message: impl Into<String>) {
        let severity = crate::finding::Severity::Info;
        self.findings.push(Finding::new(severity, code, self.key, field, message));
    }

    fn warn(&mut self, code: &'static str, field: &str, message: impl Into<String>) {
        let severity = crate::finding::Severity::Warning;
        self.findings.push(Finding::new(severity, code, self.key, field, message));
    }
}
