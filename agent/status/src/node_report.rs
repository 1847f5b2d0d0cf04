//! What each agent reports: an annotation of its node's Lease. It is written when what is in force has
//! changed, at most every 2 s, and every 15 s anyway.
//!
//! A Lease is the smallest object that a server keeps. No one else watches these, and kubelets show in
//! the same way that they live: its renewal is the sign of life at the same time. From 100 nodes on (300
//! for the sign of life) each writes less often, so that all agents together write 50 reports and 20
//! signs of life a second ([`WriteRates`](super::state::WriteRates)). The leader alone watches these
//! Leases, by their label.
//!
//! The Lease is a witness too. No one else writes it, so a server that has an older one than this agent
//! left there, or none, has lost more than that: its state was replaced by an older one. Each write names
//! the version that it follows from, and costs no request more for it.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use agent_source::{
    cluster::pace::{Pace, jitter},
    inventory::Digests,
};
use jiff::Timestamp;
use k8s_openapi::{
    api::coordination::v1::{Lease, LeaseSpec},
    apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta},
};
use kube::{
    Api,
    api::{ListParams, Patch, PatchParams},
};
use serde::{Deserialize, Serialize};
use tokio::{
    sync::watch,
    time::{Instant, sleep, sleep_until},
};

use super::{answer::Failure, state::State};
use crate::answer::MANAGER;

/// The label of these Leases, with the value [`OF_NODE`].
pub(super) const LABEL: &str = "sekisho.dev/lease";
/// See [`LABEL`].
pub(super) const OF_NODE: &str = "node";
/// Where the report is.
const ANNOTATION: &str = "sekisho.dev/in-force";
/// Changes that come together make one report.
const GATHER: Duration = Duration::from_millis(200);
/// As much of an error is passed on.
const TROUBLE: usize = 200;

/// What a node has in force.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct NodeReport {
    /// Which objects.
    #[serde(flatten)]
    pub(super) digests: Arc<Digests>,
    /// Why it is not what the server has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) trouble: Option<String>,
}

impl NodeReport {
    /// The report in a Lease.
    pub(super) fn of(lease: &Lease) -> Option<Self> {
        let text = lease.metadata.annotations.as_ref()?.get(ANNOTATION)?;
        serde_json::from_str(text).ok()
    }

    fn lease(&self, node: &str, patience: Duration) -> Lease {
        let mut report = self.clone();
        report.trouble = report.trouble.map(|text| text.chars().take(TROUBLE).collect());
        let text = serde_json::to_string(&report).unwrap_or_default();
        Lease {
            metadata: ObjectMeta {
                name: Some(name(node)),
                labels: Some(BTreeMap::from([(LABEL.to_owned(), OF_NODE.to_owned())])),
                annotations: Some(BTreeMap::from([(ANNOTATION.to_owned(), text)])),
                ..ObjectMeta::default()
            },
            spec: Some(LeaseSpec {
                holder_identity: Some(node.to_owned()),
                lease_duration_seconds: i32::try_from(patience.as_secs()).ok(),
                renew_time: Some(MicroTime(Timestamp::now())),
                ..LeaseSpec::default()
            }),
        }
    }
}

/// The name of a node's Lease. A node's name is a DNS name, as the Lease's must be.
fn name(node: &str) -> String {
    format!("sekisho-node-{node}")
}

/// The Lease as this agent left it.
#[derive(Clone, Debug)]
struct Left {
    uid: Option<String>,
    version: Option<String>,
}

impl Left {
    fn of(lease: Lease) -> Self {
        Self { uid: lease.metadata.uid, version: lease.metadata.resource_version }
    }

    /// Whether this is the same Lease, or a later version of it.
    fn is_since(&self, left: &Self) -> bool {
        let number = |one: &Self| one.version.as_ref().and_then(|text| text.parse::<u64>().ok());
        self.uid == left.uid && number(self) >= number(left)
    }
}

/// Keeps the node's Lease.
pub(super) struct LeaseWriter {
    pub(super) leases: Api<Lease>,
    pub(super) node: String,
    pub(super) report: watch::Receiver<Option<NodeReport>>,
    pub(super) state: Arc<State>,
}

impl LeaseWriter {
    /// Until nothing is published any more.
    pub(super) async fn run(mut self) {
        let (mut last, mut left) = (None::<Instant>, None);
        let mut pace = Pace::default();
        loop {
            let beat = last.map(|last| last + jitter(self.state.write_rates().beat));
            tokio::select! {
                changed = self.report.changed() => if changed.is_err() { return },
                () = sleep_until(beat.unwrap_or_else(Instant::now)), if beat.is_some() => {}
            }
            sleep(GATHER).await;
            if let Some(last) = last {
                sleep_until(last + self.state.write_rates().report).await;
            }
            let Some(report) = self.report.borrow_and_update().clone() else { continue };
            let attempt = self.state.leases("patch");
            while let Err(failure) = self.say(&report, &mut left).await {
                self.state.failed(attempt, &failure);
                sleep(pace.wait()).await;
                if self.report.has_changed().unwrap_or(true) {
                    break;
                }
            }
            if !self.report.has_changed().unwrap_or(true) {
                self.state.worked(attempt);
                pace.reset();
            }
            last = Some(Instant::now());
        }
    }

    async fn say(&self, report: &NodeReport, left: &mut Option<Left>) -> Result<(), Failure> {
        let (name, parameters) = (name(&self.node), PatchParams::apply(MANAGER).force());
        loop {
            let mut lease = report.lease(&self.node, self.state.write_rates().patience());
            if let Some(left) = left {
                lease.metadata.uid.clone_from(&left.uid);
                lease.metadata.resource_version.clone_from(&left.version);
            }
            let patch = Patch::Apply(&lease);
            match (self.state.answer(self.leases.patch(&name, &parameters, &patch)).await, &left) {
                (Ok(lease), _) => {
                    *left = Some(Left::of(lease));
                    return Ok(());
                }
                (Err(failure), Some(known)) if failure.is_conflict() => {
                    self.compare(&name, known).await?;
                    *left = None;
                }
                (Err(failure), _) => return Err(failure),
            }
        }
    }

    /// The Lease is not as this agent left it.
    async fn compare(&self, name: &str, left: &Left) -> Result<(), Failure> {
        let parameters = ListParams::default().fields(&format!("metadata.name={name}"));
        let mut list = self.state.answer(self.leases.list(&parameters)).await?;
        let there = list.items.pop().map(Left::of);
        if !there.as_ref().is_some_and(|there| there.is_since(left)) {
            let there = there.and_then(|there| there.version);
            tracing::warn!(
                target: "config", lease = name, version = ?left.version, ?there,
                "the API server has gone back to an older state; everything is listed again"
            );
            self.state.replaced();
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use agent_source::inventory::Digest;

    use super::*;

    #[test]
    fn a_lease_that_is_older_or_another_is_not_what_was_left() {
        let one = |uid: &str, version: &str| Left {
            uid: Some(uid.to_owned()),
            version: Some(version.to_owned()),
        };
        let left = one("a", "99");
        assert!(one("a", "99").is_since(&left) && one("a", "100").is_since(&left));
        assert!(!one("a", "98").is_since(&left) && !one("b", "100").is_since(&left));
    }

    #[test]
    fn a_report_is_read_from_its_lease() {
        let kinds = [("sidecars.networking.istio.io".to_owned(), Digest::default())].into();
        let digests = Digests { kinds, stale: [("a".to_owned(), Some(2))].into() };
        let report = NodeReport { digests: Arc::new(digests), trouble: Some("é".repeat(300)) };
        let lease = report.lease("node-1", Duration::from_secs(45));
        let read = NodeReport::of(&lease).unwrap();
        assert_eq!(read.digests, report.digests);
        assert_eq!(read.trouble.map(|text| text.chars().count()), Some(TROUBLE));
        assert_eq!(lease.spec.and_then(|spec| spec.lease_duration_seconds), Some(45));
        assert_eq!(NodeReport::of(&Lease::default()), None);
    }
}
