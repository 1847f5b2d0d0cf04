//! The requests that wait for the publisher: it stores their sandboxes, publishes, and answers them
//! by what it has published and by what the live tables say.

use std::collections::BTreeSet;

use agent_model::{
    pod::PodId,
    snapshot::{Enrolment, PodPlan, Snapshot},
};
use agent_pods::{
    enrol::ProblemKind,
    sandboxes::{Sandbox, Sandboxes},
    view::{PodView, PodViews},
};
use tokio::{
    sync::{mpsc, watch},
    task::block_in_place,
};

use super::{Progress, Request, Verb, unwritten};
use crate::cni::talk::Admission;

/// Requests that are taken from the channel at once.
const BATCH: usize = 64;

const STARTING: &str = "the agent has just started and does not know the pods of its node yet";
const UNKNOWN: &str = "the agent has not heard of it (yet)";
const OLDER: &str = "the agent knows an older pod of this name";
const OTHER: &str = "another namespace is judged as this pod's";
const UNPUBLISHED: &str = "its generation is not in force yet";

/// What is to be answered, by what.
#[derive(Clone, Copy)]
pub(crate) struct InForce<'a> {
    /// The pods as the last publication left them; none before the first.
    pub(crate) pods: Option<&'a PodViews>,
    /// Whether the live tables judge the pod of a namespace, by its cookie.
    pub(crate) is_judged: &'a dyn Fn(u64) -> bool,
}

/// A pod that waits to be admitted.
#[derive(Debug)]
struct Waiting {
    sandbox: Sandbox,
    reply: watch::Sender<Progress>,
    /// The next publication takes it in, or the last one has.
    is_stored: bool,
}

/// The publisher's end of the requests.
#[derive(Debug)]
pub(crate) struct Queue {
    requests: mpsc::UnboundedReceiver<Request>,
    arrived: Vec<Request>,
    waiting: Vec<Waiting>,
}

impl Queue {
    pub(super) fn new(requests: mpsc::UnboundedReceiver<Request>) -> Self {
        Self { requests, arrived: Vec::new(), waiting: Vec::new() }
    }

    /// Waits for requests; false when there will be none any more.
    pub(crate) async fn arrival(&mut self) -> bool {
        self.requests.recv_many(&mut self.arrived, BATCH).await > 0
    }

    /// Takes in what has arrived, and answers what can be answered at once. True when a publication
    /// of this snapshot is wanted for the rest.
    pub(crate) fn take_in(&mut self, snapshot: Option<&Snapshot>, in_force: InForce<'_>) -> bool {
        for Request { verb, sandbox, reply } in self.arrived.drain(..) {
            match verb {
                Verb::Admit => self.waiting.push(Waiting { sandbox, reply, is_stored: false }),
                Verb::Check => {
                    // The plugin may have gone.
                    reply.send_replace(progress(&sandbox, in_force));
                }
            }
        }
        self.answer(in_force);
        snapshot.is_some_and(|snapshot| self.waiting.iter().any(|one| one.is_due(snapshot)))
    }

    /// Stores the sandboxes of pods that a snapshot enrols: what is not enrolled needs no memory.
    pub(crate) fn store(&mut self, snapshot: &Snapshot, sandboxes: &Sandboxes) {
        self.waiting.retain(|one| !one.reply.is_closed());
        let due = |one: &&mut Waiting| one.is_due(snapshot);
        let due: Vec<&mut Waiting> = self.waiting.iter_mut().filter(due).collect();
        if due.is_empty() {
            return;
        }
        let put = || sandboxes.put(due.iter().map(|one| one.sandbox.clone()));
        let stored = block_in_place(put);
        for one in due {
            match &stored {
                Ok(()) => one.is_stored = true,
                Err(error) => {
                    one.reply.send_replace(Progress::Failed(unwritten(error)));
                }
            }
        }
        self.waiting.retain(|one| one.reply.borrow().is_pending());
    }

    /// The pods that the runtime waits for before it starts anything in them.
    pub(crate) fn awaited(&self) -> BTreeSet<PodId> {
        let stored = self.waiting.iter().filter(|one| one.is_stored);
        stored.map(|one| one.sandbox.pod()).collect()
    }

    /// Answers what can be answered, and says why the rest cannot.
    pub(crate) fn answer(&mut self, in_force: InForce<'_>) {
        self.waiting.retain(|one| {
            let progress = one.progress(in_force);
            let stays = progress.is_pending();
            if progress == Progress::Decided(Admission::Judged) {
                let Sandbox { id, .. } = &one.sandbox;
                let pod = one.sandbox.pod();
                tracing::info!(%pod, sandbox = id, "pod is judged before it starts");
            }
            one.reply.send_replace(progress);
            stays
        });
    }
}

impl Waiting {
    /// Whether a publication of a snapshot would enrol it, and does not know its sandbox yet.
    fn is_due(&self, snapshot: &Snapshot) -> bool {
        let plan = snapshot.pods.get(&self.sandbox.pod());
        let is_enrolled = |plan: &PodPlan| {
            is_same(&plan.uid, &self.sandbox.uid)
                && matches!(plan.enrolment, Enrolment::Enrolled(_))
        };
        !self.is_stored && plan.is_some_and(is_enrolled)
    }

    fn progress(&self, in_force: InForce<'_>) -> Progress {
        match progress(&self.sandbox, in_force) {
            // What is judged may be the sandbox before.
            Progress::Decided(Admission::Judged) if !self.is_stored => {
                Progress::Pending(UNPUBLISHED.into())
            }
            progress => progress,
        }
    }
}

/// How the pod of a sandbox is.
pub(super) fn progress(sandbox: &Sandbox, in_force: InForce<'_>) -> Progress {
    let pending = |why: &str| Progress::Pending(why.to_owned());
    let not_enrolled =
        |why: &String| Progress::Decided(Admission::NotEnrolled { why: why.clone() });
    let Some(pods) = in_force.pods else { return pending(STARTING) };
    let Some(pod) = pods.of(&sandbox.pod()) else { return pending(UNKNOWN) };
    if !is_same(&pod.uid, &sandbox.uid) {
        return pending(OLDER);
    }
    match (&pod.enrolment, &pod.problem) {
        (Enrolment::NotEnrolled(why), _) => not_enrolled(why),
        (Enrolment::Pending(why), _) => pending(why),
        (Enrolment::Enrolled(_), Some(problem)) => match problem.kind {
            ProblemKind::Unenrollable => not_enrolled(&problem.why),
            ProblemKind::Pending | ProblemKind::Failing => pending(&problem.why),
        },
        (Enrolment::Enrolled(_), None) => judged(pod, sandbox, in_force),
    }
}

/// An enrolled pod is judged when the live tables know its namespace.
fn judged(pod: &PodView, sandbox: &Sandbox, in_force: InForce<'_>) -> Progress {
    let netns = pod.opened.as_ref().map(|opened| &opened.netns);
    match netns {
        Some(netns) if netns.identity() != sandbox.identity => Progress::Pending(OTHER.into()),
        Some(netns) if (in_force.is_judged)(netns.cookie()) => Progress::Decided(Admission::Judged),
        _ => Progress::Pending(UNPUBLISHED.into()),
    }
}

/// Where one of the two does not say its UID, the name has to do.
fn is_same(uid: &str, other: &str) -> bool {
    uid.is_empty() || other.is_empty() || uid == other
}
