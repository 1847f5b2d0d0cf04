//! A real API server with its etcd, on a world's node, as envtest has it: RBAC is on, and nothing
//! else of a cluster runs.

use std::{
    fs,
    io::Write as _,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail, ensure};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use serde_json::Value;

use crate::{
    name,
    process::{Place, Process},
    world::World,
};

/// Where the programs are, as envtest names it.
const ASSETS: &str = "KUBEBUILDER_ASSETS";
/// Set by `cargo xtask test --without-kubernetes`.
const LEFT_OUT: &str = "SEKISHO_WITHOUT_KUBERNETES";
const ADDRESS: &str = "https://127.0.0.1:6443";
const ADMIN: &str = "admin-of-a-test";
/// It starts in 5 seconds; two processors may be shared with a build.
const PATIENCE: Duration = Duration::from_mins(1);
const PAUSE: Duration = Duration::from_millis(100);

/// etcd and kube-apiserver. Dropped, both end and their files go.
#[derive(Debug)]
pub struct ControlPlane {
    assets: PathBuf,
    files: PathBuf,
    server: Option<Process>,
    _etcd: Process,
}

/// Whether tests against a server were left out on purpose, which each of them then says.
pub fn is_left_out() -> bool {
    let left_out = std::env::var_os(LEFT_OUT).is_some_and(|value| !value.is_empty());
    if left_out {
        println!("left out: {LEFT_OUT} is set");
    }
    left_out
}

/// The folder with `kube-apiserver`, `etcd` and `kubectl`: what the environment names, else what
/// the folder `shared/k8s` beside the workspace has.
pub fn assets() -> Result<PathBuf> {
    if let Some(folder) = std::env::var_os(ASSETS).filter(|folder| !folder.is_empty()) {
        return complete(PathBuf::from(folder));
    }
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/k8s/cluster");
    ensure!(
        script.exists(),
        "no Kubernetes to test with: set {ASSETS} to a folder with kube-apiserver, etcd and \
         kubectl (`setup-envtest use` makes one), or leave these tests out with \
         `cargo xtask test --without-kubernetes`"
    );
    let output = Command::new(&script).arg("assets").output()?;
    ensure!(output.status.success(), "{}: {}", script.display(), text(&output.stderr));
    complete(PathBuf::from(text(&output.stdout).trim()))
}

fn complete(folder: PathBuf) -> Result<PathBuf> {
    for program in ["kube-apiserver", "etcd", "kubectl"] {
        ensure!(folder.join(program).exists(), "{} has no {program}", folder.display());
    }
    Ok(folder)
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

impl ControlPlane {
    /// Starts both on the node's loopback and waits until the server is ready.
    pub fn start(world: &World) -> Result<Self> {
        let (assets, files) = (assets()?, std::env::temp_dir().join(name::unique()));
        fs::create_dir_all(&files)?;
        let key = Command::new("openssl")
            .args(["ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out"])
            .arg(files.join("sa.key"))
            .output()
            .context("openssl")?;
        ensure!(key.status.success(), "openssl: {}", text(&key.stderr));
        fs::write(files.join("tokens"), format!("{ADMIN},admin,admin,system:masters\n"))?;
        let mut etcd = Command::new(assets.join("etcd"));
        etcd.arg("--data-dir").arg(files.join("etcd")).args([
            "--unsafe-no-fsync",
            "--log-level=error",
            "--listen-client-urls=http://127.0.0.1:2379",
            "--advertise-client-urls=http://127.0.0.1:2379",
            "--listen-peer-urls=http://127.0.0.1:2380",
        ]);
        let etcd = Process::start(etcd, place(world))?;
        let mut plane = Self { assets, files, server: None, _etcd: etcd };
        fs::write(plane.files.join("admin.yaml"), plane.kubeconfig(ADMIN))?;
        plane.start_server(world)?;
        Ok(plane)
    }

    /// Starts the server and waits until it is ready.
    pub fn start_server(&mut self, world: &World) -> Result<()> {
        let file = |name: &str| self.files.join(name).display().to_string();
        let mut command = Command::new(self.assets.join("kube-apiserver"));
        command.args([
            "--etcd-servers=http://127.0.0.1:2379",
            "--bind-address=127.0.0.1",
            "--advertise-address=127.0.0.1",
            "--secure-port=6443",
            "--service-cluster-ip-range=203.0.113.128/26",
            "--authorization-mode=RBAC",
            // The last two would refuse a Pod whose Namespace is not there, which a test makes to
            // see what an agent does that is told of them in this order.
            "--disable-admission-plugins=ServiceAccount,NamespaceLifecycle,PodSecurity",
            "--service-account-issuer=https://kubernetes.default.svc",
            "--v=0",
            &format!("--cert-dir={}", file("certs")),
            &format!("--token-auth-file={}", file("tokens")),
            &format!("--service-account-key-file={}", file("sa.key")),
            &format!("--service-account-signing-key-file={}", file("sa.key")),
        ]);
        self.server = Some(Process::start(command, place(world))?);
        let deadline = Instant::now() + PATIENCE;
        loop {
            let ready = self.kubectl(world, &["get", "--raw", "/readyz"], "");
            if matches!(&ready, Ok(answer) if answer == "ok") {
                return Ok(());
            }
            let running = self.server.as_mut().is_some_and(Process::is_running);
            if !running || Instant::now() > deadline {
                let words = self.server.as_ref().map(Process::complaints).unwrap_or_default();
                bail!("the API server is not ready: {ready:?}\n{words}");
            }
            thread::sleep(PAUSE);
        }
    }

    /// Ends the server as `kill -9` does; etcd stays.
    pub fn kill_server(&mut self) -> Result<()> {
        self.server.take().context("the API server does not run")?.kill()
    }

    /// Lets the server accept connections and say nothing, or go on.
    pub fn pause_server(&self, pause: bool) -> Result<()> {
        let pid = self.server.as_ref().context("the API server does not run")?.pid();
        let signal = if pause { Signal::SIGSTOP } else { Signal::SIGCONT };
        Ok(kill(Pid::from_raw(pid.try_into()?), signal)?)
    }

    /// Runs kubectl as an administrator, with something on its standard input.
    pub fn kubectl(&self, world: &World, arguments: &[&str], input: &str) -> Result<String> {
        let mut command = Command::new(self.assets.join("kubectl"));
        command.arg("--kubeconfig").arg(self.files.join("admin.yaml"));
        command.arg("--cache-dir").arg(self.files.join("cache"));
        command.arg("--request-timeout=10s").args(arguments);
        place(world).prepare(&mut command)?;
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().context("kubectl")?;
        child.stdin.take().context("no input pipe")?.write_all(input.as_bytes())?;
        let output = child.wait_with_output()?;
        let said = (text(&output.stdout), text(&output.stderr));
        ensure!(output.status.success(), "kubectl {}: {}{}", arguments.join(" "), said.0, said.1);
        Ok(said.0)
    }

    /// An administrator's kubeconfig.
    pub fn admin(&self) -> PathBuf {
        self.files.join("admin.yaml")
    }

    /// `kubectl apply -f -`.
    pub fn apply(&self, world: &World, manifests: &str) -> Result<()> {
        self.kubectl(world, &["apply", "--server-side", "-f", "-"], manifests).map(drop)
    }

    /// An object as the server has it.
    pub fn get(&self, world: &World, arguments: &[&str]) -> Result<Value> {
        let arguments = [&["get", "-o", "json"], arguments].concat();
        Ok(serde_json::from_str(&self.kubectl(world, &arguments, "")?)?)
    }

    /// A kubeconfig with a token that the server made for a `ServiceAccount`.
    pub fn account(&self, world: &World, namespace: &str, name: &str) -> Result<PathBuf> {
        let token = self.kubectl(world, &["create", "token", name, "-n", namespace], "")?;
        let path = self.files.join(format!("{namespace}-{name}.yaml"));
        fs::write(&path, self.kubeconfig(token.trim()))?;
        Ok(path)
    }

    fn kubeconfig(&self, token: &str) -> String {
        let authority = self.files.join("certs/apiserver.crt");
        format!(
            "apiVersion: v1\nkind: Config\ncurrent-context: test\n\
             clusters:\n- name: test\n  cluster: {{server: {ADDRESS:?}, certificate-authority: {:?}}}\n\
             users:\n- name: test\n  user: {{token: {token:?}}}\n\
             contexts:\n- name: test\n  context: {{cluster: test, user: test}}\n",
            authority.display().to_string(),
        )
    }
}

fn place(world: &World) -> Place<'_> {
    Place { netns: Some(world.node()), cgroup: None }
}

impl Drop for ControlPlane {
    fn drop(&mut self) {
        drop(self.server.take());
        if let Err(error) = fs::remove_dir_all(&self.files) {
            eprintln!("could not remove {}: {error}", self.files.display());
        }
    }
}
