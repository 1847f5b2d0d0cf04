//! The probes and the world by themselves, with no agent: every way out reaches the far end. If
//! this fails, a leak matrix that finds no leak means nothing.

use anyhow::Result;
use rstest::rstest;
use sekisho_tests::{
    frame::Kind,
    ground::Ground,
    packet::{self, number},
    way::{Family, Way},
    world::Wiring,
};

#[rstest]
fn every_way_reaches_the_far_end_without_hooks(
    #[values(Wiring::Bridged, Wiring::Routed)] wiring: Wiring,
    #[values(Family::V4, Family::V6, Family::Mapped)] family: Family,
) -> Result<()> {
    let ways: Vec<Way> =
        Way::ALL.iter().copied().filter(|w| wiring == Wiring::Bridged || w.is_routed()).collect();
    let ground = Ground::new(wiring)?;
    let (mut probes, first) = ground.first_round(&ways, family)?;
    let mark = ground.mark();
    let second = ground.next_round(&mut probes, mark)?;

    let mut lost = Vec::new();
    for row in first.iter().chain(&second) {
        let tries = [Some(row.report.fresh), row.report.held];
        if row.frames.is_empty() || tries.iter().flatten().any(|outcome| !outcome.answered) {
            lost.push(format!("{}: {} frames, {:?}", row.way, row.frames.len(), row.report));
        }
    }
    assert!(lost.is_empty(), "{wiring:?}, {family:?}:\n{}", lost.join("\n"));
    assert!(second.iter().any(|row| row.report.held.is_some()), "nothing was held open");
    Ok(())
}

#[rstest]
fn frames_come_as_they_were_sent_on_a_bridge() -> Result<()> {
    let ground = Ground::new(Wiring::Bridged)?;
    let ways = [Way::PacketUnknown, Way::PacketOptions];
    let (_probes, rows) = ground.first_round(&ways, Family::V4)?;
    let [unknown, options] = &rows[..] else { panic!("{rows:?}") };
    let marker = packet::marked(Way::PacketUnknown.destination(Family::V4));
    assert_eq!(unknown.frames[0].bytes()[12..14], number::ETHER_LOCAL.to_be_bytes());
    assert_eq!(unknown.frames[0].bytes()[14..], marker);
    assert_eq!(options.frames[0].bytes()[14], 0x46, "a header of six words");
    for row in &rows {
        assert_eq!(row.frames[0].source(), Some(ground.pod().station()));
        assert_eq!(row.frames[0].kind(), Kind::Traffic);
    }
    Ok(())
}
