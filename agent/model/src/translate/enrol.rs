//! Which mesh a pod is in.
//!
//! Two dialects may claim one pod, and two sidecars would never work there. Here one policy counts:
//! that of the dialect which denies what it does not list, so that a second label never opens what
//! the first one closed; where both deny or neither does, Istio's. It is reported on the pod.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use k8s_openapi::api::core::v1::{Namespace, Pod};

use super::{
    annotation::{DATAPLANE_MODE, INJECT, INJECTION},
    app_mesh::{AppMesh, Member},
    context::UnknownPods,
    pod_facts,
};
use crate::{
    egress::DefaultAction,
    finding::{Severity, code},
    pod::PodId,
    resource::{Described as _, Objects, app_mesh::MembershipError, tag::REVISION},
};

/// The value of the label that enrols without a sidecar.
const AMBIENT: &str = "ambient";
/// On a pod: its namespace's value is not for it.
const NOT_AMBIENT: &str = "none";

/// What becomes of a pod whose place in App Mesh is not clear.
pub(super) const MAY_DIAL_NOTHING: &str =
    "until only one selects, the pod is judged by DROP_ALL without backends";

/// The mesh of a pod.
#[derive(Debug)]
pub(super) enum Membership {
    /// Istio's.
    Istio,
    /// App Mesh's, as this.
    AppMesh(Member),
}

/// What is to be reported of a pod: how bad, a code and a message.
pub(super) type PodNotice = (Severity, &'static str, String);

/// The mesh of a pod, or why it is in none; and all that is to be reported of it. `istio` is what
/// Istio's policy says where no rule matches.
pub(super) fn membership(
    (pod, id): (&Pod, &PodId),
    namespace: Option<&Namespace>,
    app_mesh: &AppMesh<'_>,
    istio: DefaultAction,
) -> (Result<Membership, String>, Vec<PodNotice>) {
    if let Some(why) = never(pod) {
        return (Err(why), Vec::new());
    }
    let wanted = app_mesh.member(pod);
    let mut notices: Vec<PodNotice> = mistake(&wanted).into_iter().collect();
    let membership = match (injected(pod, &id.namespace, namespace), wanted) {
        (Ok(()), Err(_)) => Ok(Membership::Istio),
        (Err(_), Ok(member)) => Ok(Membership::AppMesh(member)),
        (Err(_), Err(error)) if is_mistake(&error) => Err(error.to_string()),
        (Err(why), Err(error)) if app_mesh.mesh(&id.namespace).is_some() => {
            Err(format!("{why}, and {error}"))
        }
        (Err(why), Err(_)) => Err(why),
        (Ok(()), Ok(member)) => {
            let (membership, notice) = both(member, istio);
            notices.push(notice);
            Ok(membership)
        }
    };
    (membership, notices)
}

fn mistake(wanted: &Result<Member, MembershipError>) -> Option<PodNotice> {
    let message = match wanted {
        Ok(member) => format!("{}; {MAY_DIAL_NOTHING}", member.undecided.as_ref()?),
        Err(error) if is_mistake(error) => format!("{error}; the pod is not in the mesh"),
        Err(_) => return None,
    };
    Some((Severity::Error, code::MEMBERSHIP, message))
}

fn both(member: Member, istio: DefaultAction) -> (Membership, PodNotice) {
    let denies = |default| default == DefaultAction::RegistryOnly;
    let (kept, other, membership) = if denies(member.default) && !denies(istio) {
        (member.list.key.to_string(), "Istio's objects", Membership::AppMesh(member))
    } else {
        ("Istio".to_owned(), "App Mesh's objects", Membership::Istio)
    };
    let message = format!(
        "the pod is in two meshes, Istio's and App Mesh's; the policy of {kept} counts, and \
         {other} have no effect on it: take it out of one of them"
    );
    (membership, (Severity::Warning, code::TWO_MESHES, message))
}

/// Whether a pod was wanted in a mesh, and it cannot be.
const fn is_mistake(error: &MembershipError) -> bool {
    match error {
        MembershipError::NoMesh { .. }
        | MembershipError::Meshes { .. }
        | MembershipError::NoWorkload { .. }
        | MembershipError::Workloads { .. } => true,
        MembershipError::NotEnabled { .. }
        | MembershipError::HostNetwork { .. }
        | MembershipError::NoGateway { .. }
        | MembershipError::Gateways { .. } => false,
    }
}

/// Why it cannot be told yet whether a pod is in a mesh. An API server tells of Pods and of
/// Namespaces apart, so that the first pod of a namespace may be known before it.
pub(super) fn pending(
    (pod, id): (&Pod, &PodId),
    namespace: Option<&Namespace>,
    unknown: UnknownPods,
) -> Option<String> {
    let is_pending = namespace.is_none() && unknown == UnknownPods::Hold && never(pod).is_none();
    is_pending.then(|| format!("its namespace {} is not known yet", id.namespace))
}

/// Whether a pod can be in a mesh, whatever its namespace says.
pub(super) fn can_be_in_a_mesh(pod: &Pod) -> bool {
    never(pod).is_none()
}

/// Why a pod can be in no mesh at all.
fn never(pod: &Pod) -> Option<String> {
    let spec = pod.spec.as_ref();
    if spec.and_then(|spec| spec.host_network) == Some(true) {
        return Some("the pod uses the host's network".to_owned());
    }
    pod_facts::is_finished(pod).then(|| "the pod has finished".to_owned())
}

/// Why a pod is not in Istio's mesh; `None` if it is. `name` is its namespace's.
pub(super) fn not_enrolled(pod: &Pod, name: &str, namespace: Option<&Namespace>) -> Option<String> {
    never(pod).or_else(|| injected(pod, name, namespace).err())
}

/// Namespaces with pods in Istio's mesh: those that enrol their pods, and those of pods that enrol
/// themselves.
pub(super) fn namespaces(objects: &Objects) -> BTreeSet<String> {
    let named = |one: &Arc<Namespace>| Some((one.metadata.name.clone()?, one.clone()));
    let all: BTreeMap<String, Arc<Namespace>> = objects.namespaces().filter_map(named).collect();
    let any = Pod::default();
    let enrols =
        |(name, one): &(&String, &Arc<Namespace>)| not_enrolled(&any, name, Some(one)).is_none();
    let mut found: BTreeSet<String> =
        all.iter().filter(enrols).map(|(name, _)| name.clone()).collect();
    for pod in objects.pods() {
        let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
        if !found.contains(namespace)
            && not_enrolled(pod, namespace, all.get(namespace).map(Arc::as_ref)).is_none()
        {
            found.insert(namespace.to_owned());
        }
    }
    found
}

/// Why a pod that can be in a mesh is not in Istio's: what sidecars or ambient would enrol is in.
fn injected(pod: &Pod, name: &str, namespace: Option<&Namespace>) -> Result<(), String> {
    let own = pod.metadata.label(DATAPLANE_MODE);
    let of_namespace = namespace.and_then(|one| one.metadata.label(DATAPLANE_MODE));
    let is_for_it = own != Some(NOT_AMBIENT) && of_namespace == Some(AMBIENT);
    if own == Some(AMBIENT) || is_for_it {
        return Ok(());
    }
    with_sidecar(pod, name, namespace)
}

/// Why a pod would have no sidecar, by the rules of Istio's injector. A pod that asks for one by
/// itself is in whatever its namespace says.
fn with_sidecar(pod: &Pod, name: &str, namespace: Option<&Namespace>) -> Result<(), String> {
    let own = pod.metadata.label(INJECT).or_else(|| pod.metadata.annotation(INJECT));
    match own.and_then(truth) {
        Some(false) => return Err(format!("the pod says {INJECT}: \"false\"")),
        Some(true) => return Ok(()),
        None => {}
    }
    let Some(namespace) = namespace else {
        return Err(format!("its namespace {name} is not known"));
    };
    let of_namespace = |key| namespace.metadata.label(key);
    if of_namespace(INJECTION) == Some("enabled")
        || of_namespace(INJECT).and_then(truth) == Some(true)
    {
        return Ok(());
    }
    if let Some(other) = of_namespace(INJECTION) {
        return Err(format!("namespace {name} has the label {INJECTION}={other}"));
    }
    let names_revision = of_namespace(REVISION).or_else(|| pod.metadata.label(REVISION)).is_some();
    names_revision
        .then_some(())
        .ok_or_else(|| format!("namespace {name} has no label {INJECTION}=enabled"))
}

/// The words for yes and no that Istio takes.
pub(super) fn truth(value: &str) -> Option<bool> {
    match value.to_ascii_lowercase().as_str() {
        "true" | "yes" | "y" | "on" => Some(true),
        "false" | "no" | "n" | "off" => Some(false),
        _ => None,
    }
}
