//! The pods of this node as the kernel knows them: each with its namespace open, and, when it is
//! judged, with the proxy's listeners inside it and the host's ends of its links.
//!
//! Enrolling has an order. What the agent opens inside the pod comes first, since it can fail;
//! then layer 3 is attached to its links; then the policy is published, and every layer judges by it
//! at once. The proxy listens right before that and serves right after it, so that an agent before
//! serves until then. A pod that cannot be enrolled whole is reported as failing, with the reason, and
//! is tried again.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use agent_base::error::chain;
use agent_kernel::{
    maps::Maps,
    netns::{NetNs, Worker},
};
use agent_model::{
    inbound::Inbound,
    pod::PodId,
    snapshot::{Enrolment, PodPlan, Snapshot},
};
use agent_proxy::Proxy;
use tokio::task::JoinSet;

use super::{
    evidence::{Evidence, Located, NamespacePath},
    link_watch::{LinkChanges, LinkWatch},
    veth::{self, HostEnds},
};

mod inbound;
mod link_hooks;
mod listeners;
mod pod;
mod problem;

use inbound::Guarded;
use problem::EnrolError;

pub use link_hooks::LinkScope;
pub use pod::Pod;
pub use problem::{Problem, ProblemKind};

/// How long connections through the proxy may go on when their pod leaves the mesh.
const DRAIN: Duration = Duration::from_secs(30);

/// All pods of this node.
#[derive(Debug)]
pub struct Pods {
    worker: Arc<Worker>,
    maps: Arc<Maps>,
    proxy: Arc<Proxy>,
    evidence: Evidence,
    servers: JoinSet<()>,
    watch: LinkWatch,
    known: BTreeMap<PodId, Pod>,
    guarded: Guarded,
    problems: BTreeMap<PodId, Problem>,
    /// Those of the look before, which are not news.
    problems_before: BTreeMap<PodId, Problem>,
}

impl Pods {
    /// No pods yet; what is said of links is kept in `link_changes`.
    pub fn new(
        worker: Arc<Worker>,
        maps: Arc<Maps>,
        proxy: Arc<Proxy>,
        evidence: Evidence,
        link_changes: Arc<LinkChanges>,
    ) -> Self {
        Self {
            worker,
            maps,
            proxy,
            evidence,
            servers: JoinSet::new(),
            watch: LinkWatch::new(link_changes),
            known: BTreeMap::new(),
            guarded: Guarded::default(),
            problems: BTreeMap::new(),
            problems_before: BTreeMap::new(),
        }
    }

    /// The pods whose namespaces are open.
    pub fn known(&self) -> &BTreeMap<PodId, Pod> {
        &self.known
    }

    /// The thread that enters namespaces.
    pub fn worker(&self) -> &Worker {
        &self.worker
    }

    /// The proxy that serves them.
    pub fn proxy(&self) -> &Arc<Proxy> {
        &self.proxy
    }

    /// What is said of links.
    pub fn link_changes(&self) -> &Arc<LinkChanges> {
        self.watch.changes()
    }

    /// Why a pod is not enrolled whole.
    pub fn problem(&self, id: &PodId) -> Option<&Problem> {
        self.problems.get(id)
    }

    /// How many pods are like that.
    pub fn count(&self, kind: ProblemKind) -> usize {
        self.problems.values().filter(|problem| problem.kind == kind).count()
    }

    /// Opens what the snapshot's pods need and closes what the others had. Pods that are enrolled
    /// by this call while they run are returned: they want their old connections looked at.
    ///
    /// `awaited` are the pods that the runtime waits for before it starts anything in them.
    pub async fn prepare(&mut self, snapshot: &Snapshot, awaited: &BTreeSet<PodId>) -> Vec<PodId> {
        self.reap();
        self.problems_before = std::mem::take(&mut self.problems);
        let located = self.evidence.located();
        self.known.retain(|id, pod| {
            let plan = snapshot.pods.get(id).filter(|plan| !plan.is_pending());
            let path = plan.and_then(|plan| located.path(id, plan).ok());
            let stays = path.is_some_and(|path| path.is(&pod.netns)) && pod.netns.is_current();
            if !stays {
                tracing::info!(pod = %id, "pod is gone");
            }
            stays
        });
        let mut fresh = Vec::new();
        for (id, plan) in &snapshot.pods {
            let is_awaited = awaited.contains(id);
            match self.prepare_one(id, plan, &located).await {
                Ok(is_new) if is_new && !is_awaited => fresh.push(id.clone()),
                Ok(_) => {}
                Err(error) => self.report(id, &error),
            }
            if let Some(pod) = self.known.get_mut(id) {
                pod.is_awaited = is_awaited;
                let server = pod.is_enrolled().then(|| snapshot.requests.server(id)).flatten();
                pod.inbound = server.map(|it| it.inbound(&plan.probes)).unwrap_or_default();
            }
        }
        fresh
    }

    /// Lets go of servers that have ended with their pods; nothing else waits for them.
    fn reap(&mut self) {
        while let Some(ended) = self.servers.try_join_next() {
            if let Err(error) = ended {
                tracing::error!(%error, "a server of the proxy's in a pod ended");
            }
        }
    }

    fn report(&mut self, id: &PodId, error: &EnrolError) {
        let problem = Problem { kind: error.kind(), why: chain(error) };
        if self.problems_before.get(id) != Some(&problem) {
            let why = &problem.why;
            if problem.kind == ProblemKind::Pending {
                tracing::debug!(pod = %id, why, "pod is being made");
            } else {
                tracing::warn!(pod = %id, error = why, "pod is not enrolled whole");
            }
        }
        self.problems.insert(id.clone(), problem);
    }

    /// True for a pod that is enrolled by this call, and that no agent before has judged.
    async fn prepare_one(
        &mut self,
        id: &PodId,
        plan: &PodPlan,
        located: &Located,
    ) -> Result<bool, EnrolError> {
        let path = match (located.path(id, plan), &plan.enrolment) {
            (_, Enrolment::Pending(why)) => return Err(EnrolError::Undecided(why.clone())),
            (Ok(path), _) => path,
            (Err(error), Enrolment::Enrolled(_)) => return Err(error.into()),
            (Err(_), Enrolment::NotEnrolled(_)) => return Ok(false),
        };
        if !self.known.contains_key(id) {
            let pod = self.open(id, plan, &path).await?;
            self.known.insert(id.clone(), pod);
        }
        let pod = self.known.get_mut(id).expect("it was there or has just been put there");
        pod.addresses = path.addresses;
        pod.enrolment = plan.enrolment.clone();
        if !pod.is_enrolled() {
            pod.let_links_go();
            if let Some(proxy) = pod.proxy.take() {
                proxy.trigger.drain(DRAIN);
            }
            return Ok(false);
        }
        if pod.proxy.is_some() && !self.problems_before.contains_key(id) {
            return Ok(false);
        }
        // Before the first look: what comes after it is told.
        self.watch.listen_at_home(&self.worker).await?;
        if pod.listening.is_none() {
            pod.listening = Some(self.watch.listen(&self.worker, &pod.netns).await?);
        }
        let ends = veth::host_ends(&self.worker, &pod.netns).await?;
        self.take_ends(id, ends);
        let pod = self.known.get_mut(id).expect("it was there before");
        if pod.proxy.is_some() {
            return Ok(false);
        }
        // The kernel's memory of a pod that an agent before has judged is better than ours.
        let was_judged = listeners::port_before(&self.maps, pod.netns.cookie()).is_some();
        pod.proxy =
            Some(listeners::reserve(&self.worker, (&self.maps, &self.proxy), &pod.netns).await?);
        Ok(!was_judged)
    }

    /// Has new connections of all pods come to this agent, where they wait: for the moment in which the
    /// generation is about to be in force that [`Pods::prepare`] was called for.
    pub fn listen(&mut self) {
        let mut failed = Vec::new();
        for (id, pod) in &mut self.known {
            if let Some(proxy) = &mut pod.proxy
                && let Err(error) = proxy.listen()
            {
                pod.proxy = None;
                failed.push((id.clone(), EnrolError::from(error)));
            }
        }
        for (id, error) in failed {
            self.report(&id, &error);
        }
    }

    /// Has the proxy serve what waits, once it knows the generation.
    pub fn serve(&mut self) {
        for pod in self.known.values_mut() {
            if let Some(proxy) = &mut pod.proxy {
                proxy.serve(&self.proxy, &mut self.servers, &pod.netns);
            }
        }
    }

    /// Waits until the proxy has served all connections, after it was asked to end.
    pub async fn finish(&mut self) {
        while let Some(ended) = self.servers.join_next().await {
            if let Err(error) = ended {
                tracing::error!(%error, "a server of the proxy's in a pod ended");
            }
        }
    }

    async fn open(
        &self,
        id: &PodId,
        plan: &PodPlan,
        at: &NamespacePath,
    ) -> Result<Pod, EnrolError> {
        let netns = NetNs::open(&self.worker, &at.path).await?;
        if !at.is(&netns) {
            return Err(EnrolError::OtherNamespace(at.path.clone()));
        }
        if netns.same_as(self.worker.own()) {
            return Err(EnrolError::HostNamespace(at.path.clone()));
        }
        if let Some((other, _)) =
            self.known.iter().find(|(other, pod)| *other != id && pod.netns.same_as(&netns))
        {
            let (path, other) = (at.path.clone(), other.clone());
            return Err(EnrolError::SharedNamespace { path, other });
        }
        Ok(Pod {
            netns,
            addresses: plan.addresses.clone(),
            enrolment: plan.enrolment.clone(),
            inbound: Inbound::default(),
            proxy: None,
            listening: None,
            ends: HostEnds::default(),
            is_suspect: false,
            attached: Vec::new(),
            is_awaited: false,
        })
    }

    /// True when a namespace has vanished, or something failed the last time: there is no
    /// event of either.
    pub fn want_another_look(&self) -> bool {
        self.count(ProblemKind::Failing) > 0
            || self.known.values().any(|pod| !pod.netns.is_current())
    }
}
