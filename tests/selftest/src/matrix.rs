//! The leak matrix as a check of one machine: every way out of a pod, in a world of its own, as
//! the rules change under it.
//!
//! ```text
//! refused   no rule            a fresh try fails, no frame arrives
//! allowed   a rule comes       the same tries get their answer
//! revoked   the rule goes      what is open ends, fresh tries fail, no frame arrives
//! held      the pod is not known yet: calls fail with EAGAIN, no frame arrives
//! ```

use std::{
    collections::BTreeMap,
    sync::atomic::{AtomicBool, Ordering},
};

use anyhow::{Result, bail, ensure};
use serde::Serialize;

use crate::{
    agent::Agent,
    ground::{Ground, Row},
    links,
    posture::{Posture, Violation, judged, judged_by},
    way::{Family, Layer, Way},
    world::Wiring,
};

/// How the pod stands while a way is tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Phase {
    /// No rule names the destination.
    Refused,
    /// One does.
    Allowed,
    /// It is gone again.
    Revoked,
    /// The pod is not known.
    Held,
}

/// One way out, tried once.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Check {
    /// The way.
    pub way: Way,
    /// How the destination was dialled.
    pub family: Family,
    /// How the pod stood.
    pub phase: Phase,
    /// The layer that is to refuse it.
    pub layer: &'static str,
    /// What the process in the pod saw of a fresh try.
    pub saw: String,
    /// How many frames arrived at the destination.
    pub frames: usize,
    /// What is wrong; nothing where all is as it should be.
    pub problems: Vec<String>,
}

/// Tries every way with one family. `detach` names a hook that is torn off first; `stop` ends it
/// at the next phase.
pub fn run(family: Family, detach: Option<&str>, stop: &AtomicBool) -> Result<Vec<Check>> {
    let mut checks = Vec::new();
    let ground = Ground::new(Wiring::Bridged)?;
    let mut agent = judged(&ground, Posture::Closed)?;
    if let Some(hook) = detach {
        tear_off(&agent, hook)?;
    }
    let (mut probes, rows) = ground.first_round(Way::ALL, family)?;
    let told = if detach.is_none() {
        Posture::Closed.misreported(&agent, &rows, family)?
    } else {
        Vec::new()
    };
    checks.extend(judge((Phase::Refused, Posture::Closed), &rows, family, told));
    if detach.is_some() {
        // The agent stands still, lest it puts the hook back: no rule can change any more.
        agent.resume()?;
        return Ok(checks);
    }
    for (phase, posture) in [(Phase::Allowed, Posture::Ruled), (Phase::Revoked, Posture::Closed)] {
        check(stop)?;
        posture.impose(&mut agent, &ground)?;
        let mark = ground.mark();
        let rows = ground.next_round(&mut probes, mark)?;
        checks.extend(judge((phase, posture), &rows, family, Vec::new()));
    }
    drop((probes, agent, ground));
    check(stop)?;
    checks.extend(held(family)?);
    Ok(checks)
}

/// A pod that no manifest names, under an agent that holds such pods.
fn held(family: Family) -> Result<Vec<Check>> {
    let ground = Ground::new(Wiring::Bridged)?;
    let agent = Agent::new(ground.world())?.with("--unknown-pods", "hold");
    let _agent = judged_by(agent, &ground, Posture::Unknown)?;
    let (_probes, rows) = ground.first_round(&Posture::Unknown.ways(), family)?;
    Ok(judge((Phase::Held, Posture::Unknown), &rows, family, Vec::new()))
}

fn tear_off(agent: &Agent, hook: &str) -> Result<()> {
    let pins = links::pins_of(agent.pins(), hook)?;
    ensure!(
        !pins.is_empty(),
        "no link of {hook} is pinned; the hooks are those that `sekisho status` counts, such as \
         connect4, sendmsg6, skb_egress, tcx_ingress"
    );
    agent.pause()?;
    pins.iter().try_for_each(|pin| links::detach(pin))
}

fn check(stop: &AtomicBool) -> Result<()> {
    if stop.load(Ordering::Relaxed) {
        bail!("interrupted");
    }
    Ok(())
}

fn judge(
    (phase, posture): (Phase, Posture),
    rows: &[Row],
    family: Family,
    told: Vec<Violation>,
) -> Vec<Check> {
    let mut problems: BTreeMap<Way, Vec<String>> = BTreeMap::new();
    for violation in posture.violations(rows, family).into_iter().chain(told) {
        problems.entry(violation.way).or_default().push(violation.what);
    }
    let mut check = |row: &Row| Check {
        way: row.way,
        family,
        phase,
        layer: match row.way.profile().layer {
            Layer::Connect => "connect",
            Layer::Packet => "packet",
            Layer::Link => "link",
        },
        saw: row.report.fresh.to_string(),
        frames: row.frames.len(),
        problems: problems.remove(&row.way).unwrap_or_default(),
    };
    rows.iter().map(&mut check).collect()
}
