//! What the agent says of itself: made after each publication, with the parts that change by
//! themselves (counters, what hangs where) asked of the kernel when somebody wants to know.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};

use agent_abi::{Flow, Judgement, counter, decide};
use agent_model::snapshot::{Enrolment, PodId, PodPlan, Snapshot};
use arc_swap::{ArcSwap, ArcSwapOption};
use jiff::Timestamp;

use crate::{
    admin::Answers,
    args::{AgentArgs, Layer3, OnRevoke},
    herald,
    kernel::{
        Kernel,
        hooks::{self, Wire},
    },
    observe::status::{self, Cni, Hook, Note, State, Status, default_action},
    pods::{
        canary::Standings,
        enrol::{Lack, Pod, Pods},
    },
    resolve::Known,
    source::{Observed, cluster::Progress, store::Spots},
    sync::Sync,
};

/// The parts that a publication decides.
#[derive(Debug)]
struct Latest {
    state: State,
    generation_since: Option<Timestamp>,
    rules: u64,
    prefixes: u64,
    pods: Vec<Judged>,
    objects: BTreeMap<String, u64>,
    /// What is worth knowing of objects themselves; the snapshot has what became of them.
    notes: Arc<[Arc<Note>]>,
    spots: Arc<Spots>,
    snapshot: Arc<Snapshot>,
}

/// A note on a hook of the wire layer.
const NOT_YET: &str = "the pod is being made";

/// A pod's part of the status, with the interfaces where its hooks hang.
#[derive(Debug)]
struct Judged {
    pod: status::Pod,
    ends: Vec<(u32, String)>,
}

/// How far an API server is followed, and what is told there; nothing of a directory.
pub(crate) type Followed = (Option<Arc<Progress>>, Option<Arc<herald::State>>);

/// The agent's report.
#[derive(Debug)]
pub(crate) struct Report {
    fixed: Status,
    kernel: Arc<Kernel>,
    latest: ArcSwapOption<Latest>,
    published: Mutex<(u64, Option<Timestamp>)>,
    source: Option<Arc<Progress>>,
    herald: Option<Arc<herald::State>>,
    names: Known,
    cni: Option<Arc<ArcSwap<Cni>>>,
    standings: Arc<Standings>,
}

impl Report {
    /// A report of an agent that has just started.
    pub(crate) fn new(
        args: &AgentArgs,
        kernel: Arc<Kernel>,
        (source, names, standings): (Followed, Known, Arc<Standings>),
        cni: Option<Arc<ArcSwap<Cni>>>,
    ) -> Self {
        let hold = args.holds_unknown_pods();
        let keep = args.on_revoke == OnRevoke::Keep;
        let fixed = Status {
            node: args.node_name.clone(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            started: Timestamp::now(),
            unknown_pods: if hold { "hold" } else { "allow" }.into(),
            on_revoke: if keep { "keep" } else { "reset" }.into(),
            layer3: kernel.links.wire().name().into(),
            layer3_why: layer3_why(args.layer3, kernel.links.wire()).map(Into::into),
            ..Status::default()
        };
        let published = Mutex::new((0, None));
        let (source, herald) = source;
        let latest = ArcSwapOption::empty();
        Self { fixed, kernel, latest, published, source, herald, names, cni, standings }
    }

    /// True when something of the latest snapshot is not in force.
    pub(crate) fn is_degraded(&self) -> bool {
        let latest = self.latest.load();
        latest.as_ref().is_some_and(|latest| matches!(latest.state, State::Degraded { .. }))
    }

    /// Takes in objects of which nothing can be published.
    pub(crate) fn refuse(&self, observed: &Observed, why: &str) {
        let before = self.latest.load();
        let is_news = |latest: &Arc<Latest>| !matches!(&latest.state, State::Degraded { why: before } if before == why);
        if before.as_ref().is_none_or(is_news) {
            tracing::error!(target: "config", why, "nothing is published");
        }
        self.latest.store(Some(Arc::new(Latest {
            state: State::Degraded { why: why.to_owned() },
            generation_since: None,
            rules: 0,
            prefixes: 0,
            pods: Vec::new(),
            objects: observed.by_kind(),
            notes: Arc::clone(&observed.notes),
            spots: Arc::clone(&observed.spots),
            snapshot: Arc::default(),
        })));
    }

    /// Takes in what a publication came to.
    pub(crate) fn update(
        &self,
        sync: &Sync,
        (observed, snapshot): (&Observed, &Arc<Snapshot>),
        (refused, trouble): (Option<String>, Option<String>),
    ) {
        let pods = sync.pods();
        let failing = pods.count(Lack::Failing);
        let failing = (failing > 0).then(|| format!("{failing} pods are not enrolled whole"));
        let state = match refused.or(failing).or(trouble) {
            Some(why) => State::Degraded { why },
            None => State::Ready,
        };
        self.latest.store(Some(Arc::new(Latest {
            state,
            generation_since: self.since(self.kernel.maps.node.generation()),
            rules: distinct_rules(snapshot),
            prefixes: sync.prefix_count() as u64,
            pods: snapshot.pods.iter().map(|(id, plan)| judged(id, plan, pods)).collect(),
            objects: observed.by_kind(),
            notes: Arc::clone(&observed.notes),
            spots: Arc::clone(&observed.spots),
            snapshot: Arc::clone(snapshot),
        })));
    }

    /// A pod as the newest publication left it.
    pub(crate) fn pod(&self, id: &PodId) -> Option<status::Pod> {
        let latest = self.latest.load();
        let pods = &latest.as_ref()?.pods;
        let is_it =
            |judged: &&Judged| judged.pod.namespace == id.namespace && judged.pod.name == id.name;
        pods.iter().find(is_it).map(|judged| judged.pod.clone())
    }

    fn since(&self, generation: u64) -> Option<Timestamp> {
        let mut published = self.published.lock().unwrap_or_else(PoisonError::into_inner);
        if published.0 != generation {
            *published = (generation, Some(Timestamp::now()));
        }
        published.1
    }
}

impl Answers for Report {
    fn judge(&self, flow: &Flow) -> Judgement {
        decide(&*self.kernel.maps, flow)
    }

    fn snapshot(&self) -> Option<Arc<Snapshot>> {
        self.latest.load().as_ref().map(|latest| Arc::clone(&latest.snapshot))
    }

    fn status(&self) -> Status {
        let maps = &self.kernel.maps;
        let mut status = self.fixed.clone();
        status.generation = maps.node.generation();
        status.hooks = hooks_of(&self.kernel);
        let count = |(index, name): (u32, &&str)| ((*name).to_owned(), maps.counter(index));
        status.counters = (0..).zip(&counter::NAMES).map(count).collect();
        status.cni = self.cni.as_ref().map(|cni| (**cni.load()).clone());
        status.mended = self.kernel.mending.done();
        status.source = self.source.as_ref().map(|source| source.view());
        status.names = self.names.view();
        status.herald = self.herald.as_ref().map(|herald| herald.view());
        let Some(latest) = self.latest.load_full() else { return status };
        name_wanters(&mut status.names, &latest.snapshot);
        status.state = latest.state.clone();
        status.generation_since = latest.generation_since;
        status.rules = latest.rules;
        status.prefixes = latest.prefixes;
        status.objects.clone_from(&latest.objects);
        let note = |finding| Arc::new(Note::new(finding, latest.spots.of(finding)));
        let found = latest.snapshot.findings.iter().map(note);
        status.findings = latest.notes.iter().map(Arc::clone).chain(found).collect();
        let unsaid = self.herald.iter().flat_map(|herald| herald.findings());
        status.findings.extend(unsaid.map(Arc::new));
        status.pods = latest.pods.iter().map(|judged| self.with_hooks(judged)).collect();
        if matches!(status.state, State::Ready)
            && let Some(missing) = missing(&status)
        {
            status.state = State::Degraded { why: format!("{missing} is not attached") };
        }
        if matches!(status.state, State::Ready)
            && let Some(unproved) = unproved(&status)
        {
            status.state = State::Degraded { why: unproved };
        }
        status
    }
}

impl Report {
    /// What a canary shows goes before what the agent believes.
    fn add_canary(&self, pod: &mut status::Pod) {
        if matches!(pod.enrolment, status::Enrolment::Outside { .. }) {
            return;
        }
        let Some(standing) = pod.netns.and_then(|netns| self.standings.of(netns)) else { return };
        if let (status::Enrolment::Enrolled, Some(why)) = (&pod.enrolment, &standing.failing) {
            pod.enrolment = status::Enrolment::Failing { why: why.clone() };
        }
        pod.canary = Some(status::Canary {
            proved: standing.proved.map(|(at, _)| at),
            generation: standing.proved.map(|(_, generation)| generation),
            layers: standing.layers,
            failing: standing.failing,
        });
    }

    fn with_hooks(&self, judged: &Judged) -> status::Pod {
        let due = self.kernel.links.due();
        let hook = |(interface, name): &(u32, String)| {
            let note = due.contains(interface).then(|| NOT_YET.to_owned());
            self.kernel
                .links
                .wire()
                .hooks()
                .iter()
                .map(|hook| Hook {
                    layer: hook.layer,
                    hook: hook.name.to_owned(),
                    place: name.clone(),
                    attached: self.kernel.links.is_wired(hook, *interface),
                    note: note.clone(),
                })
                .collect::<Vec<_>>()
        };
        let mut pod = judged.pod.clone();
        pod.hooks = judged.ends.iter().flat_map(hook).collect();
        self.add_canary(&mut pod);
        pod
    }
}

/// Why layer 3 does not hang as it would by itself on the kernels of today.
fn layer3_why(wanted: Layer3, wire: Wire) -> Option<&'static str> {
    match (wanted, wire) {
        (Layer3::Auto, Wire::Clsact) => Some("this kernel has no tcx (Linux 6.6)"),
        (Layer3::Tcx | Layer3::Clsact, _) => Some("as --layer3 says"),
        (Layer3::Auto, Wire::Tcx) => None,
    }
}

/// Says of each name which objects' rules follow from it.
fn name_wanters(names: &mut [status::Resolved], snapshot: &Snapshot) {
    if names.is_empty() {
        return;
    }
    for service in snapshot.registry.services() {
        for name in &service.names {
            if let Ok(at) = names.binary_search_by(|one| one.name.as_str().cmp(name)) {
                names[at].wanted_by.push(service.key.to_string());
            }
        }
    }
}

fn hooks_of(kernel: &Kernel) -> Vec<Hook> {
    let missing = |name| kernel.programs.missing.iter().any(|hook| hook.name == name);
    hooks::CGROUP
        .iter()
        .map(|hook| Hook {
            layer: hook.layer,
            hook: hook.name.to_owned(),
            place: kernel.cgroup.display().to_string(),
            attached: kernel.links.is_attached(hook),
            note: hook.optional.filter(|_| missing(hook.name)).map(str::to_owned),
        })
        .collect()
}

/// A hook that should hang somewhere and does not.
fn missing(status: &Status) -> Option<String> {
    let pods = status.pods.iter().flat_map(|pod| &pod.hooks);
    let mut hooks = status.hooks.iter().chain(pods);
    let hook = hooks.find(|hook| !hook.attached && hook.note.is_none())?;
    Some(format!("{} at {}", hook.hook, hook.place))
}

/// How many pods' canaries fail, if any do.
fn unproved(status: &Status) -> Option<String> {
    let fails = |pod: &&status::Pod| pod.canary.as_ref().is_some_and(|it| it.failing.is_some());
    let failing = status.pods.iter().filter(fails).count();
    (failing > 0).then(|| format!("the canaries of {failing} pods fail"))
}

fn judged(id: &PodId, plan: &PodPlan, pods: &Pods) -> Judged {
    let known: Option<&Pod> = pods.known().get(id);
    let policy = match &plan.enrolment {
        Enrolment::Enrolled(policy) => Some(policy),
        Enrolment::NotEnrolled(_) | Enrolment::Pending(_) => None,
    };
    let enrolment = match (&plan.enrolment, pods.problem(id)) {
        (_, Some((lack, why))) => {
            let why = why.to_owned();
            match lack {
                Lack::Waiting => status::Enrolment::Waiting { why },
                Lack::Unenrollable => status::Enrolment::Unenrollable { why },
                Lack::Failing => status::Enrolment::Failing { why },
            }
        }
        (Enrolment::Enrolled(_), None) => status::Enrolment::Enrolled,
        (Enrolment::NotEnrolled(why), None) => status::Enrolment::Outside { why: why.clone() },
        (Enrolment::Pending(why), None) => status::Enrolment::Waiting { why: why.clone() },
    };
    let pod = status::Pod {
        namespace: id.namespace.clone(),
        name: id.name.clone(),
        enrolment,
        addresses: plan.addresses.clone(),
        netns: known.map(|pod| pod.netns.cookie()),
        default_action: policy.map(|policy| default_action(policy.default_action).into()),
        rules: policy.map_or(0, |policy| policy.rules.rules().len() as u64),
        proxy_port: known.and_then(Pod::proxy_port),
        hooks: Vec::new(),
        canary: None,
    };
    let ends = known.map_or(&[][..], Pod::ends);
    Judged { pod, ends: ends.iter().map(|end| (end.ifindex, end.name.clone())).collect() }
}

fn distinct_rules(snapshot: &Snapshot) -> u64 {
    let mut sets: Vec<_> = snapshot
        .pods
        .values()
        .filter_map(|plan| match &plan.enrolment {
            Enrolment::Enrolled(policy) => Some(&policy.rules),
            Enrolment::NotEnrolled(_) | Enrolment::Pending(_) => None,
        })
        .collect();
    sets.sort_unstable_by_key(|set| Arc::as_ptr(set));
    sets.dedup_by(|one, other| Arc::ptr_eq(one, other));
    sets.iter().map(|set| set.rules().len() as u64).sum()
}
