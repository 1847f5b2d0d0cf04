//! How busy each pod is with each service, and how long that takes: what `sekisho top` shows.

use std::collections::BTreeMap;

use agent_model::pod::PodId;
use serde::{Deserialize, Serialize};

use super::{flow_record::Carried, flow_request::FlowRequest};

/// Buckets of durations in each doubling: neighbours differ by nine in a hundred.
const STEPS: f64 = 8.0;

/// Requests of one pod to one service since the agent started.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Busy {
    /// How many.
    pub(crate) requests: u64,
    /// How many of them went wrong: with 5xx, or without an answer.
    pub(crate) errors: u64,
    /// How long they took: how many fell into which bucket, in order.
    within: Vec<(u16, u64)>,
}

/// A row of the view.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct TopRow {
    /// The pod's namespace.
    pub(crate) namespace: String,
    /// The pod.
    pub(crate) pod: String,
    /// The service.
    pub(crate) service: String,
    /// What there was.
    #[serde(flatten)]
    pub(crate) busy: Busy,
}

impl TopRow {
    /// Of a pod; of several together where there is none.
    pub(crate) fn of(pod: Option<&PodId>, service: &str, busy: &Busy) -> Self {
        let (namespace, name) =
            pod.map_or_else(|| ("", "(others)"), |pod| (pod.namespace.as_str(), pod.name.as_str()));
        Self {
            namespace: namespace.to_owned(),
            pod: name.to_owned(),
            service: service.to_owned(),
            busy: busy.clone(),
        }
    }
}

impl Busy {
    /// Counts a request.
    pub(crate) fn take(&mut self, request: &FlowRequest, carried: &Carried) {
        self.requests += 1;
        self.errors += u64::from(matches!(request.status, 0 | 500..));
        let bucket = bucket(carried.duration_us);
        match self.within.binary_search_by_key(&bucket, |(own, _)| *own) {
            Ok(at) => self.within[at].1 += 1,
            Err(at) => self.within.insert(at, (bucket, 1)),
        }
    }

    /// What came since an earlier look. An agent that was started again has less than before: then all of it.
    pub(crate) fn since(&self, earlier: &Self) -> Self {
        if self.requests < earlier.requests {
            return self.clone();
        }
        let before: BTreeMap<u16, u64> = earlier.within.iter().copied().collect();
        let left = |(bucket, count): &(u16, u64)| {
            let count = count.saturating_sub(before.get(bucket).copied().unwrap_or(0));
            (count > 0).then_some((*bucket, count))
        };
        Self {
            requests: self.requests - earlier.requests,
            errors: self.errors.saturating_sub(earlier.errors),
            within: self.within.iter().filter_map(left).collect(),
        }
    }

    /// The duration, in microseconds, that so many in a hundred do not exceed; none without a request.
    pub(crate) fn percentile(&self, percent: u64) -> Option<u64> {
        let all: u64 = self.within.iter().map(|(_, count)| count).sum();
        let rank = (all * percent).div_ceil(100).max(1);
        let mut seen = 0;
        let found = self.within.iter().find(|(_, count)| {
            seen += *count;
            seen >= rank
        });
        found.map(|(bucket, _)| middle(*bucket))
    }
}

#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a bucket is a small number"
)]
fn bucket(micros: u64) -> u16 {
    ((micros.max(1) as f64).log2() * STEPS).round() as u16
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "durations are shorter than centuries"
)]
fn middle(bucket: u16) -> u64 {
    (f64::from(bucket) / STEPS).exp2().round() as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn busy(durations: impl IntoIterator<Item = u64>) -> Busy {
        let mut busy = Busy::default();
        let request = FlowRequest { status: 200, ..FlowRequest::default() };
        for duration_us in durations {
            busy.take(&request, &Carried { duration_us, ..Carried::default() });
        }
        busy
    }

    #[test]
    fn a_percentile_is_right_within_five_in_a_hundred() {
        for scale in [1, 17, 1_000, 250_000] {
            let all = busy((1..=1_000).map(|at| at * scale));
            for percent in [1, 50, 90, 99, 100] {
                let wanted = percent * 10 * scale;
                let found = all.percentile(percent).unwrap();
                let off = found.abs_diff(wanted);
                assert!(
                    off * 100 <= wanted * 5 + 100,
                    "p{percent} of {scale}: {found}, not {wanted}"
                );
            }
        }
        assert_eq!(busy([]).percentile(50), None);
        assert_eq!(busy([0]).percentile(99), Some(1));
    }

    #[test]
    fn what_came_since_is_the_difference_unless_the_agent_was_started_again() {
        let before = busy([100, 100, 5_000]);
        let mut now = before.clone();
        now.take(&FlowRequest { status: 503, ..FlowRequest::default() }, &Carried::default());
        let since = now.since(&before);
        assert_eq!((since.requests, since.errors, since.percentile(50)), (1, 1, Some(1)));
        assert_eq!(now.since(&now.clone()), Busy::default());
        let restarted = busy([7]);
        assert_eq!(restarted.since(&before), restarted);
    }
}
