//! Leader election: the agent that holds the Lease `sekisho-status-writer` writes.
//!
//! ```text
//! stand by: watch the Lease ─► unchanged for longer than it lasts, or gone ─► claim it ─► lead
//!     ▲                                                      lost to another ─┘           │
//!     └──────── another holds it, or no renewal went through for DEADLINE ────────────────┘
//! ```
//!
//! As in `client-go`, no clock is compared with another's: a Lease has run out when it was not seen to
//! change for as long as it lasts (10 s). Each write names the version that it follows from, so one claim
//! of several goes through. kube has no election. `kube-leader-election` is written against an older
//! kube, polls, and believes the clock in the Lease.

use std::{sync::Arc, time::Duration};

use agent_source::cluster::{
    Trouble,
    pace::{Pace, jitter},
    resuming_watch::{Cursor, Event, Selection, Watch},
};
use jiff::Timestamp;
use k8s_openapi::{
    api::coordination::v1::{Lease, LeaseSpec},
    apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta},
};
use kube::{
    Api,
    api::{Patch, PatchParams, PostParams},
};
use serde_json::json;
use tokio::{
    sync::watch,
    time::{Instant, sleep, timeout},
};

use super::{answer::Failure, state::State};
use crate::answer::MANAGER;

/// The Lease.
const NAME: &str = "sekisho-status-writer";
/// How long it lasts.
const LAST: Duration = Duration::from_secs(10);
/// How often it is renewed.
const RENEW: Duration = Duration::from_secs(3);
/// Between two tries when a renewal fails.
const RETRY: Duration = Duration::from_secs(1);
/// After this time without a renewal its holder stops: before another can claim it.
const DEADLINE: Duration = Duration::from_secs(8);
/// Claims of several agents are spread over this time.
const SPREAD: Duration = Duration::from_secs(2);
/// How long one watch lasts.
const WATCH: Duration = Duration::from_secs(290);
/// How many nodes the elected one counts: how often the others write follows from it.
const NODES: &str = "sekisho.dev/nodes";

/// Whether this agent is the one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Leading {
    pub(super) is_ours: bool,
}

/// An agent that would.
pub(super) struct Candidate {
    pub(super) leases: Api<Lease>,
    pub(super) node: String,
    pub(super) state: Arc<State>,
    pub(super) leading: watch::Sender<Leading>,
}

/// What ended a watch of the Lease.
enum Turn {
    /// It is free.
    Free,
    /// The next watch goes on.
    Again,
}

impl Candidate {
    /// Until the agent ends.
    pub(super) async fn run(self) {
        let mut pace = Pace::default();
        while !self.leading.is_closed() {
            match self.stand_by().await {
                Ok(lease) => {
                    pace.reset();
                    if let Some(version) = self.claim(lease).await {
                        self.lead(version).await;
                    }
                }
                Err(failure) => {
                    self.state.failed(self.state.leases("watch"), &failure);
                    sleep(pace.wait()).await;
                }
            }
        }
    }

    /// Until the Lease is free: as it was seen last, or not there.
    async fn stand_by(&self) -> Result<Option<Box<Lease>>, Failure> {
        // "0" is whatever the server knows, and then all that follows.
        let (mut cursor, mut seen) = (Cursor::at("0"), None);
        while let Turn::Again = self.watch(&mut cursor, &mut seen).await? {}
        Ok(seen)
    }

    /// One watch to its end, or until the Lease is free.
    async fn watch(
        &self,
        cursor: &mut Cursor,
        seen: &mut Option<Box<Lease>>,
    ) -> Result<Turn, Failure> {
        let fields = Some(format!("metadata.name={NAME}"));
        let selection = Selection { labels: None, fields, most: WATCH };
        let mut watch = self.state.answer(Watch::open(&self.leases, cursor, &selection)).await?;
        self.state.worked(self.state.leases("watch"));
        let mut free = free_at(seen.as_deref());
        loop {
            let patience = free.saturating_duration_since(Instant::now());
            match watch.next(cursor, patience).await {
                Err(Trouble::Silence(_)) => return Ok(Turn::Free),
                Err(trouble) => return Err(trouble.into()),
                Ok(None) => return Ok(Turn::Again),
                Ok(Some(Event::Applied(lease))) => {
                    let holder = holder(&lease);
                    let nodes = lease.metadata.annotations.as_ref();
                    let nodes = nodes.and_then(|all| all.get(NODES)?.parse().ok());
                    self.state.elected(holder, false, nodes);
                    // Our own, from before a restart, is ours at once.
                    let is_free = holder.is_none_or(|holder| holder == self.node);
                    *seen = Some(Box::new(lease));
                    if is_free {
                        return Ok(Turn::Free);
                    }
                    free = free_at(seen.as_deref());
                }
                Ok(Some(Event::Deleted(_))) => {
                    *seen = None;
                    return Ok(Turn::Free);
                }
                Ok(Some(Event::Bookmark | Event::Listed)) => {}
            }
        }
    }

    /// Tries to get the Lease; its version, if that went through.
    async fn claim(&self, lease: Option<Box<Lease>>) -> Option<String> {
        let verb = if lease.is_some() { "patch" } else { "create" };
        let claimed = match lease {
            None => self.create().await,
            Some(lease) => {
                let spec = lease.spec.unwrap_or_default();
                let changes = i32::from(spec.holder_identity.as_ref() != Some(&self.node));
                let spec = json!({
                    "holderIdentity": self.node,
                    "leaseDurationSeconds": LAST.as_secs(),
                    "acquireTime": MicroTime(Timestamp::now()),
                    "renewTime": MicroTime(Timestamp::now()),
                    "leaseTransitions": spec.lease_transitions.unwrap_or_default() + changes,
                });
                let version = lease.metadata.resource_version.unwrap_or_default();
                self.patch(&version, spec).await
            }
        };
        match claimed {
            Ok(lease) => {
                self.state.worked(self.state.leases(verb));
                lease.metadata.resource_version
            }
            Err(failure) => {
                if !failure.is_conflict() && !failure.is_missing_object() {
                    self.state.failed(self.state.leases(verb), &failure);
                }
                sleep(jitter(RENEW)).await;
                None
            }
        }
    }

    /// Renews it until that fails for good.
    async fn lead(&self, mut version: String) {
        self.tell(true);
        let mut renewed = Instant::now();
        loop {
            let late = renewed.elapsed() > RENEW + RETRY;
            sleep(if late { RETRY } else { RENEW }).await;
            let asked = Instant::now();
            let spec = json!({"renewTime": MicroTime(Timestamp::now())});
            let left = DEADLINE.saturating_sub(renewed.elapsed());
            match timeout(left, self.patch(&version, spec)).await {
                Ok(Ok(lease)) => {
                    self.state.worked(self.state.leases("patch"));
                    version = lease.metadata.resource_version.unwrap_or_default();
                    renewed = asked;
                }
                // Another has it, or it was taken away.
                Ok(Err(failure)) if failure.is_conflict() || failure.is_missing_object() => break,
                Ok(Err(failure)) => {
                    self.state.failed(self.state.leases("patch"), &failure);
                    if renewed.elapsed() >= DEADLINE {
                        break;
                    }
                }
                Err(_) => break,
            }
        }
        self.tell(false);
    }

    fn tell(&self, is_ours: bool) {
        let holder = is_ours.then_some(self.node.as_str());
        self.state.elected(holder, is_ours, None);
        self.leading.send_replace(Leading { is_ours });
    }

    async fn create(&self) -> Result<Lease, Failure> {
        let now = || Some(MicroTime(Timestamp::now()));
        let lease = Lease {
            metadata: ObjectMeta { name: Some(NAME.to_owned()), ..ObjectMeta::default() },
            spec: Some(LeaseSpec {
                holder_identity: Some(self.node.clone()),
                lease_duration_seconds: i32::try_from(LAST.as_secs()).ok(),
                acquire_time: now(),
                renew_time: now(),
                lease_transitions: Some(0),
                ..LeaseSpec::default()
            }),
        };
        let parameters =
            PostParams { field_manager: Some(MANAGER.to_owned()), ..PostParams::default() };
        self.state.answer(self.leases.create(&parameters, &lease)).await
    }

    async fn patch(&self, version: &str, spec: serde_json::Value) -> Result<Lease, Failure> {
        let nodes = self.state.nodes().to_string();
        let metadata = json!({"resourceVersion": version, "annotations": {NODES: nodes}});
        let patch = Patch::Merge(json!({"metadata": metadata, "spec": spec}));
        let parameters =
            PatchParams { field_manager: Some(MANAGER.to_owned()), ..PatchParams::default() };
        self.state.answer(self.leases.patch(NAME, &parameters, &patch)).await
    }
}

/// When a Lease is free that has just been seen so: one that does not change has run out.
fn free_at(lease: Option<&Lease>) -> Instant {
    let last = if lease.is_some() { LAST } else { Duration::ZERO };
    Instant::now() + last + jitter(SPREAD)
}

fn holder(lease: &Lease) -> Option<&str> {
    let holder = lease.spec.as_ref()?.holder_identity.as_deref();
    holder.filter(|holder| !holder.is_empty())
}
