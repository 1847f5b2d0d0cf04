//! What rules do: refused, allowed by address and by name, revoked, enrolled by label.

use std::{
    process::Stdio,
    thread,
    time::{Duration, Instant},
};

use anyhow::{bail, ensure};

use super::{
    super::{
        cluster::eventually,
        manifests::{self, GREETER},
        neighbour::Neighbour,
        probe::{Saw, comes_to_see, query, sees, settle},
        stage::{LAB, NODES, ORDERS, PAYROLL, PAYROLL_NAME, SHOP, Stage, client_on},
    },
    PATIENCE,
};
use crate::database::PORT;

pub(super) fn refused(stage: &Stage) -> anyhow::Result<String> {
    for node in NODES {
        for host in ORDERS.iter().chain(&PAYROLL) {
            sees(&stage.cluster, &client_on(node), host, &Saw::Refused)?;
        }
    }
    Ok("EPERM over IPv4 and IPv6".to_owned())
}

pub(super) fn neighbours(stage: &Stage) -> anyhow::Result<String> {
    let mut all = stage.neighbours.borrow_mut();
    let before = all.iter_mut().map(Neighbour::runs).collect::<anyhow::Result<Vec<_>>>()?;
    for node in NODES {
        for (open, closed) in ORDERS.iter().zip(PAYROLL) {
            sees(&stage.cluster, &client_on(node), open, &Saw::Answer)?;
            sees(&stage.cluster, &client_on(node), closed, &Saw::Refused)?;
        }
    }
    for (neighbour, before) in all.iter_mut().zip(before) {
        for (hook, runs) in neighbour.runs()? {
            ensure!(runs > before[&hook], "another program's {hook} runs no more");
        }
    }
    Ok("theirs run, before ours on one node and after them on the other, and ours refuse"
        .to_owned())
}

pub(super) fn not_enrolled(stage: &Stage) -> anyhow::Result<String> {
    for host in ORDERS {
        let saw = query(&stage.cluster, (LAB, &client_on(NODES[0])), host);
        ensure!(saw == Saw::Answer, "a pod outside the mesh saw {saw:?} at {host}");
    }
    Ok("a query from another namespace is answered".to_owned())
}

pub(super) fn services(stage: &Stage) -> anyhow::Result<String> {
    let server = manifests::greeter(LAB, NODES[1]);
    stage.cluster.apply(&server)?;
    stage.ready(LAB, PATIENCE)?;
    let vips = ["get", "service", "-n", LAB, GREETER, "-o", "jsonpath={.spec.clusterIPs[*]}"];
    let vips = stage.cluster.kubectl(&vips)?;
    ensure!(vips.split(' ').count() == 2, "the Service has {vips}");
    let greeted = |node: &str, vip: &str| {
        let nc = ["exec", "-n", SHOP, &client_on(node), "--", "nc", "-w", "2", vip, "80"];
        stage.cluster.kubectl(&nc)
    };
    for vip in vips.split(' ') {
        for node in NODES {
            // kube-proxy takes a moment, the agent too.
            eventually(PATIENCE, || {
                let said = greeted(node, vip)?;
                ensure!(said.trim() == "hello", "{vip} said {said:?} to {node}");
                Ok(())
            })?;
        }
    }
    ensure!(greeted(NODES[0], UNUSED).is_err(), "an address of no Service was let through");
    stage.cluster.delete(&server)?;
    Ok(format!("{vips}, of a namespace outside the mesh; an address of no Service is refused"))
}

/// Of the Services' range, and no Service's.
const UNUSED: &str = "10.96.255.254";

pub(super) fn orders() -> String {
    let [v4, v6] = ORDERS;
    manifests::by_address(SHOP, &format!("\"{v4}/32\", \"{v6}/128\""), PORT)
}

pub(super) fn allowed(stage: &Stage) -> anyhow::Result<String> {
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

pub(super) fn by_name(stage: &Stage) -> anyhow::Result<String> {
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

pub(super) fn revoked(stage: &Stage) -> anyhow::Result<String> {
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

pub(super) fn labels(stage: &Stage) -> anyhow::Result<String> {
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
