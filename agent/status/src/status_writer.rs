//! The tasks of the crate: every agent's candidacy and report, and the elected one's writer.

use std::{fmt, sync::Arc, time::Duration};

use agent_source::{
    cluster::Presence,
    inventory::Inventory,
    observed::{Observed, Reader},
};
use kube::{Api, Client};
use tokio::{sync::watch, task::JoinSet, time::sleep};

use crate::{
    leader_election::{Candidate, Leading},
    node_report::{LeaseWriter, NodeReport},
    nodes,
    state::State,
    writer::{Tools, Writer},
};

/// Between the elected agent's looks at what there is to write.
const TICK: Duration = Duration::from_millis(500);

/// The publisher's end: what came into force.
#[derive(Debug)]
pub struct Reporter {
    report: watch::Sender<Option<NodeReport>>,
}

impl Reporter {
    /// Takes in what a publication came to.
    pub fn published(&self, observed: &Observed, refused: Option<&String>) {
        let Some(digests) = &observed.digests else { return };
        self.report.send_if_modified(|report| {
            let trouble = refused.cloned();
            let digests = match (report.as_ref(), refused) {
                (Some(before), Some(_)) => Arc::clone(&before.digests),
                (None, Some(_)) => Arc::default(),
                (_, None) => Arc::clone(digests),
            };
            let new = Some(NodeReport { digests, trouble });
            let changed = *report != new;
            *report = new;
            changed
        });
    }
}

/// See the crate. Nothing happens until [`StatusWriter::run`].
pub struct StatusWriter {
    tools: Tools,
    report: watch::Receiver<Option<NodeReport>>,
}

impl fmt::Debug for StatusWriter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StatusWriter").field("node", &self.tools.node).finish_non_exhaustive()
    }
}

impl StatusWriter {
    /// One for a node, with the publisher's end.
    pub fn new(
        client: Client,
        presence: Arc<Presence>,
        inventory: Arc<Inventory>,
        node: &str,
        reader: Reader,
    ) -> (Self, Reporter) {
        let (sender, report) = watch::channel(None);
        let state = Arc::new(State::new(client.default_namespace(), presence));
        let leases = Api::default_namespaced(client.clone());
        let tools = Tools { client, leases, node: node.to_owned(), inventory, reader, state };
        (Self { tools, report }, Reporter { report: sender })
    }

    /// What it says of itself.
    pub fn state(&self) -> Arc<State> {
        Arc::clone(&self.tools.state)
    }

    /// Until the agent ends.
    pub async fn run(self) {
        let (leading, is_leading) = watch::channel(Leading::default());
        let mut tasks = JoinSet::new();
        let Tools { leases, node, state, .. } = self.tools.clone();
        tasks.spawn(Candidate { leases, node, state, leading }.run());
        let Tools { leases, node, state, .. } = self.tools.clone();
        tasks.spawn(LeaseWriter { leases, node, report: self.report, state }.run());
        tasks.spawn(lead(self.tools, is_leading));
        if let Some(Err(error)) = tasks.join_next().await {
            // None of them ends by itself, so this is a panic, which is ours to pass on.
            std::panic::resume_unwind(error.into_panic());
        }
    }
}

/// Writes while this agent is the elected one, and does nothing at all while it is not.
async fn lead(tools: Tools, mut leading: watch::Receiver<Leading>) {
    loop {
        let ours = leading.wait_for(|leading| leading.is_ours).await.map(drop);
        if ours.is_err() {
            return;
        }
        let nodes = nodes::Shared::default();
        let follow = nodes::follow(&tools.leases, &nodes, &tools.state);
        let mut writer = Writer::new(&tools, Arc::clone(&nodes));
        let write = async {
            loop {
                writer.look().await;
                sleep(TICK).await;
            }
        };
        tokio::select! {
            () = follow => {}
            () = write => {}
            _ = leading.wait_for(|leading| !leading.is_ours) => {}
        }
        tools.state.stepped_down();
    }
}
