//! A stage whose agent follows a real API server, as its own `ServiceAccount`, with RBAC on.

use std::{
    fs,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

use crate::{
    agent::PATIENCE,
    control_plane::{ACCOUNT, ControlPlane},
    kubernetes::tree,
    manifest::{NAMESPACE, NODE},
    stage::{DIRECT, Net, Stage},
    world::{Host, World},
};

/// The rule for the far host.
pub const RULE: &str = "serviceentry/far-tcp";

/// A stage whose agent follows a server; nothing of Istio's is installed.
#[derive(Debug)]
pub struct Scene {
    /// The pod, the far host and the agent.
    pub stage: Stage,
    /// The server.
    pub plane: ControlPlane,
}

impl Scene {
    /// With the namespace, the mesh's settings and the pod on the server; the agent is not started.
    pub fn set() -> Result<Self> {
        Self::with(ControlPlane::start)
    }

    /// The same, with a server that is started in some other way.
    pub fn with(start: impl FnOnce(&World) -> Result<ControlPlane>) -> Result<Self> {
        let mut stage = Stage::set()?;
        let plane = start(&stage.world)?;
        let base = tree().join("deploy/base");
        for file in ["namespace.yaml", "rbac.yaml"] {
            plane.apply(&stage.world, &fs::read_to_string(base.join(file))?)?;
        }
        plane.apply(
            &stage.world,
            "apiVersion: v1\nkind: Namespace\nmetadata: {name: istio-system}\n",
        )?;
        let config = |name: &str| fs::read_to_string(stage.agent.config().path(name));
        plane.apply(&stage.world, &config("namespace")?)?;
        plane.apply(&stage.world, &config("mesh")?)?;
        pod(&plane, &stage, (&stage.pod, NAMESPACE))?;
        let account = plane.account(&stage.world, ACCOUNT.0, ACCOUNT.1)?;
        stage.agent.follow_server(account);
        Ok(Self { stage, plane })
    }

    /// With the custom resources too, and the agent started.
    pub fn ready() -> Result<Self> {
        let mut scene = Self::set()?;
        scene.begin()?;
        Ok(scene)
    }

    /// Installs the custom resources, and starts the agent.
    pub fn begin(&mut self) -> Result<()> {
        self.install()?;
        self.stage.start()
    }

    /// Installs the definitions that the suites need.
    pub fn install(&self) -> Result<()> {
        self.apply(include_str!("../crds/minimal.yaml"))?;
        for name in [
            "serviceentries.networking.istio.io",
            "sidecars.networking.istio.io",
            "virtualservices.networking.istio.io",
            "virtualservices.appmesh.k8s.aws",
        ] {
            let crd = format!("crd/{name}");
            self.kubectl(&["wait", "--for=condition=Established", "--timeout=30s", &crd])?;
        }
        Ok(())
    }

    /// `kubectl apply -f -`.
    pub fn apply(&self, text: &str) -> Result<()> {
        self.plane.apply(&self.stage.world, text)
    }

    /// `kubectl`.
    pub fn kubectl(&self, arguments: &[&str]) -> Result<String> {
        self.plane.kubectl(&self.stage.world, arguments, "")
    }

    /// The manifest of the rule for the far host.
    pub fn rule(&self) -> Result<String> {
        Ok(fs::read_to_string(self.stage.agent.config().path("far"))?)
    }

    /// Deletes the rule.
    pub fn delete_rule(&self) -> Result<()> {
        self.kubectl(&["delete", "-n", NAMESPACE, RULE]).map(drop)
    }

    /// Whether the rule is in force, as `sekisho why` has it and as the pod has it.
    pub fn is_allowed(&self) -> Result<bool> {
        let to = self.stage.at(Net::V4, DIRECT);
        let pod = format!("{NAMESPACE}/app");
        let output = self.stage.agent.ask(&["why", &pod, &to.to_string(), "-o", "json"])?;
        let why = match output.status.code() {
            Some(0) => true,
            Some(3) => false,
            code => anyhow::bail!("why: {code:?} {}", String::from_utf8_lossy(&output.stderr)),
        };
        let said = self.stage.client()?.dial(to)?;
        ensure!(why == said.errno.is_none(), "why says {why}, and the pod {said:?}");
        Ok(why)
    }

    /// Waits until the rule is in force or not; returns how long that took.
    pub fn wait_allowed(&self, allowed: bool, patience: Duration) -> Result<Duration> {
        let start = Instant::now();
        loop {
            let generation = self.stage.agent.generation()?;
            let now = self.is_allowed();
            if matches!(now, Ok(now) if now == allowed) {
                return Ok(start.elapsed());
            }
            // An answer that changes between the two looks is no disagreement.
            let moved = self.stage.agent.generation()? != generation;
            if start.elapsed() > patience && !moved {
                anyhow::bail!(
                    "not {} after {:?}: {now:?}\n{}\n{}",
                    if allowed { "allowed" } else { "denied" },
                    start.elapsed(),
                    self.stage.agent.status()?,
                    self.stage.agent.words()
                );
            }
        }
    }

    /// How far a kind is followed: its state and its reason.
    pub fn followed(&self, resource: &str) -> Result<(String, String)> {
        let status = self.stage.agent.status()?;
        let kinds = status["source"]["kinds"].as_array().context("no kinds in the status")?;
        let found = kinds.iter().find(|kind| kind["resource"] == resource);
        let found = found.with_context(|| format!("{resource} is not in {status}"))?;
        let text = |field: &str| found[field].as_str().unwrap_or_default().to_owned();
        Ok((text("state"), text("why")))
    }

    /// Waits until a kind is followed so far.
    pub fn wait_followed(&mut self, resource: &str, state: &str) -> Result<()> {
        let Self { stage, .. } = self;
        stage.agent.wait_until(&format!("{resource} is {state}"), |agent| {
            let status = agent.status()?;
            let kinds = status["source"]["kinds"].as_array().cloned().unwrap_or_default();
            Ok(kinds.iter().any(|kind| kind["resource"] == resource && kind["state"] == state))
        })
    }

    /// Waits until the server itself goes by a role that lost the verb: it learns of it by a watch.
    pub fn wait_forbidden(&self, resource: &str) -> Result<()> {
        let account = "--as=system:serviceaccount:sekisho-system:sekisho-agent";
        let start = Instant::now();
        while self.kubectl(&["auth", "can-i", "watch", resource, "-A", account]).is_ok() {
            ensure!(start.elapsed() < PATIENCE, "{resource} can still be watched");
        }
        Ok(())
    }

    /// When the objects in force were saved, while they come from the disk.
    pub fn saved(&self) -> Result<Value> {
        Ok(self.stage.agent.status()?["source"]["saved"].clone())
    }

    /// Waits until the file of saved objects has some text in it, or has not.
    pub fn wait_saved(&mut self, text: &str, there: bool) -> Result<()> {
        let path = self.stage.agent.run_dir().join("objects.snapshot");
        self.stage.agent.wait_until(&format!("{text} is saved: {there}"), |_| {
            Ok(fs::read_to_string(&path)?.contains(text) == there)
        })
    }
}

/// A pod with its status, which nothing else writes here.
pub fn pod(plane: &ControlPlane, stage: &Stage, (host, namespace): (&Host, &str)) -> Result<()> {
    let name = host.name();
    plane.apply(
        &stage.world,
        &format!(
            "apiVersion: v1\nkind: Pod\nmetadata:\n  name: {name}\n  namespace: {namespace}\n  \
             annotations: {{sekisho.dev/netns: {}}}\n\
             spec: {{nodeName: {NODE}, containers: [{{name: app, image: none}}]}}\n",
            host.netns().path().display()
        ),
    )?;
    let [v4, v6] = host.addresses();
    let status = format!(
        "{{\"status\":{{\"podIP\":\"{v4}\",\"podIPs\":[{{\"ip\":\"{v4}\"}},{{\"ip\":\"{v6}\"}}]}}}}"
    );
    let patch =
        ["patch", "pod", name, "-n", namespace, "--subresource=status", "--type=merge", "-p"];
    plane.kubectl(&stage.world, &[&patch[..], &[&status]].concat(), "").map(drop)
}
