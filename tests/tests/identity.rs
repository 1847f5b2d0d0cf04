//! Certificates of a node's pods, from a CA in a directory: when they come, what a restart finds, and
//! what is said where there is none. openssl verifies them.

use std::{
    fs,
    os::unix::fs::{PermissionsExt as _, symlink},
    path::{Path, PathBuf},
    process::Command,
    thread,
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use sekisho_tests::{
    agent::Agent,
    manifest::{Mode, NAMESPACE},
    name,
    world::{Host, Wiring, World},
};
use serde_json::Value;

const WEB: &str = "spiffe://cluster.local/ns/shop/sa/web";
const CART: &str = "spiffe://cluster.local/ns/shop/sa/cart";
/// A folder on a tmpfs, as `/run` is on every node.
const TMPFS: &str = "/dev/shm";

/// A folder of its own that goes when this does.
struct Folder(PathBuf);

impl Folder {
    fn new(parent: &Path) -> Result<Self> {
        let path = parent.join(name::unique());
        fs::create_dir_all(&path)?;
        Ok(Self(path))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // It is in the way of no other test.
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// A node with one pod of the `ServiceAccount` `web`.
struct Node {
    name: &'static str,
    agent: Agent,
    pod: Host,
    world: World,
    /// The run directory.
    _run: Folder,
}

impl Node {
    /// With its run directory somewhere, and the files of its CA somewhere else.
    fn new(name: &'static str, run: &Path, ca: &Path) -> Result<Self> {
        let world = World::new(Wiring::Routed)?;
        let pod = world.pod("app")?;
        let agent = Agent::new(&world)?.with("--node-name", name);
        let agent = agent.with("--ca-dir", &ca.display().to_string());
        agent.config().namespace(true)?;
        agent.config().mesh(Mode::AllowAny)?;
        let run = Folder::new(run)?;
        fs::remove_dir(agent.run_dir())?;
        symlink(&run.0, agent.run_dir())?;
        let node = Self { name, agent, pod, world, _run: run };
        node.put_pod("web")?;
        Ok(node)
    }

    /// The pod, under a `ServiceAccount`.
    fn put_pod(&self, account: &str) -> Result<()> {
        let (name, netns) = (self.pod.name(), self.pod.netns().path());
        let (v4, v6) = (self.pod.v4(), self.pod.v6());
        self.agent.config().write(
            &format!("pod-{name}"),
            &format!(
                "apiVersion: v1\nkind: Pod\nmetadata:\n  name: {name}\n  namespace: {NAMESPACE}\n  \
                 annotations: {{sekisho.dev/netns: {}}}\n\
                 spec: {{nodeName: {}, serviceAccountName: {account}, containers: [{{name: a, image: b}}]}}\n\
                 status: {{podIP: {v4}, podIPs: [{{ip: {v4}}}, {{ip: \"{v6}\"}}]}}\n",
                netns.display(),
                self.name
            ),
        )
    }

    /// Starts it, and waits for a certificate.
    fn start(&mut self, id: &str) -> Result<()> {
        self.agent.start(&self.world)?;
        self.wait_for(id, "valid")
    }

    fn wait_for(&mut self, id: &str, state: &str) -> Result<()> {
        self.agent.wait_until(&format!("{id} is {state}"), |agent| {
            Ok(certificate(&agent.status()?, id).is_some_and(|one| one["state"] == state))
        })
    }

    fn certificate(&self, id: &str) -> Result<Value> {
        let status = self.agent.status()?;
        certificate(&status, id).with_context(|| format!("{id} is not in {status}"))
    }

    /// What an agent keeps for the next one: names and contents.
    fn kept(&self) -> Result<Vec<(PathBuf, String)>> {
        let folder = self.agent.run_dir().join("identity");
        let paths = fs::read_dir(folder)?.map(|entry| Ok(entry?.path()));
        paths
            .map(|path: Result<PathBuf>| {
                path.and_then(|path| Ok((path.clone(), fs::read_to_string(path)?)))
            })
            .collect()
    }

    fn trust(&self) -> PathBuf {
        self.agent.run_dir().join("identity/trust.pem")
    }

    /// The file with the certificate of its one identity.
    fn leaf(&self) -> Result<PathBuf> {
        let kept = self.kept()?.into_iter().map(|(path, _)| path);
        kept.into_iter().find(|path| !path.ends_with("trust.pem")).context("no certificate is kept")
    }
}

fn certificate(status: &Value, id: &str) -> Option<Value> {
    let all = status["identity"]["certificates"].as_array()?;
    all.iter().find(|one| one["identity"] == id).cloned()
}

fn messages(status: &Value, code: &str) -> Vec<String> {
    let all = status["findings"].as_array().into_iter().flatten();
    all.filter(|one| one["code"] == code).map(|one| one["message"].to_string()).collect()
}

/// Whether openssl believes a certificate, under these roots, on either side of a connection.
fn verify(leaf: &Path, roots: &Path) -> Result<()> {
    for purpose in ["sslserver", "sslclient"] {
        let mut command = Command::new("openssl");
        command.args(["verify", "-x509_strict", "-purpose", purpose, "-CAfile"]);
        let output = command.arg(roots).arg(leaf).output()?;
        ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
    Ok(())
}

/// Takes a CA's files away until the other value is used.
fn take_away(ca: &Path) -> Result<PathBuf> {
    let aside = ca.with_extension("aside");
    fs::rename(ca, &aside)?;
    // An absent directory would be made.
    fs::write(ca, "not a directory")?;
    Ok(aside)
}

fn give_back(ca: &Path, aside: &Path) -> Result<()> {
    fs::remove_file(ca)?;
    Ok(fs::rename(aside, ca)?)
}

#[test]
fn a_certificate_comes_with_its_pod() -> Result<()> {
    let ca = Folder::new(&std::env::temp_dir())?;
    let ca = ca.0.join("ca");
    let mut node = Node::new("node-1", Path::new(TMPFS), &ca)?;
    node.start(WEB)?;
    verify(&node.leaf()?, &ca.join("root-cert.pem"))?;
    let shown = node.agent.ask(&["identity", "-o", "json"])?;
    ensure!(shown.status.success(), "{shown:?}");
    let shown: Value = serde_json::from_slice(&shown.stdout)?;
    assert_eq!(shown["certificates"].as_array().map(Vec::len), Some(1), "{shown}");
    assert_eq!(shown["certificates"][0]["identity"], WEB);
    assert_eq!(shown["kept"], true);
    let table = node.agent.ask(&["identity"])?;
    let table = String::from_utf8(table.stdout)?;
    ensure!(table.contains("IDENTITY") && table.contains(WEB), "{table}");
    let metrics = node.agent.metrics()?;
    for line in [
        "sekisho_identity_fetches_total{result=\"ok\"} 1",
        &format!("sekisho_identity_expiry_seconds{{identity=\"{WEB}\"}} 86"),
        "sekisho_identity_missing 0",
        "sekisho_ca_expiry_seconds 315",
    ] {
        ensure!(metrics.contains(line), "{line} is not in\n{metrics}");
    }
    // Another ServiceAccount is another certificate; the old one stays for a minute.
    node.put_pod("cart")?;
    node.wait_for(CART, "valid")?;
    assert_eq!(node.certificate(WEB)?["state"], "valid");
    ensure!(messages(&node.agent.status()?, "SK0501").is_empty());
    Ok(())
}

#[test]
fn two_nodes_with_one_directory_are_one_mesh() -> Result<()> {
    let ca = Folder::new(&std::env::temp_dir())?;
    let ca = ca.0.join("ca");
    let mut one = Node::new("node-1", Path::new(TMPFS), &ca)?;
    let mut two = Node::new("node-2", Path::new(TMPFS), &ca)?;
    // Both find no root.
    one.agent.launch(&one.world)?;
    two.agent.launch(&two.world)?;
    for node in [&mut one, &mut two] {
        node.agent.wait_until("it answers", |agent| agent.status().map(|_| true))?;
        node.wait_for(WEB, "valid")?;
    }
    let roots =
        |node: &Node| Ok::<_, anyhow::Error>(node.agent.status()?["identity"]["roots"].clone());
    assert_eq!(roots(&one)?, roots(&two)?);
    verify(&one.leaf()?, &two.trust())?;
    verify(&two.leaf()?, &one.trust())?;
    assert_ne!(one.certificate(WEB)?["serial"], two.certificate(WEB)?["serial"]);
    Ok(())
}

#[test]
fn a_restart_without_the_ca_keeps_what_was_held() -> Result<()> {
    let ca = Folder::new(&std::env::temp_dir())?;
    let ca = ca.0.join("ca");
    let mut node = Node::new("node-1", Path::new(TMPFS), &ca)?;
    node.start(WEB)?;
    let before = node.certificate(WEB)?;
    node.agent.kill()?;
    let aside = take_away(&ca)?;
    node.start(WEB)?;
    let after = node.certificate(WEB)?;
    assert_eq!((&after["serial"], &after["expires"]), (&before["serial"], &before["expires"]));
    ensure!(messages(&node.agent.status()?, "SK0501").is_empty());
    // An identity that was not there before has none until the CA is back.
    node.put_pod("cart")?;
    node.agent.wait_until("it is told of", |agent| {
        let found = messages(&agent.status()?, "SK0501");
        Ok(found.iter().any(|one| one.contains(CART) && one.contains("has no certificate")))
    })?;
    assert_eq!(node.certificate(CART)?["state"], "pending");
    ensure!(!node.agent.ask(&["identity"])?.status.success());
    give_back(&ca, &aside)?;
    node.wait_for(CART, "valid")?;
    ensure!(messages(&node.agent.status()?, "SK0501").is_empty());
    Ok(())
}

#[test]
fn on_a_disk_nothing_is_written_and_a_restart_needs_the_ca() -> Result<()> {
    let ca = Folder::new(&std::env::temp_dir())?;
    let ca = ca.0.join("ca");
    let mut node = Node::new("node-1", Path::new(env!("CARGO_TARGET_TMPDIR")), &ca)?;
    node.start(WEB)?;
    ensure!(!node.agent.run_dir().join("identity").exists());
    let status = node.agent.status()?;
    assert_eq!(status["identity"]["kept"], false, "is CARGO_TARGET_TMPDIR on a tmpfs?");
    ensure!(messages(&status, "SK0503").len() == 1, "{status}");
    node.agent.kill()?;
    let aside = take_away(&ca)?;
    node.agent.start(&node.world)?;
    node.agent.wait_until("it is told of", |agent| {
        Ok(!messages(&agent.status()?, "SK0501").is_empty())
    })?;
    assert_eq!(node.certificate(WEB)?["state"], "pending");
    give_back(&ca, &aside)?;
    node.wait_for(WEB, "valid")
}

#[test]
fn a_certificate_that_ended_is_said_to_have_ended() -> Result<()> {
    let ca = Folder::new(&std::env::temp_dir())?;
    let ca = ca.0.join("ca");
    let mut node = Node::new("node-1", Path::new(TMPFS), &ca)?;
    node.agent.set("--ca-ttl", "6");
    node.start(WEB)?;
    let first = node.certificate(WEB)?;
    node.agent.wait_until("it is renewed", |agent| {
        let now = certificate(&agent.status()?, WEB).context("gone")?;
        Ok(now["serial"] != first["serial"] && now["state"] == "valid")
    })?;
    let aside = take_away(&ca)?;
    node.wait_for(WEB, "expired")?;
    let found = messages(&node.agent.status()?, "SK0501");
    ensure!(found.len() == 1 && found[0].contains("has ended"), "{found:?}");
    ensure!(
        found[0].contains("not a directory") || found[0].contains("Not a directory"),
        "{found:?}"
    );
    ensure!(!node.agent.ask(&["identity"])?.status.success());
    give_back(&ca, &aside)?;
    node.wait_for(WEB, "valid")
}

#[test]
fn a_trust_domain_that_is_none_has_no_certificates() -> Result<()> {
    let ca = Folder::new(&std::env::temp_dir())?;
    let mut node = Node::new("node-1", Path::new(TMPFS), &ca.0.join("ca"))?;
    let settings = |domain: &str| {
        format!(
            "apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: istio, namespace: istio-system}}\n\
             data:\n  mesh: |\n    trustDomain: {domain}\n"
        )
    };
    node.agent.config().write("mesh", &settings("mesh.example"))?;
    node.start("spiffe://mesh.example/ns/shop/sa/web")?;
    node.agent.config().write("mesh", &settings("Mesh:8443"))?;
    node.agent.wait_until("it is told of", |agent| {
        let found = messages(&agent.status()?, "SK0501");
        Ok(found.iter().any(|one| one.contains("Mesh:8443") && one.contains("a trust domain has")))
    })
}

/// ID-14: what a key consists of is found nowhere but in its own file.
#[test]
fn no_key_is_in_logs_answers_or_files() -> Result<()> {
    let ca = Folder::new(&std::env::temp_dir())?;
    let ca = ca.0.join("ca");
    let mut node = Node::new("node-1", Path::new(TMPFS), &ca)?;
    node.agent.set("--log", "trace");
    node.agent.set("--ca-ttl", "6");
    node.start(WEB)?;
    thread::sleep(Duration::from_secs(8));
    let mut secrets = vec!["PRIVATE KEY".to_owned()];
    let (path, leaf) = node
        .kept()?
        .into_iter()
        .find(|(_, text)| text.contains("PRIVATE KEY"))
        .context("no key is kept")?;
    for text in [leaf, fs::read_to_string(ca.join("ca-key.pem"))?] {
        let key = text.split("-----BEGIN PRIVATE KEY-----").nth(1).context("no key")?;
        // The first line of PKCS#8 is the same for all keys of a kind.
        let lines =
            key.lines().map(str::trim).filter(|line| line.len() >= 32 && !line.starts_with('-'));
        secrets.extend(lines.skip(1).map(str::to_owned));
    }
    ensure!(secrets.len() >= 3, "{} lines", secrets.len());
    let mut places = vec![
        ("the log".to_owned(), node.agent.words()),
        ("the status".to_owned(), node.agent.status()?.to_string()),
        ("the metrics".to_owned(), node.agent.metrics()?),
    ];
    for verb in [["identity", "-o", "yaml"], ["status", "-o", "yaml"]] {
        let shown = node.agent.ask(&verb)?;
        places.push((verb.join(" "), String::from_utf8_lossy(&shown.stdout).into_owned()));
    }
    for entry in fs::read_dir(node.agent.run_dir())? {
        let path = entry?.path();
        if path.is_file() {
            let text = String::from_utf8_lossy(&fs::read(&path)?).into_owned();
            places.push((path.display().to_string(), text));
        }
    }
    ensure!(places[0].1.contains("new certificate"), "the log is short: {}", places[0].1);
    for (place, text) in &places {
        for secret in &secrets {
            ensure!(!text.contains(secret.as_str()), "a part of a key is in {place}");
        }
    }
    assert_eq!(fs::metadata(path)?.permissions().mode() & 0o777, 0o600);
    let pid = node.agent.pid().context("it runs")?;
    let limits = fs::read_to_string(format!("/proc/{pid}/limits"))?;
    let core =
        limits.lines().find(|line| line.starts_with("Max core file size")).context("no limit")?;
    let words: Vec<&str> = core.split_whitespace().collect();
    assert_eq!(words[4..6], ["0", "0"], "{core}");
    Ok(())
}

/// A CA that is changed while agents run: what it signed before is replaced.
#[test]
fn other_roots_are_taken_over_and_certificates_renewed() -> Result<()> {
    let folder = Folder::new(&std::env::temp_dir())?;
    let (ca, other) = (folder.0.join("ca"), folder.0.join("other"));
    let mut node = Node::new("node-1", Path::new(TMPFS), &other)?;
    node.start(WEB)?;
    node.agent.kill()?;
    node.agent.set("--ca-dir", &ca.display().to_string());
    node.agent.start(&node.world)?;
    let (leaf, trust, root) = (node.leaf()?, node.trust(), ca.join("root-cert.pem"));
    node.agent.wait_until("a certificate of the new root is held", |_| {
        Ok(fs::read(&trust)? == fs::read(&root)? && verify(&leaf, &root).is_ok())
    })
}
