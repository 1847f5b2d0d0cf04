//! The access log: who wants lines, where they go, and what happens when they cannot.

use std::{fs, path::PathBuf, time::Duration};

use anyhow::{Context as _, Result, ensure};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use rstest::rstest;
use sekisho_tests::{agent::Agent, manifest::NAMESPACE};
use serde_json::Value;

use crate::scene::{Net, PORT, Scene};

const KEY: &str = "sekisho.dev/access-log";

fn file(agent: &Agent) -> PathBuf {
    agent.run_dir().join("access.log")
}

fn to_file(agent: Agent) -> Agent {
    let path = file(&agent);
    agent.with("--access-log-file", &path.display().to_string())
}

fn lines(agent: &Agent) -> Vec<String> {
    let text = fs::read_to_string(file(agent)).unwrap_or_default();
    text.lines().map(str::to_owned).collect()
}

fn annotated(scene: &Scene, value: &str) -> Result<()> {
    scene.annotate(&format!("    {KEY}: {value:?}\n"))
}

/// Sends a request until it has a line, or until it has none: nothing else tells when an annotation has
/// come into force.
fn until_logged(scene: &mut Scene, path: &str, wanted: bool) -> Result<()> {
    let request = format!("GET {path} HTTP/1.1");
    for _ in 0..200 {
        let before = lines(&scene.agent).len();
        scene.send(&[&request], 1)?;
        std::thread::sleep(Duration::from_millis(100));
        let logged = lines(&scene.agent).len() > before;
        if logged == wanted {
            return Ok(());
        }
    }
    anyhow::bail!("{path} logged is never {wanted}: {:?}", lines(&scene.agent))
}

fn has_lines(scene: &mut Scene, count: usize) -> Result<Vec<String>> {
    scene.agent.wait_until("lines", |agent| Ok(lines(agent).len() >= count))?;
    let found = lines(&scene.agent);
    ensure!(found.len() == count, "{count} lines, and not {found:?}");
    Ok(found)
}

#[rstest]
fn a_pod_says_which_of_its_requests_have_a_line(
    #[values(Net::V4, Net::V6)] net: Net,
) -> Result<()> {
    let mut scene = Scene::with(net, |agent| Ok(to_file(agent)))?;
    scene.send(&["GET /none HTTP/1.1"], 3)?;
    annotated(&scene, "errors")?;
    until_logged(&mut scene, "/404", true)?;
    scene.send(&["GET /fine HTTP/1.1"], 3)?;
    scene.send(&["GET /503 HTTP/1.1", "User-Agent: probe/1", "X-Request-Id: r1"], 1)?;
    let is_there = |agent: &Agent| lines(agent).iter().any(|line| line.contains("/503"));
    scene.agent.wait_until("its line", |agent| Ok(is_there(agent)))?;
    let found = lines(&scene.agent);
    ensure!(
        !found.iter().any(|line| line.contains("/fine") || line.contains("/none")),
        "{found:?}"
    );
    let line = found.last().context("a line")?;
    let begins = line.starts_with("[2") && line.contains("Z] \"GET /503 HTTP/1.1\" 503 - ");
    let upstream = scene.upstream();
    let ends = format!("\"-\" \"probe/1\" \"r1\" \"reviews:{PORT}\" \"{upstream}\"");
    ensure!(begins && line.ends_with(&ends), "{line}");
    // Its namespace's word counts where it has none, and its own before that.
    scene.agent.config().write(
        "namespace",
        &format!(
            "apiVersion: v1\nkind: Namespace\nmetadata: {{name: {NAMESPACE}, \
             labels: {{istio-injection: enabled}}, annotations: {{{KEY}: \"on\"}}}}\n"
        ),
    )?;
    scene.annotate("")?;
    until_logged(&mut scene, "/fine", true)?;
    annotated(&scene, "off")?;
    until_logged(&mut scene, "/503", false)
}

#[test]
fn a_value_that_cannot_be_read_is_told_and_means_everything() -> Result<()> {
    let mut scene = Scene::with(Net::V4, |agent| Ok(to_file(agent)))?;
    annotated(&scene, "sometimes")?;
    until_logged(&mut scene, "/fine", true)?;
    let status = scene.agent.status()?;
    let findings = status["findings"].as_array().context("findings")?;
    let told = findings.iter().any(|one| {
        one["field"] == format!("metadata.annotations[{KEY}]")
            && one["name"] == "app"
            && one["message"].as_str().is_some_and(|text| text.contains("sampled=PERCENT"))
    });
    ensure!(told, "{findings:?}");
    Ok(())
}

#[test]
fn a_log_that_was_moved_goes_on_in_a_new_file() -> Result<()> {
    let mut scene = Scene::with(Net::V4, |agent| Ok(to_file(agent).with("--access-log", "on")))?;
    let (path, old) = (file(&scene.agent), scene.agent.run_dir().join("old.log"));
    let pid = i32::try_from(scene.agent.pid().context("it runs")?)?;
    let pid = Pid::from_raw(pid);
    for hangup in [false, true] {
        scene.send(&["GET /before HTTP/1.1"], 1)?;
        has_lines(&mut scene, 1)?;
        fs::rename(&path, &old)?;
        if hangup {
            kill(pid, Signal::SIGHUP)?;
        }
        scene.agent.wait_until("a new file", |_| Ok(path.exists()))?;
        scene.send(&["GET /after HTTP/1.1"], 1)?;
        let found = has_lines(&mut scene, 1)?;
        ensure!(found[0].contains("/after"), "{found:?}");
        ensure!(fs::read_to_string(&old)?.lines().count() == 1);
        fs::remove_file(&path)?;
        scene.agent.wait_until("a new file", |_| Ok(path.exists()))?;
    }
    Ok(())
}

#[test]
fn a_full_disk_costs_lines_and_no_request() -> Result<()> {
    let on =
        |agent: Agent| Ok(agent.with("--access-log-file", "/dev/full").with("--access-log", "on"));
    let mut scene = Scene::with(Net::V4, on)?;
    let said = scene.send(&["GET / HTTP/1.1"], 300)?;
    ensure!(said.of("200 v1") == 300, "{said:?}");
    scene.is_counted(&["sekisho_observe_access_log_lost_total"], 300.0)
}

#[test]
fn lines_of_json_go_to_the_standard_output() -> Result<()> {
    let json =
        |agent: Agent| Ok(agent.with("--access-log-format", "json").with("--access-log", "errors"));
    let mut scene = Scene::with(Net::V4, json)?;
    scene.send(&["GET /404 HTTP/1.1"], 1)?;
    let mut line = Value::Null;
    scene.agent.wait_until("a line", |agent| {
        let words = agent.words();
        let found = words.lines().find(|line| line.starts_with('{') && line.contains("/404"));
        line = found.map_or(Ok(Value::Null), serde_json::from_str)?;
        Ok(!line.is_null())
    })?;
    for (key, wanted) in [
        ("method", "GET"),
        ("path", "/404"),
        ("authority", &*format!("reviews:{PORT}")),
        ("upstream_cluster", "outbound|9080||reviews.shop.svc.cluster.local"),
        ("source_pod", "app"),
        ("source_workload", "shop-v7"),
        ("route_name", "all"),
    ] {
        ensure!(line[key] == wanted, "{key} in {line}");
    }
    ensure!(line["response_code"] == 404, "{line}");
    Ok(())
}
