//! `sekisho ca` on a real API server with RBAC: who gets a certificate, and who does not.

mod case;

use std::{
    fs, thread,
    time::{Duration, Instant},
};

use agent_identity::{bundle::Side, life::FetchError};
use anyhow::{Context as _, Result, ensure};
use case::{AGENT, CART, Case, PATIENCE, WEB, pod};
use jiff::{SignedDuration, Timestamp};
use sekisho_tests::{agent::Agent, kubernetes, manifest::Mode};
use serde_json::Value;

#[test]
fn a_certificate_is_only_for_what_has_a_pod_on_the_askers_node() -> Result<()> {
    if kubernetes::is_left_out() {
        return Ok(());
    }
    let case = Case::new(1)?;
    let token = case.token("agent-1", "sekisho-ca")?;
    let answer = case.ask(0, &token, WEB)??;
    case.roots()?.verify(&answer.chain, Timestamp::now(), Side::Client)?;
    let skew = Timestamp::now().duration_since(answer.time.context("no time")?);
    ensure!(skew.abs() < SignedDuration::from_secs(30), "{skew}");
    // ID-1: of another node; ID-4: on the host's network; other names.
    case.refused(
        &token,
        CART,
        "no pod of spiffe://cluster.local/ns/shop/sa/cart is on node node-1",
    )?;
    case.refused(&token, "spiffe://cluster.local/ns/shop/sa/host", "no pod of")?;
    case.refused(&token, "spiffe://other/ns/shop/sa/web", "another trust domain")?;
    let second = case.token("agent-2", "sekisho-ca")?;
    case.ask(0, &second, CART)??;
    case.refused(&second, WEB, "no pod of")?;
    // A pod that comes is known at once.
    case.plane.apply(&case.world, &pod(("shop", "cart-1"), "cart", "node-1", ""))?;
    let deadline = Instant::now() + PATIENCE;
    while case.ask(0, &token, CART)?.is_err() {
        ensure!(Instant::now() < deadline, "{}", case.words(0));
        thread::sleep(Duration::from_millis(100));
    }
    let metrics = case.probe(0, "/metrics")?;
    ensure!(metrics.contains("sekisho_ca_requests_total{result=\"denied\"}"), "{metrics}");
    ensure!(metrics.contains("sekisho_ca_expiry_seconds 315"), "{metrics}");
    Ok(())
}

/// ID-2.
#[test]
fn a_token_that_is_no_agents_own_is_refused() -> Result<()> {
    if kubernetes::is_left_out() {
        return Ok(());
    }
    let case = Case::new(1)?;
    let token = |arguments: &[&str]| case.plane.token(&case.world, arguments);
    let audience = ["--audience", "sekisho-ca"];
    let app = token(&[["web", "-n", "shop"].as_slice(), &audience].concat())?;
    case.refused(&app, WEB, "is no agent")?;
    let unbound = token(&[[AGENT, "-n", "sekisho-system"].as_slice(), &audience].concat())?;
    case.refused(&unbound, WEB, "bound to no pod")?;
    let elsewhere = case.token("agent-1", "https://kubernetes.default.svc")?;
    case.refused(&elsewhere, WEB, "not valid for the audience")?;
    case.refused("nonsense", WEB, "not valid for the audience")?;
    let good = case.token("agent-1", "sekisho-ca")?;
    let forged = good.rsplit_once('.').context("three parts")?.0.to_owned() + ".AAAA";
    case.refused(&forged, WEB, "not valid for the audience")?;
    // Of a pod that has gone, and one of its name that came after it: other tokens than those that
    // were seen, for which the server itself says no.
    let late = case.token("agent-1", "sekisho-ca")?;
    let delete =
        ["delete", "pod", "agent-1", "-n", "sekisho-system", "--grace-period=0", "--force"];
    case.plane.kubectl(&case.world, &delete, "")?;
    thread::sleep(Duration::from_secs(1));
    ensure!(case.ask(0, &late, WEB)?.is_err());
    case.plane.apply(&case.world, &pod(("sekisho-system", "agent-1"), AGENT, "node-1", ""))?;
    ensure!(case.ask(0, &late, WEB)?.is_err());
    let fresh = case.token("agent-1", "sekisho-ca")?;
    let deadline = Instant::now() + PATIENCE;
    while case.ask(0, &fresh, WEB)?.is_err() {
        ensure!(Instant::now() < deadline, "{}", case.words(0));
        thread::sleep(Duration::from_millis(100));
    }
    ensure!(case.ask(0, &late, WEB)?.is_err());
    Ok(())
}

/// ID-5 and ID-7.
#[test]
fn two_replicas_make_one_root_that_no_agent_can_read() -> Result<()> {
    if kubernetes::is_left_out() {
        return Ok(());
    }
    let case = Case::new(2)?;
    let token = case.token("agent-1", "sekisho-ca")?;
    let roots = case.roots()?;
    assert_eq!(roots.roots().count(), 1);
    for at in 0..2 {
        let answer = case.ask(at, &token, WEB)??;
        roots.verify(&answer.chain, Timestamp::now(), Side::Server)?;
    }
    let agent = "system:serviceaccount:sekisho-system:sekisho-agent";
    for verb in ["get", "list", "watch", "create", "update", "delete"] {
        for what in ["secrets", "configmaps", "pods"] {
            let asked = ["auth", "can-i", verb, what, "-n", "sekisho-ca", "--as", agent];
            let may = case.plane.kubectl(&case.world, &asked, "");
            // Pods and ConfigMaps are listed in the whole cluster.
            let is_listed = what != "secrets" && ["list", "watch"].contains(&verb);
            ensure!(may.is_ok() == is_listed, "{verb} {what}: {may:?}");
        }
    }
    // An agent cannot write the roots either.
    for verb in ["create", "update", "patch", "delete"] {
        let asked = [
            "auth",
            "can-i",
            verb,
            "configmap/sekisho-trust",
            "-n",
            "sekisho-system",
            "--as",
            agent,
        ];
        ensure!(case.plane.kubectl(&case.world, &asked, "").is_err(), "{verb}");
    }
    Ok(())
}

/// The agent itself: with its token and the roots in files, as the kubelet mounts them.
#[test]
fn an_agent_has_its_certificates_from_the_ca() -> Result<()> {
    if kubernetes::is_left_out() {
        return Ok(());
    }
    let case = Case::new(1)?;
    let (token, roots) = (case.files.join("token"), case.files.join("root-cert.pem"));
    fs::write(&token, case.token("agent-1", "sekisho-ca")?)?;
    let app = case.world.pod("app")?;
    let mut agent = Agent::new(&case.world)?;
    for (option, value) in [
        ("--ca", "own".to_owned()),
        ("--ca-address", format!("localhost:{}", Case::port(0))),
        ("--ca-token", token.display().to_string()),
        ("--ca-roots", roots.display().to_string()),
    ] {
        agent.set(option, &value);
    }
    agent.config().namespace(true)?;
    agent.config().mesh(Mode::AllowAny)?;
    let put = |account: &str| {
        let (netns, v4) = (app.netns().path(), app.v4());
        agent.config().write(
            "pod",
            &format!(
                "apiVersion: v1\nkind: Pod\nmetadata:\n  name: app\n  namespace: shop\n  \
                 annotations: {{sekisho.dev/netns: {}}}\n\
                 spec: {{nodeName: node-1, serviceAccountName: {account}, containers: [{{name: a, image: b}}]}}\n\
                 status: {{podIP: {v4}, podIPs: [{{ip: {v4}}}]}}\n",
                netns.display()
            ),
        )
    };
    put("web")?;
    let of = |agent: &Agent, id: &str| -> Result<Value> {
        let status = agent.status()?;
        let all = status["identity"]["certificates"].as_array().context("no certificates")?;
        all.iter().find(|one| one["identity"] == id).cloned().context("not there")
    };
    agent.start(&case.world)?;
    // Nothing is believed before the roots are there.
    agent.wait_until("it waits for roots", |agent| {
        let error = of(agent, WEB)?["last_error"].to_string();
        Ok(error.contains("roots are not known yet"))
    })?;
    fs::write(&roots, case.roots()?.to_pem())?;
    agent.wait_until("a certificate", |agent| Ok(of(agent, WEB)?["state"] == "valid"))?;
    // The agent says that it has such a pod; the CA knows better.
    let text = fs::read_to_string(agent.config().path("pod"))?;
    agent
        .config()
        .write("pod", &text.replace("serviceAccountName: web", "serviceAccountName: cart"))?;
    agent.wait_until("it is refused", |agent| {
        let error = of(agent, CART)?["last_error"].to_string();
        Ok(error.contains("no pod of") && error.contains("is on node node-1"))
    })?;
    let status = agent.status()?;
    let findings = status["findings"].as_array().into_iter().flatten();
    let found = findings.filter(|one| one["code"] == "SK0501").count();
    ensure!(found == 1, "{status}");
    Ok(())
}

/// ID-8, as far as one node may ask.
#[test]
fn many_requests_at_once_are_served_or_told_to_wait() -> Result<()> {
    if kubernetes::is_left_out() {
        return Ok(());
    }
    let case = Case::new(1)?;
    let token = case.token("agent-1", "sekisho-ca")?;
    let before = Instant::now();
    let answers = case.ask_many(0, &token, &[WEB; 400])?;
    let served = answers.iter().filter(|answer| answer.is_ok()).count();
    ensure!(served >= 200, "{served} of 400 in {:?}\n{:?}", before.elapsed(), answers.last());
    let is_told = |error: &FetchError| error.to_string().contains("node node-1 asks too often");
    let others = answers.iter().filter_map(|answer| answer.as_ref().err());
    for error in others {
        ensure!(is_told(error), "{error}");
    }
    ensure!(before.elapsed() < PATIENCE, "{:?}", before.elapsed());
    Ok(())
}
