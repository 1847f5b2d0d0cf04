//! What goes on without an API server, without agents, and while agents are replaced.

use std::{
    process::Stdio,
    thread,
    time::{Duration, Instant},
};

use anyhow::{bail, ensure};

use super::{
    super::{
        cluster::eventually,
        manifests,
        probe::{Saw, comes_to_see, sees, settle},
        stage::{NODES, ORDERS, PAYROLL, SHOP, SYSTEM, Stage, client_on},
    },
    PATIENCE,
    crowd::{judged, remove, start},
};

pub(super) fn without_api(stage: &Stage) -> anyhow::Result<String> {
    // The clients are asked through the API server, so one of them looks by itself.
    let pod = "witness";
    let ask = |host| format!("PGCONNECT_TIMEOUT=2 psql -h {host} -U postgres -Atc 'select 1'");
    let look = format!(
        "while true; do {} >/dev/null 2>&1 && echo LEAK; {} >/dev/null 2>&1 || echo LOST; \
         echo LOOKED; sleep 0.2; done",
        ask(PAYROLL[0]),
        ask(ORDERS[0])
    );
    stage.cluster.apply(&manifests::pod(SHOP, pod, NODES[1], &look))?;
    stage.ready(SHOP, PATIENCE)?;
    let pair = (&Saw::Held, &Saw::Answer);
    comes_to_see(&stage.cluster, pod, ORDERS[0], pair)?;
    let before = stage.cluster.kubectl(&["logs", "-n", SHOP, pod])?.lines().count();
    let agents = NODES.map(|node| Ok((node, stage.container_of(node)?)));
    let agents = agents.into_iter().collect::<anyhow::Result<Vec<_>>>()?;
    stage.cluster.stop_api()?;
    for (node, container) in &agents {
        stage
            .cluster
            .enter(node, &["ctr", "-n", "k8s.io", "tasks", "kill", "-s", "SIGKILL", container])?;
    }
    for (node, container) in &agents {
        eventually(PATIENCE, || {
            let tasks = stage.cluster.enter(node, &["ctr", "-n", "k8s.io", "tasks", "ls"])?;
            ensure!(!tasks.contains(container.as_str()), "the agent of {node} still runs");
            let status = stage.cluster.enter(node, &["ls", "/run/sekisho/admin.sock"]);
            status.map(drop)
        })?;
    }
    thread::sleep(Duration::from_secs(8));
    stage.cluster.start_api()?;
    let said = eventually_logs(stage, pod)?;
    let looks: Vec<&str> = said.lines().skip(before).collect();
    ensure!(!looks.contains(&"LEAK"), "the closed database answered while the server was away");
    ensure!(!looks.contains(&"LOST"), "the open database did not answer while it was away");
    ensure!(looks.len() > 10, "the witness looked {} times only", looks.len());
    for (node, container) in &agents {
        // Its kubelet tells the server a while after the server is back.
        eventually(PATIENCE, || {
            ensure!(stage.container_of(node)? != *container, "the agent of {node} still runs");
            Ok(())
        })?;
    }
    stage.rolled_out("sekisho")?;
    for node in NODES {
        sees(&stage.cluster, &client_on(node), ORDERS[0], &Saw::Answer)?;
        sees(&stage.cluster, &client_on(node), PAYROLL[0], &Saw::Refused)?;
    }
    remove(stage, &[pod.to_owned()])?;
    Ok(format!("{} looks meanwhile, every verdict as before", looks.len()))
}

fn eventually_logs(stage: &Stage, pod: &str) -> anyhow::Result<String> {
    let mut said = String::new();
    eventually(PATIENCE, || {
        said = stage.cluster.kubectl(&["logs", "-n", SHOP, pod])?;
        Ok(())
    })?;
    Ok(said)
}

/// No node has this label.
const NOWHERE: &str =
    r#"{"spec":{"template":{"spec":{"nodeSelector":{"sekisho.dev/nowhere":"true"}}}}}"#;
const EVERYWHERE: &str = r#"{"spec":{"template":{"spec":{"nodeSelector":null}}}}"#;

pub(super) fn without_agents(stage: &Stage) -> anyhow::Result<String> {
    let patch =
        |what| stage.cluster.kubectl(&["patch", "daemonset", "sekisho", "-n", SYSTEM, "-p", what]);
    patch(NOWHERE)?;
    eventually(PATIENCE, || {
        let words = ["get", "pods", "-n", SYSTEM, "-o", "name"];
        ensure!(stage.cluster.kubectl(&words)?.is_empty(), "an agent still runs");
        Ok(())
    })?;
    // One node's CNI configuration is written again by its owner, without our entry.
    let [waiting, holding] = NODES;
    stage.cni_as_before(holding)?;
    let pods = start(stage, "orphan", 4)?;
    let (wait, hold): (Vec<_>, Vec<_>) = pods.iter().enumerate().partition(|(at, _)| at % 2 == 0);
    for (_, pod) in hold {
        stage.pod_ready(SHOP, pod, PATIENCE)?;
        for host in [ORDERS[0], PAYROLL[0]] {
            sees(&stage.cluster, pod, host, &Saw::Held)?;
        }
    }
    for (_, pod) in wait {
        eventually(PATIENCE, || {
            let about = format!("involvedObject.name={pod}");
            let words = ["get", "events", "-n", SHOP, "-o", "wide", "--field-selector", &about];
            let said = stage.cluster.kubectl(&words)?;
            ensure!(said.contains("the agent is away"), "{pod} on {waiting}: {said}");
            Ok(())
        })?;
    }
    for node in NODES {
        sees(&stage.cluster, &client_on(node), ORDERS[0], &Saw::Answer)?;
        sees(&stage.cluster, &client_on(node), PAYROLL[0], &Saw::Refused)?;
    }
    patch(EVERYWHERE)?;
    stage.rolled_out("sekisho")?;
    stage.ready(SHOP, PATIENCE)?;
    judged(stage, &pods)?;
    remove(stage, &pods)?;
    eventually(PATIENCE, || stage.is_chained(holding))?;
    Ok("not started where the CNI plugin is, EAGAIN where it is not, until the agents were back; \
        known pods were judged as ever"
        .to_owned())
}

pub(super) fn rolling_update(stage: &Stage) -> anyhow::Result<String> {
    let pods = start(stage, "busy", 2)?;
    stage.ready(SHOP, PATIENCE)?;
    judged(stage, &pods)?;
    let ask = |host| format!("PGCONNECT_TIMEOUT=2 psql -h {host} -U postgres -Atc 'select 1'");
    let load = format!(
        "n=0; l=0; f=0; e=$(( $(date +%s) + 40 )); while [ $(date +%s) -lt $e ]; do n=$((n+1)); \
         {} >/dev/null 2>&1 && l=$((l+1)); {} >/dev/null 2>&1 || f=$((f+1)); done; echo $n $l $f",
        ask(PAYROLL[0]),
        ask(ORDERS[0])
    );
    let loads: Vec<_> = pods
        .iter()
        .map(|pod| {
            let words = ["exec", "-n", SHOP, pod, "--", "sh", "-c", &load];
            stage.cluster.kubectl_command(&words).stdout(Stdio::piped()).spawn()
        })
        .collect::<Result<_, _>>()?;
    settle();
    let started = Instant::now();
    stage.cluster.kubectl(&["rollout", "restart", "daemonset/sekisho", "-n", SYSTEM])?;
    stage.rolled_out("sekisho")?;
    let took = started.elapsed().as_secs_f32();
    let mut total = 0;
    for load in loads {
        let said = load.wait_with_output()?;
        let said = String::from_utf8_lossy(&said.stdout).trim().to_owned();
        let counts: Vec<u64> = said.split(' ').map(str::parse).collect::<Result<_, _>>()?;
        let [rounds, leaked, failed] = counts[..] else { bail!("the load said {said}") };
        ensure!(leaked == 0, "{leaked} of {rounds} queries reached what is not allowed");
        ensure!(failed == 0, "{failed} of {rounds} allowed queries failed");
        total += rounds;
    }
    remove(stage, &pods)?;
    Ok(format!(
        "{took:.1} s for both nodes; {total} allowed and {total} refused queries, all right"
    ))
}
