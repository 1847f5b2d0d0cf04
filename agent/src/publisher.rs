//! Reconciles: from a change of objects to a generation in force. What is refused stays refused until
//! something changes or the next look, and the generation before stays.

use std::{future::ready, sync::Arc, time::Duration};

use agent_base::{
    error::chain,
    laps::{Laps, Phase},
};
use agent_model::{
    pod::PodId,
    snapshot::Snapshot,
    translate::{Interner, NodeContext, translate},
};
use agent_pods::{evidence::Evidence, link_watch::LinkChanges, runtime::RuntimeOnly};
use agent_source::{
    observed::{Observed, Reader},
    resolve::Ends,
    resolvers,
};
use agent_status::status_writer::Reporter;
use tokio::{
    sync::{oneshot, watch},
    task::block_in_place,
    time::{Instant, MissedTickBehavior, interval, sleep_until},
};

use crate::{
    cni::admission::{InForce, Queue},
    identity::Identity,
    observe::metrics::Metrics,
    report::{Publication, Report},
    sync::Sync,
};

/// How often pods are looked after without a change of objects: namespaces that have vanished or
/// come, hooks that were taken away, and what failed the last time.
const LOOK_AFTER: Duration = Duration::from_secs(1);

/// How often links are looked at of which nothing was said: the kernel tells of each change.
const LOOK_AT_LINKS: Duration = Duration::from_mins(1);

/// How long at least between two publications for changes of links, and how many times longer than
/// they take: a process that changes links all the time must not take all of the agent's time.
const REST: Duration = Duration::from_millis(100);
const TIMES_AS_LONG: u32 = 3;

/// What a [`Publisher`] is made of.
#[derive(Debug)]
pub(crate) struct Parts {
    /// What a snapshot depends on beside objects.
    pub(crate) context: NodeContext,
    /// The writer of the maps.
    pub(crate) sync: Sync,
    /// Where pods are.
    pub(crate) evidence: Evidence,
    /// The pods that the runtime asks to be admitted.
    pub(crate) admissions: Queue,
    /// What is told to people.
    pub(crate) report: Arc<Report>,
    /// How long it took.
    pub(crate) metrics: Arc<Metrics>,
    /// Who tells other nodes, on an API server.
    pub(crate) reporter: Option<Reporter>,
    /// The certificates of this node's pods, where there is a CA.
    pub(crate) identity: Option<Arc<Identity>>,
}

/// The one task that publishes.
#[derive(Debug)]
pub(crate) struct Publisher {
    context: NodeContext,
    interner: Interner,
    sync: Sync,
    report: Arc<Report>,
    metrics: Arc<Metrics>,
    evidence: Evidence,
    sandboxes: watch::Receiver<u64>,
    admissions: Queue,
    runtime_only: RuntimeOnly,
    latest: Option<(Observed, Arc<Snapshot>)>,
    link_changes: Arc<LinkChanges>,
    /// When all links are to be looked at next.
    links_due: Instant,
    /// Until when changes of links have to wait.
    resting: Instant,
    /// Since when links are looked at.
    looking: Instant,
    /// While links are looked at, the pods whose turn is still to come. One at a time: a hundred take
    /// longer than a pod that is being made should wait.
    unlooked: Option<Vec<PodId>>,
    reporter: Option<Reporter>,
    identity: Option<Arc<Identity>>,
    /// Why the last attempt failed: told once, however often it is tried again.
    refused: Option<String>,
    /// Whether the last attempt is to be made again, though nothing changes.
    is_unsettled: bool,
}

impl Publisher {
    /// A publisher that has not seen any objects yet.
    pub(crate) fn new(parts: Parts) -> Self {
        let Parts { context, sync, evidence, admissions, report, metrics, reporter, identity } =
            parts;
        Self {
            context,
            interner: Interner::default(),
            link_changes: Arc::clone(sync.link_changes()),
            sync,
            report,
            metrics,
            sandboxes: evidence.sandboxes.changes(),
            evidence,
            admissions,
            runtime_only: RuntimeOnly::default(),
            latest: None,
            links_due: Instant::now() + LOOK_AT_LINKS,
            resting: Instant::now(),
            looking: Instant::now(),
            unlooked: None,
            reporter,
            identity,
            refused: None,
            is_unsettled: false,
        }
    }

    /// Publishes what the source says, as long as it says anything or until it is told to stop: then the
    /// writer is handed back.
    pub(crate) async fn run(
        mut self,
        mut reader: Reader,
        mut names: Ends,
        mut stop: oneshot::Receiver<()>,
    ) -> anyhow::Result<Sync> {
        self.context.answers = Arc::clone(&names.answers.borrow_and_update());
        let mut looks = interval(LOOK_AFTER);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = &mut stop => return Ok(self.sync),
                changed = reader.changed() => {
                    changed?;
                    let observed = reader.borrow_and_update().clone();
                    if let Some(observed) = observed {
                        self.take(observed, &names).await;
                    }
                }
                changed = names.answers.changed() => {
                    changed?;
                    self.context.answers = Arc::clone(&names.answers.borrow_and_update());
                    if let Some((observed, _)) = self.latest.clone() {
                        self.take(observed, &names).await;
                    }
                }
                is_open = self.admissions.arrival() => {
                    anyhow::ensure!(is_open, "the CNI gate is gone");
                    self.admit().await;
                }
                news = self.sandboxes.changed() => {
                    news?;
                    self.publish_timed().await;
                }
                news = self.evidence.changed() => {
                    news?;
                    self.hear(&names).await;
                }
                () = arrival(&self.link_changes, self.resting), if self.unlooked.is_none() => {
                    self.looking = Instant::now();
                    self.unlooked = Some(self.sync.with_changed_links()).filter(|it| !it.is_empty());
                }
                () = ready(()), if self.unlooked.is_some() => self.look_at_next().await,
                _ = looks.tick(), if self.unlooked.is_none() => self.look_after(),
            }
        }
    }

    /// Takes in pods that ask to be admitted. Most need a publication, which takes in their
    /// namespaces.
    async fn admit(&mut self) {
        if self.take_in_admissions() {
            self.publish_timed().await;
        }
    }

    fn take_in_admissions(&mut self) -> bool {
        let snapshot = self.latest.as_ref().map(|(_, snapshot)| &**snapshot);
        let is_judged = |netns| self.sync.is_judged(netns);
        let pods = snapshot.is_some().then(|| &**self.sync.views());
        self.admissions.take_in(snapshot, InForce { pods, is_judged: &is_judged })
    }

    async fn publish_timed(&mut self) {
        let mut laps = Laps::default();
        self.publish(&mut laps).await;
        self.metrics.phases(&laps);
    }

    /// The runtime says something else: of pods that objects name, or of others.
    async fn hear(&mut self, names: &Ends) {
        let Some((observed, _)) = &self.latest else { return };
        let pods = self.evidence.runtime_only(&mut self.runtime_only, &observed.objects);
        if pods == self.context.runtime_only {
            self.publish(&mut Laps::default()).await;
        } else {
            let observed = observed.clone();
            self.take(observed, names).await;
        }
    }

    async fn take(&mut self, mut observed: Observed, names: &Ends) {
        let since = Instant::now();
        self.context.resolvers = resolvers::of_pods(&observed.objects);
        self.context.own_resolvers = resolvers::own();
        self.context.runtime_only =
            self.evidence.runtime_only(&mut self.runtime_only, &observed.objects);
        let mut laps = observed.laps.take().unwrap_or_default();
        laps.end(Phase::Queue);
        let translated =
            block_in_place(|| translate(&observed.objects, &self.context, &mut self.interner));
        laps.end(Phase::Translate);
        let snapshot = Arc::new(translated);
        names.want(&snapshot.wanted);
        if let Some(identity) = &self.identity {
            identity.want(&snapshot);
        }
        self.latest = Some((observed, snapshot));
        if self.publish(&mut laps).await {
            self.metrics.published(since.elapsed());
        }
        self.metrics.phases(&laps);
        if self.sync.expects_pods() {
            self.evidence.expect_pods();
        }
    }

    /// Has links looked at, and the latest snapshot published again, where something of it may not be
    /// in force.
    fn look_after(&mut self) {
        let now = Instant::now();
        if now >= self.links_due || self.sync.is_amiss() {
            (self.links_due, self.looking) = (now + LOOK_AT_LINKS, now);
            self.unlooked = Some(self.sync.enrolled());
        } else if self.sync.wants_another_try() || self.is_unsettled {
            self.looking = now;
            // The pods that failed are looked at when they are tried again.
            self.unlooked = Some(Vec::new());
        }
    }

    /// Looks at the links of one pod, and publishes after the last.
    async fn look_at_next(&mut self) {
        if let Some(pod) = self.unlooked.as_mut().and_then(Vec::pop) {
            self.sync.look_at_links(&pod).await;
            return;
        }
        self.unlooked = None;
        self.publish(&mut Laps::default()).await;
        self.resting = Instant::now() + REST.max(TIMES_AS_LONG * self.looking.elapsed());
    }

    async fn publish(&mut self, laps: &mut Laps) -> bool {
        let Some((observed, snapshot)) = &self.latest else { return false };
        let trouble = self.evidence.trouble();
        if !self.evidence.is_there() {
            if let Some(why) = trouble {
                let why = format!("{why}; nothing is published until it does");
                self.report.refuse(observed, &why);
                self.is_unsettled = true;
            }
            return false;
        }
        self.admissions.store(snapshot, &self.evidence.sandboxes);
        // What has been stored is taken in by this publication.
        self.sandboxes.mark_unchanged();
        let published = self.sync.publish(snapshot, &self.admissions.awaited(), laps).await;
        if let Ok(published) = &published
            && published.writes > 0
        {
            tracing::info!(
                target: "config",
                generation = published.generation,
                objects = observed.objects.len(),
                writes = published.writes,
                resets = published.resets,
                "generation in force"
            );
        }
        let refused = published.as_ref().err().map(|error| chain(error));
        if let Some(why) = &refused
            && self.refused != refused
        {
            tracing::error!(target: "config", error = why, "generation refused");
        }
        self.refused.clone_from(&refused);
        self.is_unsettled = refused.is_some() || trouble.is_some();
        if let Some(reporter) = &self.reporter {
            reporter.published(observed, refused.as_ref());
        }
        let (pods, prefixes) = (self.sync.views(), self.sync.prefix_count());
        self.report.update(Publication { observed, snapshot, pods, prefixes, refused, trouble });
        laps.end(Phase::Report);
        self.finish(laps);
        published.is_ok_and(|published| published.writes > 0)
    }

    /// Replies to what waits for the generation, and then does what nothing waits for.
    fn finish(&mut self, laps: &mut Laps) {
        let is_judged = |netns| self.sync.is_judged(netns);
        let pods = Some(&**self.sync.views());
        self.admissions.answer(InForce { pods, is_judged: &is_judged });
        self.sync.narrow();
        laps.end(Phase::Narrow);
    }
}

/// Waits for news of links, but not before some moment.
async fn arrival(changes: &LinkChanges, not_before: Instant) {
    sleep_until(not_before).await;
    changes.arrival().await;
}
