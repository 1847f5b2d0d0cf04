//! The steps, in order; each builds on what the one before left, and says what it measured.

mod bookinfo;
mod crowd;
mod outage;
mod reboot;
mod removal;
mod rules;

use std::time::Duration;

use super::stage::Stage;

/// A step says in one line what it saw.
type Step = fn(&Stage) -> anyhow::Result<String>;

pub(super) const STEPS: [(&str, Step); 20] = [
    ("kubectl apply -k deploy/overlays/kind", removal::deploy),
    ("an external database is refused on both nodes", rules::refused),
    ("pods outside the mesh are not enrolled", rules::not_enrolled),
    ("Services answer by their VIPs", rules::services),
    ("Bookinfo as it is", bookinfo::as_it_is),
    ("Bookinfo's reviews are split by header and weight", bookinfo::split),
    ("Bookinfo in a browser, logged in and out", bookinfo::browser),
    ("Bookinfo with a delay and a timeout", bookinfo::slow),
    ("allowed by address with kubectl apply", rules::allowed),
    ("other programs are attached to the same hooks", rules::neighbours),
    ("allowed by its name", rules::by_name),
    ("revoked with kubectl delete, an open connection too", rules::revoked),
    ("a namespace leaves the mesh and comes back", rules::labels),
    ("fifty pods at once are judged from their first connection", crowd::fifty),
    ("the API server goes away, the agents are killed, both come back", outage::without_api),
    ("pods made while the agents are down wait, or are held", outage::without_agents),
    ("a rolling update under load", outage::rolling_update),
    ("a node dies and returns", reboot::node),
    ("after kubectl delete -k the kernel judges on", removal::deleted),
    ("deploy/uninstall leaves nothing behind", removal::uninstalled),
];

const PATIENCE: Duration = Duration::from_mins(1);
