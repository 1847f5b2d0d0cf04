//! `sekisho ca` on a real API server with RBAC: who gets a certificate, and who does not.

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
    bundle::{Bundle, Side},
    key::Key,
    leaf::Answer,
    life::{Authority as _, FetchError, Identities},
    spiffe::SpiffeId,
};
use anyhow::{Context as _, Result, bail, ensure};
use jiff::{SignedDuration, Timestamp};
use sekisho_tests::{
    control_plane::ControlPlane,
    kubernetes::{self, tree},
    name,
    process::{Place, Process, built},
    world::{Wiring, World},
};

const PATIENCE: Duration = Duration::from_mins(1);
const WEB: &str = "spiffe://cluster.local/ns/shop/sa/web";
const CART: &str = "spiffe://cluster.local/ns/shop/sa/cart";
const AGENT: &str = "sekisho-agent";

/// An API server with two nodes' pods, and CAs.
struct Case {
    replicas: Vec<Process>,
    files: PathBuf,
    plane: ControlPlane,
    world: World,
}

impl Drop for Case {
    fn drop(&mut self) {
        // It is in the way of no other test.
        let _ = fs::remove_dir_all(&self.files);
    }
}

/// A pod, by namespace and name, with its account and node.
fn pod((namespace, name): (&str, &str), account: &str, node: &str, more: &str) -> String {
    format!(
        "apiVersion: v1\nkind: Pod\nmetadata: {{name: {name}, namespace: {namespace}}}\n\
         spec: {{serviceAccountName: {account}, nodeName: {node}, {more}containers: [{{name: a, image: b}}]}}\n---\n"
    )
}

impl Case {
    /// With this many CAs, started at once.
    fn new(replicas: usize) -> Result<Self> {
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

    fn port(at: usize) -> usize {
        15_012 + at
    }

    /// Starts a CA as its own `ServiceAccount`.
    fn start(&mut self, at: usize) -> Result<()> {
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
    fn wait_ready(&mut self, at: usize) -> Result<()> {
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

    fn probe(&self, at: usize, path: &str) -> Result<String> {
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

    fn words(&self, at: usize) -> String {
        let replica = &self.replicas[at];
        format!("{}\n{}", replica.pending().join("\n"), replica.complaints())
    }

    fn roots(&self) -> Result<Bundle> {
        let map =
            self.plane.get(&self.world, &["configmap", "sekisho-trust", "-n", "sekisho-system"])?;
        let text = map["data"]["root-cert.pem"].as_str().context("no roots")?;
        Ok(Bundle::from_pem(text.as_bytes())?)
    }

    fn uid(&self, pod: &str) -> Result<String> {
        let pod = self.plane.get(&self.world, &["pod", pod, "-n", "sekisho-system"])?;
        Ok(pod["metadata"]["uid"].as_str().context("no uid")?.to_owned())
    }

    /// A token that is bound to a pod, as the kubelet mounts one.
    fn token(&self, pod: &str, audience: &str) -> Result<String> {
        let uid = self.uid(pod)?;
        let bound =
            ["--bound-object-kind", "Pod", "--bound-object-name", pod, "--bound-object-uid", &uid];
        let of = [AGENT, "-n", "sekisho-system", "--audience", audience];
        self.plane.token(&self.world, &[of.as_slice(), &bound].concat())
    }

    /// Asks a CA for certificates at once, and says what came of each.
    fn ask_many(
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

    fn ask(&self, at: usize, token: &str, id: &str) -> Result<Result<Answer, FetchError>> {
        self.ask_many(at, token, &[id])?.pop().context("one answer")
    }

    /// That it is refused for good, and in which words.
    fn refused(&self, token: &str, id: &str, words: &str) -> Result<()> {
        match self.ask(0, token, id)? {
            Err(FetchError::Refused(why)) if why.contains(words) => Ok(()),
            other => bail!("{words}: {other:?}\n{}", self.words(0)),
        }
    }
}

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
