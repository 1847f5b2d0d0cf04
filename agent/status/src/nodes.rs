//! What the nodes have said, for the elected agent to count.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex},
    time::Duration,
};

use agent_base::lock::lock;
use agent_model::resource::Kind;
use agent_source::{
    cluster::{
        pace::Pace,
        resuming_watch::{Cursor, Event, SILENCE, Selection, Watch},
    },
    inventory::{Inventory, Known, resource},
};
use jiff::Timestamp;
use k8s_openapi::api::{coordination::v1::Lease, core::v1::Node as KubeNode};
use kube::{
    Api, Client,
    api::{DeleteParams, ListParams},
};
use tokio::time::{Instant, sleep};

use super::{
    answer::Failure,
    state::{Attempt, State},
};
use crate::{
    conditions::{Lack, Tally},
    node_report::{LABEL, NodeReport, OF_NODE},
};

/// How long one watch lasts. Reports come in between all the time.
const WATCH: Duration = Duration::from_secs(290);
/// How often it is looked whether a silent node is gone for good.
const LOOK: Duration = Duration::from_secs(30);

/// All nodes, by name.
pub(super) type Shared = Arc<Mutex<Nodes>>;

/// One node's report.
#[derive(Debug)]
struct Node {
    lease: String,
    report: NodeReport,
    /// Up to which change of each kind it is.
    positions: BTreeMap<Kind, Position>,
    heard: Instant,
    renewed: Option<Timestamp>,
    patience: Duration,
    /// When it was last asked whether the cluster still has it.
    asked: Option<Instant>,
}

/// Up to which change of a kind a node is, and since when.
#[derive(Clone, Copy, Debug)]
struct Position {
    at: u64,
    since: Instant,
}

/// See [`Shared`].
#[derive(Debug, Default)]
pub(super) struct Nodes {
    nodes: BTreeMap<String, Node>,
    /// Counts what has come, so that it shows whether anything has.
    pub(super) news: u64,
}

/// What the nodes come to for the objects of one kind.
#[derive(Debug)]
pub(super) struct Standing {
    /// Objects that changed no later than this are in force on all nodes that speak.
    common: u64,
    /// When the last of those that are behind all others got on.
    progress: Option<Instant>,
    /// What that is, without the objects that are stale.
    tally: Tally,
    positions: Vec<(String, Option<u64>)>,
}

/// What the nodes come to.
#[derive(Debug)]
pub(super) struct Count {
    kinds: BTreeMap<Kind, Standing>,
    /// Objects that are stale, and on which nodes.
    stale: BTreeMap<String, BTreeMap<String, Option<i64>>>,
    troubles: BTreeMap<String, String>,
    silent: BTreeSet<String>,
}

impl Nodes {
    /// Takes in a node's Lease. `first`: it is not known when it was written.
    fn take(&mut self, lease: &Lease, first: bool) {
        let Some(report) = NodeReport::of(lease) else { return };
        let spec = lease.spec.as_ref();
        let Some(name) = spec.and_then(|spec| spec.holder_identity.clone()) else { return };
        let renewed = spec.and_then(|spec| spec.renew_time.as_ref()).map(|time| time.0);
        let patience = spec.and_then(|spec| u64::try_from(spec.lease_duration_seconds?).ok());
        let patience = Duration::from_secs(patience.unwrap_or_default());
        let before = self.nodes.remove(&name);
        let mut heard = Instant::now();
        match &before {
            // A list that says what is known is no sign of life.
            Some(before) if before.renewed == renewed => heard = before.heard,
            None if first && is_old(renewed, patience) => {
                heard = heard.checked_sub(patience).unwrap_or(heard);
            }
            _ => self.news += 1,
        }
        let positions = before.map(|before| before.positions).unwrap_or_default();
        let lease = lease.metadata.name.clone().unwrap_or_default();
        let node = Node { lease, report, positions, heard, renewed, patience, asked: None };
        self.nodes.insert(name, node);
    }

    fn forget(&mut self, lease: &str) {
        self.nodes.retain(|_, node| node.lease != lease);
        self.news += 1;
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.nodes.len()
    }

    /// Counts, for these kinds.
    pub(super) fn count(&mut self, inventory: &Inventory, kinds: &[Kind]) -> Count {
        let mut count = Count {
            kinds: BTreeMap::new(),
            stale: BTreeMap::new(),
            troubles: BTreeMap::new(),
            silent: BTreeSet::new(),
        };
        for (name, node) in &mut self.nodes {
            for kind in kinds {
                let digest = node.report.digests.kinds.get(&resource(*kind)).copied();
                // One that is not known is of a moment that this agent did not see, or not yet.
                if let Some(position) = inventory.position(*kind, digest.unwrap_or_default()) {
                    let now = Position { at: position, since: Instant::now() };
                    let known = node.positions.entry(*kind).or_insert(now);
                    if known.at != position {
                        *known = now;
                    }
                }
            }
            if node.heard.elapsed() >= node.patience {
                count.silent.insert(name.clone());
                continue;
            }
            if let Some(trouble) = &node.report.trouble {
                count.troubles.insert(name.clone(), trouble.clone());
            }
            for (uid, generation) in &node.report.digests.stale {
                let nodes = count.stale.entry(uid.clone()).or_default();
                nodes.insert(name.clone(), *generation);
            }
        }
        for kind in kinds {
            count.kinds.insert(*kind, self.standing(*kind, &count.silent));
        }
        count
    }

    fn standing(&self, kind: Kind, silent: &BTreeSet<String>) -> Standing {
        let speaking = || self.nodes.iter().filter(|(name, _)| !silent.contains(*name));
        let of = |node: &Node| node.positions.get(&kind).copied();
        let positions: Vec<_> = speaking()
            .map(|(name, node)| (name.clone(), of(node).map(|position| position.at)))
            .collect();
        let common = positions.iter().map(|(_, position)| position.unwrap_or_default()).min();
        let all = speaking().filter_map(|(_, node)| of(node));
        let behind = all.filter(|position| Some(position.at) == common);
        let progress = behind.map(|position| position.since).max();
        let mut tally =
            Tally { all: self.nodes.len(), enforcing: positions.len(), lacking: vec![] };
        tally.lacking.extend(silent.iter().map(|name| (name.clone(), Lack::Silent)));
        Standing { common: common.unwrap_or_default(), progress, tally, positions }
    }

    /// A silent node of which it is to be asked whether the cluster still has it.
    /// Never the leader's own: it is there, whatever it does not hear.
    fn doubtful(&mut self, leader: Option<&str>) -> Option<(String, String)> {
        let is_due = |node: &&mut Node| {
            node.heard.elapsed() >= node.patience
                && node.asked.is_none_or(|asked| asked.elapsed() >= LOOK)
        };
        let mut nodes = self.nodes.iter_mut().filter(|(name, _)| leader != Some(name.as_str()));
        let (name, node) = nodes.find(|(_, node)| is_due(node))?;
        node.asked = Some(Instant::now());
        Some((name.clone(), node.lease.clone()))
    }
}

impl Count {
    /// When the nodes that lack most of a kind last got on.
    pub(super) fn progress(&self, kind: Kind) -> Option<Instant> {
        self.kinds.get(&kind)?.progress
    }

    /// How many nodes enforce an object as it is now, and what the others lack.
    pub(super) fn of(&self, kind: Kind, known: &Known) -> Tally {
        let Some(standing) = self.kinds.get(&kind) else { return Tally::default() };
        let stale = self.stale.get(&*known.identity.uid);
        if stale.is_none() && known.position <= standing.common {
            return standing.tally.clone();
        }
        let mut tally = Tally { enforcing: 0, ..standing.tally.clone() };
        for (name, position) in &standing.positions {
            let older = stale.and_then(|stale| stale.get(name));
            let lack = match (older, self.troubles.get(name)) {
                _ if position.is_none_or(|position| position < known.position) => {
                    let trouble = self.troubles.get(name);
                    trouble.map_or(Lack::Late, |trouble| Lack::Refused(trouble.clone()))
                }
                (Some(generation), _) => Lack::Stale(*generation),
                (None, _) => {
                    tally.enforcing += 1;
                    continue;
                }
            };
            tally.lacking.push((name.clone(), lack));
        }
        tally
    }
}

/// Whether a Lease had run out long ago when it was first seen, by clocks that may differ by as much
/// as it lasts.
fn is_old(renewed: Option<Timestamp>, patience: Duration) -> bool {
    let age = renewed.map(|renewed| Timestamp::now().duration_since(renewed).as_secs());
    let limit = i64::try_from(2 * patience.as_secs()).unwrap_or(i64::MAX);
    age.is_none_or(|age| age > limit)
}

/// Keeps `nodes` as the server has them.
pub(super) async fn follow(leases: &Api<Lease>, nodes: &Shared, state: &State) {
    let mut watch = Follower { leases, nodes, state, cursor: Cursor::default() };
    let (mut pace, mut replacements) = (Pace::default(), state.replacements());
    loop {
        let followed = tokio::select! {
            followed = watch.follow(&mut pace) => followed,
            // The sender lives as long as the state does.
            _ = replacements.changed() => Ok(Ended::Early),
        };
        match followed {
            Ok(Ended::InTime) => {}
            Ok(Ended::Early) => watch.cursor.forget(),
            Err((verb, failure)) => {
                watch.cursor.forget();
                state.failed(state.leases(verb), &failure);
                sleep(pace.wait()).await;
            }
        }
    }
}

/// How a watch ended without trouble.
enum Ended {
    /// The next one goes on where it ended.
    InTime,
    /// By a server that ends, for one: what comes after it may be another one.
    Early,
}

struct Follower<'a> {
    leases: &'a Api<Lease>,
    nodes: &'a Shared,
    state: &'a State,
    cursor: Cursor,
}

impl Follower<'_> {
    /// One watch to its end, with a list before it where one is needed.
    async fn follow(&mut self, pace: &mut Pace) -> Result<Ended, (&'static str, Failure)> {
        if self.cursor.version().is_none() {
            self.list().await.map_err(|failure| ("list", failure))?;
            self.state.worked(self.state.leases("list"));
        }
        let watched = self.watch(pace).await;
        watched.map_err(|failure| ("watch", failure))
    }

    async fn list(&mut self) -> Result<(), Failure> {
        let parameters = ListParams::default().labels(&labels());
        let list = self.state.answer(self.leases.list(&parameters)).await?;
        let mut nodes = lock(self.nodes);
        let named: BTreeSet<_> =
            list.items.iter().filter_map(|lease| lease.metadata.name.as_deref()).collect();
        nodes.nodes.retain(|_, node| named.contains(node.lease.as_str()));
        list.items.iter().for_each(|lease| nodes.take(lease, true));
        nodes.news += 1;
        self.cursor = Cursor::at(list.metadata.resource_version.unwrap_or_default());
        Ok(())
    }

    async fn watch(&mut self, pace: &mut Pace) -> Result<Ended, Failure> {
        let selection = Selection { labels: Some(labels()), fields: None, most: WATCH };
        let watch = self.state.answer(Watch::open(self.leases, &self.cursor, &selection)).await;
        let mut watch = match watch {
            // It was forgotten, which is no trouble.
            Err(failure) if failure.code() == Some(410) => return Ok(Ended::Early),
            watch => watch?,
        };
        self.state.worked(self.state.leases("watch"));
        pace.reset();
        loop {
            let event = match watch.next(&mut self.cursor, SILENCE).await {
                Err(trouble) if trouble.is_expected() => return Ok(Ended::Early),
                event => event?,
            };
            let mut nodes = lock(self.nodes);
            match event {
                Some(Event::Applied(lease)) => nodes.take(&lease, false),
                Some(Event::Deleted(lease)) => {
                    nodes.forget(lease.metadata.name.as_deref().unwrap_or_default());
                }
                Some(Event::Bookmark | Event::Listed) => {}
                None if watch.is_over() => return Ok(Ended::InTime),
                None => return Ok(Ended::Early),
            }
        }
    }
}

fn labels() -> String {
    format!("{LABEL}={OF_NODE}")
}

/// Removes the Lease of a silent node that the cluster no longer has; at most one at a time.
pub(super) async fn delete_gone(
    client: &Client,
    leases: &Api<Lease>,
    nodes: &Shared,
    state: &State,
) {
    let leader = state.view().holder;
    let doubtful = lock(nodes).doubtful(leader.as_deref());
    let Some((name, lease)) = doubtful else { return };
    let attempt = Attempt { verb: "get", resource: "nodes", namespace: None };
    match state.answer(Api::<KubeNode>::all(client.clone()).get_metadata(&name)).await {
        Ok(_) => return state.worked(attempt),
        Err(failure) if failure.is_missing_object() => state.worked(attempt),
        Err(failure) => return state.failed(attempt, &failure),
    }
    match state.answer(leases.delete(&lease, &DeleteParams::default())).await {
        Err(failure) if !failure.is_missing_object() => {
            state.failed(state.leases("delete"), &failure);
        }
        _ => {
            tracing::info!(target: "config", node = name, "the node is gone, and its Lease with it");
            state.worked(state.leases("delete"));
        }
    }
}

#[cfg(test)]
mod tests;
