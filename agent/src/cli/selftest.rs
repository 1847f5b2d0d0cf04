//! `sekisho selftest`: the leak matrix of the tests on a user's own machine, with this program as
//! the agent and as what tries.

use std::{
    fmt::Write as _,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use agent_kernel::preflight;
use anyhow::{Context as _, anyhow, bail};
use sekisho_selftest::{
    matrix::{self, Check},
    probe as way_out, process,
    way::Family,
};
use serde::Serialize;

use super::{
    Answer,
    output::{Paint, Table, Tone, encode},
};
use crate::{
    args::{SelftestArgs, SelftestFamily, exit},
    signals::until_signal,
};

/// What came of it.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Outcome {
    /// All is as it should be.
    holds: bool,
    /// The hook that was torn off.
    #[serde(skip_serializing_if = "Option::is_none")]
    detached: Option<String>,
    /// Every try.
    checks: Vec<Check>,
}

pub(super) async fn run(args: SelftestArgs, paint: Paint) -> anyhow::Result<Answer> {
    preflight::check_privileges()?;
    if std::process::Command::new("ip").arg("-V").output().is_err() {
        bail!("the program `ip` is not there, which makes the namespaces: install iproute2");
    }
    process::be_every_program()?;
    let stop = Arc::new(AtomicBool::new(false));
    let work = {
        let (stop, detach) = (Arc::clone(&stop), args.detach.clone());
        let families = families(args.family);
        tokio::task::spawn_blocking(move || try_all(&families, detach.as_deref(), &stop))
    };
    let abort = async {
        let heard = until_signal().await;
        stop.store(true, Ordering::Relaxed);
        heard
    };
    let mut work = work;
    let checks = tokio::select! {
        done = &mut work => done,
        heard = abort => {
            heard?;
            // What it made goes when it ends.
            work.await
        }
    };
    let checks = checks.map_err(|error| anyhow!(error).context("the selftest panicked"))??;
    let holds = checks.iter().all(|check| check.problems.is_empty());
    let outcome = Outcome { holds, detached: args.detach.clone(), checks };
    let text = match encode(args.output.format, &outcome)? {
        Some(text) => text,
        None => table(&outcome, args.all, paint),
    };
    Ok(Answer { text, code: if holds { exit::OK } else { exit::LEAK } })
}

/// What `selftest` runs inside its pods.
pub(super) fn probe(words: Vec<String>) -> anyhow::Result<()> {
    process::be_every_program()?;
    way_out::run(words.into_iter())
}

fn families(chosen: Option<SelftestFamily>) -> Vec<Family> {
    match chosen {
        None => vec![Family::V4, Family::V6, Family::Mapped],
        Some(SelftestFamily::V4) => vec![Family::V4],
        Some(SelftestFamily::V6) => vec![Family::V6],
        Some(SelftestFamily::Mapped) => vec![Family::Mapped],
    }
}

fn try_all(
    families: &[Family],
    detach: Option<&str>,
    stop: &AtomicBool,
) -> anyhow::Result<Vec<Check>> {
    let mut checks = Vec::new();
    for family in families {
        if stop.load(Ordering::Relaxed) {
            bail!("interrupted");
        }
        let tried = matrix::run(*family, detach, stop);
        checks.extend(tried.context("the selftest cannot run here")?);
    }
    Ok(checks)
}

fn table(outcome: &Outcome, all: bool, paint: Paint) -> String {
    let mut text = String::new();
    let wrong = outcome.checks.iter().filter(|check| !check.problems.is_empty()).count();
    let shown = outcome.checks.iter().filter(|check| all || !check.problems.is_empty());
    let mut table = Table::new(&["WAY OUT", "FAMILY", "POD", "LAYER", "FRAMES", "SAW", "WRONG"]);
    for check in shown {
        let cells = [
            word(&check.way),
            word(&check.family),
            word(&check.phase),
            check.layer.to_owned(),
            check.frames.to_string(),
            check.saw.clone(),
            check.problems.join("; "),
        ];
        let cells: Vec<&str> = cells.iter().map(String::as_str).collect();
        table.row(&cells, (!check.problems.is_empty()).then_some((6, Tone::Bad)));
    }
    if all || wrong > 0 {
        text += &table.text("", paint);
        text.push('\n');
    }
    let tries = outcome.checks.len();
    // Writing to a String never fails.
    let _ = match &outcome.detached {
        _ if outcome.holds => writeln!(
            text,
            "{}: {tries} tries, no frame where none may be, every refusal at once",
            paint.word(Tone::Good, "the allowlist holds")
        ),
        Some(hook) => writeln!(text, "without {hook}, {wrong} of {tries} tries went wrong"),
        None => writeln!(
            text,
            "{}: {wrong} of {tries} tries went wrong on this machine",
            paint.word(Tone::Bad, "the allowlist does not hold")
        ),
    };
    text
}

/// The name that the JSON form has.
fn word<T: Serialize>(value: &T) -> String {
    serde_json::to_value(value)
        .ok()
        .and_then(|value| Some(value.as_str()?.to_owned()))
        .unwrap_or_default()
}
