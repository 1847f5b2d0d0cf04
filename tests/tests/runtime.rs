//! What the container runtime knows of pods is enough to judge them, also while no other source can be
//! asked.

use std::time::Instant;

use anyhow::{Context as _, Result, ensure};
use sekisho_tests::{
    agent::Agent,
    client::Client,
    runtime::{Runtime, Sandbox},
    stage::{DENIED, DIRECT, Net, Stage},
    world::Host,
};
use serde_json::Value;

/// A stage whose agent believes a runtime about namespaces, and holds pods that it does not know.
struct Case {
    runtime: Runtime,
    app: Sandbox,
    stage: Stage,
}

impl Case {
    fn new() -> Result<Self> {
        let mut stage = Stage::set()?;
        let runtime = Runtime::start()?;
        stage.agent.set("--pod-namespaces", "runtime");
        stage.agent.set("--cri-socket", &runtime.socket().display().to_string());
        stage.agent.set("--unknown-pods", "hold");
        stage.agent.config().bare_pod("app", "u1")?;
        let app = Sandbox::new("app", "u1", &stage.pod);
        runtime.list(&[&app]);
        stage.start()?;
        Ok(Self { runtime, app, stage })
    }

    fn check_judged(&self, host: &Host) -> Result<()> {
        let mut client = Client::start(host)?;
        for net in [Net::V4, Net::V6] {
            let said = client.dial(self.stage.at(net, DENIED))?;
            ensure!(said.is_refused(), "{net:?}: {said:?}");
            client.echoes(self.stage.at(net, DIRECT))?;
        }
        Ok(())
    }

    fn is_held(&self, host: &Host) -> Result<()> {
        let mut client = Client::start(host)?;
        for net in [Net::V4, Net::V6] {
            let said = client.dial(self.stage.at(net, DIRECT))?;
            ensure!(said.errno == Some(libc::EAGAIN), "{net:?}: {said:?}");
        }
        Ok(())
    }
}

fn netns(agent: &Agent, pod: &str) -> Result<Value> {
    let status = agent.status()?;
    let pods = status["pods"].as_array().context("no pods")?;
    let found = pods.iter().find(|one| one["name"] == pod);
    Ok(found.context("no such pod")?["netns"].clone())
}

#[test]
fn a_pod_that_only_the_runtime_knows_is_judged_as_its_namespace_is() -> Result<()> {
    let mut case = Case::new()?;
    let (fixed, out) = (case.stage.world.pod("static")?, case.stage.world.pod("out")?);
    case.is_held(&fixed)?;
    case.is_held(&out)?;
    let its = Sandbox::new("static", "hash", &fixed);
    let inject = ("sidecar.istio.io/inject".to_owned(), "false".to_owned());
    let not_its = Sandbox { labels: vec![inject], ..Sandbox::new("out", "hash-2", &out) };
    let since = Instant::now();
    case.runtime.list(&[&case.app, &its, &not_its]);
    case.stage.agent.wait_until("it is enrolled", |a| Ok(a.enrolment("static")? == "enrolled"))?;
    println!("enrolled after {:?}", since.elapsed());
    case.check_judged(&fixed)?;
    ensure!(case.stage.agent.enrolment("out")? == "not-enrolled", "its labels say so");
    let said = Client::start(&out)?.dial(case.stage.at(Net::V4, DENIED))?;
    ensure!(said.errno.is_none(), "not enrolled: {said:?}");

    // No other source says anything, and the agent starts again.
    case.stage.agent.kill()?;
    case.check_judged(&fixed)?;
    case.stage.start()?;
    case.stage.agent.wait_until("it is enrolled", |a| Ok(a.enrolment("static")? == "enrolled"))?;
    case.check_judged(&fixed)?;

    // The server's picture of it changes nothing, and its end is the pod's.
    let before = netns(&case.stage.agent, "static")?;
    case.stage.agent.config().bare_pod("static", "hash")?;
    case.stage.change(|stage| stage.name_far("again"))?;
    assert_eq!(netns(&case.stage.agent, "static")?, before);
    case.stage.agent.config().remove("pod-static")?;
    case.stage.agent.wait_until("it is gone", |a| Ok(a.enrolment("static")? == "unknown"))?;
    case.is_held(&fixed)
}

/// The node has come back, or a sandbox has crashed: the same Pod in another namespace.
#[test]
fn a_known_pods_new_sandbox_is_judged_at_once() -> Result<()> {
    let mut case = Case::new()?;
    case.check_judged(&case.stage.pod)?;
    let before = netns(&case.stage.agent, "app")?;
    let again = case.stage.world.pod("again")?;
    case.is_held(&again)?;
    let second = Sandbox { attempt: 1, ..Sandbox::new("app", "u1", &again) };
    let since = Instant::now();
    // Both, for a moment.
    case.runtime.list(&[&case.app, &second]);
    case.stage.agent.wait_until("the new one counts", |agent| {
        let now = netns(agent, "app")?;
        Ok(now.is_u64() && now != before && agent.enrolment("app")? == "enrolled")
    })?;
    println!("enrolled after {:?}", since.elapsed());
    case.check_judged(&again)?;
    case.is_held(&case.stage.pod)?;
    case.runtime.list(&[&second]);
    case.check_judged(&again)
}
