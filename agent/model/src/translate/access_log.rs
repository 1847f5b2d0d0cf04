//! Which of a pod's requests its own annotation, or its namespace's, wants in the access log.

use k8s_openapi::api::core::v1::{Namespace, Pod};

use super::annotation::{self, ACCESS_LOG};
use crate::{
    finding::{Finding, Severity, code},
    pod::{AccessLog, PodId},
    resource::{Described as _, Kind, ObjectKey},
};

/// What they say; nothing where neither does. What cannot be read means everything: lines that were
/// not wanted are seen, and lines that are missing are not.
pub(super) fn access_log(
    (pod, id): (&Pod, &PodId),
    namespace: Option<&Namespace>,
    findings: &mut Vec<Finding>,
) -> Option<AccessLog> {
    let own = pod.metadata.annotation(ACCESS_LOG).map(|value| (value, id.key()));
    let of_namespace = || {
        let value = namespace?.metadata.annotation(ACCESS_LOG)?;
        Some((value, ObjectKey::new(Kind::Namespace, "", &*id.namespace)))
    };
    let (value, key) = own.or_else(of_namespace)?;
    let read = value.parse().unwrap_or_else(|error| {
        let message = format!("found {value:?}: {error}. Until then every request has a line");
        let field = annotation::path(ACCESS_LOG);
        findings.push(Finding::new(Severity::Warning, code::ANNOTATION, &key, field, message));
        AccessLog::On
    });
    Some(read)
}
