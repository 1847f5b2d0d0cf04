//! What an operator applies: Kustomize and Helm make the same objects, in every variant.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    process::Command,
};

use agent_model::resource::documents;
use anyhow::{Context as _, Result, bail, ensure};
use rstest::rstest;
use sekisho_tests::kubernetes;
use serde_json::Value;

/// Names Helm where it is not on the path.
const HELM: &str = "HELM";

/// Objects by kind, namespace and name.
type Objects = BTreeMap<String, Value>;

fn deploy() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy")
}

fn render(command: &mut Command) -> Result<Objects> {
    let output = command.output().with_context(|| format!("{command:?} does not start"))?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let mut objects = Objects::new();
    for document in documents(&String::from_utf8(output.stdout)?) {
        let mut value = document.value?;
        // A patch puts the volume that it changes first, which means nothing; nor does it where a
        // mount stands.
        for list in ["volumes", "containers/0/volumeMounts"] {
            if let Some(Value::Array(all)) =
                value.pointer_mut(&format!("/spec/template/spec/{list}"))
            {
                all.sort_by_key(|one| one["name"].to_string());
            }
        }
        let text = |pointer: &str| value.pointer(pointer).and_then(Value::as_str).unwrap_or("-");
        let parts = [text("/kind"), text("/metadata/namespace"), text("/metadata/name")];
        let key = parts.join(" ");
        ensure!(objects.insert(key.clone(), value).is_none(), "{key} is made twice");
    }
    Ok(objects)
}

fn kustomize(folder: &str) -> Result<Objects> {
    let kubectl = kubernetes::assets()?.join("kubectl");
    render(Command::new(kubectl).arg("kustomize").arg(deploy().join(folder)))
}

fn helm(values: &[&str]) -> Result<Objects> {
    let program = std::env::var_os(HELM).unwrap_or_else(|| "helm".into());
    let mut command = Command::new(program);
    command.args(["template", "sekisho"]).arg(deploy().join("helm/sekisho")).args(values);
    render(&mut command).context("`cargo xtask test` builds Helm and names it by HELM")
}

#[rstest]
#[case::as_it_is("base", &[])]
#[case::kind("overlays/kind", &["--set", "image.pullPolicy=Never"])]
#[case::gke("overlays/gke", &["--set", "quota=true,cni.binDir=/home/kubernetes/bin"])]
#[case::ca("../tests/overlays/ca", &["--set", "ca.enabled=true"])]
#[case::without_cni("../tests/overlays/without-cni", &["--set", "cni.enabled=false"])]
#[case::eks(
    "overlays/eks",
    &["--set-json",
      r#"seLinuxOptions={"user":"system_u","role":"system_r","type":"super_t","level":"s0"}"#]
)]
fn helm_makes_what_kustomize_makes(#[case] folder: &str, #[case] values: &[&str]) -> Result<()> {
    if kubernetes::is_left_out() {
        return Ok(());
    }
    let (wanted, made) = (kustomize(folder)?, helm(values)?);
    ensure!(wanted.keys().eq(made.keys()), "{:?} and {:?}", wanted.keys(), made.keys());
    for (key, object) in &wanted {
        if made[key] != *object {
            bail!("{key} differs:\nKustomize {object:#}\nHelm {:#}", made[key]);
        }
    }
    Ok(())
}

/// Dashboard and alerts are the files of `deploy/observability`, and are made only when asked for.
#[test]
fn the_chart_loads_dashboard_and_alerts_when_asked() -> Result<()> {
    if kubernetes::is_left_out() {
        return Ok(());
    }
    let set = "observability.dashboard.enabled=true,observability.alerts.enabled=true,\
               observability.namespace=monitoring";
    let made = helm(&["--set", set])?;
    ensure!(helm(&[])?.len() + 2 == made.len(), "{:?}", made.keys());
    let file = |name: &str| -> Result<String> {
        Ok(std::fs::read_to_string(deploy().join("observability").join(name))?)
    };
    let dashboard = &made["ConfigMap monitoring sekisho-dashboard"];
    ensure!(dashboard["metadata"]["labels"]["grafana_dashboard"] == "1", "{dashboard}");
    let text = dashboard["data"]["sekisho.json"].as_str().context("a text")?;
    let loaded: Value = serde_json::from_str(text)?;
    ensure!(loaded == serde_json::from_str::<Value>(&file("dashboard.json")?)?, "{text}");
    let alerts = documents(&file("alerts.yaml")?).into_iter().next().context("a document")?.value?;
    ensure!(made["PrometheusRule monitoring sekisho"]["spec"] == alerts, "other alerts");
    Ok(())
}

/// A container that may do more than it needs is what an auditor finds first.
#[test]
fn the_agent_has_the_rights_that_it_names_and_no_others() -> Result<()> {
    if kubernetes::is_left_out() {
        return Ok(());
    }
    let objects = kustomize("base")?;
    let agent = &objects["DaemonSet sekisho-system sekisho"];
    let security = &agent["spec"]["template"]["spec"]["containers"][0]["securityContext"];
    ensure!(security.get("privileged").is_none(), "it is privileged");
    ensure!(security["readOnlyRootFilesystem"] == true, "its root can be written");
    ensure!(security["capabilities"]["drop"] == serde_json::json!(["ALL"]), "it drops too little");
    let capabilities = security["capabilities"]["add"].as_array().context("a list")?;
    ensure!(capabilities.len() <= 5, "it adds {capabilities:?}");
    Ok(())
}

/// A second agent on a node takes over from the first: what the scheduler, the probes and the drain need
/// for it.
#[rstest]
#[case::as_it_is("base")]
#[case::without_cni("../tests/overlays/without-cni")]
fn an_upgrade_starts_the_new_agent_beside_the_old_one(#[case] folder: &str) -> Result<()> {
    if kubernetes::is_left_out() {
        return Ok(());
    }
    let agent = &kustomize(folder)?["DaemonSet sekisho-system sekisho"];
    let rolling = &agent["spec"]["updateStrategy"]["rollingUpdate"];
    ensure!(rolling["maxSurge"] == 1 && rolling["maxUnavailable"] == 0, "{rolling}");
    ensure!(agent["spec"]["minReadySeconds"].as_u64() >= Some(10), "it may not be in charge yet");
    let pod = &agent["spec"]["template"]["spec"];
    let container = &pod["containers"][0];
    ensure!(container.get("ports").is_none(), "a declared port of the host is for one agent");
    let arguments = container["args"].as_array().context("arguments")?;
    ensure!(arguments.iter().any(|one| one == "--take-over"), "{arguments:?}");
    ensure!(!arguments.iter().any(|one| one.to_string().contains("drain-time")), "not the default");
    ensure!(pod["terminationGracePeriodSeconds"].as_u64() > Some(30), "shorter than --drain-time");
    Ok(())
}

/// What is put on a node is found again by what takes it off: the same directories in the same places.
#[rstest]
#[case::everywhere("base", "uninstall")]
#[case::gke("overlays/gke", "uninstall-gke")]
fn the_removal_looks_where_the_agent_installs(
    #[case] agent: &str,
    #[case] removal: &str,
) -> Result<()> {
    if kubernetes::is_left_out() {
        return Ok(());
    }
    let (agent, removal) = (kustomize(agent)?, kustomize(removal)?);
    let pod = |objects: &Objects, name: &str| {
        objects[&format!("DaemonSet sekisho-system {name}")]["spec"]["template"]["spec"].clone()
    };
    let (agent, removal) = (pod(&agent, "sekisho"), pod(&removal, "sekisho-uninstall"));
    for volume in ["bpf", "cni-conf", "cni-bin", "run"] {
        let of = |pod: &Value| named(&pod["volumes"], volume);
        ensure!(of(&agent).is_some() && of(&agent) == of(&removal), "the volume {volume} differs");
        let of = |container: &Value| named(&container["volumeMounts"], volume);
        let (at, removed) = (of(&agent["containers"][0]), of(&removal["initContainers"][0]));
        ensure!(at.is_some() && at == removed, "the mount {volume} differs");
    }
    let cni = |container: &Value| -> Vec<Value> {
        let arguments = container["args"].as_array().cloned().unwrap_or_default();
        arguments
            .into_iter()
            .filter(|it| it.as_str().is_some_and(|it| it.contains("cni")))
            .collect()
    };
    let (kept, removed) = (cni(&agent["containers"][0]), cni(&removal["initContainers"][0]));
    ensure!(kept.len() == 2 && kept == removed, "{kept:?} and {removed:?}");
    Ok(())
}

fn named(list: &Value, name: &str) -> Option<Value> {
    list.as_array()?.iter().find(|it| it["name"] == name).cloned()
}
