//! The pods that only the runtime knows: static ones whose mirror Pod the API server does not have yet,
//! and those that are made while it cannot be asked. What the kubelet told the runtime of them (labels,
//! annotations, UID) is enough to judge them, and who may write it may write the Pod.
//!
//! Such a pod is judged as its Namespace and the Sidecars of the last snapshot say. It is no endpoint of
//! anything, and an object of its name replaces it. A sandbox whose Pod was there once and has been
//! deleted is none of these: it is about to go.

use std::collections::{BTreeMap, BTreeSet};

use agent_model::{resource::Objects, translate::RuntimeOnlyPod};
use k8s_openapi::api::core::v1::Pod;

use super::{Network, Sandbox};

/// Where the API server has a static pod's UID.
const MIRROR: &str = "kubernetes.io/config.mirror";

/// Tells the pods that only the runtime knows from others.
#[derive(Debug, Default)]
pub struct RuntimeOnly {
    /// The UIDs of listed sandboxes whose Pods are there or were.
    named: BTreeSet<String>,
}

impl RuntimeOnly {
    /// The newest sandbox of each pod that no object is, in the order of their names.
    pub fn among(&mut self, sandboxes: &[Sandbox], objects: &Objects) -> Vec<RuntimeOnlyPod> {
        let objects: BTreeSet<_> = objects.pods().map(|pod| uid(pod)).collect();
        let listed = sandboxes.iter().map(|one| one.uid.as_str());
        let is_named = |uid: &&str| objects.contains(uid) || self.named.contains(*uid);
        self.named = listed.filter(is_named).map(str::to_owned).collect();
        let mut newest: BTreeMap<_, &Sandbox> = BTreeMap::new();
        for one in sandboxes.iter().filter(|one| !self.named.contains(&one.uid)) {
            let held = newest.entry(&one.pod).or_insert(one);
            if one.made_at() > held.made_at() {
                *held = one;
            }
        }
        newest.into_values().map(pod_of).collect()
    }
}

/// The UID by which the pod's node knows it.
fn uid(pod: &Pod) -> &str {
    let metadata = &pod.metadata;
    let mirrored = metadata.annotations.as_ref().and_then(|all| all.get(MIRROR));
    mirrored.or(metadata.uid.as_ref()).map_or("", String::as_str)
}

fn pod_of(sandbox: &Sandbox) -> RuntimeOnlyPod {
    RuntimeOnlyPod {
        namespace: sandbox.pod.namespace.clone(),
        name: sandbox.pod.name.clone(),
        uid: sandbox.uid.clone(),
        labels: sandbox.labels.clone(),
        annotations: sandbox.annotations.clone(),
        addresses: sandbox.addresses.clone(),
        host_network: sandbox.network == Network::Host,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use agent_model::{pod::PodId, resource::Object};
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

    use super::*;
    use crate::runtime::testing;

    fn sandbox(name: &str, uid: &str, age: (u32, i64)) -> Sandbox {
        let pod = PodId { namespace: "shop".into(), name: name.into() };
        let network = Network::At(format!("/run/netns/{uid}").into());
        Sandbox { age, ..testing::sandbox(&pod, uid, network) }
    }

    fn pod(name: &str, uid: &str, mirrored: Option<&str>) -> Object {
        let annotation = |uid: &str| [(MIRROR.to_owned(), uid.to_owned())].into();
        Object::Pod(Arc::new(Pod {
            metadata: ObjectMeta {
                namespace: Some("shop".into()),
                name: Some(name.into()),
                uid: Some(uid.into()),
                annotations: mirrored.map(annotation),
                ..ObjectMeta::default()
            },
            ..Pod::default()
        }))
    }

    fn objects(all: impl IntoIterator<Item = Object>) -> Objects {
        let mut objects = Objects::default();
        for one in all {
            objects.insert(one);
        }
        objects
    }

    fn uids(pods: &[RuntimeOnlyPod]) -> Vec<&str> {
        pods.iter().map(|one| one.uid.as_str()).collect()
    }

    #[test]
    fn a_pod_that_no_object_is_is_told_with_all_that_the_runtime_knows() {
        let found = RuntimeOnly::default().among(&[sandbox("web-0", "u1", (0, 1))], &objects([]));
        assert_eq!(uids(&found), ["u1"]);
        assert_eq!((&*found[0].namespace, &*found[0].name), ("shop", "web-0"));
        assert_eq!(found[0].labels["app"], "web");
        assert_eq!(found[0].addresses.len(), 2);
        assert!(!found[0].host_network);
    }

    #[test]
    fn a_static_pods_picture_is_its_object() {
        let all = [sandbox("static", "hash", (0, 1)), sandbox("web-0", "u1", (0, 1))];
        let objects = objects([pod("static", "u9", Some("hash")), pod("web-0", "u1", None)]);
        assert_eq!(RuntimeOnly::default().among(&all, &objects), []);
    }

    #[test]
    fn of_two_pods_of_one_name_the_newer_counts() {
        let all = [sandbox("web-0", "u2", (0, 7)), sandbox("web-0", "u1", (3, 5))];
        assert_eq!(uids(&RuntimeOnly::default().among(&all, &objects([]))), ["u2"]);
    }

    #[test]
    fn a_pod_that_was_deleted_is_no_stray_while_its_sandbox_goes() {
        let mut pods = RuntimeOnly::default();
        let all = [sandbox("web-0", "u1", (0, 1))];
        assert_eq!(pods.among(&all, &objects([pod("web-0", "u1", None)])), []);
        assert_eq!(pods.among(&all, &objects([])), []);
        assert_eq!(pods.among(&[], &objects([])), []);
        assert!(pods.named.is_empty(), "and it is forgotten with it");
    }
}
