//! Follows an API server and publishes what is in force.
//!
//! ```text
//! Follower (one a kind) ──► News ──► Cluster: Store ──► Observed
//!        └──► Progress ──► status       ├──► saved ──► <run-dir>/objects.snapshot
//!                                       └──► Elsewhere: more to follow
//! ```
//!
//! One task owns the store. A list replaces all of a kind at once; nothing is published before
//! every kind has been listed, since half of the objects mean something else than all of them.
//! What was saved by an earlier process is there from the start: an object that is broken now has
//! its last good form from there, and when the server does not answer within [`PATIENCE`], what
//! was saved is published.

mod connect;
mod discovery;
mod elsewhere;
mod follow;
mod kinds;
mod object;
mod once;
pub mod pace;
mod presence;
mod progress;
mod question;
mod saved;
mod transport;
mod trouble;

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    path::PathBuf,
    sync::Arc,
    time::Duration,
};

use agent_base::error::chain;
use agent_model::resource::{Kind, ObjectKey};
use jiff::Timestamp;
use kube::Client;
use serde_json::Value;
use tokio::{
    sync::{
        mpsc::{UnboundedReceiver, unbounded_channel},
        watch,
    },
    task::{JoinSet, block_in_place},
    time::{Instant, sleep_until},
};

pub use self::{
    connect::{ConnectError, connect},
    once::{LeftOut, Listing, list},
    presence::Presence,
    progress::{FollowState, Followed, Progress, Source},
};
use agent_base::{
    laps::{Laps, Phase},
    sealed,
};

use self::{
    discovery::Discovery,
    elsewhere::Elsewhere,
    follow::{Common, Follower, News, Told},
    kinds::Watched,
    object::Item,
    saved::{Contents, Texts},
};
use super::{
    announce::announce,
    debounce::Debounce,
    inventory::Inventory,
    store::{Place, Store},
};
use crate::observed::{Observed, Reader};

/// How long the server may take before what was saved is used.
const PATIENCE: Duration = Duration::from_secs(3);

/// An API server as a source. Nothing happens until [`Cluster::run`].
pub struct Cluster {
    client: Client,
    presence: Arc<Presence>,
    node: Arc<str>,
    path: PathBuf,
    progress: Arc<Progress>,
    state: State,
    publisher: watch::Sender<Option<Observed>>,
}

impl fmt::Debug for Cluster {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cluster").field("node", &self.node).finish_non_exhaustive()
    }
}

/// What the one task owns.
#[derive(Debug, Default)]
struct State {
    store: Store,
    /// What the server has, for whoever tells people about it.
    inventory: Arc<Inventory>,
    /// The places of each thing that is watched, by its label.
    places: BTreeMap<String, BTreeSet<Place>>,
    texts: Texts,
    /// What has been listed, by its label.
    listed: BTreeSet<String>,
    /// Whether what is in force was published.
    published: bool,
}

impl Cluster {
    /// Reads the credentials; the server is not asked anything yet. `path` is where objects are
    /// saved.
    pub async fn open(
        (files, context): (Option<&str>, Option<&str>),
        node: &str,
        path: PathBuf,
    ) -> Result<(Self, Reader), ConnectError> {
        let config = connect::config(files, context).await?;
        let (client, server) = (transport::client(&config)?, config.cluster_url.to_string());
        let (publisher, reader) = watch::channel(None);
        let progress = Arc::new(Progress::new(server));
        let presence = Arc::new(Presence::new(client.clone()));
        let (state, node) = (State::default(), node.into());
        Ok((Self { client, presence, node, path, progress, state, publisher }, reader))
    }

    /// How far it is.
    pub fn progress(&self) -> Arc<Progress> {
        Arc::clone(&self.progress)
    }

    /// Which objects it has.
    pub fn inventory(&self) -> Arc<Inventory> {
        Arc::clone(&self.state.inventory)
    }

    /// Requests to it, and when they may be sent.
    pub fn server(&self) -> (Client, Arc<Presence>) {
        (self.client.clone(), Arc::clone(&self.presence))
    }

    /// Publishes the first state, and then each other one, until nobody reads.
    pub async fn run(mut self) {
        let saved = self.take_saved();
        let (sender, mut news) = unbounded_channel();
        let mut tasks = JoinSet::new();
        let common = Common {
            client: self.client.clone(),
            presence: Arc::clone(&self.presence),
            discovery: Arc::new(Discovery::new(self.client.clone())),
            node: Arc::clone(&self.node),
            news: sender,
            progress: Arc::clone(&self.progress),
        };
        for watched in kinds::ALL.iter() {
            let held = self.state.places.contains_key(&watched.label());
            let follower = Follower::new(Arc::clone(watched), common.clone(), held);
            tasks.spawn(Box::pin(follower.run()));
        }
        let mut elsewhere = Elsewhere::new(common);
        let (contents, written) = watch::channel(Contents::default());
        let (path, node) = (self.path.clone(), Arc::clone(&self.node));
        tasks.spawn(sealed::keep(path, node, written, saved::write));
        tokio::select! {
            () = self.follow(&mut news, &mut elsewhere, (saved, &contents)) => {}
            // None of them ends by itself, so this is a panic, which is ours to pass on.
            Some(Err(error)) = tasks.join_next() => std::panic::resume_unwind(error.into_panic()),
        }
    }

    async fn follow(
        &mut self,
        news: &mut UnboundedReceiver<Told>,
        elsewhere: &mut Elsewhere,
        (mut saved, contents): (Option<Timestamp>, &watch::Sender<Contents>),
    ) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            tokio::select! {
                () = self.publisher.closed() => return,
                () = sleep_until(deadline), if saved.is_some() => {
                    if let Some(written) = saved.take() {
                        self.publish_saved(written);
                    }
                }
                first = news.recv() => {
                    let Some(first) = first else { return };
                    let mut laps = Laps::default();
                    let burst = Debounce::CHANGES.collect(first, news, |_| false).await;
                    laps.end(Phase::Collect);
                    if block_in_place(|| self.state.take(burst)) && self.settle(elsewhere, laps, contents) {
                        saved = None;
                    }
                }
                error = elsewhere.failed() => std::panic::resume_unwind(error.into_panic()),
            }
        }
    }

    /// Settles what is in force, and publishes it unless something of it is still to be listed for
    /// the first time.
    fn settle(
        &mut self,
        elsewhere: &mut Elsewhere,
        laps: Laps,
        contents: &watch::Sender<Contents>,
    ) -> bool {
        let mut observed = block_in_place(|| self.state.store.settle());
        elsewhere.follow(&elsewhere::wanted(&observed.objects));
        if self.state.leave(elsewhere.watched()) {
            observed = block_in_place(|| self.state.store.settle());
        }
        if self.state.lacks(elsewhere.watched()) {
            return false;
        }
        self.publish(observed, laps, contents);
        true
    }

    fn publish(
        &mut self,
        mut observed: Observed,
        mut laps: Laps,
        contents: &watch::Sender<Contents>,
    ) {
        self.state.published = true;
        observed.digests = Some(self.state.inventory.digests(&observed.objects, &observed.notes));
        laps.end(Phase::Settle);
        observed.laps = Some(laps);
        let objects = Arc::clone(&observed.objects);
        self.progress.saved(None);
        announce(&self.publisher, observed);
        let texts = Arc::clone(&self.state.texts);
        contents.send_if_modified(|current| {
            let same = Arc::ptr_eq(&current.objects, &objects);
            *current = Contents { objects, texts };
            !same
        });
    }

    /// The server is away: what was saved counts until it comes back.
    fn publish_saved(&mut self, written: Timestamp) {
        let age = Timestamp::now().duration_since(written).as_secs();
        let path = self.path.display();
        tracing::warn!(
            target: "config", %path, age_seconds = age, %written,
            "the API server is not there; what was saved of it is used"
        );
        self.progress.saved(Some(written));
        // The store may have taken in some kinds since; all of it is at least as new as the file.
        announce(&self.publisher, self.state.store.settle());
    }

    /// Takes in what an earlier process saved; returns when that was.
    fn take_saved(&mut self) -> Option<Timestamp> {
        let (path, node) = (self.path.clone(), Arc::clone(&self.node));
        let read =
            block_in_place(|| saved::read(&path, &node, |value| self.state.restore(value, &node)));
        match read {
            Ok(None) => None,
            Ok(Some(written)) => {
                self.state.store.settle();
                Some(written)
            }
            Err(error) => {
                self.state = State::default();
                let (path, error) = (self.path.display(), chain(&error));
                tracing::warn!(
                    target: "config", %path, error,
                    "the saved objects are not used; the API server is needed to start"
                );
                None
            }
        }
    }
}

impl State {
    /// Takes in news. True when there is something to publish: every kind has been listed, and
    /// not all of it is known. Most of what is known comes from a status that somebody wrote.
    fn take(&mut self, burst: Vec<Told>) -> bool {
        let mut news_to_us = false;
        for (watched, news) in burst {
            match news {
                News::Listed(items) => self.list(&watched, items),
                News::Applied(item) if self.is_known(&item) => {
                    self.count(&item);
                    continue;
                }
                News::Applied(item) => self.apply(&watched, item),
                News::Deleted(place) => self.delete(&watched, &place),
            }
            news_to_us = true;
        }
        news_to_us && kinds::ALL.iter().all(|watched| self.listed.contains(&watched.label()))
    }

    /// Forgets the pods of other nodes but for these. True when there were any.
    fn leave<'a>(&mut self, watched: impl Iterator<Item = &'a Arc<Watched>>) -> bool {
        let known = kinds::ALL.iter().chain(watched).map(|watched| watched.label());
        let known: BTreeSet<String> = known.collect();
        self.listed.retain(|label| known.contains(label));
        let left: Vec<_> = self.places.extract_if(.., |label, _| !known.contains(label)).collect();
        let places: Vec<Place> = left.into_iter().flat_map(|(_, places)| places).collect();
        for place in &places {
            self.store.retract(place);
        }
        !places.is_empty()
    }

    /// Whether there is something to wait for before the first publication: without it, rules that
    /// an agent before has published would go, and come again.
    fn lacks<'a>(&self, mut watched: impl Iterator<Item = &'a Arc<Watched>>) -> bool {
        !self.published && watched.any(|watched| !self.listed.contains(&watched.label()))
    }

    /// Whether an object says what it said before, word for word.
    fn is_known(&self, item: &Item) -> bool {
        let claim = item.statement.claims.first();
        let before = claim.and_then(|claim| self.texts.get(&claim.key));
        before.is_some() && before == item.text.as_ref() && self.store.is_good(&item.place)
    }

    fn count(&self, item: &Item) {
        if let (Some(identity), Some(claim)) = (&item.identity, item.statement.claims.first()) {
            self.inventory.apply(ObjectKey::clone(&claim.key), identity.clone());
        }
    }

    fn list(&mut self, watched: &Watched, items: Vec<Item>) {
        let new: BTreeSet<&Place> = items.iter().map(|item| &item.place).collect();
        let known = self.places.get(&watched.label());
        let gone = known.into_iter().flatten().filter(|place| !new.contains(place));
        let gone: Vec<Place> = gone.cloned().collect();
        for place in gone {
            self.delete(watched, &place);
        }
        for item in items {
            self.apply(watched, item);
        }
        self.listed.insert(watched.label());
    }

    fn apply(&mut self, watched: &Watched, item: Item) {
        self.count(&item);
        let Item { place, statement, text, identity: _ } = item;
        if let (Some(text), Some(claim)) = (text, statement.claims.first())
            && claim.form.is_some()
        {
            Arc::make_mut(&mut self.texts).insert(claim.key.clone(), text);
        }
        self.places.entry(watched.label()).or_default().insert(Arc::clone(&place));
        self.store.say(place, statement);
    }

    fn delete(&mut self, watched: &Watched, place: &Place) {
        if let Some(places) = self.places.get_mut(&watched.label()) {
            places.remove(place);
        }
        self.store.retract(place);
        if let Some(key) = key(watched.kind, place) {
            self.inventory.retract(&key);
            if self.texts.contains_key(&key) {
                Arc::make_mut(&mut self.texts).remove(&key);
            }
        }
    }

    /// Takes in an object that was saved, at the place where the server would have it.
    fn restore(&mut self, value: Value, node: &str) {
        let kind = value["kind"].as_str().unwrap_or_default();
        let version = value["apiVersion"].as_str().unwrap_or_default();
        // An agent of another version may have saved what this one does not watch.
        let Some(watched) = Kind::read(version, kind).and_then(kinds::of) else { return };
        let metadata = &value["metadata"];
        let text = |field: &str| metadata[field].as_str().unwrap_or_default();
        let elsewhere = Watched::elsewhere(text("namespace"));
        let is_elsewhere = watched.kind == Kind::Pod && value["spec"]["nodeName"] != node;
        let watched = if is_elsewhere { &elsewhere } else { &**watched };
        let place = watched.place(text("namespace"), text("name")).into();
        self.apply(watched, object::read(place, "as it was saved", value, watched.keeps_text()));
    }
}

/// The object at a place.
fn key(kind: Kind, place: &str) -> Option<ObjectKey> {
    let (_, rest) = place.split_once('/')?;
    let (namespace, name) = rest.split_once('/').unwrap_or(("", rest));
    Some(ObjectKey::new(kind, namespace, name))
}

#[cfg(test)]
mod tests;
