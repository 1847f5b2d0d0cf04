//! The leader's work: finds what is to be written and not written yet, and writes it at a bounded rate.
//!
//! - A condition is written when it differs from the object's status, and never because time has passed.
//! - After a change the nodes get a moment to report it, so that one change makes one write. Nodes that get
//!   on get a longer one.
//! - A write is a merge patch that names the version that it follows from. Conditions of others are never
//!   lost, and after a conflict the next look knows better. Istio's and App Mesh's definitions make the
//!   list of conditions one value, of which a server-side apply would take all.
//! - A silent node of which the cluster says that it is gone is forgotten.

mod write;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, LazyLock},
    time::Duration,
};

use agent_base::{lock::lock, rate_limit::RateLimit};
use agent_model::resource::{Kind, ObjectKey};
use agent_source::{
    inventory::{Condition, Inventory, Known, resource, said},
    observed::{Observed, Reader},
};
use k8s_openapi::api::coordination::v1::Lease;
use kube::{Api, Client};
use tokio::{task::block_in_place, time::Instant};

use super::{
    events::{Due, Ledger},
    findings::{Analyst, ByObject, by_object},
    nodes::{self, Count, Shared},
};
use crate::{
    conditions::{ACCEPTED, Lack, accepted, enforced},
    state::State,
};

/// Requests in a second, whatever there is to say, and as many at once.
const RATE: u32 = 10;
/// How long an object may wait for an analysis that knows it.
const PATIENCE: Duration = Duration::from_secs(10);
/// What nodes are given beyond the time between two of their reports.
const GRACE: Duration = Duration::from_secs(3);
/// And while they get on, as after many changes on a busy machine: their lack would be written of each
/// object, and taken back.
const PROGRESS: Duration = Duration::from_secs(30);
/// How often everything is looked at where nothing has come.
const IDLE: Duration = Duration::from_secs(5);
/// A look is not begun again before this many times as long as the last one: 5% of a processor.
const REST: u32 = 20;
/// How long the elected agent waits for its own node's report.
const SETTLE: Duration = Duration::from_secs(20);

/// The kinds that have a status to write: custom resources.
static KINDS: LazyLock<Vec<Kind>> =
    LazyLock::new(|| Kind::ALL.iter().copied().filter(|kind| kind.is_custom()).collect());

/// What was written of an object.
#[derive(Debug)]
struct Echo {
    /// What was to be said.
    wanted: u64,
    /// What the server made of it: an older definition drops what it does not know.
    got: Option<u64>,
    /// The version that it followed from.
    after: Box<str>,
}

/// What is to be written of an object.
struct Write {
    key: ObjectKey,
    known: Known,
    conditions: [Condition; 2],
    said: u64,
    /// Whether it tells of a node that has not said anything of the object yet, and may soon.
    is_interim: bool,
}

/// What a writer works with.
#[derive(Clone)]
pub(super) struct Tools {
    /// The API server.
    pub(super) client: Client,
    /// Where the agents' Leases are.
    pub(super) leases: Api<Lease>,
    /// The node of this agent.
    pub(super) node: String,
    /// What the server has.
    pub(super) inventory: Arc<Inventory>,
    /// What is in force here.
    pub(super) reader: Reader,
    /// What is in the way.
    pub(super) state: Arc<State>,
}

/// See the module.
pub(super) struct Writer<'a> {
    tools: &'a Tools,
    nodes: Shared,
    analyst: Analyst,
    ledger: Ledger,
    findings: ByObject,
    echoes: BTreeMap<ObjectKey, Echo>,
    /// Resources that cannot be written, and until when that is believed.
    paused: BTreeMap<String, Instant>,
    requests: RateLimit,
    since: Instant,
    looked: Option<Instant>,
    rest_until: Instant,
    /// What the last look saw, and whether it left nothing to do.
    seen: Option<(Observed, u64)>,
    idle: bool,
}

impl<'a> Writer<'a> {
    /// One of an agent that has just been elected.
    pub(super) fn new(tools: &'a Tools, nodes: Shared) -> Self {
        let now = Instant::now();
        let mut ledger = Ledger::default();
        let mut refused = BTreeSet::new();
        tools.inventory.each(|key, known| {
            if known.identity.conditions.has(ACCEPTED, "False") {
                refused.insert(key.clone());
            }
        });
        ledger.remember(refused);
        Self {
            tools,
            nodes,
            analyst: Analyst::default(),
            ledger,
            findings: ByObject::new(),
            echoes: BTreeMap::new(),
            paused: BTreeMap::new(),
            requests: RateLimit::new(RATE, Duration::from_secs(1) / RATE),
            since: now,
            looked: None,
            rest_until: now,
            seen: None,
            idle: false,
        }
    }

    /// Looks once, and writes what there is time for.
    pub(super) async fn look(&mut self) {
        nodes::delete_gone(&self.tools.client, &self.tools.leases, &self.nodes, &self.tools.state)
            .await;
        let Some(observed) = self.tools.reader.borrow().clone() else { return };
        // What was saved is not what the server has.
        if observed.digests.is_none() || Instant::now() < self.rest_until {
            return;
        }
        let analysed = self.analyst.look(&observed.objects).await;
        let (news, counted) = self.nodes();
        if counted == 0 && self.since.elapsed() < SETTLE {
            return;
        }
        let same = |(before, reports): &(Observed, u64)| {
            Arc::ptr_eq(&before.objects, &observed.objects)
                && Arc::ptr_eq(&before.notes, &observed.notes)
                && *reports == news
        };
        let changed = analysed || !self.seen.as_ref().is_some_and(same);
        let rested = self.looked.is_some_and(|looked| looked.elapsed() < IDLE);
        if !changed && self.idle && rested {
            return;
        }
        let start = Instant::now();
        let (writes, due) = block_in_place(|| self.plan(&observed));
        self.rest_until = start + start.elapsed() * REST;
        self.looked = Some(start);
        self.seen = Some((observed, news));
        self.carry_out(writes, due).await;
    }

    fn nodes(&self) -> (u64, usize) {
        let nodes = lock(&self.nodes);
        (nodes.news, nodes.len())
    }

    fn plan(&mut self, observed: &Observed) -> (Vec<Write>, Vec<Due>) {
        let inventory = Arc::clone(&self.tools.inventory);
        let (count, nodes) = {
            let mut nodes = lock(&self.nodes);
            (nodes.count(&inventory, &KINDS), nodes.len())
        };
        self.tools.state.counted(nodes as u64);
        self.findings = by_object(observed, &self.analyst.found);
        self.paused.retain(|_, until| Instant::now() < *until);
        let paused = |kind: Kind| self.paused.contains_key(&resource(kind));
        let kinds: BTreeSet<Kind> = KINDS.iter().copied().filter(|kind| !paused(*kind)).collect();
        let (mut writes, mut waits, mut there) = (Vec::new(), false, BTreeSet::new());
        inventory.each(|key, known| {
            if self.echoes.contains_key(key) {
                there.insert(key.clone());
            }
            if !kinds.contains(&key.kind) {
                return;
            }
            match self.wanted(key, known, &count) {
                Wanted::Nothing => {}
                Wanted::Later => waits = true,
                Wanted::Write(write) => writes.push(*write),
            }
        });
        self.echoes.retain(|key, _| there.contains(key));
        // Refusals first, then what has waited longest. What will soon be written again comes last: it
        // would keep the others waiting.
        writes.sort_by_key(|write| {
            (write.is_interim, write.conditions[0].status == "True", write.known.since)
        });
        let uid = |key: &ObjectKey| match inventory.get(key) {
            Some(known) => Some(known.identity.uid.into()),
            None => observed.objects.get(key)?.metadata().uid().map(str::to_owned),
        };
        let due = self.ledger.due(&self.findings, uid);
        self.idle = !waits && writes.is_empty() && due.is_empty();
        (writes, due)
    }

    /// What is to be written of an object now.
    fn wanted(&self, key: &ObjectKey, known: &Known, count: &Count) -> Wanted {
        let told = self.findings.get(key).map(Vec::as_slice).unwrap_or_default();
        let age = known.since.elapsed();
        let analysed = self.analyst.since.is_some_and(|since| since >= known.since);
        if !analysed && !told.iter().any(|one| one.refuses) && age < PATIENCE {
            return Wanted::Later;
        }
        let tally = count.of(key.kind, known);
        let is_late = tally.lacking.iter().any(|(_, lack)| *lack == Lack::Late);
        let grace = self.tools.state.write_rates().report + GRACE;
        let get_on = || count.progress(key.kind).is_some_and(|since| since.elapsed() < grace);
        if is_late && (age < grace || (age < PROGRESS && get_on())) {
            return Wanted::Later;
        }
        let generation = known.identity.generation;
        let conditions = [accepted(generation, told), enforced(generation, &tally)];
        let said = said(&conditions);
        let there = known.identity.conditions.said;
        if there == Some(said) {
            return Wanted::Nothing;
        }
        match self.echoes.get(key) {
            Some(echo) if echo.wanted == said && echo.got == there => Wanted::Nothing,
            // The watch has not told of what was written: another write would be a conflict.
            Some(echo) if echo.after == known.identity.version => Wanted::Later,
            _ => {
                let (key, known) = (key.clone(), known.clone());
                let is_interim = is_late;
                Wanted::Write(Box::new(Write { key, known, conditions, said, is_interim }))
            }
        }
    }
}

/// See [`Writer::wanted`].
enum Wanted {
    /// It is all there.
    Nothing,
    /// Not yet.
    Later,
    /// This.
    Write(Box<Write>),
}
