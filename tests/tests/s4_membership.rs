//! App Mesh (S4) at the socket: which pods are in a mesh, and what becomes of one where it is not clear.

use anyhow::{Context as _, Result, ensure};
use sekisho_tests::{
    app_mesh::{CALLER, Case, OUTSIDE, PORT, UNDECLARED, object},
    manifest::Mode,
};

/// The seed's own mismatch, mended while the pod runs.
#[test]
fn s4_1_a_namespace_that_no_mesh_selects_is_not_judged_until_one_does() -> Result<()> {
    let mut case = Case::new("DROP_ALL")?;
    case.mesh("sitateru-mesh", "DROP_ALL")?;
    case.start("not-enrolled")?;
    case.is_open()?;
    let status = case.agent.status()?;
    let findings = status["findings"].as_array().context("findings")?;
    let told = |kind: &str| {
        findings.iter().any(|one| {
            one["kind"] == kind
                && one["severity"] == "error"
                && one["place"].as_str().is_some_and(|place| place.contains(".yaml, document 1"))
                && one["message"].as_str().unwrap_or_default().contains(
                    "failed to find matching mesh for namespace: mesh-test, expecting 1 but found 0",
                )
        })
    };
    assert!(told("Pod") && told("VirtualNode"), "{status}");
    case.mesh("mesh-1", "DROP_ALL")?;
    case.wait_enrolment("enrolled")?;
    case.is_closed()
}

#[test]
fn s4_7_a_pod_that_no_node_selects_is_not_judged() -> Result<()> {
    let mut case = Case::new("DROP_ALL")?;
    case.labelled("app: nobody", "")?;
    case.start("not-enrolled")?;
    case.is_open()?;
    case.labelled(CALLER, "")?;
    case.wait_enrolment("enrolled")?;
    case.is_closed()?;
    let off = ", appmesh.k8s.aws/sidecarInjectorWebhook: disabled";
    case.labelled(CALLER, off)?;
    case.wait_enrolment("not-enrolled")?;
    case.is_open()
}

/// From a fresh start on, whatever of the node cannot be read. A directory keeps no form from before
/// a restart.
#[test]
fn a_node_that_is_refused_lets_nothing_out() -> Result<()> {
    const SELECTS: &str = "podSelector: {matchLabels: {app: caller}}";
    let mut case = Case::new("ALLOW_ALL")?;
    let broken =
        |case: &Case, spec: &str| case.write("vnode-x", &object("VirtualNode", "vnode-x", spec));
    broken(&case, &format!("{SELECTS}, listeners: 7"))?;
    case.start("enrolled")?;
    case.lets_nothing_out()?;
    ensure!(case.told("SK0344", "VirtualNode mesh-test/vnode-x is refused")?);
    case.backends(&["svc-v"])?;
    case.agent.wait_until("it is mended", |agent| {
        Ok(agent.status()?["findings"]
            .as_array()
            .is_none_or(|all| all.iter().all(|one| one["kind"] != "Pod")))
    })?;
    case.is_open()?;
    // Its last good form stays in force, and ends with the agent.
    broken(&case, "podSelector: 7")?;
    case.agent.wait_until("it is refused", |agent| {
        let findings = agent.status()?["findings"].to_string();
        Ok(findings.contains("the form that was in force before stays"))
    })?;
    case.is_open()?;
    case.agent.kill()?;
    case.start("enrolled")?;
    case.lets_nothing_out()
}

/// A second label does not open what the first one closed.
#[test]
fn a_pod_in_two_meshes_is_judged_by_the_one_that_denies() -> Result<()> {
    let mut case = Case::ready("DROP_ALL")?;
    let all = "mesh: mesh-1, appmesh.k8s.aws/sidecarInjectorWebhook: enabled, \
               istio-injection: enabled";
    case.agent.config().mesh(Mode::AllowAny)?;
    case.namespace(all)?;
    case.agent.wait_until("it is reported", |agent| {
        let status = agent.status()?;
        let findings = status["findings"].as_array().cloned().unwrap_or_default();
        Ok(findings.iter().any(|one| one["code"] == "SK0342" && one["kind"] == "Pod"))
    })?;
    case.is_closed()?;
    // Both deny: Istio's registry has every Service, and App Mesh's list is of no account.
    case.change(|case| case.agent.config().mesh(Mode::RegistryOnly))?;
    case.is_reached(UNDECLARED, PORT)?;
    case.is_refused(OUTSIDE, PORT)
}

/// The same is so of two meshes, and of a selector that breaks the rules.
#[test]
fn a_pod_of_which_it_is_not_clear_what_it_is_lets_nothing_out() -> Result<()> {
    let mut case = Case::ready("ALLOW_ALL")?;
    case.is_open()?;
    let all = "podSelector: {matchLabels: {app: caller}}";
    case.change(|case| case.write("twice", &object("VirtualNode", "vnode-y", all)))?;
    case.lets_nothing_out()?;
    ensure!(case.told("SK0341", "found multiple matching VirtualNodes")?);
    case.change(|case| case.agent.config().remove("twice"))?;
    case.is_open()?;
    case.change(|case| case.write("twice", &object("Mesh", "mesh-2", "namespaceSelector: {}")))?;
    case.lets_nothing_out()?;
    ensure!(case.told("SK0341", "found multiple matching meshes")?);
    case.change(|case| case.agent.config().remove("twice"))?;
    case.is_open()?;

    let near = "podSelector: {matchExpressions: [{key: app, operator: Near, values: [caller]}]}";
    case.write("vnode-x", &object("VirtualNode", "vnode-x", near))?;
    case.agent.kill()?;
    case.start("enrolled")?;
    case.lets_nothing_out()?;
    ensure!(case.told("SK0344", "VirtualNode mesh-test/vnode-x is refused")?);
    Ok(())
}
