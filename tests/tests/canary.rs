//! Proof that pods are judged: a canary from inside each, refused by every live hook. What another
//! program takes away is found, put back and reported; a pod that is paired with another pod's
//! namespace is reported.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use rstest::rstest;
use sekisho_tests::{
    agent::Agent,
    capture::Capture,
    manifest::Mode,
    maps,
    stage::{DENIED, DIRECT, Net, Stage},
    world::{Wiring, World},
};
use serde_json::Value;

const ALL: [u64; 3] = [1, 2, 3];

/// A pod's part of the status.
fn pod(agent: &Agent, name: &str) -> Result<Value> {
    let status = agent.status()?;
    let pods = status["pods"].as_array().context("no pods")?;
    pods.iter().find(|pod| pod["name"] == name).cloned().context("no such pod")
}

fn canary(agent: &Agent, name: &str) -> Result<Value> {
    Ok(pod(agent, name)?["canary"].clone())
}

/// Whether a pod is proved under the generation in force.
fn is_proved(agent: &Agent, name: &str) -> Result<bool> {
    let canary = canary(agent, name)?;
    let by = canary["generation"].as_u64();
    Ok(canary["layers"] == serde_json::json!(ALL)
        && canary["failing"].is_null()
        && canary["proved"].is_string()
        && by == Some(agent.generation()?))
}

fn wait_for_proof(agent: &mut Agent, name: &str) -> Result<()> {
    let name = name.to_owned();
    agent.wait_until("the canary is refused everywhere", move |agent| is_proved(agent, &name))
}

/// Frames with a canary in them, beyond the host's end of the pod's link.
fn leaked(capture: &Capture) -> usize {
    let v4 = [192, 0, 0, 8];
    let v6 = [1, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 1];
    let holds = |bytes: &[u8], wanted: &[u8]| bytes.windows(wanted.len()).any(|it| it == wanted);
    let frames = capture.all();
    frames.iter().filter(|f| holds(f.bytes(), &v4) || holds(f.bytes(), &v6)).count()
}

/// Whatever a policy lets out, it never lets out a canary; and no host receives one.
#[rstest]
#[case::nothing("REGISTRY_ONLY")]
#[case::anything("ALLOW_ANY")]
#[case::audited("AUDIT")]
fn a_pod_is_proved_at_enrolment_under_every_policy(
    #[values(Wiring::Routed, Wiring::Bridged)] wiring: Wiring,
    #[case] policy: &str,
) -> Result<()> {
    let world = World::new(wiring)?;
    let (host, far) = (world.pod("app")?, world.far("far")?);
    let mut agent = Agent::new(&world)?.with("--canary-interval", "1");
    let allows = policy == "ALLOW_ANY";
    agent.config().mesh(if allows { Mode::AllowAny } else { Mode::RegistryOnly })?;
    agent.config().namespace(true)?;
    let audit = [("sekisho.dev/audit", "true")];
    let more = if policy == "AUDIT" { &audit[..] } else { &[] };
    agent.config().annotated_pod(&host, "node-1", more)?;
    let capture = far.capture()?;
    agent.start(&world)?;
    wait_for_proof(&mut agent, "app")?;

    let first = canary(&agent, "app")?["proved"].clone();
    agent.wait_until("it is proved again", |a| Ok(canary(a, "app")?["proved"] != first))?;
    let default = pod(&agent, "app")?["default_action"].clone();
    assert_eq!(default, policy.to_lowercase().replace('_', "-"));
    let flows = agent.flows()?;
    let named = |flow: &&Value| flow["dst"] == "192.0.0.8" || flow["dst"] == "100:0:0:1::1";
    assert_eq!(flows.iter().filter(named).count(), 0, "{flows:?}");
    for counter in ["deny_connect", "deny_packet", "deny_link"] {
        assert_eq!(agent.status()?["counters"][counter], 0, "{counter}");
    }
    assert_eq!(leaked(&capture), 0, "canaries at the far end");
    Ok(())
}

/// What goes wrong is shown by the canary, also where no link tells of it.
#[rstest]
fn a_hook_that_is_taken_away_is_found_and_put_back(
    #[values(
        "connect4",
        "connect6",
        "sendmsg4",
        "sendmsg6",
        "skb_egress",
        "sock_ops",
        "tcx_ingress"
    )]
    hook: &str,
) -> Result<()> {
    let mut stage = Stage::ready()?;
    wait_for_proof(&mut stage.agent, "app")?;
    stage.detach(hook)?;
    let agent = &mut stage.agent;
    agent.wait_until("it is reported", |a| Ok(a.status()?["mended"]["count"] == 1))?;
    agent.wait_until("it is ready", |a| Ok(a.status()?["state"]["state"] == "ready"))?;
    let mended = agent.status()?["mended"].clone();
    let told = if hook.starts_with("tcx") { "layer 3" } else { hook };
    assert_eq!(mended["last"]["hook"], told, "{mended}");
    stage.check_verdicts()?;
    wait_for_proof(&mut stage.agent, "app")?;
    let metrics = stage.agent.metrics()?;
    assert!(metrics.contains("sekisho_kernel_hooks_mended_total 1"), "{metrics}");
    Ok(())
}

/// Hooks that are all attached and judge nothing: only a canary tells. With no hook to stop it, still
/// nothing of it leaves the node.
#[rstest]
fn hooks_that_do_not_judge_are_found_and_nothing_leaves(
    #[values(Wiring::Routed, Wiring::Bridged)] wiring: Wiring,
) -> Result<()> {
    let world = World::new(wiring)?;
    let (host, far) = (world.pod("app")?, world.far("far")?);
    let mut agent = Agent::new(&world)?.with("--canary-interval", "1");
    agent.config().mesh(Mode::RegistryOnly)?;
    agent.config().namespace(true)?;
    agent.config().pod(&host)?;
    agent.start(&world)?;
    wait_for_proof(&mut agent, "app")?;
    let capture = far.capture()?;
    let netns = pod(&agent, "app")?["netns"].as_u64().context("no cookie")?;
    // It would be put back.
    let policies = maps::Policies::of(agent.pins())?;
    let stop = Arc::new(AtomicBool::new(false));
    let forgetting = thread::spawn({
        let stop = Arc::clone(&stop);
        move || {
            while !stop.load(Ordering::Relaxed) {
                // What is not there cannot be removed.
                let _ = policies.forget(netns);
            }
        }
    });
    agent.wait_until("it is reported", |a| Ok(a.enrolment("app")? == "failing"))?;
    let found = pod(&agent, "app")?;
    let why = found["why"].as_str().context("no reason")?.to_owned();
    for hook in ["connect4", "connect6", "sendmsg4", "sendmsg6", "skb_egress (IPv4)"] {
        ensure!(why.contains(&format!("{hook} did not judge it")), "{hook}: {why}");
    }
    ensure!(why.contains("skb_egress (IPv6) did not") && why.contains("(IPv6) did not"), "{why}");
    assert_eq!(found["canary"]["layers"], serde_json::json!([]));
    assert_eq!(agent.status()?["state"]["state"], "degraded");
    // A few more of them.
    thread::sleep(Duration::from_secs(3));
    assert_eq!(leaked(&capture), 0, "canaries at the far end");
    stop.store(true, Ordering::Relaxed);
    ensure!(forgetting.join().is_ok());
    wait_for_proof(&mut agent, "app")?;
    let mended = agent.status()?["mended"].clone();
    ensure!(mended["last"]["hook"] == "the map PODS", "{mended}");
    Ok(())
}

/// The pins are removed, and with them the last holders of the links: they are made again, and
/// what comes after the agent finds them.
#[rstest]
fn a_pin_directory_that_is_removed_is_made_again() -> Result<()> {
    let mut stage = Stage::ready()?;
    wait_for_proof(&mut stage.agent, "app")?;
    let before = stage.agent.generation()?;
    std::fs::remove_dir_all(stage.agent.pins())?;
    stage.agent.wait_until("the pins are back", |a| {
        let mended = a.status()?["mended"]["count"].as_u64().unwrap_or_default();
        Ok(mended > 3
            && a.status()?["state"]["state"] == "ready"
            && a.pins().join("links").exists())
    })?;
    wait_for_proof(&mut stage.agent, "app")?;
    stage.check_verdicts()?;
    stage.agent.kill()?;
    let mut client = stage.client()?;
    for net in [Net::V4, Net::V6] {
        client.echoes(stage.at(net, DIRECT))?;
        ensure!(client.dial(stage.at(net, DENIED))?.is_refused());
    }
    stage.start()?;
    wait_for_proof(&mut stage.agent, "app")?;
    ensure!(stage.agent.generation()? >= before, "the next agent goes on where it was");
    stage.check_verdicts()
}

/// What the link check cannot see: a hook that is attached and does not know whose link it is.
#[rstest]
fn a_failing_canary_has_everything_attached_again() -> Result<()> {
    let mut stage = Stage::set()?;
    stage.agent.set("--canary-interval", "1");
    stage.start()?;
    wait_for_proof(&mut stage.agent, "app")?;
    let port = stage.pod.port().to_owned();
    let interface = stage.world.node().enter(|| Ok(nix::net::if_::if_nametoindex(&*port)?))?;
    maps::forget_link(stage.agent.pins(), interface)?;
    let before = canary(&stage.agent, "app")?["proved"].clone();
    // That the link is cut meanwhile can't be shown by a client: its SYN is sent again, and the
    // link may be mended by then.
    let at = stage.at(Net::V4, DIRECT);
    let mut client = stage.client()?;
    stage.agent.wait_until("it is mended", |a| {
        Ok(is_proved(a, "app")?
            && canary(a, "app")?["proved"] != before
            && client.echoes(at).is_ok())
    })?;
    stage.check_verdicts()
}

/// A Pod that is paired with another one's namespace.
#[rstest]
fn a_namespace_of_another_pod_is_reported(#[values(Net::V4, Net::V6)] net: Net) -> Result<()> {
    let mut stage = Stage::ready()?;
    wait_for_proof(&mut stage.agent, "app")?;
    let other = stage.world.pod("other")?;
    let text = std::fs::read_to_string(stage.agent.config().path("pod-app"))?;
    let own = net.of(&stage.pod).to_string();
    let wrong = text.replace(&own, &net.of(&other).to_string());
    ensure!(wrong != text, "{text}");
    stage.agent.config().write("pod-app", &wrong)?;
    stage.agent.wait_until("the pod fails", |a| Ok(a.enrolment("app")? == "failing"))?;
    let why = pod(&stage.agent, "app")?["why"].clone();
    let why = why.as_str().context("no reason")?;
    ensure!(why.contains(&net.of(&other).to_string()) && why.contains("another pod's"), "{why}");
    ensure!(stage.agent.status()?["state"]["state"] == "degraded");
    // It is judged all the same.
    assert!(stage.client()?.dial(stage.at(net, DENIED))?.is_refused());

    stage.agent.config().write("pod-app", &text)?;
    stage.agent.wait_until("it is mended", |a| Ok(a.enrolment("app")? == "enrolled"))?;
    wait_for_proof(&mut stage.agent, "app")
}

/// A pod that has gone leaves no proof behind.
#[rstest]
fn proofs_go_with_their_pod() -> Result<()> {
    let mut stage = Stage::ready()?;
    wait_for_proof(&mut stage.agent, "app")?;
    let before = maps::proofs(stage.agent.pins())?;
    ensure!(before >= 8, "{before} proofs");
    stage.agent.config().remove("pod-app")?;
    stage.agent.wait_until("the pod is gone", |a| Ok(a.enrolment("app")? == "unknown"))?;
    let gone = |agent: &Agent| Ok(maps::proofs(agent.pins())? == 0);
    stage.agent.wait_until("its proofs are gone", gone)
}
