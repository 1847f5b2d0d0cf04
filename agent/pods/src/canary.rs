//! Proof that the hooks judge a pod: a canary sent from inside its namespace, which every hook must
//! refuse and write down ([`agent_abi::canary`]). At enrolment, every `--canary-interval`, and soon
//! after a change of generation.
//!
//! What the kernel says is attached, and what the maps say of a pod, is what the agent did; this is
//! what comes of it. Where it fails, the links are asked to be put in order, the pod is reported as
//! failing, and it is tried again every few seconds.
//!
//! It also reads the namespace's own addresses: a namespace that has not the Pod's addresses is
//! another pod's, however surely the hooks judge it.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use agent_abi::{Proof, ProofKey};
use agent_base::lock::lock;
use agent_model::snapshot::PodId;
use futures_util::StreamExt as _;
use jiff::Timestamp;
use socket2::Socket;
use tokio::{
    sync::watch::{self, error::RecvError},
    task::spawn_blocking,
    time::{MissedTickBehavior, interval, sleep},
};

mod addresses;
mod volley;

use agent_base::error::chain;
use agent_kernel::{
    lifecycle::Kernel,
    netns::{NetNs, Worker},
};

use volley::{Link, Reply, Shot};

/// How often it is looked whether somebody is to be proved.
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

/// A pod that is to be proved.
#[derive(Clone, Debug)]
pub struct Subject {
    id: PodId,
    netns: NetNs,
    /// As the Pod's status has them; none while the API server has not heard of any.
    addresses: Vec<IpAddr>,
    links: Vec<Link>,
}

impl PartialEq for Subject {
    fn eq(&self, other: &Self) -> bool {
        self.id == other.id
            && self.netns.cookie() == other.netns.cookie()
            && self.addresses == other.addresses
            && self.links == other.links
    }
}

impl Subject {
    /// A pod that is judged, with the addresses that its status says.
    pub fn new(id: &PodId, pod: &super::enrol::Pod, addresses: &[IpAddr]) -> Self {
        let link = |end: &super::veth::HostEnd| Link {
            inside: end.inside,
            outside: end.ifindex,
            name: end.name.clone(),
        };
        Self {
            id: id.clone(),
            netns: pod.netns.clone(),
            addresses: addresses.to_vec(),
            links: pod.ends().iter().map(link).collect(),
        }
    }
}

/// What is known of a pod's proof.
#[derive(Clone, Debug, Default)]
pub struct Standing {
    /// When every hook refused the canary the last time, and the generation that all judged by.
    pub proved: Option<(Timestamp, u64)>,
    /// The layers that refused it at the last try.
    pub layers: Vec<u8>,
    /// What was wrong at the last try.
    pub failing: Option<String>,
    tried: Option<Instant>,
}

/// Every pod's standing, by the cookie of its namespace.
#[derive(Debug, Default)]
pub struct Standings(Mutex<BTreeMap<u64, Standing>>);

impl Standings {
    /// What is known of the pod of a namespace.
    pub fn of(&self, netns: u64) -> Option<Standing> {
        self.lock().get(&netns).cloned()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<u64, Standing>> {
        lock(&self.0)
    }
}

/// The task that sends canaries.
#[derive(Debug)]
pub struct Canaries {
    pub kernel: Arc<Kernel>,
    pub worker: Arc<Worker>,
    pub subjects: watch::Receiver<Vec<Subject>>,
    pub standings: Arc<Standings>,
    pub interval: Duration,
    /// Sockets that are to be closed where nobody waits for it.
    pub spent: Mutex<Vec<Socket>>,
}

impl Canaries {
    /// Proves pods as long as the agent runs.
    pub async fn run(mut self) -> Result<(), RecvError> {
        let mut looks = interval(LOOK);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut subjects: Vec<Subject> = Vec::new();
        loop {
            tokio::select! {
                news = self.subjects.changed() => {
                    news?;
                    let now = self.subjects.borrow_and_update().clone();
                    self.forget_others(&subjects, &now);
                    subjects = now;
                }
                _ = looks.tick() => {}
            }
            let due: Vec<Subject> =
                subjects.iter().filter(|subject| self.is_due(subject)).cloned().collect();
            let due = futures_util::stream::iter(due);
            due.for_each_concurrent(AT_ONCE, |subject| self.prove(subject)).await;
            let spent = std::mem::take(&mut *lock(&self.spent));
            if !spent.is_empty() {
                spawn_blocking(move || drop(spent));
            }
        }
    }

    /// Forgets what changed or went, so that the first is proved at once, and the kernel's memory of
    /// the second with it.
    fn forget_others(&self, before: &[Subject], now: &[Subject]) {
        let mut standings = self.standings.lock();
        for subject in before.iter().filter(|subject| !now.contains(subject)) {
            standings.remove(&subject.netns.cookie());
        }
        drop(standings);
        let stays: BTreeSet<u64> = now.iter().map(|subject| subject.netns.cookie()).collect();
        let proofs = &self.kernel.maps.proofs;
        let keys = proofs.keys().unwrap_or_default();
        for key in keys.iter().filter(|key| !stays.contains(&key.netns)) {
            // It costs a little memory when it fails, and is tried at the next change.
            let _ = proofs.remove(key);
        }
    }

    fn is_due(&self, subject: &Subject) -> bool {
        let Some(standing) = self.standings.of(subject.netns.cookie()) else { return true };
        let Some(age) = standing.tried.map(|tried| tried.elapsed()) else { return true };
        let generation = self.kernel.maps.node.generation();
        let is_old = standing.proved.is_none_or(|(_, judged_by)| judged_by != generation);
        let wait = match (&standing.failing, is_old) {
            (Some(_), _) => RETRY,
            (None, true) => RENEWAL,
            (None, false) => self.interval,
        };
        age >= wait.min(self.interval)
    }

    async fn prove(&self, subject: Subject) {
        let cookie = subject.netns.cookie();
        let mut standing = self.standings.of(cookie).unwrap_or_default();
        let outcome = self.send(&subject).await;
        let complaint = match self.wrong_addresses(&subject).await {
            Some(wrong) => Some(wrong),
            None => outcome.complaint(),
        };
        standing.tried = Some(Instant::now());
        standing.layers = outcome.layers();
        if let Some(generation) = outcome.generation() {
            standing.proved = Some((Timestamp::now(), generation));
        } else {
            self.kernel.mending.ask();
        }
        tell(&subject, standing.failing.as_deref(), complaint.as_deref());
        standing.failing = complaint;
        self.standings.lock().insert(cookie, standing);
    }

    async fn send(&self, subject: &Subject) -> Outcome {
        let maps = &self.kernel.maps;
        let cookie = subject.netns.cookie();
        let key = |hook, interface| ProofKey { netns: cookie, hook, interface };
        let read = |key: ProofKey| maps.proofs.get(&key).ok().flatten();
        let generation = maps.node.generation();
        let before: BTreeMap<ProofKey, Proof> = volley::hooks(&subject.links)
            .map(|(hook, interface)| key(hook, interface))
            .filter_map(|key| Some((key, read(key)?)))
            .collect();
        let links = subject.links.clone();
        let asks_layer_2 = !self.kernel.programs.missing.iter().any(|hook| hook.layer == 2);
        let fired =
            self.worker.run(&subject.netns, move || volley::fire(&links, asks_layer_2)).await;
        let volley = match fired {
            Ok(volley) => volley,
            Err(error) => return Outcome { generation, error: Some(chain(&error)), heard: vec![] },
        };
        lock(&self.spent).extend(volley.packet_socket);
        let is_new = |key: &ProofKey, proof: &Proof| before.get(key) != Some(proof);
        let mut heard = Vec::new();
        let deadline = Instant::now() + PATIENCE;
        for shot in volley.shots {
            let key = key(shot.hook, shot.interface);
            let mut proof = read(key).filter(|proof| is_new(&key, proof));
            while shot.layer == 3
                && matches!(shot.reply, Reply::Sent)
                && proof.is_none()
                && Instant::now() < deadline
            {
                sleep(PAUSE).await;
                proof = read(key).filter(|proof| is_new(&key, proof));
            }
            heard.push((shot, proof));
        }
        Outcome { generation, error: None, heard }
    }

    /// What is wrong with the namespace's addresses.
    async fn wrong_addresses(&self, subject: &Subject) -> Option<String> {
        if subject.addresses.is_empty() {
            return None;
        }
        let has = match addresses::of(&self.worker, &subject.netns).await {
            Ok(has) => has,
            Err(error) => return Some(format!("its addresses cannot be read: {}", chain(&error))),
        };
        let lacks: Vec<_> = subject.addresses.iter().filter(|addr| !has.contains(addr)).collect();
        if lacks.is_empty() {
            return None;
        }
        Some(format!(
            "the namespace {} lacks {} of the Pod's status.podIPs and has {}: it is another pod's, \
             or the network plugin has not set it up",
            subject.netns.path().display(),
            list(lacks),
            if has.is_empty() { "none".to_owned() } else { list(&has) },
        ))
    }
}

fn list<'a>(addresses: impl IntoIterator<Item = &'a IpAddr>) -> String {
    addresses.into_iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

/// Says what is news.
fn tell(subject: &Subject, before: Option<&str>, now: Option<&str>) {
    let pod = &subject.id;
    match (before, now) {
        (Some(_), None) => tracing::info!(%pod, "the canary is refused by every hook again"),
        (before, Some(why)) if before != now => {
            tracing::warn!(%pod, why, "the pod's canary fails");
        }
        _ => {}
    }
}

/// What came of a volley.
struct Outcome {
    /// In force before it was sent.
    generation: u64,
    /// Why it could not be sent.
    error: Option<String>,
    heard: Vec<(Shot, Option<Proof>)>,
}

impl Outcome {
    /// The generation that every hook judged by, when every hook did.
    fn generation(&self) -> Option<u64> {
        if self.complaint().is_some() {
            return None;
        }
        self.heard.iter().filter_map(|(_, proof)| Some(proof.as_ref()?.generation)).min()
    }

    /// The layers of which every hook answered.
    fn layers(&self) -> Vec<u8> {
        let all = |layer: &u8| {
            let mut of_it = self.heard.iter().filter(|(shot, _)| shot.layer == *layer);
            let answers = |(shot, proof): &(Shot, Option<Proof>)| {
                !matches!(shot.reply, Reply::NoWay) && self.wrong(shot, *proof).is_none()
            };
            of_it.clone().any(answers)
                && of_it.all(|(shot, proof)| self.wrong(shot, *proof).is_none())
        };
        [1, 2, 3].into_iter().filter(all).collect()
    }

    /// What is wrong, in one line.
    fn complaint(&self) -> Option<String> {
        if let Some(error) = &self.error {
            return Some(format!("no canary can be sent: {error}"));
        }
        let wrong: Vec<String> =
            self.heard.iter().filter_map(|(shot, proof)| self.wrong(shot, *proof)).collect();
        (!wrong.is_empty()).then(|| format!("its canary shows: {}", wrong.join("; ")))
    }

    fn wrong(&self, shot: &Shot, proof: Option<Proof>) -> Option<String> {
        let name = &shot.name;
        let refused = matches!(shot.reply, Reply::Refused);
        match (&shot.reply, proof) {
            (Reply::NoWay, _) => None,
            (Reply::Failed(error), None) => Some(format!("{name} did not judge it ({error})")),
            (_, None) if refused => Some(format!("{name}: somebody else refused it")),
            (_, None) => Some(format!("{name} did not judge it")),
            (_, Some(proof)) if proof.generation < self.generation => Some(format!(
                "{name} judges by generation {}, and {} is in force",
                proof.generation, self.generation
            )),
            (Reply::Sent | Reply::Failed(_), Some(_)) if shot.layer < 3 => {
                Some(format!("{name} refused it, and another program let it out"))
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests;
