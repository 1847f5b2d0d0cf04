//! Where a pod is, by everything that is known of it.

use std::{net::IpAddr, path::PathBuf};

use agent_model::snapshot::{PodId, PodPlan};

use super::{netns::NetNs, whereabouts::Whereabouts};

/// Where a pod is, and which namespace that was when it was said.
pub(super) struct Place {
    pub(super) path: PathBuf,
    identity: Option<(u64, u64)>,
    pub(super) addresses: Vec<IpAddr>,
}

impl Place {
    /// Whether an open namespace is the one that was meant.
    pub(super) fn is(&self, netns: &NetNs) -> bool {
        netns.path() == self.path && self.identity.is_none_or(|it| netns.identity() == it)
    }
}

/// What the runtime said goes before what the manifest says. A pod that has just been made has no
/// addresses in its manifest yet.
pub(super) fn place(whereabouts: &Whereabouts, id: &PodId, plan: &PodPlan) -> Option<Place> {
    let Some(sandbox) = whereabouts.of(id, &plan.uid) else {
        let (path, addresses) = (plan.netns.clone()?, plan.addresses.clone());
        return Some(Place { path, identity: None, addresses });
    };
    let addresses =
        if plan.addresses.is_empty() { sandbox.addresses } else { plan.addresses.clone() };
    Some(Place { path: sandbox.netns, identity: Some(sandbox.identity), addresses })
}
