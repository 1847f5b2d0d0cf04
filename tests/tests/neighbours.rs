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
    wait_for_proof(&mut stage)?;
    check(&stage, &strangers)?;

    // What hangs beside others is adopted in its place.
    stage.agent.kill()?;
    stage.start()?;
    wait_for_proof(&mut stage)?;
    check(&stage, &strangers)?;
    assert_eq!(stage.agent.status()?["mended"]["count"], 0, "nobody took anything away");

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
