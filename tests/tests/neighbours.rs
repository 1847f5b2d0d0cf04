//! Beside other programs on the same hooks, attached before ours and after: theirs keep running, and
//! ours still judge.

use anyhow::{Result, ensure};
use rstest::rstest;
use sekisho_tests::{
    stage::Stage,
    stranger::{self, Counting, Stranger},
};

/// Sends something past every hook and looks at who saw it.
fn check(stage: &Stage, strangers: &[Stranger]) -> Result<()> {
    let _counting = Counting::start()?;
    let before = strangers.iter().map(Stranger::runs).collect::<Result<Vec<_>>>()?;
    stage.check_verdicts()?;
    for (stranger, before) in strangers.iter().zip(before) {
        ensure!(stranger.runs()? > before, "{} has not run", stranger.hook.name);
    }
    Ok(())
}

/// A program that lets frames pass ends the chain: a program attached behind it sees nothing.
#[rstest]
#[case::it_was_there_first(true)]
#[case::it_came_later_and_behind(false)]
fn one_that_ends_the_chain_is_behind_ours(#[case] before: bool) -> Result<()> {
    let mut stage = Stage::set()?;
    let mut strangers = Vec::new();
    if before {
        strangers.extend(stranger::passing(&stage.world, &stage.pod, false)?);
    }
    stage.start()?;
    if !before {
        strangers.extend(stranger::passing(&stage.world, &stage.pod, false)?);
    }
    judges_before_and_after_a_start(&mut stage, &strangers)
}

/// One that comes before ours later is found by a canary; ours goes before it then, once.
#[test]
fn one_that_goes_before_ours_is_found_and_left_behind() -> Result<()> {
    let mut stage = Stage::set()?;
    stage.agent.set("--canary-interval", "1");
    stage.start()?;
    wait_for_proof(&mut stage)?;
    let first = stranger::passing(&stage.world, &stage.pod, true)?;
    stage.agent.wait_until("ours is first again", |a| Ok(a.status()?["mended"]["count"] == 1))?;
    wait_for_proof(&mut stage)?;
    check(&stage, &first)?;

    // While no agent looks; what starts next goes before it at once.
    stage.agent.kill()?;
    let second = stranger::passing(&stage.world, &stage.pod, true)?;
    stage.start()?;
    wait_for_proof(&mut stage)?;
    // It ends the chain for the other one, which is no affair of ours.
    check(&stage, &second)?;

    // One that passes on is no reason to fight for the first place.
    let polite = stranger::everywhere(&stage.world, &stage.pod)?;
    let mended = stage.agent.status()?["mended"]["count"].clone();
    std::thread::sleep(std::time::Duration::from_secs(3));
    assert_eq!(stage.agent.status()?["mended"]["count"], mended);
    drop(polite);
    Ok(())
}

/// What is attached beside others is adopted in its place.
fn judges_before_and_after_a_start(stage: &mut Stage, strangers: &[Stranger]) -> Result<()> {
    wait_for_proof(stage)?;
    check(stage, strangers)?;
    stage.agent.kill()?;
    stage.start()?;
    wait_for_proof(stage)?;
    check(stage, strangers)?;
    assert_eq!(stage.agent.status()?["mended"]["count"], 0, "nothing was taken away");
    Ok(())
}

fn wait_for_proof(stage: &mut Stage) -> Result<()> {
    stage.agent.wait_until("the canary is refused everywhere", |agent| {
        let status = agent.status()?;
        let canary = &status["pods"][0]["canary"];
        Ok(canary["layers"] == serde_json::json!([1, 2, 3]) && canary["failing"].is_null())
    })
}

#[rstest]
fn programs_of_others_run_and_ours_judge(
    #[values(true, false)] before: bool,
    #[values(true, false)] after: bool,
) -> Result<()> {
    let mut stage = Stage::set()?;
    let mut strangers = Vec::new();
    if before {
        strangers.extend(stranger::everywhere(&stage.world, &stage.pod)?);
    }
    stage.start()?;
    if after {
        strangers.extend(stranger::everywhere(&stage.world, &stage.pod)?);
    }
    judges_before_and_after_a_start(&mut stage, &strangers)?;

    // And what one of us loses is put back behind the others.
    if after {
        stage.detach("connect4")?;
        stage.detach("tcx_ingress")?;
        stage.agent.wait_until("both are put back", |a| Ok(a.status()?["mended"]["count"] == 2))?;
        wait_for_proof(&mut stage)?;
        check(&stage, &strangers)?;
    }
    stage.agent.kill()?;
    stage.agent.uninstall()?;
    Ok(())
}
