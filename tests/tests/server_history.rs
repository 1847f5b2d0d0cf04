//! What an agent makes of a server that has another past than the agent saw: objects that went unseen,
//! and a state that was restored from a backup.

use std::{
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use rstest::rstest;
use sekisho_tests::{
    agent::Agent,
    control_plane::ACCOUNT,
    gate::Mode,
    gated::{Gated, RETURN, wait_behind},
    kubernetes::is_left_out,
    manifest::{NAMESPACE, NODE},
    scene::{Scene, pod},
    stage::{DENIED, DIRECT, Net},
};

/// Between two words of a node's Lease, by which a server that was restored is told, and the lists.
const WITNESSED: Duration = Duration::from_secs(40);

/// Writes that tell one state of a server from another; a start makes some dozens by itself.
const MANY: u32 = 300;

/// What tells that a server was restored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Told {
    /// It has not counted as far as before.
    Version,
    /// It has counted further, while no agent watched, and the node's Lease is an older one.
    Lease,
    /// The same, and the Lease was not made yet.
    NoLease,
}

/// What was made after the backup goes from the kernel, and what was deleted after it comes back.
#[rstest]
fn a_server_that_is_restored_from_a_backup_is_taken_at_its_word(
    #[values(Told::Version, Told::Lease, Told::NoLease)] told: Told,
) -> Result<()> {
    if is_left_out() {
        return Ok(());
    }
    let Gated { gate, mut scene, .. } = Gated::sealed(&[])?.judging()?;
    if told == Told::NoLease {
        let lease = format!("lease/sekisho-node-{NODE}");
        let made = ["wait", "--for=create", "--timeout=30s", "-n", ACCOUNT.0, &lease];
        scene.kubectl(&made)?;
        scene.kubectl(&["delete", "-n", ACCOUNT.0, &lease])?;
    }
    scene.plane.back_up("early")?;
    scene.plane.start_again(&scene.stage.world)?;
    scene.wait_followed("services", "current")?;
    if told == Told::Version {
        write_many(&scene, "lost")?;
    }

    wait_told(&scene, true)?;
    scene.delete_rule()?;
    scene.wait_allowed(false, RETURN)?;
    wait_told(&scene, false)?;
    let late = scene.stage.at(Net::V4, DENIED);
    let entry = sekisho_tests::manifest::service_entry(
        "late",
        "late.example.com",
        &[late.ip().to_string()],
        &[(DENIED, "TCP")],
    )?;
    scene.apply(&entry)?;
    let mut client = scene.stage.client()?;
    let start = Instant::now();
    while client.dial(late)?.errno.is_some() {
        ensure!(start.elapsed() < RETURN, "the late rule is not in force");
    }
    wait_told(&scene, true)?;

    gate.set(Mode::Shut);
    scene.plane.stop()?;
    wait_behind(&scene, "cannot be reached", RETURN)?;
    assert_eq!(client.dial(late)?.errno, None, "with the server away");
    scene.plane.restore("early")?;
    scene.plane.start_again(&scene.stage.world)?;
    if told != Told::Version {
        // Another client watches them already; the server would know of no version before else.
        scene.kubectl(&["get", "serviceentries", "-A"])?;
        write_many(&scene, "since")?;
    }
    gate.set(Mode::Open);
    let heard = scene.wait_allowed(true, WITNESSED)?;
    println!("in force after {heard:?}");
    let start = Instant::now();
    while client.dial(late)?.errno.is_none() {
        ensure!(start.elapsed() < RETURN, "the late rule is still in force");
    }
    scene.stage.check_verdicts()
}

/// Waits until the node has said in its Lease that it has rules in force, or that it has none.
fn wait_told(scene: &Scene, any: bool) -> Result<()> {
    let lease = format!("lease/sekisho-node-{NODE}");
    let start = Instant::now();
    loop {
        // It may not be there yet.
        let lease = scene.plane.get(&scene.stage.world, &[&lease, "-n", ACCOUNT.0]);
        let told = lease.map(|lease| lease["metadata"]["annotations"].to_string());
        if told.as_ref().is_ok_and(|told| told.contains("serviceentries") == any) {
            return Ok(());
        }
        ensure!(start.elapsed() < RETURN, "rules: {any}, and not {told:?}");
        thread::sleep(Duration::from_millis(100));
    }
}

fn write_many(scene: &Scene, name: &str) -> Result<()> {
    let one = |number| {
        format!(
            "apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: {name}-{number}, namespace: default}}\n"
        )
    };
    scene.apply(&(0..MANY).map(one).collect::<Vec<_>>().join("---\n"))
}

/// What the agent does while objects go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum While {
    /// It has no connection.
    CutOff,
    /// It does not run.
    Down,
    /// It does not run, and starts from what it saved, with the server away at first.
    DownAndAlone,
}

#[rstest]
fn what_was_deleted_unseen_is_noticed(
    #[values(While::CutOff, While::Down, While::DownAndAlone)] what: While,
) -> Result<()> {
    if is_left_out() {
        return Ok(());
    }
    let Gated { gate, mut scene, .. } = Gated::sealed(&[])?.judging()?;
    let second = scene.stage.world.pod("second")?;
    pod(&scene.plane, &scene.stage, (&second, NAMESPACE))?;
    let enrolled = |agent: &Agent| Ok(agent.enrolment("second")? == "enrolled");
    scene.stage.agent.wait_until("the second pod is enrolled", enrolled)?;
    scene.wait_saved("second", true)?;
    scene.wait_saved("far-tcp", true)?;

    match what {
        While::CutOff => gate.set(Mode::Shut),
        While::Down | While::DownAndAlone => scene.stage.agent.kill()?,
    }
    scene.delete_rule()?;
    scene.kubectl(&["delete", "pod", "second", "-n", NAMESPACE, "--grace-period=0", "--force"])?;
    let mut client = scene.stage.client()?;
    client.echoes(scene.stage.at(Net::V4, DIRECT))?;
    assert!(client.dial(scene.stage.at(Net::V4, DENIED))?.is_refused());
    match what {
        While::CutOff => {
            wait_behind(&scene, "", RETURN)?;
            gate.set(Mode::Open);
        }
        While::Down => scene.stage.start()?,
        While::DownAndAlone => {
            gate.set(Mode::Shut);
            scene.stage.start()?;
            ensure!(scene.saved()?.is_string(), "{}", scene.saved()?);
            assert_eq!(scene.stage.agent.enrolment("second")?, "enrolled");
            scene.stage.check_verdicts()?;
            gate.set(Mode::Open);
        }
    }
    let heard = scene.wait_allowed(false, RETURN)?;
    println!("{what:?}: noticed after {heard:?}");
    let gone = |agent: &Agent| Ok(agent.enrolment("second")? == "unknown");
    scene.stage.agent.wait_until("the second pod is gone", gone)?;
    scene.wait_saved("second", false)?;
    scene.wait_saved("far-tcp", false)?;
    scene.saved()?.is_null().then_some(()).context("the saved objects still count")
}
