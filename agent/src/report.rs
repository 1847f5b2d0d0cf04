//! What the agent says of itself: made after each publication, with the parts that change by
//! themselves (counters, what is attached where) asked of the kernel when it is read. It
//! decides nothing.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
};

use agent_abi::{Flow, Judgement, counter, decide};
use agent_base::lock::lock;
use agent_kernel::{
    hooks::{self, AttachMode},
    lifecycle::Kernel,
    preflight::Layer3,
};
use agent_model::{
    egress::Action,
    snapshot::{Enrolment, Snapshot},
};
use agent_pods::{
    canary::{CanaryStatus, CanaryStatuses},
    enrol::ProblemKind,
    link_watch::LinkChanges,
    veth::HostEnd,
    view::{OpenedPod, PodView, PodViews},
};
use agent_source::{
    cluster::Progress, note::Note, observed::Observed, resolve::Known, spots::Spots,
};
use agent_status::state;
use arc_swap::{ArcSwap, ArcSwapOption};
use jiff::Timestamp;

mod links;

use links::links_of;

use crate::{
    admin::Answers,
    identity::Identity,
    observe::status::{self, Cni, Hook, OnRevoke, State, Status, UnknownPods, default_action},
};

/// The parts that a publication decides.
#[derive(Debug)]
struct Latest {
    state: State,
    generation_since: Option<Timestamp>,
    rules: u64,
    prefixes: u64,
    pods: Arc<PodViews>,
    objects: BTreeMap<String, u64>,
    /// What is worth knowing of objects themselves; the snapshot has what became of them.
    notes: Arc<[Arc<Note>]>,
    spots: Arc<Spots>,
    snapshot: Arc<Snapshot>,
}

/// A note on a hook of layer 3.
const NOT_YET: &str = "the pod is being made";

/// What a publication came to.
pub(crate) struct Publication<'a> {
    /// The objects that it was made from.
    pub(crate) observed: &'a Observed,
    /// What they mean.
    pub(crate) snapshot: &'a Arc<Snapshot>,
    /// The pods as it left them.
    pub(crate) pods: &'a Arc<PodViews>,
    /// Prefixes in the kernel's table.
    pub(crate) prefixes: usize,
    /// Why it is not in force.
    pub(crate) refused: Option<String>,
    /// Why nothing new is known of where pods are.
    pub(crate) trouble: Option<String>,
}

/// What an agent was started with, as far as its status says it.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    /// `--node-name`.
    pub(crate) node: String,
    /// Unknown pods are held.
    pub(crate) hold_unknown: bool,
    /// Open connections outlive their rule.
    pub(crate) keep_revoked: bool,
    /// How layer 3 is to be attached.
    pub(crate) layer3: Layer3,
}

/// What is asked when the report is read.
#[derive(Debug)]
pub(crate) struct Views {
    /// How far an API server is followed; none on a directory.
    pub(crate) source: Option<Arc<Progress>>,
    /// Who tells the authors of objects; none without a status writer.
    pub(crate) status_writer: Option<Arc<state::State>>,
    /// What names resolve to.
    pub(crate) names: Known,
    /// The CNI plugin, where the agent keeps it.
    pub(crate) cni: Option<Arc<ArcSwap<Cni>>>,
    /// The certificates of this node's pods, where there is a CA.
    pub(crate) identity: Option<Arc<Identity>>,
    /// What canaries have shown.
    pub(crate) canaries: Arc<CanaryStatuses>,
    /// What is said of pods' links.
    pub(crate) link_changes: Arc<LinkChanges>,
}

/// The agent's report.
#[derive(Debug)]
pub(crate) struct Report {
    fixed: Status,
    kernel: Arc<Kernel>,
    latest: ArcSwapOption<Latest>,
    published: Mutex<(u64, Option<Timestamp>)>,
    views: Views,
}

impl Report {
    /// A report of an agent that has just started.
    pub(crate) fn new(settings: Settings, kernel: Arc<Kernel>, views: Views) -> Self {
        let Settings { node, hold_unknown, keep_revoked, layer3 } = settings;
        let fixed = Status {
            node,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            started: Timestamp::now(),
            unknown_pods: if hold_unknown { UnknownPods::Hold } else { UnknownPods::Allow },
            on_revoke: if keep_revoked { OnRevoke::Keep } else { OnRevoke::Reset },
            layer3: kernel.links.mode().name().into(),
            layer3_why: layer3_why(layer3, kernel.links.mode()).map(Into::into),
            ..Status::default()
        };
        let published = Mutex::new((0, None));
        Self { fixed, kernel, latest: ArcSwapOption::empty(), published, views }
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
            pods: Arc::default(),
            objects: observed.by_kind(),
            notes: Arc::clone(&observed.notes),
            spots: Arc::clone(&observed.spots),
            snapshot: Arc::default(),
        })));
    }

    /// Takes in what a publication came to.
    pub(crate) fn update(&self, publication: Publication<'_>) {
        let Publication { observed, snapshot, pods, prefixes, refused, trouble } = publication;
        let failing = pods.all().filter(|pod| is_failing(pod)).count();
        let failing = (failing > 0).then(|| format!("{failing} pods are not enrolled whole"));
        let state = match refused.or(failing).or(trouble) {
            Some(why) => State::Degraded { why },
            None => State::Ready,
        };
        self.latest.store(Some(Arc::new(Latest {
            state,
            generation_since: self.since(self.kernel.maps.node.generation()),
            rules: distinct_rules(pods),
            prefixes: prefixes as u64,
            pods: Arc::clone(pods),
            objects: observed.by_kind(),
            notes: Arc::clone(&observed.notes),
            spots: Arc::clone(&observed.spots),
            snapshot: Arc::clone(snapshot),
        })));
    }

    fn since(&self, generation: u64) -> Option<Timestamp> {
        let mut published = lock(&self.published);
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
        let Views { source, status_writer, names, cni, identity, canaries: _, link_changes } =
            &self.views;
        status.link_overruns = link_changes.overruns();
        status.cni = cni.as_ref().map(|cni| (**cni.load()).clone());
        status.mended = self.kernel.mending.done().into();
        status.identity = identity.as_ref().map(|identity| identity.status());
        status.source = source.as_ref().map(|source| source.view().into());
        status.names = names.view().into_iter().map(Into::into).collect();
        status.status_writer = status_writer.as_ref().map(|writer| writer.view().into());
        let Some(latest) = self.latest.load_full() else { return status };
        name_wanters(&mut status.names, &latest.snapshot);
        status.state = latest.state.clone();
        status.generation_since = latest.generation_since;
        status.rules = latest.rules;
        status.prefixes = latest.prefixes;
        status.objects.clone_from(&latest.objects);
        let found = latest.snapshot.findings.iter();
        let found = found.map(|finding| status::Note::of(finding, latest.spots.of(finding)));
        status.findings =
            latest.notes.iter().map(|note| note.as_ref().into()).chain(found).collect();
        let unsaid = status_writer.iter().flat_map(|writer| writer.findings());
        status.findings.extend(unsaid.map(|note| status::Note::from(&note)));
        status.findings.extend(status.identity.iter().flat_map(status::Identity::findings));
        status.pods = latest.pods.all().map(|pod| self.pod(pod)).collect();
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
    /// A pod with its hooks, and with what its canary shows.
    fn pod(&self, view: &PodView) -> status::Pod {
        let opened = view.opened.as_ref();
        let rules = view.policy().map_or(&[][..], |policy| policy.rules.rules());
        let shown = view.cookie().and_then(|netns| self.views.canaries.of(netns));
        let shown = shown.filter(|_| !matches!(view.enrolment, Enrolment::NotEnrolled(_)));
        let mut pod = status::Pod {
            namespace: view.id.namespace.clone(),
            name: view.id.name.clone(),
            enrolment: enrolment(view),
            addresses: view.addresses.clone(),
            netns: view.cookie(),
            default_action: view.policy().map(|it| default_action(it.default_action).into()),
            rules: rules.len() as u64,
            proxied: rules.iter().filter(|rule| rule.action != Action::Direct).count() as u64,
            proxy_port: opened.and_then(|opened| opened.proxy_port),
            links: opened.map_or_else(Vec::new, |opened| links_of(opened, shown.as_ref())),
            hooks: opened.map_or_else(Vec::new, |opened| self.hooks_of(opened)),
            canary: None,
        };
        if let Some(shown) = shown {
            add_canary(&mut pod, shown);
        }
        pod
    }

    /// The hooks on a pod's links.
    fn hooks_of(&self, pod: &OpenedPod) -> Vec<Hook> {
        let links = &self.kernel.links;
        let due = links.due();
        let on = |link: &HostEnd| {
            let note = due.contains(&link.ifindex).then(|| NOT_YET.to_owned());
            let hook = |hook: &hooks::Hook| Hook {
                layer: hook.layer,
                hook: hook.name.to_owned(),
                place: link.name.clone(),
                attached: links.is_on_interface(hook, link.ifindex),
                note: note.clone(),
            };
            links.mode().hooks().iter().map(hook).collect::<Vec<_>>()
        };
        pod.links.iter().flat_map(on).collect()
    }
}

/// What a canary shows goes before what the agent believes.
fn add_canary(pod: &mut status::Pod, shown: CanaryStatus) {
    if let (status::Enrolment::Enrolled, Some(why)) = (&pod.enrolment, &shown.failing) {
        pod.enrolment = status::Enrolment::Failing { why: why.clone() };
    }
    pod.canary = Some(status::Canary {
        proved: shown.proved.map(|(at, _)| at),
        generation: shown.proved.map(|(_, generation)| generation),
        layers: shown.layers,
        failing: shown.failing,
    });
}

/// Why layer 3 is not attached as it would be by itself on the kernels of today.
fn layer3_why(wanted: Layer3, mode: AttachMode) -> Option<&'static str> {
    match (wanted, mode) {
        (Layer3::Auto, AttachMode::Clsact) => Some("this kernel has no tcx (Linux 6.6)"),
        (Layer3::Tcx | Layer3::Clsact, _) => Some("as --layer3 says"),
        (Layer3::Auto, AttachMode::Tcx) => None,
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

/// A hook that should be attached somewhere and is not.
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

fn is_failing(pod: &PodView) -> bool {
    pod.problem.as_ref().is_some_and(|problem| problem.kind == ProblemKind::Failing)
}

fn enrolment(pod: &PodView) -> status::Enrolment {
    match (&pod.enrolment, &pod.problem) {
        (_, Some(problem)) => {
            let why = problem.why.clone();
            match problem.kind {
                ProblemKind::Pending => status::Enrolment::Pending { why },
                ProblemKind::Unenrollable => status::Enrolment::Unenrollable { why },
                ProblemKind::Failing => status::Enrolment::Failing { why },
            }
        }
        (Enrolment::Enrolled(_), None) => status::Enrolment::Enrolled,
        (Enrolment::NotEnrolled(why), None) => status::Enrolment::NotEnrolled { why: why.clone() },
        (Enrolment::Pending(why), None) => status::Enrolment::Pending { why: why.clone() },
    }
}

fn distinct_rules(pods: &PodViews) -> u64 {
    let mut sets: Vec<_> = pods.all().filter_map(|pod| Some(&pod.policy()?.rules)).collect();
    sets.sort_unstable_by_key(|set| Arc::as_ptr(set));
    sets.dedup_by(|one, other| Arc::ptr_eq(one, other));
    sets.iter().map(|set| set.rules().len() as u64).sum()
}
