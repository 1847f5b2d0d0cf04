//! Tells the authors of objects what the nodes make of them, where they look: Events on an object
//! that is refused, and conditions in its status that say whether it is accepted and how many nodes
//! enforce which generation of it.
//!
//! ```text
//! every agent   Publisher ─► word ─► the node's own Lease: digests of what is in force
//! the elected   nodes ◄── watch of those Leases
//!               inventory, notes, analysis ─┴─► scribe ─► conditions, Events
//! ```
//!
//! One agent writes, whoever holds a Lease (`elect`). Nothing that judges waits for any of this, and
//! what cannot be written is told by `sekisho status`.

mod answer;
mod elect;
mod events;
mod findings;
mod judge;
mod nodes;
mod scribe;
mod state;
mod word;

use std::{sync::Arc, time::Duration};

use k8s_openapi::api::coordination::v1::Lease;
use kube::{Api, Client};
use tokio::{sync::watch, task::JoinSet, time::sleep};

pub(crate) use self::state::{State, View};
use agent_source::{
    cluster::Presence,
    inventory::Inventory,
    observed::{Observed, Reader},
};

use self::{
    elect::{Candidate, Leading},
    scribe::Scribe,
    word::{Speaker, Word},
};

/// What we call ourselves towards the API server.
const MANAGER: &str = "sekisho";
/// How long the API server may take to answer.
const ANSWER: Duration = Duration::from_secs(5);
/// Between the elected agent's looks at what there is to write.
const TICK: Duration = Duration::from_millis(500);

/// The publisher's end: what came into force.
#[derive(Debug)]
pub(crate) struct Teller {
    word: watch::Sender<Option<Word>>,
}

impl Teller {
    /// Takes in what a publication came to.
    pub(crate) fn published(&self, observed: &Observed, refused: Option<&String>) {
        let Some(digests) = &observed.digests else { return };
        self.word.send_if_modified(|word| {
            let trouble = refused.cloned();
            let digests = match (word.as_ref(), refused) {
                (Some(before), Some(_)) => Arc::clone(&before.digests),
                (None, Some(_)) => Arc::default(),
                (_, None) => Arc::clone(digests),
            };
            let new = Some(Word { digests, trouble });
            let changed = *word != new;
            *word = new;
            changed
        });
    }
}

/// See the module. Nothing happens until [`Herald::run`].
pub(crate) struct Herald {
    client: Client,
    node: String,
    inventory: Arc<Inventory>,
    reader: Reader,
    word: watch::Receiver<Option<Word>>,
    state: Arc<State>,
}

impl Herald {
    /// One for a node, with the publisher's end.
    pub(crate) fn new(
        (client, presence): (Client, Arc<Presence>),
        inventory: Arc<Inventory>,
        node: &str,
        reader: Reader,
    ) -> (Self, Teller) {
        let (sender, word) = watch::channel(None);
        let state = Arc::new(State::new(client.default_namespace(), presence));
        let herald = Self { client, node: node.to_owned(), inventory, reader, word, state };
        (herald, Teller { word: sender })
    }

    /// What it says of itself.
    pub(crate) fn state(&self) -> Arc<State> {
        Arc::clone(&self.state)
    }

    /// Until the agent ends.
    pub(crate) async fn run(self) {
        let leases: Api<Lease> = Api::default_namespaced(self.client.clone());
        let (leading, is_leading) = watch::channel(Leading::default());
        let mut tasks = JoinSet::new();
        let (node, state) = (self.node.clone(), Arc::clone(&self.state));
        tasks.spawn(Candidate { leases: leases.clone(), node, state, leading }.run());
        let (node, state) = (self.node.clone(), Arc::clone(&self.state));
        let said = self.word.clone();
        tasks.spawn(Speaker { leases: leases.clone(), node, word: said, state }.run());
        tasks.spawn(lead(self, leases, is_leading));
        if let Some(Err(error)) = tasks.join_next().await {
            // None of them ends by itself, so this is a panic, which is ours to pass on.
            std::panic::resume_unwind(error.into_panic());
        }
    }
}

/// Writes while this agent is the elected one, and does nothing at all while it is not.
async fn lead(herald: Herald, leases: Api<Lease>, mut leading: watch::Receiver<Leading>) {
    loop {
        let ours = leading.wait_for(|leading| leading.is_ours).await.map(drop);
        if ours.is_err() {
            return;
        }
        let nodes = nodes::Shared::default();
        let follow = nodes::follow(&leases, &nodes, &herald.state);
        let mut scribe = Scribe::new(&herald, &leases, Arc::clone(&nodes));
        let write = async {
            loop {
                scribe.look().await;
                sleep(TICK).await;
            }
        };
        tokio::select! {
            () = follow => {}
            () = write => {}
            _ = leading.wait_for(|leading| !leading.is_ours) => {}
        }
        herald.state.left_office();
    }
}
