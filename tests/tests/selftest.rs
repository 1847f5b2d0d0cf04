//! `sekisho selftest`: what a user sees of the leak matrix on their own machine.

use std::process::{Command, Output};

use anyhow::{Context as _, Result, ensure};
use rstest::rstest;
use sekisho_tests::process::built;
use serde_json::Value;

fn selftest(words: &[&str]) -> Result<Output> {
    let mut command = Command::new(built("sekisho")?);
    Ok(command.arg("selftest").args(words).output()?)
}

fn answer(output: &Output) -> Result<Value> {
    serde_json::from_slice(&output.stdout)
        .with_context(|| String::from_utf8_lossy(&output.stderr).into_owned())
}

/// The checks that have something wrong about them.
fn wrong(answer: &Value) -> Vec<&Value> {
    let checks = answer["checks"].as_array().into_iter().flatten();
    checks.filter(|check| check["problems"].as_array().is_some_and(|all| !all.is_empty())).collect()
}

#[rstest]
fn it_holds_on_this_kernel(#[values("v4", "v6", "mapped")] family: &str) -> Result<()> {
    let output = selftest(&["--family", family, "-o", "json"])?;
    let answer = answer(&output)?;
    ensure!(output.status.code() == Some(0), "{:?}", wrong(&answer));
    ensure!(answer["holds"] == true);
    for phase in ["refused", "allowed", "revoked", "held"] {
        let of_phase = |check: &&Value| check["phase"] == phase;
        let count = answer["checks"].as_array().context("checks")?.iter().filter(of_phase).count();
        ensure!(count >= 10, "{count} ways were tried while {phase}");
    }
    Ok(())
}

/// A selftest that cannot fail says nothing.
#[rstest]
#[case("connect4", "v4", "tcp-connect")]
#[case("skb_egress", "v6", "raw-icmp")]
#[case("tcx_ingress", "v4", "packet-udp")]
fn a_hook_that_is_missing_is_found(
    #[case] hook: &str,
    #[case] family: &str,
    #[case] witness: &str,
) -> Result<()> {
    let output = selftest(&["--family", family, "--detach", hook, "-o", "json"])?;
    let answer = answer(&output)?;
    ensure!(output.status.code() == Some(6), "{:?}", output.status);
    ensure!(answer["holds"] == false && answer["detached"] == hook);
    let found = wrong(&answer);
    ensure!(found.iter().any(|check| check["way"] == witness), "{found:?}");
    Ok(())
}

#[test]
fn what_it_cannot_do_without_is_named() -> Result<()> {
    let mut command = Command::new("setpriv");
    command.args(["--bounding-set", "-bpf,-net_admin", "--inh-caps", "-bpf,-net_admin", "--"]);
    let output = command.arg(built("sekisho")?).arg("selftest").output()?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.code() == Some(1), "{:?}: {said}", output.status);
    ensure!(said.contains("CAP_NET_ADMIN, CAP_BPF") && said.contains("run it as root"), "{said}");

    let output = selftest(&["--family", "v4", "--detach", "nothing"])?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.code() == Some(1), "{:?}: {said}", output.status);
    ensure!(said.contains("no link of nothing is pinned"), "{said}");
    Ok(())
}
