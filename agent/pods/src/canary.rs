//! Proof that the hooks judge a pod: a canary sent from inside its namespace, which every hook must
//! refuse, ahead of every rule, and write down with its generation ([`agent_abi::canary`]). There is no
//! event. It is sent at enrolment, every `--canary-interval`, within seconds of a new generation, and
//! every second while it fails.
//!
//! What the kernel says is attached, and what the maps say of a pod, is what the agent did; this is what
//! comes of it. Where it fails, the links are put in order and the pod is reported as failing.
//!
//! The same look compares the namespace's own addresses with the Pod's `status.podIPs`. A namespace that
//! lacks them is another pod's, however surely the hooks judge it.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use agent_abi::{Proof, ProofKey};
use agent_base::{error::chain, lock::lock};
use agent_kernel::{lifecycle::Kernel, netns::Worker};
use agent_model::pod::PodId;
use futures_util::StreamExt as _;
use jiff::Timestamp;
use socket2::Socket;
use tokio::{
    sync::watch::{self, error::RecvError},
    task::spawn_blocking,
    time::{MissedTickBehavior, interval, sleep},
};

mod addresses;
mod probes;
mod results;
mod status;

use crate::{
    veth::HostEnd,
    view::{OpenedPod, PodView, PodViews},
};
use probes::Reply;
use results::ProbeResults;

pub use status::{CanaryStatus, CanaryStatuses, LinkProof};

/// How often it is looked whether a pod is to be proved.
const LOOK: Duration = Duration::from_millis(500);
/// How soon a pod that failed is tried again.
const RETRY: Duration = Duration::from_secs(1);
/// How old a proof of another generation may grow: rules may change often.
const RENEWAL: Duration = Duration::from_secs(3);
/// How long a frame may take to the host's end of a link; mostly it is there when the call returns.
const PATIENCE: Duration = Duration::from_millis(500);
const PAUSE: Duration = Duration::from_millis(5);
/// Pods that are proved at once: a frame that is not seen is waited for.
const AT_ONCE: usize = 16;

/// The task that sends canaries.
#[derive(Debug)]
pub struct Canaries {
    pub kernel: Arc<Kernel>,
    pub worker: Arc<Worker>,
    /// The enrolled ones are proved.
    pub pods: watch::Receiver<Arc<PodViews>>,
    pub statuses: Arc<CanaryStatuses>,
    pub interval: Duration,
    /// Sockets that are to be closed where nothing waits for it.
    pub spent: Mutex<Vec<Socket>>,
}

impl Canaries {
    /// Proves pods as long as the agent runs.
    pub async fn run(mut self) -> Result<(), RecvError> {
        let mut looks = interval(LOOK);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut pods: Arc<PodViews> = Arc::default();
        loop {
            tokio::select! {
                news = self.pods.changed() => {
                    news?;
                    let now = Arc::clone(&self.pods.borrow_and_update());
                    self.forget_others(&pods, &now);
                    pods = now;
                }
                _ = looks.tick() => {}
            }
            let due: Vec<_> = pods.enrolled().filter(|(_, opened)| self.is_due(opened)).collect();
            let due = futures_util::stream::iter(due);
            due.for_each_concurrent(AT_ONCE, |(pod, opened)| self.prove(pod, opened)).await;
            let spent = std::mem::take(&mut *lock(&self.spent));
            if !spent.is_empty() {
                spawn_blocking(move || drop(spent));
            }
        }
    }

    /// Forgets what changed or went, so that the first is proved at once, and the kernel's memory of
    /// the second with it.
    fn forget_others(&self, before: &PodViews, now: &PodViews) {
        let is_other = |pod: &PodView, opened: &OpenedPod| {
            let now = now.in_netns(opened.netns.cookie());
            !now.is_some_and(|now| now.policy().is_some() && is_proof_of(pod, now))
        };
        let others: Vec<u64> = before
            .enrolled()
            .filter(|(pod, opened)| is_other(pod, opened))
            .map(|(_, opened)| opened.netns.cookie())
            .collect();
        if others.is_empty() && before.enrolled().next().is_some() {
            return;
        }
        self.statuses.lock().retain(|cookie, _| !others.contains(cookie));
        let of_pod = |opened: &OpenedPod| {
            let cookie = opened.netns.cookie();
            let links: Vec<_> = opened.links.iter().map(|link| (cookie, link.ifindex)).collect();
            std::iter::once((cookie, 0)).chain(links)
        };
        let stays: BTreeSet<(u64, u32)> =
            now.enrolled().flat_map(|(_, opened)| of_pod(opened)).collect();
        let proofs = &self.kernel.maps.proofs;
        let keys = proofs.keys().unwrap_or_default();
        for key in keys.iter().filter(|key| !stays.contains(&(key.netns, key.interface))) {
            // It costs a little memory when it fails, and is tried at the next change.
            let _ = proofs.remove(key);
        }
    }

    fn is_due(&self, pod: &OpenedPod) -> bool {
        let Some(status) = self.statuses.of(pod.netns.cookie()) else { return true };
        let Some(age) = status.tried.map(|tried| tried.elapsed()) else { return true };
        let generation = self.kernel.maps.node.generation();
        let is_old = status.proved.is_none_or(|(_, judged_by)| judged_by != generation);
        let wait = match (&status.failing, is_old) {
            (Some(_), _) => RETRY,
            (None, true) => RENEWAL,
            (None, false) => self.interval,
        };
        age >= wait.min(self.interval)
    }

    async fn prove(&self, pod: &PodView, opened: &OpenedPod) {
        let cookie = opened.netns.cookie();
        let mut status = self.statuses.of(cookie).unwrap_or_default();
        let results = self.send(opened).await;
        let complaint = match self.wrong_addresses(&pod.addresses, opened).await {
            Some(wrong) => Some(wrong),
            None => results.complaint(),
        };
        status.tried = Some(Instant::now());
        status.layers = results.layers();
        status.links = results.links();
        if let Some(generation) = results.generation() {
            status.proved = Some((Timestamp::now(), generation));
        } else {
            self.kernel.mending.ask();
        }
        tell(&pod.id, status.failing.as_deref(), complaint.as_deref());
        status.failing = complaint;
        self.statuses.lock().insert(cookie, status);
    }

    async fn send(&self, pod: &OpenedPod) -> ProbeResults {
        let maps = &self.kernel.maps;
        let cookie = pod.netns.cookie();
        let key = |hook, interface| ProofKey { netns: cookie, hook, interface };
        let read = |key: ProofKey| maps.proofs.get(&key).ok().flatten();
        let generation = maps.node.generation();
        let before: BTreeMap<ProofKey, Proof> = probes::hooks(&pod.links)
            .map(|(hook, interface)| key(hook, interface))
            .filter_map(|key| Some((key, read(key)?)))
            .collect();
        let links = pod.links.clone();
        let asks_layer_2 = !self.kernel.programs.missing.iter().any(|hook| hook.layer == 2);
        let sent = self.worker.run(&pod.netns, move || probes::send(&links, asks_layer_2)).await;
        let sent = match sent {
            Ok(sent) => sent,
            Err(error) => {
                let error = Some(chain(&error));
                return ProbeResults { generation, error, answers: Vec::new() };
            }
        };
        lock(&self.spent).extend(sent.packet_socket);
        let is_new = |key: &ProofKey, proof: &Proof| before.get(key) != Some(proof);
        let mut answers = Vec::new();
        let deadline = Instant::now() + PATIENCE;
        for probe in sent.probes {
            let key = key(probe.hook, probe.interface);
            let mut proof = read(key).filter(|proof| is_new(&key, proof));
            while probe.layer == 3
                && matches!(probe.reply, Reply::Sent)
                && proof.is_none()
                && Instant::now() < deadline
            {
                sleep(PAUSE).await;
                proof = read(key).filter(|proof| is_new(&key, proof));
            }
            answers.push((probe, proof));
        }
        ProbeResults { generation, error: None, answers }
    }

    /// What is wrong with the namespace's addresses.
    async fn wrong_addresses(&self, said: &[IpAddr], pod: &OpenedPod) -> Option<String> {
        if said.is_empty() {
            return None;
        }
        let has = match addresses::of(&self.worker, &pod.netns).await {
            Ok(has) => has,
            Err(error) => return Some(format!("its addresses cannot be read: {}", chain(&error))),
        };
        let lacks: Vec<_> = said.iter().filter(|addr| !has.contains(addr)).collect();
        if lacks.is_empty() {
            return None;
        }
        Some(format!(
            "the namespace {} lacks {} of the Pod's status.podIPs and has {}: it is another pod's, \
             or the network plugin has not set it up",
            pod.netns.path().display(),
            list(lacks),
            if has.is_empty() { "none".to_owned() } else { list(&has) },
        ))
    }
}

fn list<'a>(addresses: impl IntoIterator<Item = &'a IpAddr>) -> String {
    addresses.into_iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

/// Whether what has been proved of a pod still holds.
fn is_proof_of(before: &PodView, now: &PodView) -> bool {
    fn links(pod: &PodView) -> &[HostEnd] {
        pod.opened.as_ref().map_or(&[], |opened| &opened.links)
    }
    before.id == now.id && before.addresses == now.addresses && links(before) == links(now)
}

/// Says what is news.
fn tell(pod: &PodId, before: Option<&str>, now: Option<&str>) {
    match (before, now) {
        (Some(_), None) => tracing::info!(%pod, "the canary is refused by every hook again"),
        (before, Some(why)) if before != now => {
            tracing::warn!(%pod, why, "the pod's canary fails");
        }
        _ => {}
    }
}
