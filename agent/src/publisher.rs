//! From a change of objects to a generation in force. What is refused stays refused until
//! something changes or the next look, and the generation before stays.

use std::{future::ready, sync::Arc, time::Duration};

use agent_base::{
    error::chain,
    laps::{Laps, Phase},
};
use agent_model::{
    resource::Kind,
    snapshot::{PodId, Snapshot},
    translate::{Interner, NodeContext, translate},
};
use agent_pods::{enrol::Lack, evidence::Evidence, runtime::RuntimeOnly};
use agent_source::{
    note::Note,
    observed::{Observed, Reader},
    resolve::Ends,
    resolvers,
};
use agent_status::status_writer::Reporter;
use tokio::{
    task::block_in_place,
    time::{Instant, MissedTickBehavior, interval},
};

use crate::{observe::metrics::Metrics, report::Report, sync::Sync};

/// How often pods are looked after without a change of objects: namespaces that have vanished or
/// come, links, and what failed the last time.
const LOOK_AFTER: Duration = Duration::from_secs(1);

const NO_MESH_CONFIG: &str = "the ConfigMap istio cannot be read and no earlier form of it is \
    known: nothing is published until it is mended, lest pods be judged by a default that it \
    does not mean";

/// The one task that publishes.
#[derive(Debug)]
pub(crate) struct Publisher {
    context: NodeContext,
    interner: Interner,
    sync: Sync,
    report: Arc<Report>,
    metrics: Arc<Metrics>,
    evidence: Evidence,
    runtime_only: RuntimeOnly,
    latest: Option<(Observed, Arc<Snapshot>)>,
    /// Whether pods' links are to be looked at: they may change whenever something else does.
    links_due: bool,
    /// While links are looked at, the pods whose turn is still to come. One at a time: a hundred take
    /// longer than a pod that is being made should wait.
    unlooked: Option<Vec<PodId>>,
    /// Who tells other nodes, on an API server.
    reporter: Option<Reporter>,
    /// Why the last attempt failed: told once, however often it is tried again.
    refused: Option<String>,
}

impl Publisher {
    /// A publisher that has not seen any objects yet.
    pub(crate) fn new(
        context: NodeContext,
        sync: Sync,
        (report, metrics, reporter): (Arc<Report>, Arc<Metrics>, Option<Reporter>),
        evidence: Evidence,
    ) -> Self {
        Self {
            context,
            interner: Interner::default(),
            sync,
            report,
            metrics,
            evidence,
            runtime_only: RuntimeOnly::default(),
            latest: None,
            links_due: false,
            unlooked: None,
            reporter,
            refused: None,
        }
    }

    /// Publishes what the source says, as long as it says anything.
    pub(crate) async fn run(mut self, mut reader: Reader, mut names: Ends) -> anyhow::Result<()> {
        let mut sandboxes = self.evidence.sandboxes.changes();
        self.context.answers = Arc::clone(&names.answers.borrow_and_update());
        let mut looks = interval(LOOK_AFTER);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
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
                news = sandboxes.changed() => {
                    news?;
                    let mut laps = Laps::default();
                    self.publish(&mut laps).await;
                    self.metrics.phases(&laps);
                }
                news = self.evidence.changed() => {
                    news?;
                    self.hear(&names).await;
                }
                () = ready(()), if self.unlooked.is_some() => self.look_at_next().await,
                _ = looks.tick(), if self.unlooked.is_none() => self.look_after(),
            }
        }
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
        if self.latest.is_none() && lacks_mesh_config(&observed) {
            self.report.refuse(&observed, NO_MESH_CONFIG);
            return;
        }
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
        self.latest = Some((observed, snapshot));
        if self.publish(&mut laps).await {
            self.metrics.published(since.elapsed());
        }
        self.metrics.phases(&laps);
        if self.sync.pods().count(Lack::Waiting) > 0 {
            self.evidence.expect_pods();
        }
    }

    /// Has links looked at, and the latest snapshot published again, where something of it may not be
    /// in force.
    fn look_after(&mut self) {
        if !self.links_due && !self.sync.wants_another_look() && !self.report.is_degraded() {
            return;
        }
        self.links_due = false;
        self.unlooked = Some(self.sync.judged());
    }

    /// Looks at the links of one pod, and publishes after the last.
    async fn look_at_next(&mut self) {
        if let Some(pod) = self.unlooked.as_mut().and_then(Vec::pop) {
            self.sync.look_at_links(&pod).await;
            return;
        }
        self.unlooked = None;
        // What was published meanwhile calls for other looks, and what is published for these does
        // not.
        let links_due = self.links_due;
        self.sync.mend_links();
        self.publish(&mut Laps::default()).await;
        self.links_due = links_due;
    }

    async fn publish(&mut self, laps: &mut Laps) -> bool {
        let Some((observed, snapshot)) = &self.latest else { return false };
        let trouble = self.evidence.trouble();
        if !self.evidence.is_there() {
            if let Some(why) = trouble {
                let why = format!("{why}; nothing is published until it does");
                self.report.refuse(observed, &why);
            }
            return false;
        }
        let newest = self.evidence.sandboxes.newest();
        let outcome = self.sync.publish(snapshot, laps).await;
        if let Ok(published) = &outcome
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
        let refused = outcome.as_ref().err().map(|error| chain(error));
        if let Some(why) = &refused
            && self.refused != refused
        {
            tracing::error!(target: "config", error = why, "generation refused");
        }
        self.refused.clone_from(&refused);
        if let Some(reporter) = &self.reporter {
            reporter.published(observed, refused.as_ref());
        }
        self.report.update(&self.sync, (observed, snapshot), (refused, trouble));
        laps.end(Phase::Report);
        self.evidence.sandboxes.took_in(newest);
        self.sync.narrow();
        laps.end(Phase::Narrow);
        self.links_due = true;
        outcome.is_ok_and(|published| published.writes > 0)
    }
}

/// True when the mesh's settings are there, broken, and were never good: their defaults would let
/// everything out (`ALLOW_ANY`).
fn lacks_mesh_config(observed: &Observed) -> bool {
    let kind = Kind::ConfigMap;
    let is_broken = |note: &Note| {
        note.is_error() && note.finding.kind == kind.name() && note.finding.name == "istio"
    };
    observed.objects.of_kind(kind).next().is_none() && observed.notes.iter().any(|n| is_broken(n))
}
