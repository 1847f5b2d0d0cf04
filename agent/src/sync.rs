//! Brings the kernel and the proxy from one generation to the next: the one place that publishes.
//!
//! ```text
//! prepare   open what new pods need, seed what is known of their open connections
//! attach    layer 3 to the links of enrolled pods, sk_lookup to pods with a strict port
//! widen     new tables beside the old ones        fails: stay at N-1 everywhere, report, retry
//! listen    new connections come to this agent's proxy and wait; an agent before had them until here
//! publish   the proxy's members, then one store in the kernel
//! serve     what waits
//! revoke    open connections that are denied now are reset
//! narrow    after a grace period what no hook reads any more goes; nothing waits for it
//! ```

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use agent_abi::{Flow, Reason, decide};
use agent_base::{
    error::chain,
    laps::{Laps, Phase},
};
use agent_kernel::{
    found,
    lifecycle::{Kernel, KernelError},
    plan::{Desired, PlanError, Planner},
    sys::{self, SysError},
};
use agent_model::{pod::PodId, snapshot::Snapshot, tables};
use agent_pods::{
    connections::{self, Change},
    departed::{Kept, Leavers, losers},
    enrol::{LinkScope, Pods, ProblemKind},
    link_watch::LinkChanges,
    view::PodViews,
};
use agent_proxy::Proxy;
use arc_swap::ArcSwap;
use thiserror::Error;
use tokio::{sync::watch, task::block_in_place};

use crate::{
    handover::Predecessor,
    members::Members,
    observe::{flow_record::FlowRecord, flows::FlowLog},
};

/// Why a generation is not in force.
#[derive(Debug, Error)]
pub(crate) enum SyncError {
    /// The rules do not fit or do not compile.
    #[error("the generation is refused and the one before stays")]
    Plan(#[from] PlanError),
    /// The kernel did not take a write.
    #[error("the kernel does not take the new generation and the one before stays")]
    Write(#[from] SysError),
    /// The hooks cannot be attached.
    #[error(transparent)]
    Kernel(#[from] KernelError),
}

/// What a publication did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Published {
    /// The generation in force.
    pub(crate) generation: u64,
    /// Entries that were written for it.
    pub(crate) writes: usize,
    /// Connections that were reset.
    pub(crate) resets: usize,
}

/// What a [`Sync`] is made of.
#[derive(Debug)]
pub(crate) struct Parts {
    /// The hooks and their maps.
    pub(crate) kernel: Arc<Kernel>,
    /// What the maps hold.
    pub(crate) planner: Planner,
    /// The pods of this node.
    pub(crate) pods: Pods,
    /// Where the proxy and the log of flows read what is in force.
    pub(crate) members: Arc<ArcSwap<Members>>,
    /// Where resets are recorded.
    pub(crate) flows: Arc<FlowLog>,
    /// Open connections outlive their rule.
    pub(crate) keep_revoked: bool,
    /// What left lately without having been revoked.
    pub(crate) leavers: Leavers,
    /// The agent before, where it serves until this one does.
    pub(crate) predecessor: Option<Predecessor>,
}

/// The one writer of the maps.
#[derive(Debug)]
pub(crate) struct Sync {
    kernel: Arc<Kernel>,
    planner: Planner,
    pods: Pods,
    members: Arc<ArcSwap<Members>>,
    flows: Arc<FlowLog>,
    keep_revoked: bool,
    leavers: Leavers,
    predecessor: Option<Predecessor>,
    /// What each pod's open connections may go by beside its rules.
    kept: Kept,
    attached: bool,
    /// Whether the generation in force is to be narrowed.
    flipped: bool,
    said: Option<Desired>,
    /// The pods as the last attempt left them.
    views: Arc<PodViews>,
    /// The pods of the generation in force.
    in_force: watch::Sender<Arc<PodViews>>,
}

impl Sync {
    /// Takes over what the maps hold. Attaches the hooks at once, unless those in force read
    /// another layout's maps: then they judge on until the first generation of ours is whole.
    pub(crate) fn new(parts: Parts) -> Result<Self, SyncError> {
        let Parts { kernel, planner, pods, members, flows, keep_revoked, leavers, predecessor } =
            parts;
        let attached = !kernel.replaces_another_layout();
        if attached {
            kernel.attach()?;
            kernel.check_visibility(pods.worker().own().cookie())?;
        }
        Ok(Self {
            kernel,
            planner,
            pods,
            members,
            flows,
            keep_revoked,
            leavers,
            predecessor,
            kept: Kept::new(),
            attached,
            flipped: false,
            said: None,
            views: Arc::default(),
            in_force: watch::Sender::default(),
        })
    }

    /// The proxy of all pods.
    pub(crate) fn proxy(&self) -> Arc<Proxy> {
        Arc::clone(self.pods.proxy())
    }

    /// Serves on, and does nothing else any more.
    pub(crate) fn into_pods(self) -> Pods {
        self.pods
    }

    /// How many prefixes the kernel's table holds.
    pub(crate) fn prefix_count(&self) -> usize {
        self.planner.prefix_count()
    }

    /// The pods of the generation in force, for the proof that they are judged.
    pub(crate) fn in_force(&self) -> watch::Receiver<Arc<PodViews>> {
        self.in_force.subscribe()
    }

    /// The pods as the last publication left them, or the last attempt at one.
    pub(crate) fn views(&self) -> &Arc<PodViews> {
        &self.views
    }

    /// Whether pods are being made that will have a namespace soon.
    pub(crate) fn expects_pods(&self) -> bool {
        self.pods.count(ProblemKind::Pending) > 0
    }

    /// Whether the live tables judge the pod of a namespace, by its cookie.
    pub(crate) fn is_judged(&self, netns: u64) -> bool {
        let reason = decide(&*self.kernel.maps, &Flow { netns, ..Flow::default() }).reason;
        !matches!(reason, Reason::UnknownAllowed | Reason::UnknownHeld | Reason::NotEnrolled)
    }

    /// True when a pod is to be tried again, or has gone, or when what open connections went by has ended
    /// its grace.
    pub(crate) fn wants_another_try(&self) -> bool {
        self.pods.want_another_look() || self.leavers.are_due()
    }

    /// True when another program has taken a hook away.
    pub(crate) fn is_amiss(&self) -> bool {
        let is_amiss = || self.kernel.is_amiss() || self.pods.has_lost_a_link(&self.kernel);
        self.attached && block_in_place(is_amiss)
    }

    /// What is said of pods' links.
    pub(crate) fn link_changes(&self) -> &Arc<LinkChanges> {
        self.pods.link_changes()
    }

    /// The pods of whose links something was said.
    pub(crate) fn with_changed_links(&self) -> Vec<PodId> {
        self.pods.with_changed_links()
    }

    /// Publishes a snapshot, or changes nothing and says why. A snapshot that says what is in
    /// force already makes no new generation.
    ///
    /// `awaited` are the pods that the runtime waits for before it starts anything in them.
    pub(crate) async fn publish(
        &mut self,
        snapshot: &Snapshot,
        awaited: &BTreeSet<PodId>,
        laps: &mut Laps,
    ) -> Result<Published, SyncError> {
        let fresh = self.pods.prepare(snapshot, awaited).await;
        let mended = if self.attached { self.attach_links() } else { Ok(()) };
        self.views = Arc::new(PodViews::new(snapshot, &self.pods));
        mended?;
        // What is opened from here on layer 3 learns by itself.
        connections::learn(&self.pods, &self.kernel.maps, &fresh).await;
        let mut published =
            Published { generation: self.planner.generation(), writes: 0, resets: 0 };
        laps.end(Phase::Prepare);
        let desired = self.views.desired();
        let changed = self.changed(&desired);
        self.leavers.follow(&snapshot.registry);
        let kept = self.leavers.kept();
        if changed.is_some() {
            self.keep(&kept).await;
            published.writes = block_in_place(|| self.write(&desired, snapshot, laps))?;
            published.generation = self.planner.generation();
        } else {
            // Endpoints may have changed without a rule.
            self.pods.listen();
            self.store_members(snapshot);
        }
        self.pods.serve();
        if !self.attached {
            self.kernel.attach()?;
            self.pods.attach_links(&self.kernel, LinkScope::Changed);
            self.pods.guard_inbound(&self.kernel);
            connections::learn(&self.pods, &self.kernel.maps, &fresh).await;
            self.views = Arc::new(PodViews::new(snapshot, &self.pods));
            self.attached = true;
        }
        if let Some(predecessor) = &mut self.predecessor {
            predecessor.retire().await;
        }
        self.pods.detach_links(&self.kernel);
        self.pods.release_inbound(&self.kernel);
        published.resets = self.settle(kept, changed.as_deref()).await;
        if changed.is_some() {
            self.said = Some(desired);
            laps.end(Phase::Revoke);
        }
        self.in_force.send_replace(Arc::clone(&self.views));
        Ok(published)
    }

    /// Puts back what another program took, and attaches layer 3 to links that lack it.
    fn attach_links(&mut self) -> Result<(), SyncError> {
        let reattached = block_in_place(|| self.kernel.mend())?;
        if reattached {
            self.mend_pods()?;
        }
        let scope = if reattached { LinkScope::All } else { LinkScope::Changed };
        self.pods.attach_links(&self.kernel, scope);
        self.pods.guard_inbound(&self.kernel);
        Ok(())
    }

    /// Has open connections stay that lose their rule by the next store, and are to go on: none of
    /// their packets is refused in between.
    async fn keep(&self, kept: &Kept) {
        let netns = self.cookies(losers(kept, &self.kept));
        if !netns.is_empty() && !self.keep_revoked {
            let change = Change { netns: &netns, kept, keep_all: false };
            connections::keep(&self.pods, &self.kernel.maps, change).await;
        }
    }

    fn cookies<'a>(&self, pods: impl Iterator<Item = &'a PodId>) -> Vec<u64> {
        let known = self.pods.known();
        pods.filter_map(|id| Some(known.get(id)?.netns.cookie())).collect()
    }

    /// Resets the connections that are denied now; how many there were. `changed` are the pods whose
    /// rules are others; more may have lost what their open connections went by.
    async fn settle(&mut self, kept: Kept, changed: Option<&[u64]>) -> usize {
        let mut netns = self.cookies(losers(&self.kept, &kept));
        netns.extend(changed.into_iter().flatten());
        self.kept = kept;
        if netns.is_empty() {
            return 0;
        }
        let change = Change { netns: &netns, kept: &self.kept, keep_all: self.keep_revoked };
        let resets = connections::settle(&self.pods, &self.kernel.maps, change).await;
        for reset in &resets {
            self.flows.record(FlowRecord::of_reset(reset));
        }
        resets.len()
    }

    fn write(
        &mut self,
        desired: &Desired,
        snapshot: &Snapshot,
        laps: &mut Laps,
    ) -> Result<usize, SyncError> {
        let plan = self.planner.plan(desired)?;
        let writes = plan.writes();
        laps.end(Phase::Plan);
        let mut live = found::Writer(&self.kernel.maps);
        self.planner.widen(&plan, &mut live)?;
        // An agent before does not know the numbers of the rules that are in force from here on.
        self.pods.listen();
        // The proxy first: what the kernel sends it from the next store on it must know.
        self.store_members(snapshot);
        self.kernel.maps.node.publish(plan.generation());
        self.planner.flipped(plan);
        self.flipped = true;
        laps.end(Phase::Write);
        Ok(writes)
    }

    /// Completes layer 3 of young pods, and removes what the generation in force does not
    /// need. To be called after each publication; it takes tens of milliseconds, for which what
    /// waits for the generation does not wait.
    pub(crate) fn narrow(&mut self) {
        block_in_place(|| self.pods.finish_links(&self.kernel));
        if !std::mem::take(&mut self.flipped) {
            return;
        }
        let mut live = found::Writer(&self.kernel.maps);
        let narrowed = block_in_place(|| {
            sys::grace_period();
            self.planner.narrow(&mut live)
        });
        if let Err(error) = narrowed {
            tracing::warn!(error = %chain(&error), "what the generation does not need stays for now");
        }
    }

    /// The pods that are enrolled.
    pub(crate) fn enrolled(&self) -> Vec<PodId> {
        let enrolled = self.pods.known().iter().filter(|(_, pod)| pod.is_enrolled());
        enrolled.map(|(id, _)| id.clone()).collect()
    }

    /// Looks at the links of a pod, which may have others by now.
    pub(crate) async fn look_at_links(&mut self, pod: &PodId) {
        self.pods.look_at_links(pod).await;
    }

    /// Writes what another program took from PODS. The pod was held meanwhile, or not judged.
    fn mend_pods(&self) -> Result<(), SysError> {
        let pods = &self.kernel.maps.pods;
        let mut mended = BTreeSet::new();
        for (key, policy) in self.planner.pod_entries() {
            if pods.get(&key)? != Some(policy) {
                pods.set(&key, &policy)?;
                mended.insert(key.netns);
            }
        }
        for netns in mended {
            self.kernel.mending.note("the map PODS", &format!("namespace {netns}"));
        }
        Ok(())
    }

    /// What the proxy and the log of flows read from here on.
    fn store_members(&self, snapshot: &Snapshot) {
        let version = self.members.load().version + 1;
        let members = Members::new(Arc::clone(&self.views), snapshot, version);
        self.members.store(Arc::new(members));
    }

    /// The pods about which something else is said than before; `None` when that is nothing.
    fn changed(&self, desired: &Desired) -> Option<Vec<u64>> {
        let empty = BTreeMap::new();
        let said = self.said.as_ref().unwrap_or(&empty);
        let differs = |(cookie, pod): &(&u64, &tables::Pod)| said.get(cookie) != Some(*pod);
        let changed: Vec<u64> = desired.iter().filter(differs).map(|(cookie, _)| *cookie).collect();
        let gone = said.keys().any(|cookie| !desired.contains_key(cookie));
        (self.said.is_none() || gone || !changed.is_empty()).then_some(changed)
    }
}
