//! Pods that come while others are there: judged from their first connection, forgotten at the end.

use std::time::Instant;

use anyhow::{bail, ensure};

use super::{
    super::{
        cluster::eventually,
        manifests,
        probe::{Saw, comes_to_see, sees},
        stage::{NODES, ORDERS, PAYROLL, SHOP, Stage, client_on},
    },
    PATIENCE,
    rules::orders,
};

/// What a pod does from its first moment on: the database that is allowed until it answers, and the
/// one that is not, which may never answer.
pub(super) fn first_moments() -> String {
    let ask = |host| format!("PGCONNECT_TIMEOUT=2 psql -h {host} -U postgres -Atc 'select 1'");
    format!(
        "for i in $(seq 1 600); do {closed} 2>>/tmp/closed && echo LEAK; {open} 2>>/tmp/open && \
         break; sleep 0.1; done; echo DONE; sleep 1000000",
        closed = ask(PAYROLL[0]),
        open = ask(ORDERS[0]),
    )
}

/// Waits until each of these pods has done, and looks whether any of them leaked.
pub(super) fn judged(stage: &Stage, pods: &[String]) -> anyhow::Result<()> {
    let words = ["logs", "-n", SHOP, "-l", "client=true", "--prefix", "--tail=-1"];
    let words = [&words[..], &["--max-log-requests=60"]].concat();
    let mut leaked = None;
    eventually(PATIENCE, || {
        let said = stage.cluster.kubectl(&words)?;
        for pod in pods {
            let prefix = format!("[pod/{pod}/client] ");
            let said: Vec<_> = said.lines().filter_map(|line| line.strip_prefix(&prefix)).collect();
            if said.contains(&"LEAK") {
                leaked = Some(pod);
                return Ok(());
            }
            ensure!(said == ["1", "DONE"], "{pod} has not reached what is allowed: {said:?}");
        }
        Ok(())
    })?;
    if let Some(pod) = leaked {
        bail!("{pod} reached the database that is not allowed");
    }
    for pod in pods.iter().take(NODES.len()) {
        sees(&stage.cluster, pod, PAYROLL[0], &Saw::Refused)?;
    }
    Ok(())
}

pub(super) fn start(stage: &Stage, prefix: &str, count: usize) -> anyhow::Result<Vec<String>> {
    let names: Vec<String> = (0..count).map(|number| format!("{prefix}-{number}")).collect();
    let pods = names.iter().zip(NODES.iter().cycle());
    let pods = pods.map(|(name, node)| manifests::pod(SHOP, name, node, &first_moments()));
    stage.cluster.apply(&pods.collect::<Vec<_>>().join("---\n"))?;
    Ok(names)
}

pub(super) fn remove(stage: &Stage, pods: &[String]) -> anyhow::Result<()> {
    let words: Vec<&str> = pods.iter().map(String::as_str).collect();
    let delete = ["delete", "pod", "-n", SHOP, "--wait=true", "--timeout=120s"];
    stage.cluster.kubectl(&[&delete[..], &words].concat()).map(drop)
}

pub(super) fn fifty(stage: &Stage) -> anyhow::Result<String> {
    stage.cluster.apply(&orders())?;
    for node in NODES {
        let pair = (&Saw::Refused, &Saw::Answer);
        comes_to_see(&stage.cluster, &client_on(node), ORDERS[0], pair)?;
    }
    let started = Instant::now();
    let pods = start(stage, "crowd", 50)?;
    stage.ready(SHOP, PATIENCE * 3)?;
    let ready = started.elapsed().as_secs_f32();
    judged(stage, &pods)?;
    remove(stage, &pods)?;
    for node in NODES {
        eventually(PATIENCE, || {
            let status = stage.ask(node, &["status", "-o", "json"])?;
            ensure!(!status.contains("crowd-"), "{node} still knows pods that are gone");
            Ok(())
        })?;
    }
    Ok(format!("ready after {ready:.1} s; none reached what is not allowed; all forgotten again"))
}
