//! What the nodes make of an object, where its author looks: its status and its Events, on a real
//! API server with RBAC on and two agents.

mod scene;

use std::{
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail, ensure};
use scene::{ENTRIES, POLICIES, SOON, Scene, entry, node};
use sekisho_tests::kubernetes::is_left_out;
use serde_json::json;

/// One Event though there are two agents, and conditions that follow the object.
#[test]
fn an_author_reads_on_the_object_what_becomes_of_it() -> Result<()> {
    if is_left_out() {
        return Ok(());
    }
    let scene = Scene::ready(2)?;
    scene.apply(&entry("db", "203.0.113.200"))?;
    let took = scene.wait("db", "Enforced", "True", &["2 of 2 nodes enforce generation 1"])?;
    println!("enforced by both after {took:?}");
    scene.wait("db", "Accepted", "True", &["Accepted"])?;
    assert!(scene.events("db")?.is_empty(), "{:?}", scene.events("db")?);

    // Another controller has something to say too.
    let theirs = json!({"type": "Reconciled", "status": "True", "reason": "Istio", "message": "m"});
    let patch = json!([{"op": "add", "path": "/status/conditions/-", "value": theirs}]).to_string();
    let patch = ["--subresource=status", "--type=json", "-p", &patch];
    scene.kubectl(&[&["patch", "-n", "shop", ENTRIES, "db"], &patch[..]].concat())?;

    scene.apply(&entry("db", "203.0.113.0/40"))?;
    scene.wait("db", "Accepted", "False", &["SK0204", "spec.addresses[0]", "203.0.113.0/40"])?;
    let words = ["0 of 2 nodes enforce generation 2", "generation 1 is in force"];
    scene.wait("db", "Enforced", "False", &words)?;
    let [event] = &scene.wait_events("db", 1)?[..] else { bail!("not one event") };
    let object = scene.get(&["-n", "shop", ENTRIES, "db"])?;
    let about = &event["regarding"];
    assert_eq!((&event["type"], &event["reason"]), (&json!("Warning"), &json!("SK0204")));
    assert_eq!(about["uid"], object["metadata"]["uid"]);
    assert_eq!(about["fieldPath"], "spec.addresses[0]");
    assert_eq!(event["reportingController"], "sekisho.dev/agent");
    assert_eq!(event["reportingInstance"], node(scene.wait_leader(SOON)?).as_str());
    // As people look: `kubectl describe` shows it.
    let described = scene.kubectl(&["describe", "-n", "shop", ENTRIES, "db"])?;
    assert!(described.contains("Warning  SK0204"), "{described}");

    scene.apply(&entry("db", "203.0.113.201"))?;
    scene.wait("db", "Accepted", "True", &["Accepted"])?;
    scene.wait("db", "Enforced", "True", &["2 of 2 nodes enforce generation 3"])?;
    let events = scene.wait_events("db", 2)?;
    assert!(events.iter().any(|event| event["type"] == "Normal" && event["reason"] == "Accepted"));
    assert!(events.iter().all(|event| event["series"].is_null()), "{events:#?}");
    let object = scene.get(&["-n", "shop", ENTRIES, "db"])?;
    let all = object["status"]["conditions"].as_array().context("no conditions")?;
    assert!(all.contains(&theirs), "another's condition is gone: {object:#}");
    assert_eq!(all.len(), 3, "{object:#}");

    // An object without a namespace.
    scene.apply(
        "apiVersion: authentication.istio.io/v1alpha1\nkind: MeshPolicy\nmetadata: {name: default}\n\
         spec: {targets: [{name: db}]}\n",
    )?;
    let policy = [POLICIES, "default"];
    scene.wait_for(&policy, "Accepted", ("False", &["spec.targets"], SOON))?;
    let [event] = &scene.wait_events("default", 1)?[..] else { bail!("not one event") };
    assert_eq!(event["metadata"]["namespace"], "default");
    Ok(())
}

/// The elected agent is killed: another goes on where it was, and its node is not confirmed.
#[test]
fn another_agent_takes_over_and_a_silent_node_does_not_count() -> Result<()> {
    if is_left_out() {
        return Ok(());
    }
    let mut scene = Scene::ready(2)?;
    scene.apply(&format!(
        "{}---\n{}",
        entry("a", "203.0.113.200"),
        entry("b", "203.0.113.0/40")
    ))?;
    scene.wait("a", "Enforced", "True", &["2 of 2"])?;
    let before = scene.wait_events("b", 1)?;
    scene.wait("b", "Accepted", "False", &["SK0204"])?;
    // A leader that cannot renew its Lease steps down before another one can have it.
    let before_pause = scene.wait_leader(SOON)?;
    scene.plane.pause_server(true)?;
    scene.agents[before_pause].wait_until("it lets go", |agent| {
        Ok(agent.status()?["status_writer"]["leader"] == false)
    })?;
    scene.plane.pause_server(false)?;
    let first = scene.wait_leader(SOON)?;
    let other = 1 - first;
    scene.agents[first].kill()?;
    assert_eq!(scene.wait_leader(Duration::from_secs(15))?, other);
    assert_eq!(scene.agents[other].status()?["status_writer"]["holder"], node(other).as_str());
    let words =
        format!("1 of 2 nodes enforce generation 1; {}: its agent is not heard", node(first));
    let entry_a = ["-n", "shop", ENTRIES, "a"];
    let patience = Duration::from_secs(75);
    let took = scene.wait_for(&entry_a, "Enforced", ("Unknown", &[&words], patience))?;
    println!("not confirmed after {took:?}");
    assert_eq!(scene.events("b")?, before, "the same was said again");
    // The node goes for good, and so does what it said.
    scene.kubectl(&["delete", "node", &node(first)])?;
    let patience = Duration::from_mins(1);
    let gone = ("True", &["1 of 1 node enforces generation 1"][..], patience);
    scene.wait_for(&entry_a, "Enforced", gone)?;
    // What was refused under the one is mended under the other.
    scene.apply(&entry("b", "203.0.113.201"))?;
    scene.wait("b", "Accepted", "True", &["Accepted"])?;
    let events = scene.wait_events("b", 2)?;
    assert!(events.iter().any(|event| event["type"] == "Normal"), "{events:#?}");
    Ok(())
}

/// Without one of its rights the rest is done, the datapath most of all.
#[test]
fn a_missing_right_is_named_and_costs_nothing_else() -> Result<()> {
    if is_left_out() {
        return Ok(());
    }
    let mut scene = Scene::set(1)?;
    let mut role = scene.get(&["clusterrole", "sekisho-agent"])?;
    let rules = role["rules"].as_array_mut().context("no rules")?;
    let events = rules.iter_mut().find(|rule| rule["resources"] == json!(["events"]));
    events.context("no rule for events")?["verbs"] = json!(["patch"]);
    role["metadata"] = json!({"name": "sekisho-agent"});
    scene.plane.kubectl(&scene.world, &["replace", "-f", "-"], &role.to_string())?;
    let Scene { agents, world, .. } = &mut scene;
    agents[0].start(world)?;
    scene.apply(&entry("b", "203.0.113.0/40"))?;
    scene.wait("b", "Accepted", "False", &["SK0204"])?;
    scene.agents[0].wait_until("the verb is named", |agent| {
        let status = agent.status()?;
        let findings = status["findings"].as_array().cloned().unwrap_or_default();
        let found = findings.iter().find(|one| one["code"] == "SK0005");
        let text = found.and_then(|one| one["message"].as_str()).unwrap_or_default();
        Ok(["create events.events.k8s.io", "403", "ClusterRole sekisho-agent"]
            .iter()
            .all(|word| text.contains(word)))
    })?;
    assert_eq!(scene.agents[0].status()?["state"]["state"], "ready");
    assert!(scene.events("b")?.is_empty());

    // No election at all: nothing is written, and the agent does its work.
    scene.agents[0].kill()?;
    scene.kubectl(&["delete", "role", "-n", "sekisho-system", "sekisho-agent"])?;
    scene.kubectl(&["delete", "leases", "-n", "sekisho-system", "--all"])?;
    let Scene { agents, world, .. } = &mut scene;
    agents[0].start(world)?;
    agents[0].wait_until("the verb is named", |agent| {
        let problems = agent.status()?["status_writer"]["problems"].to_string();
        Ok(problems.contains("watch leases.coordination.k8s.io in the namespace sekisho-system"))
    })?;
    let status = scene.agents[0].status()?;
    assert_eq!(
        (&status["state"]["state"], &status["status_writer"]["leader"]),
        (&json!("ready"), &json!(false))
    );
    scene.apply(&entry("c", "203.0.113.201"))?;
    scene.agents[0]
        .wait_until("it is in force", |agent| Ok(agent.status()?["objects"]["ServiceEntry"] == 1))
}

/// Ten in a second, and ten at once; the server counts a little later than the agent.
fn check_rate(samples: &[(Instant, u64)]) -> Result<()> {
    for (at, (since, before)) in samples.iter().enumerate() {
        for (until, after) in &samples[at..] {
            let most = 10 * (until.duration_since(*since).as_millis() / 1_000 + 1) + 15;
            let written = u128::from(after - before);
            ensure!(written <= most, "{written} in {:?}", until.duration_since(*since));
        }
    }
    Ok(())
}

/// A hundred objects change: each is written once or twice, at a bounded rate, and a status that is
/// written is no change.
#[test]
fn a_hundred_changes_are_no_storm() -> Result<()> {
    if is_left_out() {
        return Ok(());
    }
    let scene = Scene::ready(2)?;
    let leader = scene.wait_leader(SOON)?;
    let names: Vec<String> = (0..100).map(|at| format!("entry-{at}")).collect();
    for (generation, address) in [(1, "203.0.113.200"), (2, "203.0.113.201")] {
        let written = scene.statuses_written()?;
        let said = scene.requests("APPLY", &["resource=\"leases\""])?;
        let all: Vec<String> = names.iter().map(|name| entry(name, address)).collect();
        scene.apply(&all.join("---\n"))?;
        let start = Instant::now();
        let words = format!("2 of 2 nodes enforce generation {generation}");
        let mut samples = Vec::new();
        loop {
            samples.push((Instant::now(), scene.statuses_written()?));
            let all = scene.get(&["-n", "shop", ENTRIES])?.to_string();
            if all.matches(&words).count() == 100 {
                break;
            }
            ensure!(
                start.elapsed() < Duration::from_mins(1),
                "{} done",
                all.matches(&words).count()
            );
            thread::sleep(Duration::from_millis(500));
        }
        let took = start.elapsed();
        let written = scene.statuses_written()? - written;
        let said = scene.requests("APPLY", &["resource=\"leases\""])? - said;
        let refused = scene.statuses_refused()?;
        println!(
            "generation {generation}: {took:?}, {written} statuses ({refused} refused so far) and {said} \
             words written"
        );
        check_rate(&samples)?;
        assert!((100..=130).contains(&written), "{written} statuses were written");
        let words = 2 * (took.as_secs() / 2 + 2);
        assert!(said <= words, "{said} words in {took:?}");
    }
    // And then nothing more.
    let force = scene.agents[leader].generation()?;
    let written = scene.statuses_written()?;
    thread::sleep(Duration::from_secs(12));
    assert_eq!(scene.statuses_written()?, written, "written though nothing happens");
    // Another client's write to the status is no new generation.
    let patch =
        json!({"status": {"conditions": [{"type": "Theirs", "status": "True"}]}}).to_string();
    let patch = ["--subresource=status", "--type=merge", "-p", &patch];
    scene.kubectl(&[&["patch", "-n", "shop", ENTRIES, "entry-0"], &patch[..]].concat())?;
    scene.wait("entry-0", "Enforced", "True", &["2 of 2 nodes enforce generation 2"])?;
    assert_eq!(scene.statuses_written()?, written + 2, "theirs and ours");
    assert_eq!(scene.agents[leader].generation()?, force, "a status made a generation");
    Ok(())
}
