//! Who is in a mesh where some objects are refused: what stands in for them counts where no good
//! object does.

use k8s_openapi::api::core::v1::{Namespace, Pod};

use crate::resource::{
    Described as _, Kind, ObjectKey, Objects,
    app_mesh::{
        Enrolment, MembershipError, Mesh, VirtualGateway, VirtualNode, Workload, enrolment_in,
        mesh_of, selects, workload_of,
    },
};

/// The one mesh that selects a namespace; a refused one counts where no other selects. Where it is not
/// known what it selects, it may be any namespace; and a namespace whose labels cannot be read may
/// be in any mesh.
pub(in crate::translate) fn mesh_within<'a>(
    objects: &'a Objects,
    namespace: &Namespace,
) -> Result<&'a Mesh, MembershipError> {
    let key = |mesh: &Mesh| ObjectKey::of(Kind::Mesh, &mesh.metadata);
    let all = || objects.meshes().map(AsRef::as_ref);
    let good = all().filter(|mesh: &&Mesh| objects.refused(&key(mesh)).is_none());
    let found = mesh_of(namespace, good);
    if !matches!(found, Err(MembershipError::NoMesh { .. })) {
        return found;
    }
    let own = ObjectKey::of(Kind::Namespace, &namespace.metadata);
    let may_be_any = objects.is_reach_unknown(&own);
    let labels = namespace.metadata.labels.clone().unwrap_or_default();
    let may_select = |mesh: &&Mesh| {
        let is_refused = objects.refused(&key(mesh)).is_some();
        let selects = || selects(mesh.spec.namespace_selector.as_ref(), &labels);
        may_be_any || (is_refused && (objects.is_reach_unknown(&key(mesh)) || selects()))
    };
    all().find(may_select).map_or(found, Ok)
}

/// What a pod is in its mesh, or why it is in none, of objects with what stands in for refused
/// ones: a refused node or gateway counts where no other selects the pod.
pub(in crate::translate) fn enrolment_within<'a>(
    objects: &'a Objects,
    pod: &Pod,
    namespace: &Namespace,
) -> Result<Enrolment<'a>, MembershipError> {
    let node_key = |one: &VirtualNode| ObjectKey::of(Kind::VirtualNode, &one.metadata);
    let gateway_key = |one: &VirtualGateway| ObjectKey::of(Kind::VirtualGateway, &one.metadata);
    let nodes = || objects.virtual_nodes().map(AsRef::as_ref);
    let gateways = || objects.virtual_gateways().map(AsRef::as_ref);
    let good_nodes = nodes().filter(|one: &&VirtualNode| objects.refused(&node_key(one)).is_none());
    let good_gateways =
        gateways().filter(|one: &&VirtualGateway| objects.refused(&gateway_key(one)).is_none());
    let mesh = || mesh_within(objects, namespace);
    let found = enrolment_in(pod, namespace, mesh, good_nodes, good_gateways);
    match found {
        Err(MembershipError::NoWorkload { .. }) => {
            let mesh = mesh()?;
            refused_workload(objects, pod).map_or(found, |one| {
                Ok(match one {
                    Workload::Node(node) => Enrolment::Node(mesh, node),
                    Workload::Gateway(gateway) => Enrolment::Gateway(mesh, gateway),
                })
            })
        }
        // In none of several meshes is a pod that nothing would select in any of them.
        Err(MembershipError::Meshes { .. }) if refused_workload(objects, pod).is_none() => {
            match workload_of(pod, nodes(), gateways()) {
                Err(error @ MembershipError::NoWorkload { .. }) => Err(error),
                _ => found,
            }
        }
        other => other,
    }
}

/// The refused node or gateway that governs a pod which no other does.
fn refused_workload<'a>(objects: &'a Objects, pod: &Pod) -> Option<Workload<'a>> {
    let labels = pod.metadata.labels.clone().unwrap_or_default();
    let governs = |key: &ObjectKey, selector| {
        key.namespace == pod.metadata.namespace()
            && objects.refused(key).is_some()
            && (objects.is_reach_unknown(key) || selects(selector, &labels))
    };
    let nodes = objects.virtual_nodes().map(AsRef::as_ref);
    let gateways = objects.virtual_gateways().map(AsRef::as_ref);
    let node = nodes.map(|one: &VirtualNode| {
        (ObjectKey::of(Kind::VirtualNode, &one.metadata), one, one.spec.pod_selector.as_ref())
    });
    let gateway = gateways.map(|one: &VirtualGateway| {
        (ObjectKey::of(Kind::VirtualGateway, &one.metadata), one, one.spec.pod_selector.as_ref())
    });
    let mut node = node.filter(|(key, _, selector)| governs(key, *selector));
    let mut gateway = gateway.filter(|(key, _, selector)| governs(key, *selector));
    let node = node.next().map(|(_, one, _)| Workload::Node(one));
    node.or_else(|| gateway.next().map(|(_, one, _)| Workload::Gateway(one)))
}
