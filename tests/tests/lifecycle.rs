//! The agent comes, dies, comes back as another build, and goes; the kernel judges on meanwhile.

use std::{
    path::PathBuf,
    process::Command,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use rstest::rstest;
use sekisho_tests::{
    agent::Agent,
    attached,
    burden::Burden,
    client::Client,
    manifest::Mode,
    pace::{STEP, Strain, median},
    process::built,
    stage::{DENIED, DIRECT, Net, Stage},
    stranger,
    world::{Host, World},
};

/// The build with another map layout, where `cargo xtask test` puts it.
fn next_layout() -> Result<PathBuf> {
    let current = built("sekisho")?;
    let profile = current.parent().context("no profile directory")?;
    let target = profile.parent().context("no target directory")?;
    let name = profile.file_name().context("no profile name")?;
    let path = target.join("next-layout").join(name).join("sekisho");
    ensure!(path.exists(), "{} is missing: `cargo xtask test` builds it", path.display());
    Ok(path)
}

/// Each hook of the group has one program of the agent's.
fn check_hooks(stage: &Stage, each: u32) -> Result<()> {
    for (hook, count) in attached::count_at(stage.world.cgroup().path())? {
        ensure!(count == each, "{count} programs at {hook}, and not {each}");
    }
    let mut at_link = Vec::new();
    for hook in ["tcx_ingress", "tcx_egress"] {
        at_link.push(attached::count_at_link(stage.world.node(), stage.pod.port(), hook)?);
    }
    ensure!(at_link == [each, each], "{at_link:?} programs at the pod's link, and not {each}");
    Ok(())
}

#[rstest]
#[case::a_hundred_streams(100, 100)]
#[case::a_thousand_streams(1_000, 500)]
fn an_agent_killed_under_load_is_not_missed(#[case] streams: u32, #[case] rate: u32) -> Result<()> {
    const SECONDS: u64 = 8;
    let mut stage = Stage::ready()?;
    let mark = stage.far.capture()?;
    let load = Burden::start(&stage, (streams, rate), SECONDS)?;
    for _ in 0..2 {
        thread::sleep(Duration::from_secs(1));
        stage.agent.kill()?;
        check_hooks(&stage, 1)?;
        thread::sleep(Duration::from_millis(500));
        let start = Instant::now();
        stage.start()?;
        println!("{streams} streams: enrolled again {:?} after the start", start.elapsed());
    }
    let tally = load.end()?;
    println!("{streams} streams at {rate} connects/s: {tally:?}");
    check_hooks(&stage, 1)?;
    let denied = stage.at(Net::V4, DENIED).port().to_be_bytes();
    let leaked = mark.traffic().iter().filter(|f| f.bytes().get(36..38) == Some(&denied)).count();
    assert_eq!(leaked, 0, "frames to the denied port");
    Ok(())
}

/// With the agent dead, nothing changes for what it had published.
#[rstest]
fn verdicts_hold_while_the_agent_is_dead(#[values(Net::V4, Net::V6)] net: Net) -> Result<()> {
    let mut stage = Stage::ready()?;
    stage.agent.kill()?;
    let mut client = stage.client()?;
    client.echoes(stage.at(net, DIRECT))?;
    let said = client.dial(stage.at(net, DENIED))?;
    assert!(said.is_refused(), "{said:?}");
    // Changes wait for it.
    stage.agent.config().remove("far")?;
    client.echoes(stage.at(net, DIRECT))?;
    stage.start()?;
    let said = client.dial(stage.at(net, DIRECT))?;
    assert!(said.is_refused(), "after its return: {said:?}");
    Ok(())
}

#[rstest]
fn a_restarted_agent_adopts_and_doubles_nothing() -> Result<()> {
    let mut stage = Stage::ready()?;
    for _ in 0..3 {
        check_hooks(&stage, 1)?;
        stage.check_verdicts()?;
        stage.agent.kill()?;
        check_hooks(&stage, 1)?;
        stage.start()?;
    }
    Ok(())
}

/// Another build with another map layout takes over, and the old one after it, under load.
#[rstest]
fn an_upgrade_to_another_layout_leaves_no_gap() -> Result<()> {
    const SECONDS: u64 = 6;
    let mut stage = Stage::ready()?;
    let load = Burden::start(&stage, (50, 200), SECONDS)?;
    for program in [next_layout()?, built("sekisho")?] {
        thread::sleep(Duration::from_millis(500));
        stage.agent.kill()?;
        stage.agent.replace_program(program);
        stage.start()?;
        check_hooks(&stage, 1)?;
        let layouts = std::fs::read_dir(stage.agent.pins())?
            .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
            .filter(|name| name.starts_with("maps-v"))
            .count();
        assert_eq!(layouts, 1, "maps of one layout are left");
    }
    load.end()?;
    stage.check_verdicts()
}

#[rstest]
fn uninstalling_removes_all_of_ours_and_only_ours() -> Result<()> {
    let mut stage = Stage::ready()?;
    let _stranger = stranger::attach(stage.world.cgroup().path())?;
    let refused = stage.agent.uninstall();
    assert!(refused.is_err(), "an agent that runs is not uninstalled");
    stage.check_verdicts()?;
    stage.agent.kill()?;
    stage.agent.uninstall()?;
    for (hook, count) in attached::count_at(stage.world.cgroup().path())? {
        let strangers = u32::from(hook == "skb_egress");
        assert_eq!(count, strangers, "programs at {hook}");
    }
    assert_eq!(attached::count_at_link(stage.world.node(), stage.pod.port(), "tcx_ingress")?, 0);
    assert!(!stage.agent.pins().exists(), "pins are left");
    stage.client()?.echoes(stage.at(Net::V4, DENIED))
}

/// The median of several revocations, each told by a client that waits in `read()`.
#[rstest]
fn a_revoked_connection_is_reset_at_once_and_only_that(
    #[values(Net::V4, Net::V6)] net: Net,
) -> Result<()> {
    let mut stage = Stage::ready()?;
    let other = stage.world.far("kept")?;
    let _echo = sekisho_tests::serve::Echo::start(&other, DIRECT, &[])?;
    let kept_rule = |stage: &Stage| {
        let addresses = sekisho_tests::manifest::listed(&other.addresses());
        stage.agent.config().service_entry("kept", &addresses, &[(DIRECT, "TCP")])
    };
    stage.change(kept_rule)?;
    let mut kept = stage.client()?;
    kept.echoes(std::net::SocketAddr::new(net.of(&other), DIRECT))?;

    let (strain, mut took) = (Strain::start(STEP), Vec::new());
    for _ in 0..5 {
        let mut revoked = stage.client()?;
        revoked.echoes(stage.at(net, DIRECT))?;
        stage.agent.config().remove("far")?;
        let start = Instant::now();
        let said = revoked.tell("rest")?;
        took.push(start.elapsed());
        assert!(said.errno.is_some(), "{said:?}");
        stage.change(|stage| stage.name_far("far"))?;
    }
    let slowdown = strain.end()?;
    println!("{net:?}: reset {took:?} after the rule's file went; {slowdown:?}");
    let limit = slowdown.stretch(Duration::from_millis(250));
    assert!(median(took) < limit, "later than {limit:?}");
    kept.must("send still")?;
    assert_eq!(kept.must("read 5")?, "still");
    Ok(())
}

#[rstest]
fn a_revoked_connection_may_be_kept(#[values(Net::V4, Net::V6)] net: Net) -> Result<()> {
    let mut stage = Stage::set()?;
    stage.agent = stage.agent.with("--on-revoke", "keep");
    stage.start()?;
    let (mut open, mut fresh) = (stage.client()?, stage.client()?);
    open.echoes(stage.at(net, DIRECT))?;
    stage.change(|stage| stage.agent.config().remove("far"))?;
    open.must("send still")?;
    assert_eq!(open.must("read 5")?, "still");
    let said = fresh.dial(stage.at(net, DIRECT))?;
    assert!(said.is_refused(), "{said:?}");
    Ok(())
}

/// Each judges its own pods, in the same group and the same directory.
#[rstest]
fn two_agents_side_by_side_judge_their_own_pods() -> Result<()> {
    let stage = Stage::ready()?;
    let pod = stage.world.pod("other")?;
    let mut second = Agent::new(&stage.world)?.with("--node-name", "node-2");
    second.config().namespace(true)?;
    second.config().mesh(Mode::AllowAny)?;
    second.config().pod(&stage.pod)?;
    second.config().annotated_pod(&pod, "node-2", &[])?;
    stage.agent.config().annotated_pod(&pod, "node-2", &[])?;
    second.start(&stage.world)?;
    second.wait_until("the pod is enrolled", |a| Ok(a.enrolment("other")? == "enrolled"))?;
    check_two(&stage, &pod)?;
    // The going of one does not touch the other's.
    second.kill()?;
    second.uninstall()?;
    stage.check_verdicts()?;
    check_hooks(&stage, 1)
}

fn check_two(stage: &Stage, other: &Host) -> Result<()> {
    stage.check_verdicts()?;
    let mut client = Client::start(other)?;
    client.echoes(stage.at(Net::V4, DENIED))?;
    client.echoes(stage.at(Net::V6, DENIED))?;
    let counts = attached::count_at(stage.world.cgroup().path())?;
    ensure!(counts.iter().all(|(_, count)| *count == 2), "{counts:?}");
    Ok(())
}

/// As in a container: the agent's own sockets are still known for its own.
#[rstest]
fn an_agent_in_namespaces_of_its_own_lets_its_own_sockets_out() -> Result<()> {
    let mut stage = Stage::set()?;
    let inner = stage.agent.command();
    let mut command = Command::new("unshare");
    command.args(["--pid", "--fork", "--kill-child", "--cgroup", "--mount-proc"]);
    command.arg(inner.get_program()).args(inner.get_args());
    stage.agent.start_command(command, &stage.world)?;
    stage.agent.wait_until("the pod is enrolled", |a| Ok(a.enrolment("app")? == "enrolled"))?;
    stage.check_verdicts()
}

/// A pod whose namespace goes: its entry says so, and the others are judged as before.
#[rstest]
fn a_namespace_that_vanishes_takes_no_other_along() -> Result<()> {
    let mut stage = Stage::ready()?;
    let gone = stage.world.pod("gone")?;
    stage.change(|stage| stage.agent.config().pod(&gone))?;
    stage.agent.wait_until("it is enrolled", |a| Ok(a.enrolment("gone")? == "enrolled"))?;
    drop(gone);
    stage.check_verdicts()?;
    stage.agent.wait_until("it is said to fail", |a| Ok(a.enrolment("gone")? == "failing"))?;
    // By what is in force and not by a generation: the pod that went makes one of its own.
    for (mode, action) in [(Mode::AllowAny, "allow-any"), (Mode::RegistryOnly, "registry-only")] {
        stage.agent.config().mesh(mode)?;
        stage.agent.wait_until(action, |a| Ok(a.pod("app")?["default_action"] == action))?;
    }
    stage.check_verdicts()?;
    stage.agent.config().remove("pod-gone")?;
    stage.agent.wait_until("it is forgotten", |a| Ok(a.enrolment("gone")? == "unknown"))?;
    stage.check_verdicts()
}

/// Text cut off half-way, as a careless editor leaves it: the last good form stays in force.
#[rstest]
fn a_half_written_file_changes_nothing_and_is_named() -> Result<()> {
    let mut stage = Stage::ready()?;
    let path = stage.agent.config().path("far");
    let whole = std::fs::read_to_string(&path)?;
    let cut = whole.find("addresses").context("no addresses in the rule")?;
    std::fs::write(&path, &whole[..cut + 4])?;
    stage.agent.wait_until("the file is named", |agent| {
        Ok(agent.status()?["findings"].to_string().contains("far.yaml"))
    })?;
    stage.check_verdicts()?;
    std::fs::write(&path, whole)?;
    stage.agent.wait_until("the finding is gone", |agent| {
        Ok(!agent.status()?["findings"].to_string().contains("far.yaml"))
    })?;
    stage.check_verdicts()
}

#[rstest]
fn a_second_agent_on_the_same_run_directory_is_refused() -> Result<()> {
    let stage = Stage::ready()?;
    let output = refused(stage.agent.command(), &stage.world)?;
    assert!(output.contains("in use"), "{output}");
    assert!(output.contains(&stage.agent.run_dir().display().to_string()), "{output}");
    stage.check_verdicts()
}

/// Runs a command that must fail soon, and returns what it said.
fn refused(mut command: Command, world: &World) -> Result<String> {
    world.agent_place().prepare(&mut command)?;
    let output = command.output()?;
    ensure!(!output.status.success(), "it did not fail");
    Ok(String::from_utf8(output.stderr)?)
}
