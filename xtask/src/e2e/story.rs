//! The steps, in order; each builds on what the one before left, and says what it measured.

use std::{
    process::Stdio,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, bail, ensure};

use super::{
    cluster::eventually,
    manifests,
    probe::{Saw, comes_to_see, query, sees, settle},
    stage::{LAB, NODES, ORDERS, PAYROLL, PAYROLL_NAME, SHOP, SYSTEM, Stage, client_on},
};
use crate::{command::workspace, database::PORT};

/// A step says in one line what it saw.
type Step = fn(&Stage) -> anyhow::Result<String>;

pub(super) const STEPS: [(&str, Step); 13] = [
    ("kubectl apply -k deploy/overlays/kind", deploy),
    ("an external database is refused on both nodes", refused),
    ("pods outside the mesh are let be", let_be),
    ("allowed by address with kubectl apply", allowed),
    ("allowed by its name", by_name),
    ("revoked with kubectl delete, an open connection too", revoked),
    ("a namespace leaves the mesh and comes back", labels),
    ("fifty pods at once are judged from their first connection", fifty),
    ("the API server goes away, the agents are killed, both come back", without_api),
    ("pods made while the agents are down are held, then judged", without_agents),
    ("a rolling update under load", rolling_update),
    ("after kubectl delete -k the kernel judges on", deleted),
    ("deploy/uninstall leaves nothing attached", uninstalled),
];

const OVERLAY: &str = "deploy/overlays/kind";
const UNINSTALL: &str = "deploy/uninstall";
const PATIENCE: Duration = Duration::from_mins(1);

fn path(relative: &str) -> String {
    workspace().join(relative).display().to_string()
}

fn deploy(stage: &Stage) -> anyhow::Result<String> {
    let started = Instant::now();
    stage.cluster.kubectl(&["apply", "-k", &path(OVERLAY)])?;
    stage.rolled_out("sekisho")?;
    Ok(format!("ready on both nodes after {:.1} s", started.elapsed().as_secs_f32()))
}

fn refused(stage: &Stage) -> anyhow::Result<String> {
    for node in NODES {
        for host in ORDERS.iter().chain(&PAYROLL) {
            sees(&stage.cluster, &client_on(node), host, &Saw::Refused)?;
        }
    }
    Ok("EPERM over IPv4 and IPv6".to_owned())
}

fn let_be(stage: &Stage) -> anyhow::Result<String> {
    for host in ORDERS {
        let saw = query(&stage.cluster, (LAB, &client_on(NODES[0])), host);
        ensure!(saw == Saw::Answer, "a pod outside the mesh saw {saw:?} at {host}");
    }
    Ok("a query from another namespace is answered".to_owned())
}

fn orders() -> String {
    let [v4, v6] = ORDERS;
    manifests::by_address(SHOP, &format!("\"{v4}/32\", \"{v6}/128\""), PORT)
}

fn allowed(stage: &Stage) -> anyhow::Result<String> {
    let applied = Instant::now();
    stage.cluster.apply(&orders())?;
    for node in NODES {
        for host in ORDERS {
            comes_to_see(&stage.cluster, &client_on(node), host, (&Saw::Refused, &Saw::Answer))?;
        }
        sees(&stage.cluster, &client_on(node), PAYROLL[0], &Saw::Refused)?;
    }
    Ok(format!(
        "both nodes answered over both families within {:.1} s of kubectl's start; the other \
         database stays refused",
        applied.elapsed().as_secs_f32()
    ))
}

fn by_name(stage: &Stage) -> anyhow::Result<String> {
    let hosts = format!("{} {PAYROLL_NAME}\\n{} {PAYROLL_NAME}\\n", PAYROLL[0], PAYROLL[1]);
    let patch = format!("{{\"data\":{{\"hosts\":\"{hosts}\"}}}}");
    stage.cluster.kubectl(&["patch", "configmap", "coredns", "-n", "kube-system", "-p", &patch])?;
    let applied = Instant::now();
    stage.cluster.apply(&manifests::by_name(SHOP, PAYROLL_NAME, PORT))?;
    for node in NODES {
        // The kubelet takes up to a minute to give CoreDNS its new file.
        eventually(Duration::from_mins(2), || {
            sees(&stage.cluster, &client_on(node), PAYROLL_NAME, &Saw::Answer)
        })?;
    }
    let took = applied.elapsed().as_secs_f32();
    stage.cluster.delete(&manifests::by_name(SHOP, PAYROLL_NAME, PORT))?;
    for node in NODES {
        let pair = (&Saw::Answer, &Saw::Refused);
        comes_to_see(&stage.cluster, &client_on(node), PAYROLL[0], pair)?;
    }
    Ok(format!("answered after {took:.1} s, most of them until CoreDNS knows it; refused again"))
}

fn revoked(stage: &Stage) -> anyhow::Result<String> {
    let pod = client_on(NODES[1]);
    let mut session = stage
        .cluster
        .kubectl_command(&["exec", "-n", SHOP, &pod, "--", "sh", "-c", &long_query(ORDERS[0])])
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()?;
    settle();
    settle();
    ensure!(session.try_wait()?.is_none(), "the long query should still run");
    let deleted = Instant::now();
    stage.cluster.delete(&orders())?;
    for node in NODES {
        let pair = (&Saw::Answer, &Saw::Refused);
        comes_to_see(&stage.cluster, &client_on(node), ORDERS[0], pair)?;
    }
    let patience = Instant::now() + Duration::from_secs(5);
    while session.try_wait()?.is_none() {
        if Instant::now() > patience {
            let _ = session.kill();
            bail!("the open connection was not reset");
        }
        thread::sleep(Duration::from_millis(20));
    }
    let ended = deleted.elapsed().as_secs_f32();
    let output = session.wait_with_output()?;
    ensure!(!output.status.success(), "the long query should have been cut off");
    Ok(format!("an open query was cut off {ended:.1} s after kubectl's start"))
}

/// A statement that keeps its connection busy for longer than any step.
fn long_query(host: &str) -> String {
    format!("psql -h {host} -U postgres -c 'select pg_sleep(300)'")
}

fn labels(stage: &Stage) -> anyhow::Result<String> {
    let mut times = Vec::new();
    for (label, pair) in [
        ("istio-injection=disabled", (&Saw::Refused, &Saw::Answer)),
        ("istio-injection=enabled", (&Saw::Answer, &Saw::Refused)),
    ] {
        let started = Instant::now();
        stage.cluster.kubectl(&["label", "--overwrite", "namespace", SHOP, label])?;
        for node in NODES {
            comes_to_see(&stage.cluster, &client_on(node), ORDERS[0], pair)?;
        }
        times.push(started.elapsed().as_secs_f32());
    }
    Ok(format!("without a restart of its pods, after {:.1} s and {:.1} s", times[0], times[1]))
}

/// What a pod does from its first moment on: the database that is allowed until it answers, and the
/// one that is not, which may never answer.
fn first_moments() -> String {
    let ask = |host| format!("PGCONNECT_TIMEOUT=2 psql -h {host} -U postgres -Atc 'select 1'");
    format!(
        "for i in $(seq 1 600); do {closed} 2>>/tmp/closed && echo LEAK; {open} 2>>/tmp/open && \
         break; sleep 0.1; done; echo DONE; sleep 1000000",
        closed = ask(PAYROLL[0]),
        open = ask(ORDERS[0]),
    )
}

/// Waits until each of these pods has done, and looks whether any of them leaked.
fn judged(stage: &Stage, pods: &[String]) -> anyhow::Result<()> {
    for pod in pods {
        eventually(PATIENCE, || {
            let said = stage.cluster.kubectl(&["logs", "-n", SHOP, pod])?;
            ensure!(said.contains("DONE"), "{pod} never reached the database that is allowed");
            Ok(())
        })?;
        let said = stage.cluster.kubectl(&["logs", "-n", SHOP, pod])?;
        ensure!(!said.contains("LEAK"), "{pod} reached the database that is not allowed");
        ensure!(said.starts_with("1\n"), "{pod} ended without the answer: {said}");
        sees(&stage.cluster, pod, PAYROLL[0], &Saw::Refused)?;
    }
    Ok(())
}

fn start(stage: &Stage, prefix: &str, count: usize) -> anyhow::Result<Vec<String>> {
    let names: Vec<String> = (0..count).map(|number| format!("{prefix}-{number}")).collect();
    let pods = names.iter().zip(NODES.iter().cycle());
    let pods = pods.map(|(name, node)| manifests::pod(SHOP, name, node, &first_moments()));
    stage.cluster.apply(&pods.collect::<Vec<_>>().join("---\n"))?;
    Ok(names)
}

fn remove(stage: &Stage, pods: &[String]) -> anyhow::Result<()> {
    let words: Vec<&str> = pods.iter().map(String::as_str).collect();
    let delete = ["delete", "pod", "-n", SHOP, "--wait=true", "--timeout=120s"];
    stage.cluster.kubectl(&[&delete[..], &words].concat()).map(drop)
}

fn fifty(stage: &Stage) -> anyhow::Result<String> {
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

fn without_api(stage: &Stage) -> anyhow::Result<String> {
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

fn without_agents(stage: &Stage) -> anyhow::Result<String> {
    let patch =
        |what| stage.cluster.kubectl(&["patch", "daemonset", "sekisho", "-n", SYSTEM, "-p", what]);
    patch(NOWHERE)?;
    eventually(PATIENCE, || {
        let words = ["get", "pods", "-n", SYSTEM, "-o", "name"];
        ensure!(stage.cluster.kubectl(&words)?.is_empty(), "an agent still runs");
        Ok(())
    })?;
    let pods = start(stage, "orphan", 4)?;
    stage.ready(SHOP, PATIENCE)?;
    for pod in &pods {
        for host in [ORDERS[0], PAYROLL[0]] {
            sees(&stage.cluster, pod, host, &Saw::Held)?;
        }
    }
    for node in NODES {
        sees(&stage.cluster, &client_on(node), ORDERS[0], &Saw::Answer)?;
        sees(&stage.cluster, &client_on(node), PAYROLL[0], &Saw::Refused)?;
    }
    patch(EVERYWHERE)?;
    stage.rolled_out("sekisho")?;
    judged(stage, &pods)?;
    remove(stage, &pods)?;
    Ok("EAGAIN until the agents were back; known pods were judged as ever".to_owned())
}

fn rolling_update(stage: &Stage) -> anyhow::Result<String> {
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

fn deleted(stage: &Stage) -> anyhow::Result<String> {
    stage.cluster.kubectl(&["delete", "-k", &path(OVERLAY), "--timeout=90s"])?;
    for node in NODES {
        sees(&stage.cluster, &client_on(node), ORDERS[0], &Saw::Answer)?;
        sees(&stage.cluster, &client_on(node), PAYROLL[0], &Saw::Refused)?;
    }
    Ok("allowed and refused as before".to_owned())
}

fn uninstalled(stage: &Stage) -> anyhow::Result<String> {
    stage.cluster.kubectl(&["apply", "-k", &path(UNINSTALL)])?;
    stage.rolled_out("sekisho-uninstall")?;
    for node in NODES {
        for host in ORDERS.iter().chain(&PAYROLL) {
            sees(&stage.cluster, &client_on(node), host, &Saw::Answer)?;
        }
        let left = stage.cluster.enter(node, &["ls", "/sys/fs/bpf"])?;
        ensure!(!left.contains("sekisho"), "{node} still has pins: {left}");
        let attached = stage.cluster.enter(node, &["bpftool", "cgroup", "tree"]);
        let attached = attached.context("bpftool")?;
        ensure!(!attached.contains("sk_connect"), "{node} still has hooks:\n{attached}");
    }
    stage.cluster.kubectl(&["delete", "-k", &path(UNINSTALL), "--timeout=90s"])?;
    Ok("every database answers, no pin and no hook is left".to_owned())
}
