//! What a Pod is a part of: the object that made it, by its owner where the Pod names one, else by
//! the name that its controller gave it. Pods of other nodes are kept without owners.

use k8s_openapi::api::core::v1::Pod;

use crate::{pod::WorkloadName, resource::Described as _};

/// On pods of a `ReplicaSet`: the part of its name that the Deployment added.
const TEMPLATE_HASH: &str = "pod-template-hash";
/// On pods of a Job: its name.
const JOB_NAME: &str = "batch.kubernetes.io/job-name";
/// On pods of a `StatefulSet`.
const POD_INDEX: &str = "apps.kubernetes.io/pod-index";
/// Digits that a `CronJob` adds at least to the name of a Job: minutes, or seconds in older clusters.
const SCHEDULED: usize = 8;

/// See the module.
pub(super) fn workload_name(pod: &Pod) -> WorkloadName {
    let label = |key: &'static str| pod.metadata.label(key).filter(|value| !value.is_empty());
    let name = name(pod);
    let first = |keys: &[&'static str]| keys.iter().find_map(|key| label(key)).map(str::to_owned);
    let services = ["service.istio.io/canonical-name", "app.kubernetes.io/name", "app"];
    let revisions = ["service.istio.io/canonical-revision", "app.kubernetes.io/version", "version"];
    WorkloadName {
        namespace: pod.metadata.namespace().to_owned(),
        app: first(&["app"]),
        version: first(&["version"]),
        canonical_service: first(&services).unwrap_or_else(|| name.clone()),
        canonical_revision: first(&revisions).unwrap_or_else(|| "latest".to_owned()),
        name,
    }
}

fn name(pod: &Pod) -> String {
    let metadata = &pod.metadata;
    let owners = metadata.owner_references.iter().flatten();
    if let Some(owner) = owners.into_iter().find(|owner| owner.controller == Some(true)) {
        return match owner.kind.as_str() {
            "ReplicaSet" => deployment(pod, &owner.name),
            "Job" => cron_job(&owner.name),
            // A static pod is a part of nothing, and its node is not what made it.
            "Node" => metadata.name(),
            _ => &owner.name,
        }
        .to_owned();
    }
    let own = metadata.name();
    if let Some(job) = metadata.label(JOB_NAME) {
        return cron_job(job).to_owned();
    }
    if let Some(index) = metadata.label(POD_INDEX) {
        return own.strip_suffix(&format!("-{index}")).unwrap_or(own).to_owned();
    }
    match metadata.generate_name.as_deref().filter(|prefix| own.starts_with(prefix)) {
        Some(prefix) => deployment(pod, prefix.trim_end_matches('-')).to_owned(),
        None => own.to_owned(),
    }
}

/// The Deployment of a `ReplicaSet`; the set itself where it has none.
fn deployment<'a>(pod: &Pod, set: &'a str) -> &'a str {
    let hash = pod.metadata.label(TEMPLATE_HASH).filter(|hash| !hash.is_empty());
    let rest = hash.and_then(|hash| set.strip_suffix(hash)?.strip_suffix('-'));
    rest.unwrap_or(set)
}

/// The `CronJob` of a Job; the Job itself where it has none.
fn cron_job(job: &str) -> &str {
    match job.rsplit_once('-') {
        Some((name, time))
            if time.len() >= SCHEDULED && time.bytes().all(|digit| digit.is_ascii_digit()) =>
        {
            name
        }
        _ => job,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn named(metadata: &Value) -> WorkloadName {
        workload_name(&serde_json::from_value(json!({ "metadata": metadata })).unwrap())
    }

    fn owned(kind: &str, owner: &str, labels: &Value) -> String {
        let owner = json!({"apiVersion": "v1", "kind": kind, "name": owner, "uid": "1", "controller": true});
        named(&json!({"name": "p-x", "labels": labels, "ownerReferences": [owner]})).name
    }

    #[test]
    fn a_workload_is_what_made_the_pod() {
        let hash = json!({"pod-template-hash": "545db77b95"});
        assert_eq!(owned("ReplicaSet", "reviews-v1-545db77b95", &hash), "reviews-v1");
        assert_eq!(owned("ReplicaSet", "alone", &hash), "alone");
        assert_eq!(owned("StatefulSet", "db", &json!({})), "db");
        assert_eq!(owned("Job", "report-28912345", &json!({})), "report");
        assert_eq!(owned("Job", "import-2", &json!({})), "import-2");
        assert_eq!(owned("Node", "node-1", &json!({})), "p-x");
    }

    #[test]
    fn a_pod_without_owners_is_named_by_what_its_controller_gave_it() {
        let by = |name: &str, prefix: Option<&str>, labels: &Value| {
            named(&json!({"name": name, "generateName": prefix, "labels": labels})).name
        };
        let hash = json!({"pod-template-hash": "5d"});
        assert_eq!(by("web-5d-abcde", Some("web-5d-"), &hash), "web");
        assert_eq!(by("db-10", Some("db-"), &json!({"apps.kubernetes.io/pod-index": "10"})), "db");
        assert_eq!(by("agent-x7k2p", Some("agent-"), &json!({})), "agent");
        let job = json!({"batch.kubernetes.io/job-name": "report-28912345"});
        assert_eq!(by("report-28912345-h2x", Some("report-28912345-"), &job), "report");
        assert_eq!(by("alone", None, &json!({})), "alone");
    }

    #[test]
    fn labels_say_service_and_revision() {
        let labels = json!({"app": "reviews", "version": "v2", "app.kubernetes.io/name": "shop"});
        let found = named(&json!({"name": "r", "namespace": "a", "labels": labels}));
        let WorkloadName { namespace, app, version, canonical_service, canonical_revision, .. } =
            found;
        assert_eq!(
            (namespace.as_str(), app.as_deref(), version.as_deref()),
            ("a", Some("reviews"), Some("v2"))
        );
        assert_eq!((canonical_service.as_str(), canonical_revision.as_str()), ("shop", "v2"));
        let bare = named(&json!({"name": "r", "labels": {"app": ""}}));
        assert_eq!(
            (bare.app, bare.canonical_service.as_str(), bare.canonical_revision.as_str()),
            (None, "r", "latest")
        );
    }
}
