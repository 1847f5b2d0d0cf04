//! Pods with a strict port on a node that speaks no mutual TLS.

use std::collections::BTreeMap;

use crate::{
    finding::{Finding, Severity, code},
    pod::PodId,
    requests::Requests,
    snapshot::{Enrolment, PodPlan},
};

/// A finding on each.
pub(super) fn findings(pods: &BTreeMap<PodId, PodPlan>, requests: &dyn Requests) -> Vec<Finding> {
    let is_strict = |(id, plan): &(&PodId, &PodPlan)| {
        matches!(plan.enrolment, Enrolment::Enrolled(_))
            && requests.server(id).is_some_and(|server| server.inbound(&[]).is_strict())
    };
    let told = pods.iter().filter(is_strict).map(|(id, _)| {
        let message = "the pod takes mutual TLS alone (STRICT), and its node has no CA to speak it \
                       with: only pods of this node reach it, and the kubelet its probes. Give the \
                       agents a CA (--ca), or set the PeerAuthentication to PERMISSIVE";
        Finding::new(Severity::Warning, code::STRICT_WITHOUT_CA, &id.key(), "spec", message)
    });
    told.collect()
}
