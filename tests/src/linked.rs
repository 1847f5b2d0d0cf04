//! A pod whose links change while it runs, and what is asked about them.

use std::{
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

use crate::{
    agent::Agent,
    capture::Capture,
    manifest::Mode,
    netns::Netns,
    pace::{STEP, Strain},
    spare::{self, Beacon},
    stage::Net,
    world::{Host, Wiring, World},
};

/// Within which a change of a pod's links is followed.
pub const LIMIT: Duration = Duration::from_secs(3);
/// Longer than the agent takes to come to rest after a start.
pub const REST: Duration = Duration::from_secs(2);

/// A pod under `REGISTRY_ONLY` that is proved, on a bridge with a far host.
#[derive(Debug)]
pub struct Case {
    /// The agent.
    pub agent: Agent,
    /// What arrives at the far host.
    pub capture: Capture,
    /// A host far away.
    pub far: Host,
    /// The pod.
    pub pod: Host,
    /// What they live in.
    pub world: World,
}

impl Case {
    /// A case with an agent that attaches layer 3 in one manner.
    pub fn new(layer3: &str) -> Result<Self> {
        let world = World::new(Wiring::Bridged)?;
        let (pod, far) = (world.pod("app")?, world.far("far")?);
        let mut agent = Agent::new(&world)?.with("--layer3", layer3);
        agent.config().namespace(true)?;
        agent.config().mesh(Mode::RegistryOnly)?;
        agent.config().pod(&pod)?;
        agent.start(&world)?;
        let capture = far.capture()?;
        let mut case = Self { agent, capture, far, pod, world };
        case.within("the pod is proved", |case| case.is_proved(1))?;
        // Lest a change of links be seen by what follows a start.
        thread::sleep(REST);
        Ok(case)
    }

    /// Waits for something, and fails when it takes longer than a machine as busy as this one may.
    pub fn within(&mut self, what: &str, holds: impl Fn(&Self) -> Result<bool>) -> Result<()> {
        let (strain, since) = (Strain::start(STEP), Instant::now());
        let mut took = None;
        while took.is_none() && since.elapsed() < 10 * LIMIT {
            if holds(self)? {
                took = Some(since.elapsed());
            }
            thread::sleep(Duration::from_millis(10));
        }
        let limit = strain.end()?.stretch(LIMIT);
        let status = || self.agent.status().map(|status| status["pods"].to_string());
        let took = took.with_context(|| format!("never: {what}; {:?}", status()))?;
        println!("{what}: after {took:?}, and {limit:?} were given");
        ensure!(took < limit, "{what}: only after {took:?}");
        Ok(())
    }

    /// Waits until no frame leaves by a link any more.
    pub fn closes(&self, net: Net, link: &str) -> Result<()> {
        let strain = Strain::start(STEP);
        let last = self.beacon(net, link).last(Instant::now(), 10 * LIMIT);
        let limit = strain.end()?.stretch(LIMIT);
        let last = last?;
        println!("the last frame of {link} leaves after {last:?}, and {limit:?} were given");
        ensure!(last < limit, "frames leave by {link} for {last:?}");
        Ok(())
    }

    /// Frames from the pod by a link.
    pub fn beacon<'a>(&'a self, net: Net, link: &'a str) -> Beacon<'a> {
        self.beacon_of(self.pod.netns(), net, link)
    }

    /// Frames from another namespace by a link of its.
    pub fn beacon_of<'a>(&'a self, from: &'a Netns, net: Net, link: &'a str) -> Beacon<'a> {
        Beacon { from, link, far: &self.far, capture: &self.capture, net }
    }

    /// A pod as the status has it.
    pub fn shown(&self, pod: &str) -> Result<Value> {
        let status = self.agent.status()?;
        let pods = status["pods"].as_array().context("no pods")?;
        pods.iter().find(|one| one["name"] == pod).cloned().context("no such pod")
    }

    /// A pod's link as the status has it, if it has it.
    pub fn link_of(&self, pod: &str, link: &str) -> Result<Option<Value>> {
        let Ok(shown) = self.shown(pod) else { return Ok(None) };
        let links = shown["links"].as_array().context("no links in the status")?;
        Ok(links.iter().find(|one| one["name"] == link).cloned())
    }

    /// Whether a link of the pod is judged, and a canary has shown it.
    pub fn is_judged(&self, link: &str) -> Result<bool> {
        self.is_judged_of("app", link)
    }

    /// The same of any pod.
    pub fn is_judged_of(&self, pod: &str, link: &str) -> Result<bool> {
        let found = self.link_of(pod, link)?;
        Ok(found.is_some_and(|it| it["coverage"] == "layer-3" && it["proof"] == "refused"))
    }

    /// Whether the pod has so many links, and all that is judged is proved.
    pub fn is_proved(&self, links: usize) -> Result<bool> {
        let shown = self.shown("app")?;
        Ok(shown["enrolment"] == "enrolled"
            && shown["canary"]["layers"] == serde_json::json!([1, 2, 3])
            && shown["canary"]["failing"].is_null()
            && shown["links"].as_array().is_some_and(|all| all.len() == links)
            && self.agent.status()?["state"]["state"] == "ready")
    }

    /// Whether the pod is failing, and says by which link and what to do.
    pub fn is_failing_for(&self, link: &str) -> Result<bool> {
        let shown = self.shown("app")?;
        let why = shown["why"].as_str().unwrap_or_default();
        Ok(shown["enrolment"] == "failing"
            && why.contains(&format!("{link}:"))
            && why.contains("take the pod out of the mesh")
            && self.agent.status()?["state"]["state"] == "degraded")
    }

    /// Runs lines of `ip` in the pod.
    pub fn in_pod(&self, lines: &str) -> Result<()> {
        self.pod.netns().ip(lines)
    }

    /// Runs lines of `ip` on the node.
    pub fn on_node(&self, lines: &str) -> Result<()> {
        self.world.node().ip(lines)
    }

    /// Gives the pod a veth to the bridge.
    pub fn add_link(&self, outside: &str, inside: &str) -> Result<()> {
        spare::add_link(&self.world, self.pod.netns(), outside, inside)
    }
}
