//! The pods of this node as the kernel knows them: each with its namespace open, and, when it is
//! judged, with the proxy's listeners inside it and the host's ends of its links.
//!
//! Enrolling has an order. What the agent opens inside the pod comes first, since it can fail;
//! then the wire layer is attached; then the policy is published, and every layer judges by it at
//! once. A pod that cannot be enrolled whole is reported as failing, with
//! the reason, and is tried again.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    net::IpAddr,
    path::PathBuf,
    sync::Arc,
    time::Duration,
};

use agent_abi::PodKey;
use agent_base::error::chain;
use agent_kernel::{
    lifecycle::Kernel,
    links::LinkError,
    maps::{Maps, Mark},
    netns::{NetNs, NetNsError, Worker},
    sys::SysError,
};
use agent_model::snapshot::{Enrolment, PodId, PodPlan, Snapshot};
use agent_proxy::{Drain, DrainTrigger, Proxy, Workload, WorkloadId};
use thiserror::Error;
use tokio::task::JoinSet;

use super::{
    evidence::{Evidence, Known, NoPlace, Place},
    sockets::{self, Listeners, Port, SocketError},
    veth::{self, HostEnd, HostEnds, VethError},
};

/// How long connections through the proxy may go on when their pod leaves the mesh.
const DRAIN: Duration = Duration::from_secs(30);

/// Why a pod is not enrolled whole.
#[derive(Debug, Error)]
pub(crate) enum EnrolError {
    /// There is no evidence of where the pod's namespace is.
    #[error(transparent)]
    NoPlace(#[from] NoPlace),
    /// It cannot be told yet whether it is to be judged.
    #[error("{0}")]
    Undecided(String),
    /// The namespace is the host's.
    #[error("its network namespace is said to be at {}, which is the agent's own", _0.display())]
    HostNamespace(PathBuf),
    /// Two pods have one namespace.
    #[error("its network namespace is said to be at {}, which is that of Pod {other}", path.display())]
    SharedNamespace {
        /// Where.
        path: PathBuf,
        /// Whose it is.
        other: PodId,
    },
    /// The agent sees another file system than the runtime.
    #[error(
        "{} is another namespace here than the container runtime has made; mount it from the node, \
         with its later mounts (mountPropagation: HostToContainer)", _0.display()
    )]
    OtherNamespace(PathBuf),
    /// The namespace cannot be opened.
    #[error(transparent)]
    Namespace(#[from] NetNsError),
    /// The proxy cannot listen inside it.
    #[error(transparent)]
    Listen(#[from] SocketError),
    /// Its links cannot be found.
    #[error(transparent)]
    Veth(#[from] VethError),
    /// Nothing sees the frames of a link.
    #[error("layer 3 does not see the frames of {0}")]
    Unseen(String),
    /// The wire layer cannot be attached.
    #[error(transparent)]
    Wire(#[from] LinkError),
    /// A map cannot be written.
    #[error("the map {map} cannot be written")]
    Map {
        /// The map.
        map: &'static str,
        /// Why.
        source: SysError,
    },
}

/// What is to be thought of a pod that is not enrolled whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lack {
    /// It is being made, and nothing is wrong.
    Waiting,
    /// It cannot be enrolled, by its nature.
    Unenrollable,
    /// Something is missing.
    Failing,
}

impl EnrolError {
    fn lack(&self) -> Lack {
        match self {
            Self::NoPlace(NoPlace::NotYet) | Self::Undecided(_) => Lack::Waiting,
            Self::NoPlace(NoPlace::Sandboxed(_)) => Lack::Unenrollable,
            _ => Lack::Failing,
        }
    }
}

/// The links on which the wire layer is to be put.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wanting {
    /// Those that have never had it. To find out whether another still has it costs six calls.
    New,
    /// And those from which somebody else has taken it.
    Lost,
    /// And those that have it.
    All,
}

/// A pod with its namespace open.
#[derive(Debug)]
pub struct Pod {
    /// Kept open, so that its cookie stays its own.
    pub netns: NetNs,
    /// The manifest's.
    pub addresses: Vec<IpAddr>,
    /// Judged or let be.
    pub enrolment: Enrolment,
    /// The proxy inside it, when judged.
    proxy: Option<InPod>,
    /// The host's ends of its links, when judged.
    ends: HostEnds,
    /// Ends on which this process has put its programs.
    wired: Vec<u32>,
}

impl Pod {
    /// The port of the proxy's listeners.
    pub fn proxy_port(&self) -> Option<u16> {
        self.proxy.as_ref().map(|proxy| proxy.port)
    }

    /// The host's ends of its links.
    pub fn ends(&self) -> &[HostEnd] {
        &self.ends.ends
    }

    /// True when it is to be judged.
    pub fn is_enrolled(&self) -> bool {
        matches!(self.enrolment, Enrolment::Enrolled(_))
    }
}

struct InPod {
    port: u16,
    trigger: DrainTrigger,
}

impl fmt::Debug for InPod {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("InPod").field("port", &self.port).finish_non_exhaustive()
    }
}

/// All pods of this node.
#[derive(Debug)]
pub struct Pods {
    worker: Arc<Worker>,
    maps: Arc<Maps>,
    proxy: Arc<Proxy>,
    evidence: Evidence,
    servers: JoinSet<()>,
    known: BTreeMap<PodId, Pod>,
    problems: BTreeMap<PodId, (Lack, String)>,
    /// Those of the look before, which are not news.
    problems_before: BTreeMap<PodId, (Lack, String)>,
}

impl Pods {
    /// No pods yet.
    pub fn new(
        worker: Arc<Worker>,
        maps: Arc<Maps>,
        proxy: Arc<Proxy>,
        evidence: Evidence,
    ) -> Self {
        Self {
            worker,
            maps,
            proxy,
            evidence,
            servers: JoinSet::new(),
            known: BTreeMap::new(),
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

    /// Why a pod is not enrolled whole.
    pub fn problem(&self, id: &PodId) -> Option<(Lack, &str)> {
        self.problems.get(id).map(|(lack, why)| (*lack, why.as_str()))
    }

    /// How many pods are like that.
    pub fn count(&self, lack: Lack) -> usize {
        self.problems.values().filter(|(one, _)| *one == lack).count()
    }

    /// Opens what the snapshot's pods need and closes what the others had. Pods that are enrolled
    /// by this call while they run are returned: they want their old connections looked at.
    pub async fn prepare(&mut self, snapshot: &Snapshot) -> Vec<PodId> {
        self.reap();
        self.problems_before = std::mem::take(&mut self.problems);
        let seen = self.evidence.known();
        self.known.retain(|id, pod| {
            let plan = snapshot.pods.get(id).filter(|plan| !plan.is_pending());
            let place = plan.and_then(|plan| seen.place(id, plan).ok());
            let stays = place.is_some_and(|place| place.is(&pod.netns)) && pod.netns.is_current();
            if !stays {
                tracing::info!(pod = %id, "pod is gone");
            }
            stays
        });
        let mut fresh = Vec::new();
        for (id, plan) in &snapshot.pods {
            match self.prepare_one(id, plan, &seen).await {
                Ok(true) => fresh.push(id.clone()),
                Ok(false) => {}
                Err(error) => self.report(id, &error),
            }
        }
        fresh
    }

    /// Lets go of servers that have ended with their pods; nobody else waits for them.
    fn reap(&mut self) {
        while let Some(ended) = self.servers.try_join_next() {
            if let Err(error) = ended {
                tracing::error!(%error, "a server of the proxy's in a pod ended");
            }
        }
    }

    fn report(&mut self, id: &PodId, error: &EnrolError) {
        let problem = (error.lack(), chain(error));
        if self.problems_before.get(id) != Some(&problem) {
            match &problem {
                (Lack::Waiting, why) => tracing::debug!(pod = %id, why, "pod is being made"),
                (_, error) => tracing::warn!(pod = %id, error, "pod is not enrolled whole"),
            }
        }
        self.problems.insert(id.clone(), problem);
    }

    async fn prepare_one(
        &mut self,
        id: &PodId,
        plan: &PodPlan,
        seen: &Known,
    ) -> Result<bool, EnrolError> {
        let place = match (seen.place(id, plan), &plan.enrolment) {
            (_, Enrolment::Pending(why)) => return Err(EnrolError::Undecided(why.clone())),
            (Ok(place), _) => place,
            (Err(error), Enrolment::Enrolled(_)) => return Err(error.into()),
            (Err(_), Enrolment::NotEnrolled(_)) => return Ok(false),
        };
        if !self.known.contains_key(id) {
            let pod = self.open(id, plan, &place).await?;
            self.known.insert(id.clone(), pod);
        }
        let pod = self.known.get_mut(id).expect("it was there or has just been put there");
        pod.addresses = place.addresses;
        pod.enrolment = plan.enrolment.clone();
        if !pod.is_enrolled() {
            if let Some(proxy) = pod.proxy.take() {
                proxy.trigger.drain(DRAIN);
            }
            return Ok(false);
        }
        if pod.proxy.is_some() && !self.problems_before.contains_key(id) {
            return Ok(false);
        }
        pod.ends = veth::host_ends(&self.worker, &pod.netns).await?;
        if pod.proxy.is_some() {
            return Ok(false);
        }
        // The kernel's memory of a pod that an agent before has judged is better than ours.
        let was_judged = port_before(&self.maps, pod.netns.cookie()).is_some();
        let listeners = listen(&self.worker, &self.maps, &pod.netns).await?;
        pod.proxy = Some(serve(&self.proxy, &mut self.servers, &pod.netns, listeners));
        Ok(!was_judged && !self.evidence.sandboxes.is_asked_for(id))
    }

    async fn open(&self, id: &PodId, plan: &PodPlan, place: &Place) -> Result<Pod, EnrolError> {
        let netns = NetNs::open(&self.worker, &place.path).await?;
        if !place.is(&netns) {
            return Err(EnrolError::OtherNamespace(place.path.clone()));
        }
        if netns.same_as(self.worker.own()) {
            return Err(EnrolError::HostNamespace(place.path.clone()));
        }
        if let Some((other, _)) =
            self.known.iter().find(|(other, pod)| *other != id && pod.netns.same_as(&netns))
        {
            let (path, other) = (place.path.clone(), other.clone());
            return Err(EnrolError::SharedNamespace { path, other });
        }
        Ok(Pod {
            netns,
            addresses: plan.addresses.clone(),
            enrolment: plan.enrolment.clone(),
            proxy: None,
            ends: HostEnds::default(),
            wired: Vec::new(),
        })
    }

    /// Attaches the wire layer to the links of pods that are to be judged. Before their policies
    /// are published it lets their frames pass, or holds them, as it would those of any pod that
    /// is not known: no frame slips out between the two.
    ///
    /// In a pod that the runtime waits for nobody answers yet: what learns from arriving frames
    /// is left to [`Pods::finish_wiring`].
    pub fn wire(&mut self, kernel: &Kernel, which: Wanting) {
        let mut failures = Vec::new();
        for (id, pod) in self.known.iter_mut().filter(|(_, pod)| pod.is_enrolled()) {
            for end in &pod.ends.ends {
                let was_wired = pod.wired.contains(&end.ifindex);
                if was_wired && which == Wanting::New {
                    continue;
                }
                let is_lost = was_wired && !is_wired(kernel, end);
                if was_wired && !is_lost && which != Wanting::All {
                    continue;
                }
                let is_young = !was_wired && self.evidence.sandboxes.is_asked_for(id);
                let wire = if is_young { wire_young } else { wire_one };
                match wire(kernel, pod.netns.cookie(), end) {
                    Ok(moved) if is_lost || (was_wired && moved) => {
                        kernel.mending.note("layer 3", &end.name);
                    }
                    Ok(_) if was_wired => {}
                    Ok(_) => pod.wired.push(end.ifindex),
                    Err(error) => failures.push((id.clone(), error)),
                }
            }
            if !pod.ends.unseen.is_empty() {
                let unseen: Vec<String> = pod.ends.unseen.iter().map(ToString::to_string).collect();
                failures.push((id.clone(), EnrolError::Unseen(unseen.join("; "))));
            }
        }
        for (id, error) in failures {
            self.report(&id, &error);
        }
    }

    /// Attaches what [`Pods::wire`] has left for later.
    pub fn finish_wiring(&mut self, kernel: &Kernel) {
        let due = kernel.links.due();
        let mut failures = Vec::new();
        for (id, pod) in &mut self.known {
            for end in pod.ends.ends.iter().filter(|end| due.contains(&end.ifindex)) {
                if let Err(error) = wire_one(kernel, pod.netns.cookie(), end) {
                    pod.wired.retain(|wired| *wired != end.ifindex);
                    failures.push((id.clone(), error));
                }
            }
        }
        for (id, error) in failures {
            self.report(&id, &error);
        }
    }

    /// Looks at the links of a pod that is enrolled already, which may have others by now.
    pub async fn look_at_links(&mut self, id: &PodId) {
        let Some(pod) = self.known.get_mut(id).filter(|pod| pod.is_enrolled()) else { return };
        match veth::host_ends(&self.worker, &pod.netns).await {
            Ok(ends) => pod.ends = ends,
            Err(error) => self.report(id, &EnrolError::from(error)),
        }
    }

    /// Takes the wire layer from the links that no judged pod has (any more).
    pub fn unwire(&self, kernel: &Kernel) {
        let judged = self.known.values().filter(|pod| pod.is_enrolled());
        let wanted: BTreeSet<u32> =
            judged.flat_map(|pod| &pod.ends.ends).map(|end| end.ifindex).collect();
        let stale = kernel.links.wires().into_iter().filter(|wire| !wanted.contains(wire));
        for interface in stale {
            let detached = kernel.links.detach_wire(interface).map_err(EnrolError::from);
            let forgotten = kernel.maps.veths.remove(&interface).map_err(map_error("VETHS"));
            if let Err(error) = detached.and(forgotten) {
                tracing::warn!(interface, error = %chain(&error), "cannot let go of a link");
            }
        }
    }

    /// True when somebody has taken the wire layer off a link, or put theirs before it.
    pub fn has_lost_a_wire(&self, kernel: &Kernel) -> bool {
        let judged = self.known.values().filter(|pod| pod.is_enrolled());
        let mut wired =
            judged.flat_map(|pod| pod.ends().iter().filter(|end| pod.wired.contains(&end.ifindex)));
        wired.any(|end| !is_wired(kernel, end))
    }

    /// True when a namespace has vanished, or something failed the last time: nobody sends an
    /// event for either.
    pub fn want_another_look(&self) -> bool {
        self.count(Lack::Failing) > 0 || self.known.values().any(|pod| !pod.netns.is_current())
    }
}

fn is_wired(kernel: &Kernel, end: &HostEnd) -> bool {
    kernel
        .links
        .wire()
        .hooks()
        .iter()
        .all(|hook| kernel.links.is_held(&kernel.programs, hook, end.ifindex))
}

/// True when somebody else's program had come before ours.
fn wire_one(kernel: &Kernel, cookie: u64, end: &HostEnd) -> Result<bool, EnrolError> {
    kernel.maps.veths.set(&end.ifindex, &cookie).map_err(map_error("VETHS"))?;
    Ok(kernel.links.attach_wire(&kernel.programs, end.ifindex)?)
}

/// The same for an end that nobody has attached anything to, as far as frames are judged.
fn wire_young(kernel: &Kernel, cookie: u64, end: &HostEnd) -> Result<bool, EnrolError> {
    kernel.maps.veths.set(&end.ifindex, &cookie).map_err(map_error("VETHS"))?;
    kernel.links.attach_judge(&kernel.programs, end.ifindex)?;
    Ok(false)
}

fn map_error(map: &'static str) -> impl Fn(SysError) -> EnrolError {
    move |source| EnrolError::Map { map, source }
}

/// Listens inside the pod: on the port that an agent before has told the kernel of, or a free one.
async fn listen(
    worker: &Worker,
    maps: &Arc<Maps>,
    netns: &NetNs,
) -> Result<Listeners, SocketError> {
    let mark = || Arc::clone(maps) as Arc<dyn Mark>;
    if let Some(port) = port_before(maps, netns.cookie()) {
        match sockets::listen(worker, netns, Port::TakeOver(port), mark()).await {
            Err(SocketError::Taken { .. }) => {}
            listening => return listening,
        }
    }
    sockets::listen(worker, netns, Port::FirstFree, mark()).await
}

fn port_before(maps: &Maps, cookie: u64) -> Option<u16> {
    let slot = u32::from(maps.node.generation() & 1 == 1);
    let policy = maps.pods.get(&PodKey { netns: cookie, slot, pad: 0 }).ok()??;
    u16::try_from(policy.proxy_port).ok().filter(|port| *port != 0)
}

fn serve(
    proxy: &Arc<Proxy>,
    servers: &mut JoinSet<()>,
    netns: &NetNs,
    listeners: Listeners,
) -> InPod {
    let workload = Workload::new(WorkloadId(netns.cookie()), proxy);
    let (trigger, drain): (DrainTrigger, Drain) = agent_proxy::drain();
    let port = listeners.port;
    for listener in std::iter::once(listeners.v4).chain(listeners.v6) {
        let serving =
            agent_proxy::serve(Arc::clone(proxy), Arc::clone(&workload), listener, drain.clone());
        servers.spawn(serving);
    }
    InPod { port, trigger }
}
