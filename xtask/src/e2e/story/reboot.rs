//! A node that loses everything that a reboot takes: processes, pins, namespaces, links, `/run`. Its
//! disk and what the cluster says of it stay.

use std::{
    path::Path,
    time::{Duration, Instant},
};

use anyhow::{Context as _, ensure};

use super::{
    super::{
        cluster::eventually,
        manifests,
        probe::{Saw, sees},
        stage::{NODES, ORDERS, PAYROLL, SHOP, Stage, client_on},
    },
    PATIENCE,
    crowd::{first_moments, judged, remove},
};

/// What starts with a node, in this order.
const DAEMONS: [&str; 3] = ["containerd", "kubelet", "kube-proxy"];
/// Every program that runs, a line each, its arguments separated by tabs.
const RUNNING: &str =
    "for p in /proc/[0-9]*; do tr '\\0' '\\t' <$p/cmdline; echo; done 2>/dev/null";
/// Everybody but the first process and the one that it waits for, and the caller.
const DIE: &str = "\
for round in 1 2 3; do for p in /proc/[0-9]*; do
    [ \"$(tr '\\0' ' ' <$p/cmdline)\" = 'sleep infinity ' ] && continue
    case ${p#/proc/} in 1 | $$) ;; *) kill -9 ${p#/proc/} ;; esac
done; done 2>/dev/null
true";
const FORGET: &str = "\
awk '{print $2}' /proc/mounts | grep -E '^/(run/(containerd|netns)|var/lib/kubelet)/' | sort -r |
    while read -r at; do umount -l \"$at\"; done
rm -rf --one-file-system /run/containerd/* /run/netns/* /run/sekisho/* /sys/fs/bpf/sekisho
for link in /sys/class/net/veth* /sys/class/net/cni0; do ip link del \"${link##*/}\"; done 2>/dev/null
true";

pub(super) fn node(stage: &Stage) -> anyhow::Result<String> {
    let [other, node] = NODES;
    let pod = "reborn";
    stage.cluster.apply(&manifests::pod(SHOP, pod, node, &first_moments()))?;
    stage.ready(SHOP, PATIENCE)?;
    judged(stage, &[pod.to_owned()])?;
    let shell = |script| stage.cluster.enter(node, &["sh", "-c", script]);

    let running = shell(RUNNING)?;
    let daemons = DAEMONS.map(|name| arguments(&running, name));
    let daemons = daemons.into_iter().collect::<anyhow::Result<Vec<_>>>()?;
    shell(DIE)?;
    for host in ORDERS {
        sees(&stage.cluster, &client_on(other), host, &Saw::Answer)?;
    }
    sees(&stage.cluster, &client_on(other), PAYROLL[0], &Saw::Refused)?;
    let away = ["wait", "--for=condition=Ready=Unknown", "--timeout=90s", "node", node];
    stage.cluster.kubectl(&away).context("the node's end is not noticed")?;
    shell(FORGET)?;
    let pins = shell("ls /sys/fs/bpf")?;
    ensure!(!pins.contains("sekisho"), "there are still pins: {pins}");

    let started = Instant::now();
    for daemon in &daemons {
        stage.cluster.start(node, daemon)?;
        // The kubelet ends where its runtime is not there yet.
        eventually(PATIENCE, || stage.cluster.enter(node, &["ctr", "version"]).map(drop))?;
    }
    let back = ["wait", "--for=condition=Ready", "--timeout=90s", "node", node];
    stage.cluster.kubectl(&back)?;
    eventually(PATIENCE * 2, || {
        let restarts = ["get", "pod", "-n", SHOP, pod, "-o", RESTARTS];
        let restarts = stage.cluster.kubectl(&restarts)?;
        ensure!(restarts != "0", "the pod was not started again");
        stage.ready(SHOP, Duration::from_secs(1))
    })?;
    stage.rolled_out("sekisho")?;
    let took = started.elapsed().as_secs_f32();
    judged(stage, &[pod.to_owned()])?;
    for name in [other, node] {
        sees(&stage.cluster, &client_on(name), ORDERS[0], &Saw::Answer)?;
        sees(&stage.cluster, &client_on(name), PAYROLL[0], &Saw::Refused)?;
    }
    remove(stage, &[pod.to_owned()])?;
    Ok(format!("its pods ran again, judged from their first connection, after {took:.1} s"))
}

const RESTARTS: &str = "jsonpath={.status.containerStatuses[0].restartCount}";

/// How a program was started.
fn arguments(running: &str, name: &str) -> anyhow::Result<Vec<String>> {
    let words = running.lines().map(|line| line.trim_end().split('\t').collect::<Vec<_>>());
    let is_it = |words: &Vec<&str>| Path::new(words[0]).file_name().is_some_and(|it| it == name);
    let found = words.into_iter().find(is_it).with_context(|| format!("no {name} runs"))?;
    Ok(found.into_iter().map(str::to_owned).collect())
}
