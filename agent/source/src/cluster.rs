//! Follows an API server and publishes what is in force.
//!
//! ```text
//! Follower (one a kind) ──► News ──► Cluster: Store ──► Observed
//!        └──► Progress ──► status       ├──► saved ──► <run-dir>/objects.snapshot
//!                                       └──► Elsewhere: more to follow
//! ```
//!
//! One task owns the store, and each kind is listed and watched by a task of its own.
//!
//! - A list replaces all of a kind at once. Nothing is published before every kind was listed: half of
//!   the objects mean something else than all of them.
//! - A kind that is not installed counts as listed. It is looked for every few seconds at first, and
//!   every 15 to 30 seconds later, by one question for all kinds of a group.
//! - What an earlier process saved is in the store from the start. An object that is broken now has its
//!   last good form from there. If the server does not answer within [`PATIENCE`], what was saved is
//!   published.
//! - A change of a status alone says nothing new, and is dropped before it is published.
//! - Endpoints are not watched: the control plane mirrors them into `EndpointSlice`s.
//! - Of Pods only this node's are watched, and those of [`elsewhere`].
//!
//! `tests/tests/server_faults.rs` and `server_history.rs` make each fault of a server with a real one.

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
pub mod resuming_watch;
mod saved;
mod state;
mod transport;
mod trouble;

use std::{fmt, path::PathBuf, sync::Arc, time::Duration};

use agent_base::error::chain;
use agent_model::translate::{MeshTls, chosen_among};
use jiff::Timestamp;
use kube::Client;
use tokio::{
    sync::{
        mpsc::{UnboundedReceiver, unbounded_channel},
        watch,
    },
    task::{JoinSet, block_in_place},
    time::{Instant, sleep_until},
};

pub use self::{
    connect::{ConnectError, Credentials, connect},
    once::{LeftOut, Listing, list},
    presence::Presence,
    progress::{FollowState, Followed, Progress, Source},
    trouble::Trouble,
};
use agent_base::{
    laps::{Laps, Phase},
    sealed,
};

use self::{
    discovery::Discovery,
    elsewhere::Elsewhere,
    follow::{Common, Follower, Told},
    saved::Contents,
    state::State,
};
use super::{announce::announce, debounce::Debounce, inventory::Inventory};
use crate::observed::{Observed, Reader};

/// How long the server may take before what was saved is used.
const PATIENCE: Duration = Duration::from_secs(3);

/// An API server as a source. Nothing happens until [`Cluster::run`].
pub struct Cluster {
    client: Client,
    presence: Arc<Presence>,
    node: Arc<str>,
    mesh_tls: MeshTls,
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

impl Cluster {
    /// Reads the credentials; the server is not asked anything yet. It is for a node, whose pods may
    /// speak the mesh's TLS with those of others. `path` is where objects are saved.
    pub async fn open(
        credentials: &Credentials,
        (node, mesh_tls): (&str, MeshTls),
        path: PathBuf,
    ) -> Result<(Self, Reader), ConnectError> {
        let config = connect::config(credentials).await?;
        let (client, server) = (transport::client(&config)?, config.cluster_url.to_string());
        let (publisher, reader) = watch::channel(None);
        let progress = Arc::new(Progress::new(server));
        let presence = Arc::new(Presence::new(client.clone()));
        let (state, node) = (State::default(), node.into());
        let one = Self { client, presence, node, mesh_tls, path, progress, state, publisher };
        Ok((one, reader))
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

    /// Publishes the first state, and then each other one, until the receiver is dropped.
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
            () = self.follow(&mut news, &mut elsewhere, saved, &contents) => {}
            // None of them ends by itself, so this is a panic, which is ours to pass on.
            Some(Err(error)) = tasks.join_next() => std::panic::resume_unwind(error.into_panic()),
        }
    }

    async fn follow(
        &mut self,
        news: &mut UnboundedReceiver<Told>,
        elsewhere: &mut Elsewhere,
        mut saved: Option<Timestamp>,
        contents: &watch::Sender<Contents>,
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
        let wanted = chosen_among(&observed.objects, self.mesh_tls);
        elsewhere.follow(&wanted, |watched| self.state.has_listed(watched));
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
        let (texts, broken) = (Arc::clone(&self.state.texts), Arc::clone(&self.state.broken));
        contents.send_if_modified(|current| {
            let same = Arc::ptr_eq(&current.objects, &objects);
            *current = Contents { objects, texts, broken };
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
