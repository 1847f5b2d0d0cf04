//! How an agent hears of changes of pods' links: also when there is more to hear than it can, after a
//! start, and no longer than the pod is there.

use std::{
    fs,
    sync::atomic::{AtomicBool, Ordering},
    thread,
};

use anyhow::{Context as _, Result, anyhow, ensure};
use rstest::rstest;
use sekisho_tests::{
    linked::{Case, REST},
    stage::Net,
};

/// What an agent finds when it starts is what another would have been told.
#[rstest]
fn a_link_that_came_while_no_agent_ran_is_judged(
    #[values("tcx", "clsact")] layer3: &str,
    #[values(false, true)] came_before: bool,
) -> Result<()> {
    let mut case = Case::new(layer3)?;
    if came_before {
        case.add_link("spare", "net1")?;
        case.closes(Net::V4, "net1")?;
    }
    case.agent.kill()?;
    if !came_before {
        case.add_link("spare", "net1")?;
        ensure!(case.beacon(Net::V4, "net1").arrives()?, "no hook judges it");
    }
    case.agent.start(&case.world)?;
    case.within("it is proved", |case| case.is_judged("net1"))?;
    ensure!(!case.beacon(Net::V6, "net1").arrives()?);
    // And it hears of the next one.
    thread::sleep(REST);
    case.add_link("spare2", "net2")?;
    case.closes(Net::V6, "net2")?;
    case.within("so is the next", |case| case.is_judged("net2"))
}

/// A pod that leaves the mesh and returns is as new to the hooks as one that starts.
#[rstest]
fn a_pod_that_returns_to_the_mesh_is_judged_by_all_its_links(
    #[values("tcx", "clsact")] layer3: &str,
) -> Result<()> {
    let mut case = Case::new(layer3)?;
    case.add_link("spare", "net1")?;
    case.within("it is proved", |case| case.is_judged("net1"))?;
    case.agent.config().namespace(false)?;
    case.within("it has left", |case| {
        Ok(case.shown("app")?["enrolment"] == "not-enrolled"
            && case.agent.status()?["state"]["state"] == "ready")
    })?;
    for link in ["eth0", "net1"] {
        ensure!(case.beacon(Net::V4, link).arrives()?, "no hook judges {link}");
    }
    // Of this one the agent hears nothing.
    case.add_link("spare2", "net2")?;
    case.agent.config().namespace(true)?;
    case.within("it is back", |case| Ok(case.shown("app")?["enrolment"] == "enrolled"))?;
    for (net, link) in [(Net::V6, "eth0"), (Net::V6, "net1"), (Net::V4, "net2")] {
        ensure!(!case.beacon(net, link).arrives()?, "{link} is open");
    }
    case.within("all are proved", |case| case.is_proved(3))?;
    thread::sleep(REST);
    case.add_link("spare3", "net3")?;
    case.closes(Net::V6, "net3")
}

/// More news than a socket holds: then everything is looked at.
#[rstest]
#[case::in_the_pod(true)]
#[case::on_the_node(false)]
fn news_that_is_lost_costs_a_look_at_everything(#[case] in_pod: bool) -> Result<()> {
    let mut case = Case::new("tcx")?;
    case.agent.pause()?;
    let churn = "link add x0 type veth peer name x1\nlink del x0\n".repeat(300);
    if in_pod {
        case.in_pod(&churn)?;
    } else {
        case.on_node(&churn)?;
    }
    // What is said of this one finds no room.
    case.add_link("spare", "net1")?;
    case.agent.resume()?;
    case.closes(Net::V4, "net1")?;
    case.within("it is proved", |case| case.is_judged("net1"))?;
    let overruns = case.agent.status()?["link_overruns"].as_u64();
    ensure!(overruns > Some(0), "nothing was lost: {overruns:?}");
    // It hears on.
    thread::sleep(REST);
    case.add_link("spare2", "net2")?;
    case.closes(Net::V6, "net2")?;
    case.within("so is the next", |case| case.is_judged("net2"))
}

/// A process that changes links all the time does not stop the agent.
#[rstest]
fn a_pod_that_changes_links_all_the_time_delays_no_other() -> Result<()> {
    let mut case = Case::new("tcx")?;
    let churn = "link add x0 type veth peer name x1\nlink del x0\n".repeat(20);
    let restless = case.world.pod("restless")?;
    case.agent.config().pod(&restless)?;
    case.within("it is enrolled", |case| case.is_judged_of("restless", "eth0"))?;
    let stop = AtomicBool::new(false);
    let rounds = thread::scope(|scope| {
        let churning = scope.spawn(|| -> Result<u32> {
            let mut rounds = 0;
            while !stop.load(Ordering::Relaxed) {
                restless.netns().ip(&churn)?;
                rounds += 1;
            }
            Ok(rounds)
        });
        let outcome = judges_a_new_link(&mut case);
        stop.store(true, Ordering::Relaxed);
        let rounds = churning.join().map_err(|_| anyhow!("the churn panicked"))??;
        outcome.map(|()| rounds)
    })?;
    ensure!(rounds > 0, "nothing changed meanwhile");
    case.within("all is well", |case| {
        Ok(case.is_proved(2)? && case.is_judged_of("restless", "eth0")?)
    })
}

fn judges_a_new_link(case: &mut Case) -> Result<()> {
    case.add_link("spare", "net1")?;
    case.closes(Net::V4, "net1")?;
    case.within("it is proved", |case| case.is_judged("net1"))
}

/// What listens to pods goes with them: no descriptor stays, and no namespace.
#[rstest]
fn a_pod_that_goes_leaves_no_listener() -> Result<()> {
    const PODS: usize = 10;
    let mut case = Case::new("tcx")?;
    let pid = case.agent.pid().context("it runs")?;
    let descriptors = || -> Result<usize> { Ok(fs::read_dir(format!("/proc/{pid}/fd"))?.count()) };
    let before = descriptors()?;
    let names: Vec<String> = (0..PODS).map(|number| format!("pod{number}")).collect();
    for round in 0..2 {
        let pods = names.iter().map(|name| case.world.pod(name)).collect::<Result<Vec<_>>>()?;
        for pod in &pods {
            case.agent.config().pod(pod)?;
        }
        case.within("all are proved", |case| {
            let is_judged = |name: &String| case.is_judged_of(name, "eth0").unwrap_or(false);
            Ok(names.iter().all(is_judged))
        })?;
        println!("round {round}: {} descriptors for {PODS} pods", descriptors()? - before);
        drop(pods);
        for name in &names {
            case.agent.config().remove(&format!("pod-{name}"))?;
        }
        case.within("all have gone", |case| {
            Ok(case.agent.status()?["pods"].as_array().is_some_and(|all| all.len() == 1)
                && descriptors()? <= before + 2)
        })?;
    }
    Ok(())
}
