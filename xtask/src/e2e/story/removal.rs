//! From the first `kubectl apply` to the node as it was before.

use std::time::Instant;

use anyhow::{Context as _, ensure};

use super::{
    super::{
        cluster::eventually,
        neighbour::Neighbour,
        probe::{Saw, sees},
        stage::{NODES, ORDERS, PAYROLL, SHOP, Stage, client_on, folder},
    },
    PATIENCE,
    crowd::{remove, start},
};

const OVERLAY: &str = "deploy/overlays/kind";
pub(super) fn deploy(stage: &Stage) -> anyhow::Result<String> {
    // One node's other programs are there before ours, the other one's come after them.
    let [later, sooner] = NODES;
    stage.neighbours.borrow_mut().push(Neighbour::attach(&stage.cluster, sooner)?);
    let started = Instant::now();
    stage.cluster.kubectl(&["apply", "-k", &folder(OVERLAY)])?;
    stage.rolled_out("sekisho")?;
    for node in NODES {
        eventually(PATIENCE, || stage.is_chained(node))?;
    }
    stage.neighbours.borrow_mut().push(Neighbour::attach(&stage.cluster, later)?);
    Ok(format!("ready on both nodes after {:.1} s", started.elapsed().as_secs_f32()))
}

pub(super) fn deleted(stage: &Stage) -> anyhow::Result<String> {
    stage.cluster.kubectl(&["delete", "-k", &folder(OVERLAY), "--timeout=90s"])?;
    for node in NODES {
        sees(&stage.cluster, &client_on(node), ORDERS[0], &Saw::Answer)?;
        sees(&stage.cluster, &client_on(node), PAYROLL[0], &Saw::Refused)?;
        stage.is_chained(node)?;
    }
    Ok("allowed and refused as before".to_owned())
}

pub(super) fn uninstalled(stage: &Stage) -> anyhow::Result<String> {
    stage.uninstall()?;
    for node in NODES {
        for host in ORDERS.iter().chain(&PAYROLL) {
            sees(&stage.cluster, &client_on(node), host, &Saw::Answer)?;
        }
        let left = stage.cluster.enter(node, &["ls", "/sys/fs/bpf"])?;
        ensure!(!left.contains("sekisho"), "{node} still has pins: {left}");
        let attached = stage.cluster.enter(node, &["bpftool", "cgroup", "tree"]);
        let attached = attached.context("bpftool")?;
        ensure!(!attached.contains("sk_connect"), "{node} still has hooks:\n{attached}");
        ensure!(stage.is_chained(node).is_err(), "{node} still has our entry");
        let programs = stage.cluster.enter(node, &["ls", "/opt/cni/bin"])?;
        ensure!(!programs.contains("sekisho"), "{node} still has our program: {programs}");
    }
    let names = start(stage, "after", 2)?;
    stage.ready(SHOP, PATIENCE)?;
    remove(stage, &names)?;
    Ok("every database answers; no pin, no hook, no CNI entry is left; new pods start".to_owned())
}
