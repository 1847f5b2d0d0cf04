//! Whether a pod, or its namespace, asks for all of its requests to be told of.

use k8s_openapi::api::core::v1::{Namespace, Pod};

use super::annotation::{self, OBSERVE};
use crate::{
    finding::{Finding, Severity, code},
    pod::PodId,
    resource::{Described as _, Kind, ObjectKey},
};

/// What cannot be read means that it does: what was asked for is seen.
pub(super) fn is_asked(
    (pod, id): (&Pod, &PodId),
    namespace: Option<&Namespace>,
    findings: &mut Vec<Finding>,
) -> bool {
    let own = pod.metadata.annotation(OBSERVE).map(|value| (value, id.key()));
    let of_namespace = || {
        let value = namespace?.metadata.annotation(OBSERVE)?;
        Some((value, ObjectKey::new(Kind::Namespace, "", &*id.namespace)))
    };
    match own.or_else(of_namespace) {
        None | Some(("none", _)) => false,
        Some(("requests", _)) => true,
        Some((value, key)) => {
            let message = format!(
                "found {value:?}: give requests or none. Until then all requests go by the proxy"
            );
            let field = annotation::path(OBSERVE);
            findings.push(Finding::new(Severity::Warning, code::ANNOTATION, &key, field, message));
            true
        }
    }
}
