//! What an agent would say of pods, whichever node they are on. Where a pod's namespace is not given,
//! as with a few manifests by themselves, what it would say if the pod were in a mesh.

use k8s_openapi::api::core::v1::Pod;

use super::{
    app_mesh::AppMesh,
    context::NodeContext,
    enrol::{MAY_DIAL_NOTHING, Membership, can_be_in_a_mesh, membership},
    exempt::{self, Dialect},
    pods::{self, id_of},
    revisions::Revisions,
    sidecars::Sidecars,
};
use crate::{
    finding::{Finding, Severity, code},
    pod::PodId,
    resource::{
        Objects,
        app_mesh::{MembershipError, workload_of},
    },
};

pub(super) fn find(
    (objects, app_mesh): (&Objects, &AppMesh<'_>),
    revisions: &Revisions,
    node: &NodeContext,
) -> Vec<Finding> {
    let sidecars = Sidecars::new(objects);
    let mut findings = Vec::new();
    for pod in objects.pods() {
        let id = id_of(pod);
        findings.extend(pods::unread_addresses(pod, &id));
        let dialects = match app_mesh.namespace(&id.namespace) {
            None if !can_be_in_a_mesh(pod) => Vec::new(),
            None => {
                findings.extend(selected_twice(objects, pod, &id));
                vec![Dialect::Istio, Dialect::AppMesh]
            }
            namespace @ Some(_) => {
                let istio = pods::in_istio((&sidecars, revisions), pod, namespace);
                let (membership, notices) =
                    membership((pod, &id), namespace, app_mesh, istio.default);
                findings.extend(notices.into_iter().map(|notice| pods::noticed(&id, notice)));
                match membership {
                    Ok(Membership::Istio) => vec![Dialect::Istio],
                    Ok(Membership::AppMesh(_)) => vec![Dialect::AppMesh],
                    Err(_) => Vec::new(),
                }
            }
        };
        for dialect in dialects {
            exempt::of_pod((pod, &id), dialect, node, &mut findings);
        }
    }
    findings
}

/// That several nodes or gateways select a pod: in a mesh, it is not clear what it is.
fn selected_twice(objects: &Objects, pod: &Pod, id: &PodId) -> Option<Finding> {
    let nodes = objects.virtual_nodes().map(|one| &**one);
    let gateways = objects.virtual_gateways().map(|one| &**one);
    let error = workload_of(pod, nodes, gateways).err().filter(MembershipError::is_several)?;
    let message = format!("{error}; in a mesh, {MAY_DIAL_NOTHING}");
    let (severity, code) = (Severity::Error, code::MEMBERSHIP);
    Some(Finding::new(severity, code, &id.key(), "metadata.labels", message))
}
