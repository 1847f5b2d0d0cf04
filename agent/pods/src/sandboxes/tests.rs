use super::*;

fn sandbox(name: &str, uid: &str, id: &str, netns: &Path) -> Sandbox {
    Sandbox {
        namespace: "shop".into(),
        name: name.into(),
        uid: uid.into(),
        id: id.into(),
        netns: netns.to_owned(),
        identity: identity(netns).unwrap(),
        addresses: vec!["203.0.113.7".parse().unwrap()],
    }
}

fn pod(name: &str) -> PodId {
    PodId { namespace: "shop".into(), name: name.into() }
}

#[test]
fn a_pod_is_known_by_its_uid_and_forgotten_by_its_sandbox() {
    let dir = tempfile::tempdir().unwrap();
    let known = Sandboxes::open(dir.path().join("known"));
    let one = sandbox("web-0", "u1", "s1", dir.path());
    let count = known.changes();
    let changes = || *count.borrow();
    known.put([one.clone()]).unwrap();
    assert_eq!(changes(), 1);
    assert_eq!(known.of(&pod("web-0"), "u1"), Some(one.clone()));
    assert_eq!(known.of(&pod("web-0"), ""), Some(one.clone()));
    assert_eq!(known.of(&pod("web-0"), "u2"), None, "another pod of that name");
    assert_eq!(known.of(&pod("web-1"), "u1"), None);
    // The same again is no news.
    known.put([one]).unwrap();
    assert_eq!(changes(), 1);
    // A second sandbox takes the place of the first, whose end then changes nothing.
    let again = sandbox("web-0", "u1", "s2", dir.path());
    known.put([again.clone()]).unwrap();
    assert_eq!(changes(), 2);
    known.forget("s1").unwrap();
    assert_eq!(changes(), 2);
    assert_eq!(known.of(&pod("web-0"), "u1"), Some(again));
    known.keep(&["other".to_owned()].into()).unwrap();
    assert_eq!(changes(), 3);
    assert_eq!(known.of(&pod("web-0"), "u1"), None);
}

#[test]
fn what_is_still_so_is_known_to_the_next_agent() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("known");
    let (stays, goes) = (dir.path().join("a"), dir.path().join("b"));
    fs::write(&stays, "").unwrap();
    fs::write(&goes, "").unwrap();
    let known = Sandboxes::open(file.clone());
    let one = sandbox("web-0", "u1", "s1", &stays);
    known.put([one.clone(), sandbox("web-1", "u2", "s2", &goes)]).unwrap();
    // The name comes to mean another namespace, which may get the number of the first.
    let other = dir.path().join("c");
    fs::write(&other, "").unwrap();
    fs::rename(&other, &goes).unwrap();
    let next = Sandboxes::open(file.clone());
    assert_eq!(next.of(&pod("web-0"), "u1"), Some(one));
    assert_eq!(next.of(&pod("web-1"), "u2"), None);
    fs::write(&file, "{").unwrap();
    assert_eq!(Sandboxes::open(file).of(&pod("web-0"), "u1"), None);
}

#[test]
fn what_cannot_be_written_is_not_known() {
    let dir = tempfile::tempdir().unwrap();
    let known = Sandboxes::open(dir.path().join("missing/known"));
    assert!(known.put([sandbox("web-0", "u1", "s1", dir.path())]).is_err());
    assert_eq!(known.of(&pod("web-0"), "u1"), None);
    assert_eq!(*known.changes().borrow(), 0);
}
