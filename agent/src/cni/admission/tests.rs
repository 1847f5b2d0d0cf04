use std::path::Path;

use agent_kernel::netns::NetNs;
use agent_model::{
    egress::{DefaultAction, EgressPolicy},
    inbound::Inbound,
    pod::{PodId, WorkloadName},
    snapshot::{Enrolment, PodPlan, Snapshot},
};
use agent_pods::{
    enrol::{Problem, ProblemKind},
    view::{OpenedPod, PodView, PodViews},
};

use super::{queue::InForce, *};

const COOKIE_IS_JUDGED: fn(u64) -> bool = |_| true;

fn id() -> PodId {
    PodId { namespace: "shop".into(), name: "web-0".into() }
}

fn workload() -> Arc<WorkloadName> {
    Arc::new(WorkloadName {
        namespace: "shop".into(),
        name: "web".into(),
        app: None,
        version: None,
        canonical_service: "web".into(),
        canonical_revision: "latest".into(),
    })
}

fn enrolled() -> Enrolment {
    Enrolment::Enrolled(Arc::new(EgressPolicy {
        default_action: DefaultAction::RegistryOnly,
        reads_all: false,
        rules: Arc::default(),
    }))
}

/// A pod of this UID in the namespace of the test.
fn view(uid: &str, enrolment: Enrolment) -> PodView {
    let netns = NetNs::own().unwrap();
    let opened = OpenedPod {
        netns,
        addresses: Vec::new(),
        proxy_port: None,
        inbound: Inbound::default(),
        links: Vec::new(),
        inner_links: Vec::new(),
        unseen_links: Vec::new(),
    };
    PodView {
        identity: None,
        id: id(),
        uid: uid.into(),
        workload: workload(),
        addresses: Vec::new(),
        access_log: None,
        enrolment,
        problem: None,
        opened: Some(opened),
    }
}

fn sandbox(uid: &str) -> Sandbox {
    let PodId { namespace, name } = id();
    let netns = Path::new("/proc/thread-self/ns/net").to_owned();
    let identity = NetNs::own().unwrap().identity();
    let (uid, id) = (uid.to_owned(), "s1".to_owned());
    Sandbox { namespace, name, uid, id, netns, identity, addresses: Vec::new() }
}

fn progress(view: Option<PodView>, uid: &str) -> Progress {
    let pods: PodViews = view.into_iter().collect();
    let in_force = InForce { pods: Some(&pods), is_judged: &COOKIE_IS_JUDGED };
    queue::progress(&sandbox(uid), in_force)
}

const JUDGED: Progress = Progress::Decided(Admission::Judged);

fn not_enrolled(why: &str) -> Progress {
    Progress::Decided(Admission::NotEnrolled { why: why.into() })
}

#[test]
fn a_pod_is_judged_by_the_plan_for_its_own_uid() {
    assert!(progress(None, "u1").is_pending());
    assert!(progress(Some(view("u0", enrolled())), "u1").is_pending(), "an older pod");
    let left = view("u0", Enrolment::NotEnrolled("no label".into()));
    assert!(progress(Some(left), "u1").is_pending(), "an older pod that was not enrolled");
    for (planned, uid) in [("u1", "u1"), ("", "u1"), ("u1", "")] {
        assert_eq!(progress(Some(view(planned, enrolled())), uid), JUDGED);
    }
    let outside = view("u1", Enrolment::NotEnrolled("no label".into()));
    assert_eq!(progress(Some(outside), "u1"), not_enrolled("no label"));
}

#[test]
fn only_what_the_live_tables_know_is_judged() {
    let own = NetNs::own().unwrap().cookie();
    let by = |view: &PodView, is_judged: &dyn Fn(u64) -> bool| {
        let pods: PodViews = std::iter::once(view.clone()).collect();
        queue::progress(&sandbox("u1"), InForce { pods: Some(&pods), is_judged })
    };
    let whole = view("u1", enrolled());
    assert_eq!(by(&whole, &|netns| netns == own), JUDGED);
    assert!(by(&whole, &|netns| netns != own).is_pending());
    let closed = PodView { opened: None, ..whole.clone() };
    assert!(by(&closed, &COOKIE_IS_JUDGED).is_pending());
    let problem = |kind| Some(Problem { kind, why: "no link".into() });
    let failing = PodView { problem: problem(ProblemKind::Failing), ..whole.clone() };
    assert_eq!(by(&failing, &COOKIE_IS_JUDGED), Progress::Pending("no link".into()));
    let never = PodView { problem: problem(ProblemKind::Unenrollable), ..whole };
    assert_eq!(by(&never, &COOKIE_IS_JUDGED), not_enrolled("no link"));
}

#[test]
fn nothing_is_judged_before_the_first_publication() {
    let in_force = InForce { pods: None, is_judged: &COOKIE_IS_JUDGED };
    assert!(queue::progress(&sandbox("u1"), in_force).is_pending());
}

#[test]
fn another_sandbox_of_the_pod_is_not_the_one_that_is_judged() {
    let pods: PodViews = std::iter::once(view("u1", enrolled())).collect();
    let in_force = InForce { pods: Some(&pods), is_judged: &COOKIE_IS_JUDGED };
    let other = Sandbox { identity: (0, 0), ..sandbox("u1") };
    assert!(queue::progress(&other, in_force).is_pending());
}

/// A queue with one pod that asks to be admitted, and what it is told.
async fn asked(sandboxes: &Arc<Sandboxes>) -> (Queue, watch::Receiver<Progress>) {
    let (server, mut queue) = channel(Arc::clone(sandboxes));
    let (reply, told) = watch::channel(Progress::Pending(BUSY.into()));
    let request = Request { verb: Verb::Admit, sandbox: sandbox("u1"), reply };
    server.requests.send(request).unwrap();
    assert!(queue.arrival().await);
    (queue, told)
}

fn snapshot(enrolment: Enrolment) -> Snapshot {
    let plan = PodPlan {
        uid: "u1".into(),
        workload: workload(),
        identity: None,
        addresses: Vec::new(),
        netns: None,
        access_log: None,
        probes: Vec::new(),
        enrolment,
    };
    Snapshot { pods: [(id(), plan)].into(), ..Snapshot::default() }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pod_is_admitted_once_a_publication_has_taken_in_its_sandbox() {
    let directory = tempfile::tempdir().unwrap();
    let sandboxes = Arc::new(Sandboxes::open(directory.path().join("known")));
    let (mut queue, told) = asked(&sandboxes).await;
    let pods: PodViews = std::iter::once(view("u1", enrolled())).collect();
    let in_force = InForce { pods: Some(&pods), is_judged: &COOKIE_IS_JUDGED };
    let snapshot = snapshot(enrolled());
    assert!(queue.take_in(Some(&snapshot), in_force), "its sandbox is news");
    assert!(told.borrow().is_pending(), "what is judged may be the sandbox before");
    assert!(queue.awaited().is_empty());
    queue.store(&snapshot, &sandboxes);
    assert_eq!(sandboxes.of(&id(), "u1"), Some(sandbox("u1")));
    assert_eq!(queue.awaited(), [id()].into());
    queue.answer(in_force);
    assert_eq!(*told.borrow(), JUDGED);
    assert!(queue.awaited().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pod_that_is_not_enrolled_is_answered_at_once_and_not_stored() {
    let directory = tempfile::tempdir().unwrap();
    let sandboxes = Arc::new(Sandboxes::open(directory.path().join("known")));
    let (mut queue, told) = asked(&sandboxes).await;
    let why = || Enrolment::NotEnrolled("no label".into());
    let pods: PodViews = std::iter::once(view("u1", why())).collect();
    let in_force = InForce { pods: Some(&pods), is_judged: &COOKIE_IS_JUDGED };
    assert!(!queue.take_in(Some(&snapshot(why())), in_force));
    assert_eq!(*told.borrow(), not_enrolled("no label"));
    assert_eq!(sandboxes.of(&id(), "u1"), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pod_whose_plugin_has_gone_is_not_stored() {
    let directory = tempfile::tempdir().unwrap();
    let sandboxes = Arc::new(Sandboxes::open(directory.path().join("known")));
    let (mut queue, told) = asked(&sandboxes).await;
    let snapshot = snapshot(enrolled());
    let in_force = InForce { pods: None, is_judged: &COOKIE_IS_JUDGED };
    assert!(queue.take_in(Some(&snapshot), in_force));
    drop(told);
    queue.store(&snapshot, &sandboxes);
    assert_eq!(sandboxes.of(&id(), "u1"), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sandbox_that_cannot_be_stored_is_refused_at_once() {
    let directory = tempfile::tempdir().unwrap();
    let sandboxes = Arc::new(Sandboxes::open(directory.path().join("missing/known")));
    let (mut queue, told) = asked(&sandboxes).await;
    let snapshot = snapshot(enrolled());
    let in_force = InForce { pods: None, is_judged: &COOKIE_IS_JUDGED };
    assert!(queue.take_in(Some(&snapshot), in_force));
    queue.store(&snapshot, &sandboxes);
    assert!(matches!(&*told.borrow(), Progress::Failed(why) if why.contains("run directory")));
}
