//! A server with the definitions, and agents that follow it; no pods.

use std::{
    fs,
    path::Path,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail, ensure};
use sekisho_tests::{
    agent::Agent,
    control_plane::ControlPlane,
    world::{Wiring, World},
};
use serde_json::Value;

/// A change, a word of each node (2 s apart), a moment of grace and a write. Two processors may be
/// shared with a build.
pub(crate) const SOON: Duration = Duration::from_secs(25);
pub(crate) const ENTRIES: &str = "serviceentries.networking.istio.io";
pub(crate) const POLICIES: &str = "meshpolicies.authentication.istio.io";
/// A definition without a rule, as old ones of Istio's are.
pub(crate) const ANYTHING: &str = "\
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: meshpolicies.authentication.istio.io}
spec:
  group: authentication.istio.io
  scope: Cluster
  names: {kind: MeshPolicy, listKind: MeshPolicyList, plural: meshpolicies, singular: meshpolicy}
  versions:
  - name: v1alpha1
    served: true
    storage: true
    subresources: {status: {}}
    schema: {openAPIV3Schema: {type: object, x-kubernetes-preserve-unknown-fields: true}}
";

/// Some agents that follow a server; no pods.
pub(crate) struct Scene {
    pub(crate) agents: Vec<Agent>,
    pub(crate) plane: ControlPlane,
    pub(crate) world: World,
}

pub(crate) fn tree(path: &str) -> Result<String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(path);
    fs::read_to_string(&path).with_context(|| path.display().to_string())
}

pub(crate) fn node(at: usize) -> String {
    format!("node-{}", at + 1)
}

/// A rule for one port of one address.
pub(crate) fn entry(name: &str, address: &str) -> String {
    format!(
        "apiVersion: networking.istio.io/v1\nkind: ServiceEntry\n\
         metadata: {{name: {name}, namespace: shop}}\n\
         spec:\n  hosts: [{name}.example.com]\n  addresses: [{address}]\n  location: MESH_EXTERNAL\n  \
         resolution: NONE\n  ports: [{{number: 5432, name: tcp, protocol: TCP}}]\n"
    )
}

impl Scene {
    /// With the definitions and a namespace on the server; no agent is started.
    pub(crate) fn set(agents: usize) -> Result<Self> {
        let world = World::new(Wiring::Routed)?;
        let plane = ControlPlane::start(&world)?;
        for file in ["deploy/base/namespace.yaml", "deploy/base/rbac.yaml"] {
            plane.apply(&world, &tree(file)?)?;
        }
        // Ours would refuse at once what the agent is to tell of.
        let entries = ANYTHING
            .replace("meshpolicies", "serviceentries")
            .replace("meshpolicy", "serviceentry")
            .replace("MeshPolicy", "ServiceEntry")
            .replace("authentication.istio.io", "networking.istio.io")
            .replace("Cluster", "Namespaced")
            .replace("v1alpha1", "v1");
        for (name, text) in [(ENTRIES, entries.as_str()), (POLICIES, ANYTHING)] {
            plane.apply(&world, text)?;
            let wait = ["wait", "--for=condition=Established", "--timeout=30s"];
            plane.kubectl(&world, &[&wait[..], &[&format!("crd/{name}")]].concat(), "")?;
        }
        for name in ["shop", "istio-system"] {
            let text = format!("apiVersion: v1\nkind: Namespace\nmetadata: {{name: {name}}}\n");
            plane.apply(&world, &text)?;
        }
        let account = plane.account(&world, "sekisho-system", "sekisho-agent")?;
        let agents = (0..agents).map(|at| {
            let name = node(at);
            let text = format!("apiVersion: v1\nkind: Node\nmetadata: {{name: {name}}}\n");
            plane.apply(&world, &text)?;
            let mut agent = Agent::new(&world)?.with("--node-name", &name);
            agent.follow_server(account.clone());
            Ok(agent)
        });
        let agents = agents.collect::<Result<_>>()?;
        Ok(Self { agents, plane, world })
    }

    /// With the agents started.
    pub(crate) fn ready(agents: usize) -> Result<Self> {
        let mut scene = Self::set(agents)?;
        let Self { agents, world, .. } = &mut scene;
        agents.iter_mut().try_for_each(|agent| agent.start(world))?;
        Ok(scene)
    }

    pub(crate) fn apply(&self, text: &str) -> Result<()> {
        self.plane.apply(&self.world, text)
    }

    pub(crate) fn kubectl(&self, arguments: &[&str]) -> Result<String> {
        self.plane.kubectl(&self.world, arguments, "")
    }

    pub(crate) fn get(&self, arguments: &[&str]) -> Result<Value> {
        self.plane.get(&self.world, arguments)
    }

    /// One of our conditions of an object: status, reason and message.
    pub(crate) fn condition(
        &self,
        object: &[&str],
        name: &str,
    ) -> Result<(String, String, String)> {
        let object = self.get(object)?;
        let all = object["status"]["conditions"].as_array().cloned().unwrap_or_default();
        let name = format!("sekisho.dev/{name}");
        let mut ours = all.iter().filter(|one| one["type"] == name.as_str());
        let Some(one) = ours.next() else { return Ok(<_>::default()) };
        ensure!(ours.next().is_none(), "{name} stands twice: {object}");
        ensure!(
            one["observedGeneration"] == object["metadata"]["generation"],
            "of another generation: {object}"
        );
        ensure!(one["lastTransitionTime"].is_string(), "without a time: {object}");
        let text = |field: &str| one[field].as_str().unwrap_or_default().to_owned();
        Ok((text("status"), text("reason"), text("message")))
    }

    /// Waits until a condition of a `ServiceEntry` has a status and a message with all of these.
    pub(crate) fn wait(
        &self,
        entry: &str,
        name: &str,
        status: &str,
        words: &[&str],
    ) -> Result<Duration> {
        self.wait_for(&["-n", "shop", ENTRIES, entry], name, (status, words, SOON))
    }

    pub(crate) fn wait_for(
        &self,
        object: &[&str],
        name: &str,
        (status, words, patience): (&str, &[&str], Duration),
    ) -> Result<Duration> {
        let start = Instant::now();
        loop {
            let now = self.condition(object, name);
            if let Ok((is, reason, message)) = &now
                && is == status
                && words.iter().all(|word| format!("{reason} {message}").contains(word))
            {
                return Ok(start.elapsed());
            }
            if start.elapsed() > patience {
                let words: Vec<_> = self.agents.iter().map(Agent::words).collect();
                let leases = self.kubectl(&["get", "leases", "-n", "sekisho-system", "-o", "yaml"]);
                bail!("{name} is not {status}: {now:?}\n{}\n{leases:?}", words.join("\n\n"));
            }
            thread::sleep(Duration::from_millis(200));
        }
    }

    /// The Events about an object: type, reason, note, and how often.
    pub(crate) fn events(&self, name: &str) -> Result<Vec<Value>> {
        let all = self.get(&["events.events.k8s.io", "-A"])?;
        let all = all["items"].as_array().cloned().unwrap_or_default();
        Ok(all.into_iter().filter(|event| event["regarding"]["name"] == name).collect())
    }

    pub(crate) fn wait_events(&self, name: &str, count: usize) -> Result<Vec<Value>> {
        let start = Instant::now();
        loop {
            let events = self.events(name)?;
            if events.len() == count {
                return Ok(events);
            }
            ensure!(start.elapsed() < SOON, "{} events of {name}: {events:#?}", events.len());
            thread::sleep(Duration::from_millis(200));
        }
    }

    /// The agent that is elected, as the agents themselves say.
    pub(crate) fn leader(&self) -> Result<Option<usize>> {
        let mut leaders = Vec::new();
        for (at, agent) in self.agents.iter().enumerate() {
            if agent.pid().is_some() && agent.status()?["status_writer"]["leader"] == true {
                leaders.push(at);
            }
        }
        ensure!(leaders.len() < 2, "several are elected: {leaders:?}");
        Ok(leaders.pop())
    }

    pub(crate) fn wait_leader(&self, patience: Duration) -> Result<usize> {
        let start = Instant::now();
        loop {
            if let Some(leader) = self.leader()? {
                println!("elected after {:?}", start.elapsed());
                return Ok(leader);
            }
            ensure!(start.elapsed() < patience, "no agent is elected: {}", self.agents[0].words());
            thread::sleep(Duration::from_millis(100));
        }
    }

    /// How many requests with this verb and these words the server has answered.
    pub(crate) fn requests(&self, verb: &str, words: &[&str]) -> Result<u64> {
        let metrics = self.kubectl(&["get", "--raw", "/metrics"])?;
        let lines = metrics.lines().filter(|line| {
            line.starts_with("apiserver_request_total{")
                && line.contains(&format!("verb=\"{verb}\""))
                && words.iter().all(|word| line.contains(word))
        });
        let counts = lines.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok());
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a count")]
        Ok(counts.sum::<f64>() as u64)
    }

    pub(crate) fn statuses_written(&self) -> Result<u64> {
        self.requests("PATCH", &["resource=\"serviceentries\"", "subresource=\"status\""])
    }

    /// Those among them that were made on an older form of their object, and came to nothing.
    pub(crate) fn statuses_refused(&self) -> Result<u64> {
        let labels = ["resource=\"serviceentries\"", "subresource=\"status\"", "code=\"409\""];
        self.requests("PATCH", &labels)
    }
}
