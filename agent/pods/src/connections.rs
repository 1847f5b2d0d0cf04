//! The open connections of pods when rules change: those of a pod that is enrolled while it runs
//! are learnt, those that a change denies are reset.

use std::{sync::Arc, time::Duration};

use agent_abi::{FlowKey, FlowState, OpenedBy};
use agent_base::error::chain;
use agent_kernel::maps::Maps;
use agent_model::{egress::Rule, pod::PodId};

use super::{
    departed::Kept,
    enrol::{Pod, Pods},
    revoke::{self, Keep, RevokeError, Revoked},
};

/// Tells layer 3 which connections of newly enrolled pods their peers have opened, so that
/// what the pods send on them passes as answers.
pub async fn learn(pods: &Pods, maps: &Maps, fresh: &[PodId]) {
    for id in fresh {
        let Some(pod) = pods.known().get(id) else { continue };
        if let Err(error) = learn_one(pods, pod, maps).await {
            tracing::warn!(pod = %id, error = %chain(&error), "open connections are not learnt");
        }
    }
}

async fn learn_one(pods: &Pods, pod: &Pod, maps: &Maps) -> Result<(), RevokeError> {
    let storage = maps.sockets.share().map_err(RevokeError::Map)?;
    let sockets = revoke::open_sockets(pods.worker(), &pod.netns, storage).await?;
    let accepted = revoke::accepted_flows(&sockets, pod.netns.cookie()).into_iter();
    remember(maps, accepted.map(|key| (key, OpenedBy::PEER)))
}

/// A connection that was reset.
#[derive(Clone, Debug)]
pub struct Reset {
    /// Whose it was.
    pub pod: PodId,
    /// The cookie of the pod's namespace.
    pub netns: u64,
    /// The socket, and why.
    pub revoked: Revoked,
}

/// After which change connections are gone through.
#[derive(Clone, Copy, Debug)]
pub struct Change<'a> {
    /// The cookies of the pods whose rules are others now.
    pub netns: &'a [u64],
    /// What stays although no rule allows it any more.
    pub kept: &'a Kept,
    /// All stay (`--on-revoke keep`).
    pub keep_all: bool,
}

/// Tells the packet layers, before a change, of the open connections that are to go on without a rule.
/// One that is opened meanwhile [`settle`] finds.
pub async fn keep(pods: &Pods, maps: &Arc<Maps>, change: Change<'_>) {
    for (id, pod) in pods.known() {
        let Some(rules) = change.kept.get(id).filter(|rules| !rules.is_empty()) else { continue };
        if change.netns.contains(&pod.netns.cookie())
            && pod.is_enrolled()
            && let Err(error) = keep_one(pods, pod, maps, rules).await
        {
            tracing::warn!(pod = %id, error = %chain(&error), "open connections may stall for a moment");
        }
    }
}

async fn keep_one(
    pods: &Pods,
    pod: &Pod,
    maps: &Arc<Maps>,
    rules: &[Rule],
) -> Result<(), RevokeError> {
    let storage = maps.sockets.share().map_err(RevokeError::Map)?;
    let sockets = revoke::open_sockets(pods.worker(), &pod.netns, storage).await?;
    let kept = revoke::kept_flows(&sockets, &**maps, pod.netns.cookie(), rules).into_iter();
    remember(maps, kept.map(|key| (key, OpenedBy::KEPT)))
}

/// Goes through the open connections of pods after a change of their rules; those that were reset.
pub async fn settle(pods: &Pods, maps: &Arc<Maps>, change: Change<'_>) -> Vec<Reset> {
    let Change { netns: changed, kept, keep_all } = change;
    let mut resets = Vec::new();
    for (id, pod) in pods.known() {
        if !changed.contains(&pod.netns.cookie()) || !pod.is_enrolled() {
            continue;
        }
        let kept = || kept.get(id).map(Arc::clone).unwrap_or_default();
        let keep = if keep_all { Keep::All } else { Keep::Only(kept()) };
        match settle_one(pods, pod, maps, keep).await {
            Ok(all) => {
                let netns = pod.netns.cookie();
                let reset = |revoked| Reset { pod: id.clone(), netns, revoked };
                resets.extend(all.into_iter().map(reset));
            }
            Err(error) => {
                tracing::error!(pod = %id, error = %chain(&error), "denied connections stay open, cut off");
            }
        }
    }
    resets
}

async fn settle_one(
    pods: &Pods,
    pod: &Pod,
    maps: &Arc<Maps>,
    keep: Keep,
) -> Result<Vec<Revoked>, RevokeError> {
    let storage = maps.sockets.share().map_err(RevokeError::Map)?;
    let sweep = revoke::sweep(pods.worker(), &pod.netns, storage, Arc::clone(maps), keep).await?;
    remember(maps, sweep.outlive)?;
    for one in &sweep.reset {
        // It may have been kept until now.
        let key = revoke::flow_key(&one.socket, pod.netns.cookie());
        maps.flows.remove(&key).map_err(|error| RevokeError::Map(error.source))?;
    }
    Ok(sweep.reset)
}

/// Tells the packet layers of flows that the rules alone do not let out.
fn remember(
    maps: &Maps,
    flows: impl IntoIterator<Item = (FlowKey, u32)>,
) -> Result<(), RevokeError> {
    let seen_ns = monotonic_ns();
    for (key, opened_by) in flows {
        let state = FlowState { opened_by, seen_ns, ..FlowState::default() };
        maps.flows.set(&key, &state).map_err(|error| RevokeError::Map(error.source))?;
    }
    Ok(())
}

fn monotonic_ns() -> u64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    let now = Duration::new(now.tv_sec.unsigned_abs(), u32::try_from(now.tv_nsec).unwrap_or(0));
    u64::try_from(now.as_nanos()).unwrap_or(u64::MAX)
}
