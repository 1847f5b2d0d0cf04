//! Brings the kernel and the proxy from one generation to the next: the one place that publishes.
//!
//! ```text
//! prepare   open what new pods need, seed what is known of their open connections
//! wire      layer 3 on the links of pods that are to be judged
//! widen     new tables beside the old ones        fails: stay at N-1 everywhere, report, retry
//! publish   the proxy's members, then one store in the kernel
//! revoke    open connections that are denied now are reset
//! narrow    after a grace period what no hook reads any more goes; nobody waits for it
//! ```

use std::{
    collections::{BTreeMap, BTreeSet},
    num::NonZeroU16,
    sync::Arc,
};

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
use agent_model::{
    snapshot::{Enrolment, PodId, Snapshot},
    tables::Pod as ModelPod,
};
use agent_pods::{
    canary::Subject,
    connections::{self, Change},
    enrol::{Pod, Pods, Wanting},
};
use arc_swap::ArcSwap;
use thiserror::Error;
use tokio::{sync::watch, task::block_in_place};

use crate::{
    members::{Member, Members},
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

/// The one writer of the maps.
#[derive(Debug)]
pub(crate) struct Sync {
    kernel: Arc<Kernel>,
    planner: Planner,
    pods: Pods,
    members: Arc<ArcSwap<Members>>,
    flows: Arc<FlowLog>,
    keep_revoked: bool,
    attached: bool,
    /// Whether the generation in force is to be narrowed.
    flipped: bool,
    /// The links that the next publication looks at.
    wanting: Wanting,
    said: Option<Desired>,
    subjects: watch::Sender<Vec<Subject>>,
}

impl Sync {
    /// Takes over what the maps hold. Attaches the hooks at once, unless those in force read
    /// another layout's maps: then they judge on until the first generation of ours is whole.
    pub(crate) fn new(
        kernel: Arc<Kernel>,
        planner: Planner,
        (pods, members): (Pods, Arc<ArcSwap<Members>>),
        (flows, keep_revoked): (Arc<FlowLog>, bool),
    ) -> Result<Self, SyncError> {
        let attached = !kernel.replaces_another_layout();
        if attached {
            kernel.attach()?;
            kernel.check_sight(pods.worker().own().cookie())?;
        }
        Ok(Self {
            kernel,
            planner,
            pods,
            members,
            flows,
            keep_revoked,
            attached,
            flipped: false,
            wanting: Wanting::New,
            said: None,
            subjects: watch::Sender::default(),
        })
    }

    /// How many prefixes the kernel's table holds.
    pub(crate) fn prefix_count(&self) -> usize {
        self.planner.prefix_count()
    }

    /// The pods that are judged, for whoever proves it.
    pub(crate) fn subjects(&self) -> watch::Receiver<Vec<Subject>> {
        self.subjects.subscribe()
    }

    /// The pods whose namespaces are open.
    pub(crate) fn pods(&self) -> &Pods {
        &self.pods
    }

    /// True when something of what was published is not as it was left.
    pub(crate) fn wants_another_look(&self) -> bool {
        self.pods.want_another_look()
            || (self.attached
                && block_in_place(|| {
                    self.kernel.is_amiss() || self.pods.has_lost_a_wire(&self.kernel)
                }))
    }

    /// Publishes a snapshot, or changes nothing and says why. A snapshot that says what is in
    /// force already makes no new generation.
    pub(crate) async fn publish(
        &mut self,
        snapshot: &Snapshot,
        laps: &mut Laps,
    ) -> Result<Published, SyncError> {
        let fresh = self.pods.prepare(snapshot).await;
        let desired = self.desired();
        if self.attached {
            let anew = block_in_place(|| self.kernel.mend())?;
            if anew {
                self.mend_pods()?;
            }
            let wanting = std::mem::replace(&mut self.wanting, Wanting::New);
            self.pods.wire(&self.kernel, if anew { Wanting::All } else { wanting });
        }
        // What is opened from here on the wire layer learns by itself.
        connections::learn(&self.pods, &self.kernel.maps, &fresh).await;
        let mut published =
            Published { generation: self.planner.generation(), writes: 0, resets: 0 };
        laps.end(Phase::Prepare);
        let changed = self.changed(&desired);
        if changed.is_some() {
            published.writes = block_in_place(|| self.write(&desired, snapshot, laps))?;
            published.generation = self.planner.generation();
        } else {
            // Endpoints may have changed without a rule.
            self.members.store(Arc::new(self.members_now(snapshot)));
        }
        if !self.attached {
            self.kernel.attach()?;
            self.pods.wire(&self.kernel, Wanting::Lost);
            connections::learn(&self.pods, &self.kernel.maps, &fresh).await;
            self.attached = true;
        }
        self.pods.unwire(&self.kernel);
        if let Some(changed) = changed {
            let maps = &self.kernel.maps;
            let registry = &*snapshot.registry;
            let change = Change { netns: &changed, registry, keep_all: self.keep_revoked };
            let resets = connections::settle(&self.pods, maps, change).await;
            for reset in &resets {
                self.flows.record(FlowRecord::of_reset(reset));
            }
            published.resets = resets.len();
            self.said = Some(desired);
            laps.end(Phase::Revoke);
        }
        self.tell_canaries(snapshot);
        Ok(published)
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
        // The proxy first: what the kernel sends it from the next store on it must know.
        self.members.store(Arc::new(self.members_now(snapshot)));
        self.kernel.maps.node.publish(plan.generation());
        self.planner.flipped(plan);
        self.flipped = true;
        laps.end(Phase::Write);
        Ok(writes)
    }

    /// Completes the wire layer of young pods, and removes what the generation in force does not
    /// need. To be called after each publication; it takes tens of milliseconds, for which whoever
    /// waits for the generation does not wait.
    pub(crate) fn narrow(&mut self) {
        block_in_place(|| self.pods.finish_wiring(&self.kernel));
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

    /// The pods that are judged.
    pub(crate) fn judged(&self) -> Vec<PodId> {
        let judged = self.pods.known().iter().filter(|(_, pod)| pod.is_enrolled());
        judged.map(|(id, _)| id.clone()).collect()
    }

    /// Looks at the links of a pod, which may have others by now.
    pub(crate) async fn look_at_links(&mut self, pod: &PodId) {
        self.pods.look_at_links(pod).await;
    }

    /// Has the next publication mend the links of pods.
    pub(crate) fn mend_links(&mut self) {
        self.wanting = Wanting::Lost;
    }

    /// Writes what somebody else took from PODS. The pod was held meanwhile, or let be.
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

    /// Says which pods are judged from now on.
    fn tell_canaries(&self, snapshot: &Snapshot) {
        let judged = self.pods.known().iter().filter(|(_, pod)| pod.is_enrolled());
        let subject = |(id, pod)| {
            let said = snapshot.pods.get(id).map_or(&[][..], |plan| &plan.addresses);
            Subject::new(id, pod, said)
        };
        let now: Vec<Subject> = judged.map(subject).collect();
        self.subjects.send_if_modified(|before| {
            let changed = *before != now;
            *before = now;
            changed
        });
    }

    fn desired(&self) -> Desired {
        let word = |pod: &Pod| ModelPod {
            policy: match &pod.enrolment {
                Enrolment::Enrolled(policy) => Some(Arc::clone(policy)),
                Enrolment::NotEnrolled(_) | Enrolment::Pending(_) => None,
            },
            addresses: pod.addresses.clone(),
            proxy_port: pod.proxy_port().and_then(NonZeroU16::new),
        };
        self.pods.known().values().map(|pod| (pod.netns.cookie(), word(pod))).collect()
    }

    fn members_now(&self, snapshot: &Snapshot) -> Members {
        let member = |(id, pod): (&PodId, &Pod)| {
            let default_action = match &pod.enrolment {
                Enrolment::Enrolled(policy) => Some(policy.default_action),
                Enrolment::NotEnrolled(_) | Enrolment::Pending(_) => None,
            };
            let (netns, addresses) = (pod.netns.clone(), pod.addresses.clone());
            let member = Member { id: id.clone(), netns, addresses, default_action };
            (pod.netns.cookie(), member)
        };
        Members {
            pods: self.pods.known().iter().map(member).collect(),
            upstreams: Arc::clone(&snapshot.upstreams),
        }
    }

    /// The pods about which something else is said than before; `None` when that is nothing.
    fn changed(&self, desired: &Desired) -> Option<Vec<u64>> {
        let empty = BTreeMap::new();
        let said = self.said.as_ref().unwrap_or(&empty);
        let differs = |(cookie, pod): &(&u64, &ModelPod)| said.get(cookie) != Some(*pod);
        let changed: Vec<u64> = desired.iter().filter(differs).map(|(cookie, _)| *cookie).collect();
        let gone = said.keys().any(|cookie| !desired.contains_key(cookie));
        (self.said.is_none() || gone || !changed.is_empty()).then_some(changed)
    }
}
