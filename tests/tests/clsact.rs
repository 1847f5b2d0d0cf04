//! Layer 3 by clsact filters, as on kernels without tcx: the same ways out are closed, a filter
//! outlives its agent, and changing from one manner to the other leaves no gap and no double.

use std::{
    thread,
    time::{Duration, Instant},
};

use anyhow::{Result, ensure};
use rstest::rstest;
use sekisho_tests::{
    agent::Agent,
    attached,
    burden::Burden,
    ground::{Ground, Row},
    posture::{Posture, judged_by, lines},
    stage::{DENIED, Net, Stage},
    way::{Family, Way},
    world::Wiring,
};

const SIDES: [&str; 2] = ["ingress", "egress"];
/// The agent looks every second.
const MENDED: Duration = Duration::from_secs(5);

fn stand(posture: Posture) -> Result<(Ground, Agent)> {
    let ground = Ground::new(Wiring::Bridged)?;
    let agent = Agent::new(ground.world())?.with("--layer3", "clsact");
    let agent = judged_by(agent, &ground, posture)?;
    Ok((ground, agent))
}

fn first_round(ground: &Ground, family: Family) -> Result<Vec<Row>> {
    Ok(ground.first_round(Way::ALL, family)?.1)
}

#[rstest]
fn a_policy_lets_out_what_it_names_and_no_frame_more(
    #[values(Posture::AllowAny, Posture::Ruled, Posture::Closed)] posture: Posture,
    #[values(Family::V4, Family::V6, Family::Mapped)] family: Family,
) -> Result<()> {
    let (ground, agent) = stand(posture)?;
    let rows = first_round(&ground, family)?;
    let mut violations = posture.violations(&rows, family);
    violations.extend(posture.misreported(&agent, &rows, family)?);
    assert!(violations.is_empty(), "{posture:?}, {family:?}:{}", lines(&violations));
    Ok(())
}

#[rstest]
#[case::a_rule_is_revoked(Posture::Ruled, Posture::Closed)]
#[case::the_pod_is_enrolled_late(Posture::Unenrolled, Posture::Closed)]
#[case::a_rule_is_added(Posture::Closed, Posture::Ruled)]
fn a_change_holds_for_what_is_open_and_for_what_comes(
    #[case] before: Posture,
    #[case] after: Posture,
    #[values(Family::V4, Family::V6)] family: Family,
) -> Result<()> {
    let (ground, mut agent) = stand(before)?;
    let (mut probes, _) = ground.first_round(Way::ALL, family)?;
    after.impose(&mut agent, &ground)?;
    let mark = ground.mark();
    let rows = ground.next_round(&mut probes, mark)?;
    let violations = after.violations(&rows, family);
    assert!(violations.is_empty(), "{before:?} to {after:?}, {family:?}:{}", lines(&violations));
    Ok(())
}

/// The matrix notices a missing filter, and so does the agent.
///
/// Whether it is whole again is asked with the other family: what the far end answered through the
/// hole are flows that it is taken to have begun.
#[rstest]
#[case(Family::V4, Way::PacketUdp, Family::V6)]
#[case(Family::V6, Way::ForeignTcp, Family::V4)]
fn a_filter_that_was_taken_away_is_found_and_put_back(
    #[case] family: Family,
    #[case] witness: Way,
    #[case] other: Family,
) -> Result<()> {
    let (ground, mut agent) = stand(Posture::Closed)?;
    let (node, port) = (ground.world().node(), ground.pod().port().to_owned());
    agent.pause()?;
    attached::tc(node, &["filter", "del", "dev", &port, "ingress"])?;
    let found = Posture::Closed.violations(&first_round(&ground, family)?, family);
    assert!(found.iter().any(|violation| violation.way == witness), "{}", lines(&found));

    agent.resume()?;
    let since = Instant::now();
    while attached::filters_at(node, &port, "ingress")?.is_empty() {
        ensure!(since.elapsed() < MENDED, "the filter is not put back");
        thread::sleep(Duration::from_millis(20));
    }
    println!("put back after {:?}", since.elapsed());
    agent.wait_until("the agent is ready", |a| Ok(a.status()?["state"]["state"] == "ready"))?;
    let found = Posture::Closed.violations(&first_round(&ground, other)?, other);
    assert!(found.is_empty(), "after it was put back:{}", lines(&found));
    Ok(())
}

/// The stage with an agent that is told how to attach layer 3.
fn stage(layer3: &str) -> Result<Stage> {
    let mut stage = Stage::set()?;
    switch(&mut stage, layer3);
    stage.start()?;
    Ok(stage)
}

fn switch(stage: &mut Stage, layer3: &str) {
    stage.agent.set("--layer3", layer3);
}

fn filters(stage: &Stage) -> Result<[Vec<String>; 2]> {
    let [ingress, egress] =
        SIDES.map(|side| attached::filters_at(stage.world.node(), stage.pod.port(), side));
    Ok([ingress?, egress?])
}

/// One program of the agent's on either side, attached in one mode.
fn check_attached(stage: &Stage, layer3: &str) -> Result<()> {
    let by_link = u32::from(layer3 == "tcx");
    for hook in ["tcx_ingress", "tcx_egress"] {
        let count = attached::count_at_link(stage.world.node(), stage.pod.port(), hook)?;
        ensure!(count == by_link, "{count} programs at {hook} under --layer3 {layer3}");
    }
    let ours = format!("sekisho {}", stage.agent.pins().display());
    let wanted = if layer3 == "tcx" { vec![] } else { vec![ours] };
    for names in filters(stage)? {
        ensure!(names == wanted, "the filters {names:?} under --layer3 {layer3}");
    }
    let status = stage.agent.status();
    if let Ok(status) = status {
        ensure!(status["layer3"] == layer3, "{status}");
        let hooks = status["pods"][0]["hooks"].to_string();
        ensure!(hooks.contains(&format!("{layer3}_ingress")), "{hooks}");
        ensure!(!hooks.contains("false"), "{hooks}");
    }
    Ok(())
}

/// Frames of a stream to the port that no rule names, at the far end.
fn leaked(mark: &sekisho_tests::capture::Capture, net: Net) -> usize {
    let denied = DENIED.to_be_bytes();
    let offset = if net == Net::V4 { 36 } else { 56 };
    let to_denied = |f: &&sekisho_tests::frame::Frame| {
        f.bytes().get(offset..offset + 2) == Some(denied.as_slice())
    };
    mark.traffic().iter().filter(to_denied).count()
}

#[rstest]
fn a_filter_outlives_its_agent_and_is_adopted(#[values(Net::V4, Net::V6)] net: Net) -> Result<()> {
    const SECONDS: u64 = 5;
    let mut stage = stage("clsact")?;
    let capture = stage.far.capture()?;
    let load = Burden::over(net, &stage, (50, 200), SECONDS)?;
    for _ in 0..2 {
        stage.agent.kill()?;
        check_attached(&stage, "clsact")?;
        thread::sleep(Duration::from_millis(300));
        stage.start()?;
        check_attached(&stage, "clsact")?;
    }
    println!("{net:?}: {:?}", load.end()?);
    assert_eq!(leaked(&capture, net), 0, "frames to the denied port");
    stage.check_verdicts()
}

#[rstest]
fn a_change_of_manner_leaves_no_gap_and_no_double(
    #[values(Net::V4, Net::V6)] net: Net,
) -> Result<()> {
    const SECONDS: u64 = 6;
    let mut stage = stage("tcx")?;
    let capture = stage.far.capture()?;
    let load = Burden::over(net, &stage, (50, 200), SECONDS)?;
    for layer3 in ["clsact", "tcx", "clsact"] {
        stage.agent.kill()?;
        switch(&mut stage, layer3);
        stage.start()?;
        check_attached(&stage, layer3)?;
    }
    println!("{net:?}: {:?}", load.end()?);
    assert_eq!(leaked(&capture, net), 0, "frames to the denied port");
    stage.check_verdicts()
}

/// A pod that leaves the mesh between two agents: what the first attached in its mode, the second
/// takes away.
#[rstest]
#[case("tcx", "clsact")]
#[case("clsact", "tcx")]
fn what_another_manner_left_is_taken_away(#[case] before: &str, #[case] after: &str) -> Result<()> {
    let mut stage = stage(before)?;
    stage.agent.kill()?;
    stage.agent.config().namespace(false)?;
    switch(&mut stage, after);
    stage.agent.start(&stage.world)?;
    stage
        .agent
        .wait_until("the pod is not enrolled", |a| Ok(a.enrolment("app")? == "not-enrolled"))?;
    assert_eq!(filters(&stage)?, [vec![], vec![] as Vec<String>]);
    assert_eq!(attached::count_at_link(stage.world.node(), stage.pod.port(), "tcx_ingress")?, 0);
    assert!(!attached::has_clsact(stage.world.node(), stage.pod.port())?, "the discipline stays");
    Ok(())
}

/// Filters need no pins, so they stay when the pins are removed.
#[rstest]
fn filters_without_pins_are_found(#[values("clsact", "tcx")] after: &str) -> Result<()> {
    let mut stage = stage("clsact")?;
    stage.agent.kill()?;
    std::fs::remove_dir_all(stage.agent.pins())?;
    check_attached(&stage, "clsact")?;
    switch(&mut stage, after);
    stage.start()?;
    check_attached(&stage, after)?;
    stage.check_verdicts()?;
    stage.agent.kill()?;
    std::fs::remove_dir_all(stage.agent.pins())?;
    stage.agent.uninstall()?;
    assert_eq!(filters(&stage)?, [vec![], vec![] as Vec<String>]);
    Ok(())
}

#[rstest]
fn uninstalling_removes_our_filters_and_only_ours(
    #[values(false, true)] beside_a_stranger: bool,
) -> Result<()> {
    let mut stage = Stage::set()?;
    switch(&mut stage, "clsact");
    let (node, port) = (stage.world.node(), stage.pod.port());
    if beside_a_stranger {
        attached::tc(node, &["qdisc", "add", "dev", port, "clsact"])?;
        let classifier = ["u32", "match", "u32", "0", "0", "classid", "1:1"];
        for side in SIDES {
            let place = ["filter", "add", "dev", port, side, "prio", "7", "protocol", "ip"];
            attached::tc(node, &[&place[..], &classifier].concat())?;
        }
    }
    stage.start()?;
    let strangers = filters(&stage)?.map(|names| names[1..].to_vec());
    stage.agent.kill()?;
    stage.agent.uninstall()?;
    assert!(!stage.agent.pins().exists(), "pins are left");
    assert_eq!(filters(&stage)?, strangers);
    let names = strangers.iter().flatten().count();
    assert_eq!(names > 0, beside_a_stranger, "{strangers:?}");
    assert_eq!(attached::has_clsact(stage.world.node(), stage.pod.port())?, beside_a_stranger);
    stage.client()?.echoes(stage.at(Net::V4, DENIED))
}

/// Filters can only be removed where they are attached, and that is said.
#[rstest]
fn uninstalling_from_elsewhere_is_refused() -> Result<()> {
    let mut stage = stage("clsact")?;
    stage.agent.kill()?;
    let mut command = stage.agent.verb(&["uninstall"]);
    let output = command.arg("--pin-dir").arg(stage.agent.pins()).output()?;
    let complaint = String::from_utf8(output.stderr)?;
    assert!(!output.status.success() && complaint.contains("nsenter"), "{complaint}");
    check_attached(&stage, "clsact")?;
    stage.agent.uninstall()?;
    assert_eq!(filters(&stage)?, [vec![], vec![] as Vec<String>]);
    Ok(())
}
