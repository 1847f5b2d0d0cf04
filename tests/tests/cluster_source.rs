//! The agent follows a real API server, as its own `ServiceAccount`, with RBAC on.

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use sekisho_tests::{
    client::Client,
    kubernetes::is_left_out,
    manifest::NAMESPACE,
    scene::{Scene, pod},
    stage::{DENIED, DIRECT, Net, PROXIED},
    world::Host,
};
use serde_json::Value;

/// From the end of `kubectl` to the kernel. Two processors may be shared with a build.
const SOON: Duration = Duration::from_secs(1);

/// What `kubectl` says is what the kernel enforces, and a broken object changes nothing.
#[test]
fn what_is_applied_is_enforced_within_a_second() -> Result<()> {
    if is_left_out() {
        return Ok(());
    }
    let scene = Scene::ready()?;
    assert_eq!(scene.stage.agent.status()?["unknown_pods"], "hold");
    assert!(!scene.is_allowed()?, "before the rule");
    for round in 0..3 {
        scene.apply(&scene.rule()?)?;
        let allowed = scene.wait_allowed(true, SOON)?;
        scene.delete_rule()?;
        let denied = scene.wait_allowed(false, SOON)?;
        println!("round {round}: allowed after {allowed:?}, denied after {denied:?}");
    }
    scene.apply(&scene.rule()?)?;
    scene.wait_allowed(true, SOON)?;
    let broken = scene.rule()?.replace(&format!("number: {PROXIED}"), "number: 70000");
    scene.apply(&broken)?;
    let start = Instant::now();
    let finding = loop {
        let status = scene.stage.agent.status()?;
        let findings = status["findings"].as_array().cloned().unwrap_or_default();
        if let Some(found) = findings.into_iter().find(|one| one["severity"] == "error") {
            break found;
        }
        ensure!(start.elapsed() < SOON, "no finding about the broken rule");
    };
    assert_eq!((&finding["kind"], &finding["name"]), (&"ServiceEntry".into(), &"far-tcp".into()));
    let place = finding["place"].as_str().unwrap_or_default();
    assert!(place.starts_with("serviceentries.networking.istio.io/shop/far-tcp, "), "{finding}");
    assert!(scene.is_allowed()?, "the last good form stays");
    Ok(())
}

/// Away, killed, started again, gone without a word while no watch was open.
#[test]
fn an_outage_changes_nothing_and_what_happened_meanwhile_is_noticed() -> Result<()> {
    if is_left_out() {
        return Ok(());
    }
    let mut scene = Scene::ready()?;
    scene.apply(&scene.rule()?)?;
    scene.wait_allowed(true, SOON)?;
    scene.wait_saved("far-tcp", true)?;
    let generation = scene.stage.agent.generation()?;

    scene.plane.kill_server()?;
    scene.wait_followed("services", "behind")?;
    assert!(scene.is_allowed()?, "with the server away");
    assert_eq!(scene.stage.agent.generation()?, generation, "with the server away");
    let (_, why) = scene.followed("services")?;
    assert!(why.contains("cannot be reached"), "{why}");

    // A start without the server.
    scene.stage.agent.kill()?;
    let start = Instant::now();
    scene.stage.start()?;
    println!("without the server: ready after {:?}", start.elapsed());
    assert!(scene.saved()?.is_string(), "{}", scene.saved()?);
    assert!(scene.is_allowed()?, "from what was saved");

    // It comes back, and the rule goes while the agent does not listen.
    let pid = nix::unistd::Pid::from_raw(i32::try_from(scene.stage.agent.pid().context("pid")?)?);
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGSTOP)?;
    scene.plane.start_server(&scene.stage.world)?;
    scene.delete_rule()?;
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGCONT)?;
    let noticed = scene.wait_allowed(false, Duration::from_secs(20))?;
    println!("after the server's return: noticed after {noticed:?}");
    scene.wait_followed("services", "current")?;
    assert!(scene.saved()?.is_null(), "{}", scene.saved()?);

    // A running agent resumes where it was.
    scene.apply(&scene.rule()?)?;
    scene.wait_allowed(true, SOON)?;
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGSTOP)?;
    scene.plane.kill_server()?;
    scene.plane.start_server(&scene.stage.world)?;
    scene.delete_rule()?;
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGCONT)?;
    let noticed = scene.wait_allowed(false, Duration::from_secs(20))?;
    println!("after a restart: noticed after {noticed:?}");
    scene.wait_followed("services", "current")?;
    scene.wait_saved("far-tcp", false)?;

    // A server that accepts and says nothing is as good as none.
    scene.apply(&scene.rule()?)?;
    scene.wait_saved("far-tcp", true)?;
    scene.stage.agent.kill()?;
    scene.plane.pause_server(true)?;
    scene.stage.start()?;
    assert!(scene.saved()?.is_string() && scene.is_allowed()?, "with a server that is silent");
    scene.plane.pause_server(false)?;
    scene
        .stage
        .agent
        .wait_until("the server is heard", |agent| Ok(agent.status()?["source"]["saved"].is_null()))
}

/// A kind that is not installed is waited for, and its end is the end of its objects.
#[test]
fn a_kind_that_is_installed_later_is_picked_up() -> Result<()> {
    if is_left_out() {
        return Ok(());
    }
    let mut scene = Scene::set()?;
    scene.stage.start()?;
    let entries = "serviceentries.networking.istio.io";
    scene.wait_followed(entries, "not-installed")?;
    assert!(!scene.is_allowed()?);
    scene.install()?;
    scene.apply(&scene.rule()?)?;
    let picked_up = scene.wait_allowed(true, Duration::from_secs(10))?;
    println!("installed later: in force after {picked_up:?}");
    assert_eq!(scene.followed(entries)?.0, "current");
    // This one is still not there, and delays nothing.
    assert_eq!(scene.followed("workloadentries.networking.istio.io")?.0, "not-installed");
    scene.kubectl(&["delete", "crd", entries])?;
    scene.wait_allowed(false, Duration::from_secs(10))?;
    scene.wait_followed(entries, "not-installed")
}

/// One verb less, and the agent says which.
#[test]
fn a_missing_permission_is_named() -> Result<()> {
    if is_left_out() {
        return Ok(());
    }
    let mut scene = Scene::set()?;
    let role = scene.plane.get(&scene.stage.world, &["clusterrole", "sekisho-agent"])?;
    let mut narrower = role.clone();
    let rules = narrower["rules"].as_array_mut().context("no rules")?;
    let first = rules.first_mut().context("no rule")?;
    assert_eq!(first["resources"], serde_json::json!(["namespaces", "pods", "services"]));
    first["resources"] = serde_json::json!(["namespaces", "pods"]);
    rules
        .push(serde_json::json!({"apiGroups": [""], "resources": ["services"], "verbs": ["list"]}));
    narrower["metadata"]["managedFields"] = Value::Null;
    let text = narrower.to_string();
    scene.plane.kubectl(&scene.stage.world, &["replace", "-f", "-"], &text)?;
    scene.wait_forbidden("services")?;

    scene.stage.start_unready()?;
    let Scene { stage, .. } = &mut scene;
    stage.agent.wait_until("the verb is named", |agent| {
        let status = agent.status()?;
        let kinds = status["source"]["kinds"].as_array().cloned().unwrap_or_default();
        let why = kinds.iter().find(|kind| kind["resource"] == "services");
        let why = why.and_then(|kind| kind["why"].as_str()).unwrap_or_default();
        Ok(["watch services", "sekisho-agent", "deploy/base/rbac.yaml", "403"]
            .iter()
            .all(|word| why.contains(word)))
    })?;
    assert_eq!(scene.stage.agent.status()?["state"]["state"], "starting");
    scene.wait_followed("pods", "current")?;
    // The permission comes back, and so does everything.
    let mut whole = role;
    whole["metadata"] = serde_json::json!({"name": "sekisho-agent"});
    scene.plane.kubectl(&scene.stage.world, &["replace", "-f", "-"], &whole.to_string())?;
    scene.wait_followed("services", "current")?;
    scene
        .stage
        .agent
        .wait_until("the pod is enrolled", |agent| Ok(agent.enrolment("app")? == "enrolled"))
}

/// A Pod may be heard of before its Namespace, whose labels decide: until then it is held.
#[test]
fn a_pod_is_held_until_its_namespace_is_known() -> Result<()> {
    if is_left_out() {
        return Ok(());
    }
    let mut scene = Scene::ready()?;
    let hosts = [("meshed", "{istio-injection: enabled}"), ("plain", "{}")];
    let to = scene.stage.at(Net::V4, DENIED);
    let dial = |host: &Host| Client::start(host)?.dial(to);
    let mut kept = Vec::new();
    for (namespace, labels) in hosts {
        let host = scene.stage.world.pod(namespace)?;
        pod(&scene.plane, &scene.stage, (&host, namespace))?;
        let agent = &mut scene.stage.agent;
        agent.wait_until("it is waited for", |a| Ok(a.enrolment(namespace)? == "pending"))?;
        let status = agent.status()?;
        let why = format!("its namespace {namespace} is not known yet");
        ensure!(status.to_string().contains(&why), "{status}");
        ensure!(status["state"]["state"] == "ready", "nothing is wrong: {status}");
        let said = dial(&host)?;
        ensure!(said.errno == Some(libc::EAGAIN), "{namespace}: {said:?}");
        let asked = agent.ask(&["why", &format!("{namespace}/{namespace}"), &to.to_string()])?;
        let words = String::from_utf8_lossy(&asked.stdout).into_owned();
        ensure!(words.contains("held") && words.contains(&why), "{words}");

        scene.apply(&format!(
            "apiVersion: v1\nkind: Namespace\nmetadata: {{name: {namespace}, labels: {labels}}}\n"
        ))?;
        let known = if namespace == "plain" { "not-enrolled" } else { "enrolled" };
        scene.stage.agent.wait_until(known, |a| Ok(a.enrolment(namespace)? == known))?;
        let said = dial(&host)?;
        ensure!(said.is_refused() != (namespace == "plain"), "{namespace}: {said:?}");
        ensure!(said.errno != Some(libc::EAGAIN), "{namespace}: {said:?}");
        kept.push(host);
    }
    Ok(())
}

/// What the entry of the next test stands for; no host has it.
const REPLICAS: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(203, 0, 113, 250)), DIRECT);

fn replicas_answer(scene: &Scene, yes: bool) -> Result<Duration> {
    let start = Instant::now();
    while scene.stage.client()?.echoes(REPLICAS).is_ok() != yes {
        ensure!(start.elapsed() < SOON, "{}", if yes { "no answer" } else { "still an answer" });
        thread::sleep(Duration::from_millis(20));
    }
    Ok(start.elapsed())
}

fn set_replica_ready(scene: &Scene, ready: &str) -> Result<String> {
    let address = scene.stage.at(Net::V4, DIRECT).ip();
    let status = format!(
        "{{\"status\":{{\"phase\":\"Running\",\"podIP\":\"{address}\",\"conditions\":\
         [{{\"type\":\"Ready\",\"status\":\"{ready}\"}}]}}}}"
    );
    let patch = ["patch", "pod", "replica", "-n", NAMESPACE, "--subresource=status"];
    scene.kubectl(&[&patch[..], &["--type=merge", "-p", &status]].concat())
}

/// An entry's endpoints may be pods of any node: those are followed where one chooses among them,
/// and only as long as it does.
#[test]
fn an_entry_chooses_among_the_pods_of_other_nodes() -> Result<()> {
    if is_left_out() {
        return Ok(());
    }
    let mut scene = Scene::ready()?;
    let elsewhere = format!("pods of {NAMESPACE} on other nodes");
    ensure!(scene.followed(&elsewhere).is_err(), "no entry needs them");
    scene.apply(&format!(
        "apiVersion: networking.istio.io/v1\nkind: ServiceEntry\n\
         metadata: {{name: replicas, namespace: {NAMESPACE}}}\n\
         spec:\n  hosts: [replicas.example.com]\n  addresses: [{}]\n  resolution: STATIC\n  \
         ports: [{{number: {DIRECT}, name: tcp-db, protocol: TCP}}]\n  \
         workloadSelector: {{labels: {{app: replica}}}}\n---\n\
         apiVersion: v1\nkind: Pod\n\
         metadata: {{name: replica, namespace: {NAMESPACE}, labels: {{app: replica}}}}\n\
         spec: {{nodeName: node-2, containers: [{{name: app, image: none, env: \
         [{{name: PASSWORD, value: hunter2}}]}}]}}\n",
        REPLICAS.ip()
    ))?;
    scene.wait_followed(&elsewhere, "current")?;
    replicas_answer(&scene, false).context("without an address")?;
    set_replica_ready(&scene, "False")?;
    thread::sleep(SOON);
    replicas_answer(&scene, false).context("not ready")?;
    set_replica_ready(&scene, "True")?;
    println!("answered after {:?}", replicas_answer(&scene, true)?);
    scene.wait_saved("\"status\":\"True\"", true)?;
    scene.wait_saved("hunter2", false)?;

    // A start changes nothing, with the server and without it.
    scene.stage.agent.kill()?;
    scene.stage.start()?;
    scene.stage.client()?.echoes(REPLICAS).context("after a start")?;
    scene.stage.agent.kill()?;
    scene.plane.kill_server()?;
    scene.stage.start()?;
    ensure!(scene.saved()?.is_string());
    scene.stage.client()?.echoes(REPLICAS).context("from what was saved")?;
    scene.plane.start_server(&scene.stage.world)?;
    scene.wait_followed(&elsewhere, "current")?;
    scene.stage.client()?.echoes(REPLICAS).context("with the server again")?;

    let label = |scene: &Scene, label: &str| {
        scene.kubectl(&["label", "pod", "replica", "-n", NAMESPACE, "--overwrite", label])
    };
    label(&scene, "app=other")?;
    replicas_answer(&scene, false).context("another label")?;
    label(&scene, "app=replica")?;
    replicas_answer(&scene, true).context("the label again")?;
    scene.kubectl(&["delete", "-n", NAMESPACE, "serviceentry/replicas"])?;
    scene.stage.agent.wait_until("they are followed no longer", |agent| {
        let status = agent.status()?;
        let kinds = status["source"]["kinds"].as_array().context("no kinds")?;
        let pods = &status["objects"]["Pod"];
        Ok(*pods == 1 && kinds.iter().all(|kind| kind["resource"] != elsewhere.as_str()))
    })
}

const RULES: &str = "destinationrules.networking.istio.io";

/// The subsets of a `DestinationRule` are pods of any node, by their labels.
#[test]
fn subsets_choose_among_the_pods_of_other_nodes() -> Result<()> {
    if is_left_out() {
        return Ok(());
    }
    let mut scene = Scene::ready()?;
    let elsewhere = format!("pods of {NAMESPACE} on other nodes");
    ensure!(scene.followed(&elsewhere).is_err(), "no rule needs them");
    let kinds = include_str!("../crds/minimal.yaml").split("---\n");
    let kind = kinds.map(|kind| kind.replace("virtualservice", "destinationrule"));
    let mut kind = kind.filter(|kind| kind.contains("destinationrules.networking.istio.io"));
    scene.apply(&kind.next().context("a kind")?.replace("VirtualService", "DestinationRule"))?;
    scene.kubectl(&["wait", "--for=condition=Established", "crd", RULES])?;
    scene.apply(&format!(
        "apiVersion: networking.istio.io/v1\nkind: DestinationRule\n\
         metadata: {{name: reviews, namespace: {NAMESPACE}}}\n\
         spec: {{host: reviews, subsets: [{{name: v1, labels: {{version: v1}}}}]}}\n"
    ))?;
    scene.wait_followed(&elsewhere, "current")
}

/// Istio and App Mesh both have a `VirtualService`: two of one name live side by side, on the
/// server, in the store and in what is saved.
#[test]
fn two_kinds_of_one_name_are_two_objects() -> Result<()> {
    if is_left_out() {
        return Ok(());
    }
    let mut scene = Scene::ready()?;
    let metadata = format!("metadata: {{name: reviews, namespace: {NAMESPACE}}}");
    scene.apply(&format!(
        "apiVersion: networking.istio.io/v1\nkind: VirtualService\n{metadata}\n\
         spec: {{hosts: [reviews], http: [{{route: [{{destination: {{host: reviews}}}}]}}]}}\n---\n\
         apiVersion: appmesh.k8s.aws/v1beta2\nkind: VirtualService\n{metadata}\n\
         spec: {{awsName: reviews.example.com}}\n"
    ))?;
    let both = |agent: &sekisho_tests::agent::Agent| {
        let objects = agent.status()?["objects"].clone();
        let count = |kind: &str| objects[kind].as_u64().unwrap_or_default();
        Ok((count("VirtualService"), count("VirtualService.appmesh.k8s.aws")) == (1, 1))
    };
    scene.stage.agent.wait_until("both are in force", both)?;
    scene.wait_saved("reviews.example.com", true)?;
    scene.wait_saved("\"hosts\":[\"reviews\"]", true)?;

    // From what was saved, both again.
    scene.stage.agent.kill()?;
    scene.plane.kill_server()?;
    scene.stage.start()?;
    assert!(scene.saved()?.is_string(), "{}", scene.saved()?);
    assert!(both(&scene.stage.agent)?, "{}", scene.stage.agent.status()?["objects"]);

    // One goes, and the other stays.
    scene.plane.start_server(&scene.stage.world)?;
    let app_mesh = "virtualservices.appmesh.k8s.aws/reviews";
    scene.kubectl(&["delete", "-n", NAMESPACE, app_mesh])?;
    scene.stage.agent.wait_until("one is gone", |agent| {
        let objects = agent.status()?["objects"].clone();
        Ok(objects["VirtualService"] == 1 && objects["VirtualService.appmesh.k8s.aws"].is_null())
    })
}
