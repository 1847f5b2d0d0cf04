use std::{os::fd::AsFd, process::Command};

use super::*;
use crate::{
    sys::classifier,
    testing::{Sandbox, ip},
};

/// `TC_ACT_UNSPEC` and `TC_ACT_OK`.
const NEXT: i32 = -1;
const PASS: i32 = 0;

const LINK: u32 = 7;

fn agents(pin_dir: &str) -> Clsact {
    Clsact::new(Path::new(pin_dir)).unwrap()
}

fn ours() -> Clsact {
    agents("/sys/fs/bpf/sekisho")
}

/// A namespace with a link to attach things to.
fn sandbox() -> Sandbox {
    let sandbox = Sandbox::new();
    sandbox.run(|| {
        let index = LINK.to_string();
        ip(&["link", "add", "link0", "index", &index, "type", "veth", "peer", "name", "peer0"]);
    });
    sandbox
}

fn attach(clsact: &Clsact, answer: i32) {
    for hook in &CLSACT {
        clsact.attach(LINK, hook.number, classifier(answer).unwrap().as_fd()).unwrap();
    }
}

fn attached(clsact: &Clsact) -> [bool; 2] {
    CLSACT.map(|hook| clsact.is_attached(LINK, hook.number).unwrap())
}

fn tc(arguments: &str) -> String {
    let output = Command::new("tc").args(arguments.split(' ')).output().unwrap();
    assert!(output.status.success(), "tc {arguments}: {output:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// What `tc` says of the filters' names, in the order in which they run.
fn names(side: &str) -> Vec<String> {
    let listed = tc(&format!("filter show dev link0 {side}"));
    let mut names: Vec<String> = Vec::new();
    for line in listed.lines().filter(|line| line.contains(" handle ")) {
        let words: Vec<&str> = line.split(' ').collect();
        let handle = words.iter().position(|word| *word == "handle").unwrap();
        let end = words.iter().position(|word| *word == "direct-action").unwrap_or(words.len());
        names.push(words[handle + 2..end].join(" "));
    }
    names
}

fn programs(side: &str) -> Vec<String> {
    let listed = tc(&format!("filter show dev link0 {side}"));
    let ids = listed.split(" id ").skip(1).map(|rest| rest.split(' ').next().unwrap().to_owned());
    ids.collect()
}

/// A filter of another program's: another name, and at a handle of its own.
fn strangers(side: u32, priority: u16, answer: i32) {
    let program = classifier(answer).unwrap();
    let put = Put { priority, handle: 1, program: program.as_fd(), name: "stranger" };
    Tc::open().unwrap().add(FilterPoint { interface: LINK, parent: side }, put).unwrap();
}

#[test]
fn filters_are_attached_exchanged_and_removed_with_their_discipline() {
    sandbox().run(|| {
        let ours = ours();
        assert_eq!(attached(&ours), [false, false]);
        assert!(make_qdisc(LINK).unwrap());
        assert!(!make_qdisc(LINK).unwrap(), "it is there already");
        attach(&ours, NEXT);
        assert_eq!(attached(&ours), [true, true]);
        assert_eq!(ours.interfaces().unwrap(), [LINK]);

        let before = programs("ingress");
        attach(&ours, NEXT);
        let after = programs("ingress");
        assert_eq!((before.len(), after.len()), (1, 1), "{before:?}, {after:?}");
        assert_ne!(before, after, "the program is the old one");
        assert_eq!(names("egress"), ["sekisho /sys/fs/bpf/sekisho"]);

        ours.remove(LINK, true).unwrap();
        assert_eq!(ours.interfaces().unwrap(), [0; 0]);
        assert!(!tc("qdisc show dev link0").contains("clsact"), "the discipline stays");
        ours.remove(LINK, true).unwrap();
    });
}

#[test]
fn a_strangers_filter_and_discipline_are_left_alone() {
    sandbox().run(|| {
        let (ours, [egress, ingress]) = (ours(), CLSACT.map(|hook| hook.number));
        tc("qdisc add dev link0 clsact");
        strangers(ingress, 1, PASS);
        strangers(egress, 9, PASS);
        assert!(!make_qdisc(LINK).unwrap());
        attach(&ours, NEXT);
        assert_eq!(attached(&ours), [true, true]);
        for side in ["ingress", "egress"] {
            assert_eq!(names(side), ["sekisho /sys/fs/bpf/sekisho", "stranger"], "{side}");
        }
        // Even told that the discipline is ours, for it is not empty.
        ours.remove(LINK, true).unwrap();
        for side in ["ingress", "egress"] {
            assert_eq!(names(side), ["stranger"], "{side}");
        }
    });
}

#[test]
fn ours_comes_to_the_front_again_and_stays_one() {
    sandbox().run(|| {
        let ours = ours();
        make_qdisc(LINK).unwrap();
        attach(&ours, NEXT);
        for hook in &CLSACT {
            strangers(hook.number, 1, PASS);
        }
        assert_eq!(names("ingress"), ["stranger", "sekisho /sys/fs/bpf/sekisho"]);
        assert_eq!(attached(&ours), [false, false]);
        attach(&ours, NEXT);
        assert_eq!(attached(&ours), [true, true]);
        assert_eq!(names("ingress"), ["sekisho /sys/fs/bpf/sekisho", "stranger"]);
    });
}

#[test]
fn what_another_program_takes_away_is_missed() {
    sandbox().run(|| {
        let ours = ours();
        make_qdisc(LINK).unwrap();
        attach(&ours, NEXT);
        tc("filter del dev link0 ingress prio 1");
        assert_eq!(attached(&ours), [true, false]);
        assert!(ours.any(LINK).unwrap());
        tc("qdisc del dev link0 clsact");
        assert_eq!(attached(&ours), [false, false]);
        assert!(!ours.any(LINK).unwrap());
        assert!(make_qdisc(LINK).unwrap());
        attach(&ours, NEXT);
        ip(&["link", "del", "link0"]);
        assert_eq!(attached(&ours), [false, false], "with the link gone");
        ours.remove(LINK, true).unwrap();
    });
}

#[test]
fn two_agents_neither_remove_nor_push_each_other() {
    sandbox().run(|| {
        let (ours, others) = (ours(), agents("/sys/fs/bpf/other"));
        make_qdisc(LINK).unwrap();
        attach(&ours, NEXT);
        attach(&others, NEXT);
        assert_eq!((attached(&ours), attached(&others)), ([true, true], [true, true]));
        others.remove(LINK, false).unwrap();
        assert_eq!(attached(&ours), [true, true]);
    });
}

#[test]
fn what_cannot_be_shared_is_said() {
    sandbox().run(|| {
        let (ours, ingress) = (ours(), CLSACT[1].number);
        tc("qdisc add dev link0 ingress");
        let error = make_qdisc(LINK).unwrap_err();
        assert!(matches!(&error, ClsactError::OtherQdisc { kind } if kind == "ingress"), "{error}");
        tc("qdisc del dev link0 ingress");
        make_qdisc(LINK).unwrap();
        tc("filter add dev link0 ingress prio 1 protocol ip u32 match u32 0 0 classid 1:1");
        let error = ours.attach(LINK, ingress, classifier(NEXT).unwrap().as_fd()).unwrap_err();
        assert!(matches!(&error, ClsactError::Occupied { kind } if kind == "u32"), "{error}");
        assert!(!ours.is_attached(LINK, ingress).unwrap());
    });
}

#[test]
fn a_name_holds_the_end_of_a_long_path() {
    let long = format!("/sys/fs/bpf/{}/end", "é".repeat(200));
    let name = agents(&long).name;
    assert!(name.len() < NAME_LENGTH && name.starts_with(PREFIX), "{name}");
    assert!(name.ends_with("é/end"), "{name}");
    assert_eq!(agents("/sys/fs/bpf/sekisho/").name, agents("/sys/fs/bpf/./sekisho").name);
}

fn filter(priority: u16, handle: u32, name: Option<&str>) -> Filter {
    Filter {
        priority,
        protocol: EVERY_PROTOCOL,
        handle,
        kind: "bpf".into(),
        chain: 0,
        name: name.map(str::to_owned),
    }
}

#[test]
fn a_plan_leaves_one_of_ours_in_front() {
    let ours = "sekisho /a";
    let step = |listed: &[Filter]| {
        let plan = plan(listed, ours).unwrap();
        (plan.step, plan.stale.iter().map(|f| (f.priority, f.handle)).collect::<Vec<_>>())
    };
    let first = FIRST_HANDLE;
    assert_eq!(step(&[]), (Step::Add(first), vec![]));
    // The place of a priority is listed before its filters, and is none.
    let place = filter(1, 0, None);
    assert_eq!(step(std::slice::from_ref(&place)), (Step::Add(first), vec![]));
    let mine = filter(1, first, Some(ours));
    assert_eq!(step(&[place.clone(), mine.clone()]), (Step::Replace(first), vec![]));
    let twice = [mine.clone(), filter(1, 5, Some(ours)), filter(4, 5, Some(ours))];
    assert_eq!(step(&twice), (Step::Replace(first), vec![(1, 5), (4, 5)]));
    let behind = [filter(1, 1, None), mine.clone()];
    assert_eq!(step(&behind), (Step::Add(first + 1), vec![(1, first)]));
    let low = [filter(3, 1, Some(ours))];
    assert_eq!(step(&low), (Step::Add(first), vec![(3, 1)]));
    let elsewhere = Filter { chain: 2, kind: "u32".into(), ..filter(1, 9, None) };
    assert_eq!(step(&[elsewhere, mine]), (Step::Replace(first), vec![]));
}

#[test]
fn a_plan_gives_up_where_the_first_priority_is_of_another_sort() {
    for other in [
        Filter { kind: "u32".into(), ..filter(1, 1, None) },
        Filter { kind: "u32".into(), ..filter(1, 0, None) },
        Filter { protocol: 0x800_u16.to_be(), ..filter(1, 1, None) },
    ] {
        let error = plan(std::slice::from_ref(&other), "sekisho /a").unwrap_err();
        assert!(matches!(error, ClsactError::Occupied { .. }), "{other:?}: {error}");
    }
}
