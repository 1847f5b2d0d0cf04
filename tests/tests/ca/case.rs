//! An API server with the pods of two nodes, and CAs that follow it.

use std::{
    fs,
    path::PathBuf,
    process::Command,
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use agent_ca::client::{Client, Settings};
use agent_identity::{
    bundle::Bundle,
    key::Key,
    leaf::Answer,
    life::{Authority as _, FetchError, Identities},
    spiffe::SpiffeId,
};
use anyhow::{Context as _, Result, bail};
use jiff::{SignedDuration, Timestamp};
use sekisho_tests::{
    control_plane::ControlPlane,
    kubernetes::tree,
    name,
    process::{Place, Process, built},
    world::{Wiring, World},
};

pub(crate) const PATIENCE: Duration = Duration::from_mins(1);
pub(crate) const WEB: &str = "spiffe://cluster.local/ns/shop/sa/web";
pub(crate) const CART: &str = "spiffe://cluster.local/ns/shop/sa/cart";
pub(crate) const AGENT: &str = "sekisho-agent";

/// An API server with two nodes' pods, and CAs.
pub(crate) struct Case {
    replicas: Vec<Process>,
    pub(crate) files: PathBuf,
    pub(crate) plane: ControlPlane,
    pub(crate) world: World,
}

impl Drop for Case {
    fn drop(&mut self) {
        // It is in the way of no other test.
        let _ = fs::remove_dir_all(&self.files);
    }
}

/// A pod, by namespace and name, with its account and node.
pub(crate) fn pod(
    (namespace, name): (&str, &str),
    account: &str,
    node: &str,
    more: &str,
) -> String {
    format!(
        "apiVersion: v1\nkind: Pod\nmetadata: {{name: {name}, namespace: {namespace}}}\n\
         spec: {{serviceAccountName: {account}, nodeName: {node}, {more}containers: [{{name: a, image: b}}]}}\n---\n"
    )
}

impl Case {
    /// With this many CAs, started at once.
    pub(crate) fn new(replicas: usize) -> Result<Self> {
        let world = World::new(Wiring::Routed)?;
        let plane = ControlPlane::start(&world)?;
        let files = std::env::temp_dir().join(name::unique());
        fs::create_dir_all(&files)?;
        for file in ["base/namespace.yaml", "base/rbac.yaml", "components/ca/ca.yaml"] {
            plane.apply(&world, &fs::read_to_string(tree().join("deploy").join(file))?)?;
        }
        let accounts = ["web", "cart", "host"].map(|name| {
            format!(
                "apiVersion: v1\nkind: ServiceAccount\n\
                 metadata: {{name: {name}, namespace: shop}}\n---\n"
            )
        });
        let namespace = "apiVersion: v1\nkind: Namespace\nmetadata: {name: shop}\n---\n";
        plane.apply(&world, &format!("{namespace}{}", accounts.concat()))?;
        let system = "sekisho-system";
        let pods = [
            pod((system, "agent-1"), AGENT, "node-1", ""),
            pod((system, "agent-2"), AGENT, "node-2", ""),
            pod(("shop", "web-0"), "web", "node-1", ""),
            pod(("shop", "cart-0"), "cart", "node-2", ""),
            pod(("shop", "host-0"), "host", "node-1", "hostNetwork: true, "),
        ];
        plane.apply(&world, &pods.concat())?;
        let mut case = Self { replicas: Vec::new(), files, plane, world };
        for at in 0..replicas {
            case.start(at)?;
        }
        for at in 0..replicas {
            case.wait_ready(at)?;
        }
        Ok(case)
    }

    pub(crate) fn port(at: usize) -> usize {
        15_012 + at
    }

    /// Starts a CA as its own `ServiceAccount`.
    pub(crate) fn start(&mut self, at: usize) -> Result<()> {
        let kubeconfig = self.plane.account(&self.world, "sekisho-ca", "sekisho-ca")?;
        let mut command = Command::new(built("sekisho")?);
        command.args(["ca", "--server-name", "localhost", "--kubeconfig"]).arg(kubeconfig);
        command.arg(format!("--listen=127.0.0.1:{}", Self::port(at)));
        command.arg(format!("--admin=127.0.0.1:{}", 9_416 + at));
        let place = Place { netns: Some(self.world.node()), cgroup: None };
        self.replicas.push(Process::start(command, place)?);
        Ok(())
    }

    /// Waits until its port for probes says that it is ready.
    pub(crate) fn wait_ready(&mut self, at: usize) -> Result<()> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let answer = self.probe(at, "/readyz");
            if answer.as_ref().is_ok_and(|answer| answer.contains(" 200 ")) {
                return Ok(());
            }
            let is_running = self.replicas[at].is_running();
            if !is_running || Instant::now() > deadline {
                bail!("CA {at} is not ready: {answer:?}\n{}", self.words(at));
            }
            thread::sleep(Duration::from_millis(50));
        }
    }

    pub(crate) fn probe(&self, at: usize, path: &str) -> Result<String> {
        use std::io::{Read as _, Write as _};
        self.world.node().enter(|| {
            let mut stream =
                std::net::TcpStream::connect(("127.0.0.1", u16::try_from(9_416 + at)?))?;
            write!(stream, "GET {path} HTTP/1.0\r\nHost: ca\r\n\r\n")?;
            let mut answer = String::new();
            stream.read_to_string(&mut answer)?;
            Ok(answer)
        })
    }

    pub(crate) fn words(&self, at: usize) -> String {
        let replica = &self.replicas[at];
        format!("{}\n{}", replica.pending().join("\n"), replica.complaints())
    }

    pub(crate) fn roots(&self) -> Result<Bundle> {
        let map =
            self.plane.get(&self.world, &["configmap", "sekisho-trust", "-n", "sekisho-system"])?;
        let text = map["data"]["root-cert.pem"].as_str().context("no roots")?;
        Ok(Bundle::from_pem(text.as_bytes())?)
    }

    pub(crate) fn uid(&self, pod: &str) -> Result<String> {
        let pod = self.plane.get(&self.world, &["pod", pod, "-n", "sekisho-system"])?;
        Ok(pod["metadata"]["uid"].as_str().context("no uid")?.to_owned())
    }

    /// A token that is bound to a pod, as the kubelet mounts one.
    pub(crate) fn token(&self, pod: &str, audience: &str) -> Result<String> {
        let uid = self.uid(pod)?;
        let bound =
            ["--bound-object-kind", "Pod", "--bound-object-name", pod, "--bound-object-uid", &uid];
        let of = [AGENT, "-n", "sekisho-system", "--audience", audience];
        self.plane.token(&self.world, &[of.as_slice(), &bound].concat())
    }

    /// Asks a CA for certificates at once, and says what came of each.
    pub(crate) fn ask_many(
        &self,
        at: usize,
        token: &str,
        ids: &[&str],
    ) -> Result<Vec<Result<Answer, FetchError>>> {
        let path = self.files.join(name::unique());
        fs::write(&path, token)?;
        let settings = Settings {
            address: format!("localhost:{}", Self::port(at)),
            token: path,
            roots: PathBuf::new(),
            ttl: SignedDuration::from_hours(1),
        };
        let identities = Identities::new(None, Box::new(Timestamp::now), 7);
        identities.trust(self.roots()?);
        let client = Arc::new(Client::new(settings, &identities));
        let ids: Vec<SpiffeId> = ids.iter().map(|id| Ok(id.parse()?)).collect::<Result<_>>()?;
        self.world.node().enter(|| {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            runtime.block_on(async {
                let mut asked = tokio::task::JoinSet::new();
                for id in ids {
                    let client = Arc::clone(&client);
                    let request = Key::generate()?.request(&id)?;
                    asked.spawn(async move { client.sign(id, request).await });
                }
                Ok(asked.join_all().await)
            })
        })
    }

    pub(crate) fn ask(
        &self,
        at: usize,
        token: &str,
        id: &str,
    ) -> Result<Result<Answer, FetchError>> {
        self.ask_many(at, token, &[id])?.pop().context("one answer")
    }

    /// That it is refused for good, and in which words.
    pub(crate) fn refused(&self, token: &str, id: &str, words: &str) -> Result<()> {
        match self.ask(0, token, id)? {
            Err(FetchError::Refused(why)) if why.contains(words) => Ok(()),
            other => bail!("{words}: {other:?}\n{}", self.words(0)),
        }
    }
}
