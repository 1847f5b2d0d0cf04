use agent_model::{pod::WorkloadName, snapshot::Enrolment};

use super::*;
use crate::{
    runtime::{Sandbox, testing},
    sandboxes::identity,
};

const PATH: &str = "/run/netns/cni-1";

fn pod() -> PodId {
    PodId { namespace: "shop".into(), name: "web-0".into() }
}

fn plan(uid: &str, netns: Option<&str>) -> PodPlan {
    PodPlan {
        uid: uid.into(),
        workload: Arc::new(WorkloadName {
            namespace: "shop".into(),
            name: "web".into(),
            app: None,
            version: None,
            canonical_service: "web".into(),
            canonical_revision: "latest".into(),
        }),
        identity: None,
        addresses: Vec::new(),
        netns: netns.map(PathBuf::from),
        access_log: None,
        probes: Vec::new(),
        enrolment: Enrolment::NotEnrolled(String::new()),
    }
}

/// No sandboxes, in a directory that goes with the test.
fn known(directory: &tempfile::TempDir, sandboxes: Option<Vec<Sandbox>>) -> Located {
    let told = Arc::new(Sandboxes::open(directory.path().join("known")));
    let runtime = sandboxes.map(|all| Heard { sandboxes: Some(all.into()), away: None });
    Located { sandboxes: told, runtime }
}

#[test]
fn in_a_cluster_an_annotation_is_no_evidence() {
    let directory = tempfile::tempdir().unwrap();
    let plan = plan("u1", Some("/run/netns/of-another"));
    assert_eq!(known(&directory, Some(Vec::new())).path(&pod(), &plan), Err(NoNamespace::NotYet));
    let at = known(&directory, None).path(&pod(), &plan).unwrap();
    assert_eq!(at.path, PathBuf::from("/run/netns/of-another"), "on a directory it is");
}

#[test]
fn the_runtimes_sandbox_is_a_path_with_addresses() {
    let directory = tempfile::tempdir().unwrap();
    let sandbox = testing::sandbox(&pod(), "u1", Network::At(PATH.into()));
    let addresses = sandbox.addresses.clone();
    let known = known(&directory, Some(vec![sandbox]));
    let at = known.path(&pod(), &plan("u1", None)).unwrap();
    assert_eq!(at.path, PathBuf::from(PATH));
    assert_eq!(at.addresses, addresses, "while the Pod has none");
    let again = plan("u2", None);
    assert_eq!(known.path(&pod(), &again), Err(NoNamespace::NotYet), "made again by that name");
}

#[test]
fn what_was_told_at_the_making_counts_while_it_is_so() {
    let directory = tempfile::tempdir().unwrap();
    let here = directory.path().join("netns");
    std::fs::write(&here, "").unwrap();
    let sandbox = testing::sandbox(&pod(), "u1", Network::At(PATH.into()));
    let known = known(&directory, Some(vec![sandbox]));
    let told = sandboxes::Sandbox {
        namespace: "shop".into(),
        name: "web-0".into(),
        uid: "u1".into(),
        id: "s1".into(),
        netns: here.clone(),
        identity: identity(&here).unwrap(),
        addresses: Vec::new(),
    };
    known.sandboxes.put([told]).unwrap();
    let path = || known.path(&pod(), &plan("u1", None)).unwrap().path;
    assert_eq!(path(), here);
    std::fs::remove_file(&here).unwrap();
    assert_eq!(path(), PathBuf::from(PATH), "the namespace that it was has gone");
}

/// The network plugin is called for these too.
#[test]
fn what_cannot_be_judged_is_not_whatever_the_plugin_was_told() {
    let directory = tempfile::tempdir().unwrap();
    let kata = testing::sandbox(&pod(), "u1", Network::Sandboxed("kata".into()));
    let known = known(&directory, Some(vec![kata]));
    let at = known.path(&pod(), &plan("u1", None));
    assert_eq!(at, Err(NoNamespace::Sandboxed("kata".into())));
}
