//! Where a pod is, by evidence that cannot be another pod's. A pod that is judged by another's policy is
//! worse than one that is held, so nothing else pairs a pod with a namespace.
//!
//! In a cluster the container runtime is believed, by its own call of the CNI plugin or by its list of
//! sandboxes. A sandbox must agree in namespace, name and UID (a static Pod's UID is in the annotation
//! `kubernetes.io/config.mirror`), and of several the newest counts. Paths under `/proc` are not taken:
//! the runtime's process numbers are not the agent's.
//!
//! An annotation is believed on a directory alone: in a cluster anyone who may make a pod writes it.

use std::{net::IpAddr, path::PathBuf, sync::Arc};

use agent_kernel::netns::NetNs;
use agent_model::{pod::PodId, resource::Objects, snapshot::PodPlan, translate::RuntimeOnlyPod};
use thiserror::Error;
use tokio::sync::watch::error::RecvError;

use super::runtime::{self, Heard, Network, Reader, RuntimeOnly};
use crate::sandboxes::{self, Sandboxes};

/// What is believed.
#[derive(Clone, Debug)]
pub struct Evidence {
    /// What the CNI plugin was told.
    pub sandboxes: Arc<Sandboxes>,
    /// The container runtime; without it the annotation `sekisho.dev/netns`.
    pub runtime: Option<Reader>,
}

/// What is known at one moment: it does not change while pods are paired by it.
#[derive(Debug)]
pub(super) struct Located {
    sandboxes: Arc<Sandboxes>,
    runtime: Option<Heard>,
}

/// Where a pod is, and which namespace that was when it was said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct NamespacePath {
    pub(super) path: PathBuf,
    identity: Option<(u64, u64)>,
    pub(super) addresses: Vec<IpAddr>,
}

/// Why no namespace is known.
#[derive(Debug, Error, PartialEq, Eq)]
pub(crate) enum NoNamespace {
    /// The pod is still being made.
    #[error("the container runtime has no sandbox of it yet")]
    NotYet,
    /// The runtime says so, whatever the Pod says.
    #[error("the container runtime has it in the node's own network namespace")]
    Host,
    /// The hooks are in this kernel and do not see its sockets.
    #[error("the runtime handler {0} gives it a kernel or network stack of its own")]
    Sandboxed(String),
    /// The runtime's answer is of no use.
    #[error("the container runtime does not say where its network namespace is: {0}")]
    Unsaid(String),
    /// The manifest does not say it.
    #[error("the Pod has no annotation sekisho.dev/netns: /run/netns/NAME")]
    NoAnnotation,
}

impl NamespacePath {
    /// Whether an open namespace is the one that was meant.
    pub(super) fn is(&self, netns: &NetNs) -> bool {
        netns.path() == self.path && self.identity.is_none_or(|it| netns.identity() == it)
    }
}

impl Evidence {
    /// What is known now.
    pub(super) fn located(&self) -> Located {
        let runtime = self.runtime.as_ref().map(Reader::heard);
        Located { sandboxes: Arc::clone(&self.sandboxes), runtime }
    }

    /// Waits until the runtime says something else.
    pub async fn changed(&mut self) -> Result<(), RecvError> {
        match &mut self.runtime {
            None => std::future::pending().await,
            Some(runtime) => runtime.changed().await,
        }
    }

    /// Pods are known that have no namespace yet.
    pub fn expect_pods(&self) {
        if let Some(runtime) = &self.runtime {
            runtime.expect_pods();
        }
    }

    /// The pods that only the runtime knows.
    pub fn runtime_only(&self, among: &mut RuntimeOnly, objects: &Objects) -> Vec<RuntimeOnlyPod> {
        let heard = self.runtime.as_ref().map(Reader::heard).unwrap_or_default();
        among.among(heard.sandboxes.as_deref().unwrap_or_default(), objects)
    }

    /// Why nothing new is known.
    pub fn trouble(&self) -> Option<String> {
        self.runtime.as_ref().and_then(|runtime| runtime.heard().away.as_deref().map(str::to_owned))
    }

    /// False until the runtime has answered once. Where pods are is not known until then, and to
    /// publish without them would hold every pod that runs.
    pub fn is_there(&self) -> bool {
        let heard = |runtime: &Reader| runtime.heard().sandboxes.is_some();
        self.runtime.as_ref().is_none_or(heard)
    }
}

impl Located {
    /// Where a pod is. What the runtime said when it made the sandbox goes first, being the first
    /// to be known; what it says later still tells which pods cannot be judged.
    pub(super) fn path(&self, id: &PodId, plan: &PodPlan) -> Result<NamespacePath, NoNamespace> {
        let listed = self.runtime.as_ref().map(|heard| listed(heard, id, plan));
        let told = self.sandboxes.of(id, &plan.uid).filter(sandboxes::Sandbox::is_current);
        match (listed, told) {
            (Some(Err(no @ (NoNamespace::Sandboxed(_) | NoNamespace::Host))), _) => Err(no),
            (_, Some(told)) => Ok(NamespacePath {
                path: told.netns,
                identity: Some(told.identity),
                addresses: or(&plan.addresses, &told.addresses),
            }),
            (Some(listed), None) => listed,
            (None, None) => {
                let path = plan.netns.clone().ok_or(NoNamespace::NoAnnotation)?;
                Ok(NamespacePath { path, identity: None, addresses: plan.addresses.clone() })
            }
        }
    }
}

fn listed(heard: &Heard, id: &PodId, plan: &PodPlan) -> Result<NamespacePath, NoNamespace> {
    let sandboxes = heard.sandboxes.as_deref().unwrap_or_default();
    let sandbox = runtime::of_pod(sandboxes, id, &plan.uid).ok_or(NoNamespace::NotYet)?;
    match &sandbox.network {
        Network::At(path) => Ok(NamespacePath {
            path: path.clone(),
            identity: None,
            addresses: or(&plan.addresses, &sandbox.addresses),
        }),
        Network::Host => Err(NoNamespace::Host),
        Network::Sandboxed(handler) => Err(NoNamespace::Sandboxed(handler.clone())),
        Network::Unsaid(why) => Err(NoNamespace::Unsaid(why.clone())),
    }
}

/// A pod that has just been made has no addresses in its manifest yet.
fn or(first: &[IpAddr], second: &[IpAddr]) -> Vec<IpAddr> {
    if first.is_empty() { second.to_vec() } else { first.to_vec() }
}

#[cfg(test)]
mod tests;
