//! Every way out of a pod, under every policy and across every change of it, counted as frames at
//! the far end; and the same with one hook detached on purpose, which must be found.
//!
//! A case runs all ways at once in a world of its own, with an agent of its own.

use anyhow::Result;
use rstest::rstest;
use sekisho_tests::{
    agent::Agent,
    ground::{Ground, Row},
    links,
    posture::{Posture, Violation, judged, judged_by, lines},
    way::{Family, Way},
    world::Wiring,
};

/// A first round under `posture`, on fresh ground.
fn stand(posture: Posture, family: Family) -> Result<(Ground, Agent, Vec<Row>)> {
    let ground = Ground::new(Wiring::Bridged)?;
    let agent = judged(&ground, posture)?;
    let (_probes, rows) = ground.first_round(Way::ALL, family)?;
    Ok((ground, agent, rows))
}

#[rstest]
fn a_policy_lets_out_what_it_names_and_no_frame_more(
    #[values(Posture::Unenrolled, Posture::AllowAny, Posture::Ruled, Posture::Closed)]
    posture: Posture,
    #[values(Family::V4, Family::V6, Family::Mapped)] family: Family,
) -> Result<()> {
    let (_ground, agent, rows) = stand(posture, family)?;
    let mut violations = posture.violations(&rows, family);
    violations.extend(posture.misreported(&agent, &rows, family)?);
    assert!(violations.is_empty(), "{posture:?}, {family:?}:{}", lines(&violations));
    Ok(())
}

/// A pod that no object has named gets nowhere, and is told to try again.
#[rstest]
fn a_pod_that_is_not_known_is_held(
    #[values(Family::V4, Family::V6, Family::Mapped)] family: Family,
) -> Result<()> {
    let ground = Ground::new(Wiring::Bridged)?;
    let agent = Agent::new(ground.world())?.with("--unknown-pods", "hold");
    let mut agent = judged_by(agent, &ground, Posture::Unknown)?;
    let (mut probes, rows) = ground.first_round(&Posture::Unknown.ways(), family)?;
    let early = Posture::Unknown.violations(&rows, family);
    assert!(early.is_empty(), "{family:?}:{}", lines(&early));

    // From the moment that it is known, its rules hold.
    Posture::Ruled.impose(&mut agent, &ground)?;
    let mark = ground.mark();
    let rows = ground.next_round(&mut probes, mark)?;
    let late = Posture::Ruled.violations(&rows, family);
    assert!(late.is_empty(), "{family:?}:{}", lines(&late));
    Ok(())
}

/// What is open when a rule goes is held to the new rules, and what was refused is let out by a
/// new rule without a restart of the application.
#[rstest]
#[case::a_rule_is_revoked(Posture::Ruled, Posture::Closed)]
#[case::the_policy_tightens(Posture::AllowAny, Posture::Closed)]
#[case::the_pod_is_enrolled_late(Posture::Unenrolled, Posture::Closed)]
#[case::a_rule_is_added(Posture::Closed, Posture::Ruled)]
#[case::a_rule_replaces_the_default(Posture::AllowAny, Posture::Ruled)]
fn a_change_holds_for_what_is_open_and_for_what_comes(
    #[case] before: Posture,
    #[case] after: Posture,
    #[values(Family::V4, Family::V6, Family::Mapped)] family: Family,
) -> Result<()> {
    let ground = Ground::new(Wiring::Bridged)?;
    let mut agent = judged(&ground, before)?;
    let (mut probes, first) = ground.first_round(Way::ALL, family)?;
    let early = before.violations(&first, family);
    assert!(early.is_empty(), "before, {before:?}, {family:?}:{}", lines(&early));

    after.impose(&mut agent, &ground)?;
    let mark = ground.mark();
    let second = ground.next_round(&mut probes, mark)?;
    let late = after.violations(&second, family);
    assert!(late.is_empty(), "{before:?} to {after:?}, {family:?}:{}", lines(&late));
    Ok(())
}

/// The same ways, where `hook` has been torn off: the matrix has to notice.
#[rstest]
#[case::connect4("connect4", Family::V4, Way::TcpConnect)]
#[case::connect6("connect6", Family::V6, Way::TcpConnect)]
#[case::connect6_mapped("connect6", Family::Mapped, Way::TcpConnect)]
#[case::sendmsg4("sendmsg4", Family::V4, Way::UdpSendTo)]
#[case::sendmsg6("sendmsg6", Family::V6, Way::UdpSendTo)]
#[case::packets("skb_egress", Family::V4, Way::PingSendTo)]
#[case::packets("skb_egress", Family::V6, Way::RawIcmp)]
#[case::link("tcx_ingress", Family::V4, Way::PacketUdp)]
#[case::link("tcx_ingress", Family::V6, Way::ForeignTcp)]
fn a_detached_hook_is_found(
    #[case] hook: &str,
    #[case] family: Family,
    #[case] witness: Way,
) -> Result<()> {
    let ground = Ground::new(Wiring::Bridged)?;
    let agent = judged(&ground, Posture::Closed)?;
    let pins = links::pins_of(agent.pins(), hook)?;
    assert!(!pins.is_empty(), "no link of {hook} is pinned");
    // It would put the hook back.
    agent.pause()?;
    for pin in &pins {
        links::detach(pin)?;
    }
    let (_probes, rows) = ground.first_round(Way::ALL, family)?;
    agent.resume()?;
    let mut found: Vec<Violation> = Posture::Closed.violations(&rows, family);
    found.extend(Posture::Closed.misreported(&agent, &rows, family)?);
    assert!(
        found.iter().any(|violation| violation.way == witness),
        "without {hook}, {witness} over {family:?} should differ; what differs:{}",
        lines(&found)
    );
    Ok(())
}
