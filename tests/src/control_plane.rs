//! A real API server with its etcd, on a world's node or on a host of their own, as envtest has it:
//! RBAC is on, and nothing else of a cluster runs.

use std::{
    fs,
    io::{Read as _, Write as _},
    net::{Ipv4Addr, SocketAddr, TcpStream},
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
    kubernetes::assets,
    name,
    netns::Netns,
    process::{Place, Process},
    world::{Host, World},
};

const PORT: u16 = 6_443;
const ADMIN: &str = "admin-of-a-test";
/// It starts in 5 seconds; two processors may be shared with a build.
const PATIENCE: Duration = Duration::from_mins(1);
const PAUSE: Duration = Duration::from_millis(100);

/// etcd and kube-apiserver. Dropped, both end and their files go.
#[derive(Debug)]
pub struct ControlPlane {
    assets: PathBuf,
    files: PathBuf,
    options: Vec<String>,
    host: Option<Host>,
    server: Option<Process>,
    etcd: Option<Process>,
}

/// The agent's own account, by namespace and name.
pub const ACCOUNT: (&str, &str) = ("sekisho-system", "sekisho-agent");

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

impl ControlPlane {
    /// Starts both on the node's loopback and waits until the server is ready.
    pub fn start(world: &World) -> Result<Self> {
        Self::start_with(world, &[])
    }

    /// The same, with more options for the server; one that is there already is overruled.
    pub fn start_with(world: &World, options: &[&str]) -> Result<Self> {
        Self::start_at(world, None, options)
    }

    /// Both on a host of their own, away from the node.
    pub fn start_far(world: &World) -> Result<Self> {
        Self::start_at(world, Some(world.far("server")?), &[])
    }

    fn start_at(world: &World, host: Option<Host>, options: &[&str]) -> Result<Self> {
        let (assets, files) = (assets()?, std::env::temp_dir().join(name::unique()));
        fs::create_dir_all(&files)?;
        let key = Command::new("openssl")
            .args(["ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out"])
            .arg(files.join("sa.key"))
            .output()
            .context("openssl")?;
        ensure!(key.status.success(), "openssl: {}", text(&key.stderr));
        fs::write(files.join("tokens"), format!("{ADMIN},admin,admin,system:masters\n"))?;
        let options = options.iter().map(|option| (*option).to_owned()).collect();
        let mut plane = Self { assets, files, options, host, server: None, etcd: None };
        fs::write(
            plane.files.join("admin.yaml"),
            plane.kubeconfig(&plane.url(), ADMIN, "default"),
        )?;
        plane.start_etcd(world)?;
        plane.start_server(world)?;
        Ok(plane)
    }

    /// Starts etcd, with the state that it had.
    pub fn start_etcd(&mut self, world: &World) -> Result<()> {
        let mut etcd = Command::new(self.assets.join("etcd"));
        etcd.arg("--data-dir").arg(self.state()).args([
            "--unsafe-no-fsync",
            "--log-level=error",
            "--listen-client-urls=http://127.0.0.1:2379",
            "--advertise-client-urls=http://127.0.0.1:2379",
            "--listen-peer-urls=http://127.0.0.1:2380",
        ]);
        self.etcd = Some(Process::start(etcd, self.place(world))?);
        Ok(())
    }

    /// Ends both, and keeps a copy of the state by this name.
    pub fn back_up(&mut self, name: &str) -> Result<()> {
        self.stop()?;
        copy(&self.state(), &self.files.join(name))
    }

    /// Ends both, and puts the state back that was kept by this name.
    pub fn restore(&mut self, name: &str) -> Result<()> {
        self.stop()?;
        fs::remove_dir_all(self.state())?;
        copy(&self.files.join(name), &self.state())
    }

    /// Ends the server and then etcd, as far as they run.
    pub fn stop(&mut self) -> Result<()> {
        for process in [&mut self.server, &mut self.etcd] {
            process.take().map_or(Ok(()), |mut process| process.kill())?;
        }
        Ok(())
    }

    /// Starts both again.
    pub fn start_again(&mut self, world: &World) -> Result<()> {
        self.start_etcd(world)?;
        self.start_server(world)
    }

    /// Lets etcd forget every version but the present one.
    pub fn compact(&self, world: &World) -> Result<()> {
        // An error still tells the version: etcd answers each request with it.
        let answer = self.ask_etcd(world, "kv/range", "{\"key\": \"AA==\"}")?;
        let revision = answer["header"]["revision"].as_str().context("no revision")?;
        let compaction = format!("{{\"revision\": {revision}, \"physical\": true}}");
        self.ask_etcd(world, "kv/compaction", &compaction).map(drop)
    }

    /// One request by etcd's JSON gateway.
    fn ask_etcd(&self, world: &World, path: &str, body: &str) -> Result<Value> {
        let netns = self.place(world).netns.context("no namespace")?;
        let answer = netns.enter(|| {
            let mut stream = TcpStream::connect("127.0.0.1:2379")?;
            let length = body.len();
            write!(stream, "POST /v3/{path} HTTP/1.0\r\nContent-Length: {length}\r\n\r\n{body}")?;
            let mut answer = String::new();
            stream.read_to_string(&mut answer)?;
            Ok(answer)
        })?;
        let (head, body) = answer.split_once("\r\n\r\n").context("no answer")?;
        ensure!(head.contains(" 200 "), "etcd: {answer}");
        Ok(serde_json::from_str(body)?)
    }

    fn state(&self) -> PathBuf {
        self.files.join("etcd")
    }

    /// Where the server listens.
    pub fn address(&self) -> SocketAddr {
        let host = self.host.as_ref().map_or(Ipv4Addr::LOCALHOST, Host::v4);
        SocketAddr::new(host.into(), PORT)
    }

    fn url(&self) -> String {
        format!("https://{}", self.address())
    }

    /// The namespace that the server runs in.
    pub fn netns<'a>(&'a self, world: &'a World) -> &'a Netns {
        self.host.as_ref().map_or(world.node(), Host::netns)
    }

    fn place<'a>(&'a self, world: &'a World) -> Place<'a> {
        Place { netns: Some(self.netns(world)), cgroup: None }
    }

    /// Starts the server and waits until it is ready.
    pub fn start_server(&mut self, world: &World) -> Result<()> {
        let file = |name: &str| self.files.join(name).display().to_string();
        let mut command = Command::new(self.assets.join("kube-apiserver"));
        command.args([
            "--etcd-servers=http://127.0.0.1:2379",
            &format!("--bind-address={}", self.address().ip()),
            &format!("--advertise-address={}", self.address().ip()),
            &format!("--secure-port={PORT}"),
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
        command.args(&self.options);
        self.server = Some(Process::start(command, self.place(world))?);
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

    /// Whether packets from the server's own host still reach the node.
    pub fn reach(&self, world: &World, reach: bool) -> Result<()> {
        let host = self.host.as_ref().context("the server runs on the node")?;
        if reach { world.mend(host) } else { world.cut(host) }
    }

    /// Runs kubectl as an administrator, with something on its standard input.
    pub fn kubectl(&self, world: &World, arguments: &[&str], input: &str) -> Result<String> {
        let mut command = Command::new(self.assets.join("kubectl"));
        command.arg("--kubeconfig").arg(self.files.join("admin.yaml"));
        command.arg("--cache-dir").arg(self.files.join("cache"));
        command.arg("--request-timeout=10s").args(arguments);
        self.place(world).prepare(&mut command)?;
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().context("kubectl")?;
        child.stdin.take().context("no input pipe")?.write_all(input.as_bytes())?;
        let output = child.wait_with_output()?;
        let said = (text(&output.stdout), text(&output.stderr));
        ensure!(output.status.success(), "kubectl {}: {}{}", arguments.join(" "), said.0, said.1);
        Ok(said.0)
    }

    /// The server as an administrator sees it, in plain HTTP on a socket of this path: for a program
    /// that writes more than `kubectl` would. It ends with the process.
    pub fn proxy(&self, world: &World, socket: &Path) -> Result<Process> {
        let mut command = Command::new(self.assets.join("kubectl"));
        command.arg("--kubeconfig").arg(self.files.join("admin.yaml"));
        command.arg("proxy").arg(format!("--unix-socket={}", socket.display()));
        let mut process = Process::start(command, self.place(world))?;
        process.line(PATIENCE).context("kubectl proxy")?;
        Ok(process)
    }

    /// The server in plain HTTP, with whatever credentials a request brings, on a port of its own
    /// loopback. It ends with the process.
    pub fn plain(&self, world: &World, port: u16) -> Result<Process> {
        let mut command = Command::new(self.assets.join("kubectl"));
        command.arg("--kubeconfig").arg(self.files.join("admin.yaml"));
        command.args(["proxy", &format!("--port={port}")]);
        let mut process = Process::start(command, self.place(world))?;
        process.line(PATIENCE).context("kubectl proxy")?;
        Ok(process)
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
        self.account_by(world, (namespace, name), &self.url())
    }

    /// The same, for requests that go by another address.
    pub fn account_by(
        &self,
        world: &World,
        (namespace, name): (&str, &str),
        url: &str,
    ) -> Result<PathBuf> {
        let token = self.token(world, &[name, "-n", namespace])?;
        let text = self.kubeconfig(url, &token, namespace);
        self.write_account(&format!("{namespace}-{name}.yaml"), &text)
    }

    /// The same, with the token in a file that is read again when it changes, as in a pod.
    pub fn account_in_file(&self, world: &World, arguments: &[&str], url: &str) -> Result<Account> {
        let token = self.files.join("token");
        fs::write(&token, self.token(world, arguments)?)?;
        let text = self
            .kubeconfig(url, "", "sekisho-system")
            .replace("token: \"\"", &format!("tokenFile: {:?}", token.display().to_string()));
        Ok(Account { kubeconfig: self.write_account("in-file.yaml", &text)?, token })
    }

    /// A new token: the arguments of `kubectl create token`.
    pub fn token(&self, world: &World, arguments: &[&str]) -> Result<String> {
        let arguments = [&["create", "token"], arguments].concat();
        Ok(self.kubectl(world, &arguments, "")?.trim().to_owned())
    }

    fn write_account(&self, name: &str, text: &str) -> Result<PathBuf> {
        let path = self.files.join(name);
        fs::write(&path, text)?;
        Ok(path)
    }

    fn kubeconfig(&self, url: &str, token: &str, namespace: &str) -> String {
        let authority = self.files.join("certs/apiserver.crt");
        let authority = match url.strip_prefix("https") {
            Some(_) => format!(", certificate-authority: {:?}", authority.display().to_string()),
            None => String::new(),
        };
        format!(
            "apiVersion: v1\nkind: Config\ncurrent-context: test\n\
             clusters:\n- name: test\n  cluster: {{server: {url:?}{authority}}}\n\
             users:\n- name: test\n  user: {{token: {token:?}}}\n\
             contexts:\n- name: test\n  context: {{cluster: test, user: test, namespace: {namespace}}}\n",
        )
    }
}

/// Credentials whose token lies in a file of its own.
#[derive(Debug)]
pub struct Account {
    /// What names the file.
    pub kubeconfig: PathBuf,
    /// The file.
    pub token: PathBuf,
}

/// Copies a directory of files and directories.
fn copy(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy(&entry.path(), &target)?;
        } else {
            fs::copy(entry.path(), target)?;
        }
    }
    Ok(())
}

impl Drop for ControlPlane {
    fn drop(&mut self) {
        drop((self.server.take(), self.etcd.take()));
        if let Err(error) = fs::remove_dir_all(&self.files) {
            eprintln!("could not remove {}: {error}", self.files.display());
        }
    }
}
