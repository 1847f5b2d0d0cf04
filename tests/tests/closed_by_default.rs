//! What cannot be read or found opens nothing, from a fresh start on and on a real API server:
//! objects that restrict and are refused, and revisions that do not exist.

use std::time::Duration;

use anyhow::{Result, ensure};
use sekisho_tests::{kubernetes::is_left_out, manifest::NAMESPACE, scene::Scene};
use serde_json::Value;

/// Two processors may be shared with a build.
const SOON: Duration = Duration::from_secs(5);

fn settings(name: &str, mode: &str) -> String {
    format!(
        "apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: {name}, namespace: istio-system}}\n\
         data: {{mesh: 'outboundTrafficPolicy: {{mode: {mode}}}'}}\n"
    )
}

fn tag(name: &str, revision: &str) -> String {
    format!(
        "apiVersion: admissionregistration.k8s.io/v1\nkind: MutatingWebhookConfiguration\n\
         metadata: {{name: istio-revision-tag-{name}, labels: {{istio.io/tag: {name}, \
         istio.io/rev: {revision}}}}}\n"
    )
}

/// Every finding of a code, as `kind namespace/name`.
fn told(scene: &Scene, code: &str) -> Result<Vec<String>> {
    let status = scene.stage.agent.status()?;
    let all = status["findings"].as_array().cloned().unwrap_or_default();
    let of = |one: &Value, field: &str| one[field].as_str().unwrap_or_default().to_owned();
    let of_code = all.iter().filter(|one| one["code"] == code);
    Ok(of_code.map(|one| format!("{} {}", of(one, "kind"), of(one, "name"))).collect())
}

#[test]
fn settings_and_sidecars_that_are_refused_open_nothing() -> Result<()> {
    if is_left_out() {
        return Ok(());
    }
    let mut scene = Scene::set()?;
    scene.apply(&settings("istio", "MAYBE"))?;
    scene.begin()?;
    ensure!(!scene.is_allowed()?, "settings that cannot be read let everything out");
    ensure!(told(&scene, "SK0344")? == ["Pod app"], "{:?}", told(&scene, "SK0344")?);
    scene.apply(&scene.rule()?)?;
    scene.wait_allowed(true, SOON)?;
    scene.delete_rule()?;
    scene.wait_allowed(false, SOON)?;

    // Nor do they at a start without the server.
    scene.wait_saved("MAYBE", true)?;
    scene.plane.kill_server()?;
    scene.stage.agent.kill()?;
    scene.stage.start()?;
    ensure!(scene.saved()?.is_string(), "the objects are those that were saved");
    ensure!(!scene.is_allowed()?, "after a start from what was saved");
    scene.plane.start_server(&scene.stage.world)?;
    scene.wait_followed("services", "current")?;

    // Once there is a good form, it stays, and a restart knows it.
    scene.apply(&settings("istio", "ALLOW_ANY"))?;
    scene.wait_allowed(true, Duration::from_secs(20))?;
    scene.wait_saved("ALLOW_ANY", true)?;
    scene.apply(&settings("istio", "MAYBE"))?;
    for _ in 0..2 {
        scene.stage.agent.kill()?;
        scene.stage.start()?;
        scene.wait_allowed(true, Duration::from_secs(20))?;
    }

    // A Sidecar whose selector cannot be read may be everybody's.
    let sidecar = format!(
        "apiVersion: networking.istio.io/v1\nkind: Sidecar\n\
         metadata: {{name: s, namespace: {NAMESPACE}}}\n\
         spec: {{workloadSelector: {{labels: {{'': app}}}}, egress: [{{hosts: ['*/*']}}]}}\n"
    );
    scene.apply(&sidecar)?;
    scene.wait_allowed(false, SOON)?;
    scene.apply(&scene.rule()?)?;
    ensure!(scene.wait_allowed(true, Duration::from_secs(1)).is_err(), "it shows nothing");
    scene.apply(&sidecar.replace("''", "other"))?;
    scene.wait_allowed(true, SOON)?;
    Ok(())
}

#[test]
fn a_namespace_is_governed_by_its_revision() -> Result<()> {
    if is_left_out() {
        return Ok(());
    }
    let mut scene = Scene::set()?;
    scene.apply(&settings("istio", "ALLOW_ANY"))?;
    scene.apply(&settings("istio-1-20-3", "REGISTRY_ONLY"))?;
    let labels = ["istio-injection-", "istio.io/rev=1-20-3"];
    scene.kubectl(&[&["label", "namespace", NAMESPACE][..], &labels].concat())?;
    scene.begin()?;
    ensure!(!scene.is_allowed()?, "the settings of the default revision govern it");
    ensure!(told(&scene, "SK0343")?.is_empty());

    let label = |revision: &str| {
        let label = format!("istio.io/rev={revision}");
        scene.kubectl(&["label", "--overwrite", "namespace", NAMESPACE, &label]).map(drop)
    };
    label("default")?;
    scene.wait_allowed(true, SOON)?;
    // A tag, moved and taken away.
    scene.apply(&tag("prod", "1-20-3"))?;
    label("prod")?;
    scene.wait_allowed(false, SOON)?;
    ensure!(told(&scene, "SK0343")?.is_empty());
    scene.apply(&tag("prod", "default"))?;
    scene.wait_allowed(true, SOON)?;
    scene.kubectl(&["delete", "mutatingwebhookconfigurations", "istio-revision-tag-prod"])?;
    scene.wait_allowed(false, SOON)?;
    let unknown = format!("Namespace {NAMESPACE}");
    ensure!(told(&scene, "SK0343")?.contains(&unknown), "{:?}", told(&scene, "SK0343")?);
    Ok(())
}

/// An agent that may read neither tags nor other settings goes on, and what it cannot resolve
/// stays closed.
#[test]
fn an_agent_that_may_not_read_revisions_goes_on_without_them() -> Result<()> {
    if is_left_out() {
        return Ok(());
    }
    let mut scene = Scene::set()?;
    let rules =
        "[{\"op\":\"remove\",\"path\":\"/rules/2\"},{\"op\":\"remove\",\"path\":\"/rules/2\"}]";
    scene.kubectl(&["patch", "clusterrole", "sekisho-agent", "--type=json", "-p", rules])?;
    scene.wait_forbidden("mutatingwebhookconfigurations")?;
    scene.apply(&settings("istio", "ALLOW_ANY"))?;
    scene.apply(&tag("prod", "default"))?;
    scene.begin()?;
    scene.wait_allowed(true, SOON)?;
    let labels = ["istio-injection-", "istio.io/rev=prod"];
    scene.kubectl(&[&["label", "namespace", NAMESPACE][..], &labels].concat())?;
    scene.wait_allowed(false, SOON)?;
    ensure!(told(&scene, "SK0343")?.contains(&format!("Namespace {NAMESPACE}")));
    let (state, _) =
        scene.followed("mutatingwebhookconfigurations.admissionregistration.k8s.io")?;
    ensure!(state == "not-installed", "{state}");
    Ok(())
}
