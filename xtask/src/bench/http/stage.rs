//! A server, and a pod for every case: without a proxy, with the agent's, with others.

use std::{
    fs::{self, File},
    net::Ipv4Addr,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, bail};
use tempfile::TempDir;

use super::peers::{self, BULK, H2_PORT, PORT};
use crate::{
    agent::Agent,
    bench::{manifests, stage::Process},
    cgroup::{self, Cgroup},
    interrupt,
    place::{Place, address},
};

const SERVER: u8 = 100;
/// The Service's address. No host has it: only the agent's proxy knows where it leads.
const SERVICE: u8 = 101;
const PATIENCE: Duration = Duration::from_secs(20);

/// Who carries a case's requests.
enum Proxy {
    None,
    Agent(Agent),
    Other(Program),
}

/// A pod that is measured.
pub(super) struct Case {
    pub(super) name: &'static str,
    /// Where its clients connect to.
    address: Ipv4Addr,
    pub(super) port: u16,
    pub(super) load: Process,
    proxy: Proxy,
    // Dropped last: it cannot go while a process or a hook is in it.
    cgroup: Cgroup,
}

/// Everything, in the order in which it is taken down.
pub(super) struct Stage {
    pub(super) cases: Vec<Case>,
    _server: Program,
    place: Place,
    files: TempDir,
}

/// A process that ends with this.
struct Program(Child);

impl Program {
    /// Runs a command, whose words go to a file.
    fn start(command: &mut Command, log: &Path) -> anyhow::Result<Self> {
        let log = File::create(log)?;
        let command = command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        Ok(Self(command.spawn().with_context(|| format!("{command:?}"))?))
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // nginx's and HAProxy's first processes take their others along when they are asked to end.
        let asked = Command::new("kill").arg(self.0.id().to_string()).status();
        let deadline = Instant::now() + Duration::from_secs(3);
        while asked.is_ok() && Instant::now() < deadline {
            if matches!(self.0.try_wait(), Ok(Some(_))) {
                return;
            }
            thread::sleep(Duration::from_millis(20));
        }
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Stage {
    pub(super) fn set(program: &Path, envoy: Option<&Path>, load: &Path) -> anyhow::Result<Self> {
        let files = tempfile::Builder::new().prefix("skt-http-").tempdir()?;
        let mut place = Place::new("http")?;
        place.add_host("server", &[SERVER])?;
        // A hole reads as zeros, as fast as anything that is cached.
        File::create(files.path().join("bulk"))?.set_len(BULK)?;
        let mut open = fs::metadata(files.path())?.permissions();
        std::os::unix::fs::PermissionsExt::set_mode(&mut open, 0o755);
        fs::set_permissions(files.path(), open)?;
        let mut command = place.run("server", "nginx");
        command.arg("-c").arg(write(&files, "nginx.conf", &peers::nginx(files.path()))?);
        let server = Program::start(&mut command, &files.path().join("nginx.out"))?;
        let mut stage = Self { cases: Vec::new(), _server: server, place, files };
        stage.add("none", 10, load, |_, _| Ok(Proxy::None))?;
        for (number, (name, log)) in (11..).zip([("sekisho", "off"), ("sekisho-log", "on")]) {
            let agent =
                |stage: &Self, cgroup: &Cgroup| stage.agent(program, (name, log, number), cgroup);
            stage
                .add(name, number, load, |stage, cgroup| Ok(Proxy::Agent(agent(stage, cgroup)?)))?;
        }
        stage.add("haproxy", 13, load, |stage, _| {
            let file = write(&stage.files, "haproxy.cfg", &peers::haproxy(address(SERVER)))?;
            let mut command = stage.place.run("haproxy", "haproxy");
            Ok(Proxy::Other(Program::start(
                command.arg("-f").arg(file),
                &stage.file("haproxy.log"),
            )?))
        })?;
        if let Some(envoy) = envoy {
            stage.add("envoy", 14, load, |stage, _| {
                let file = write(&stage.files, "envoy.yaml", &peers::envoy(address(SERVER)))?;
                let mut command = stage.place.run("envoy", envoy);
                command.arg("-c").arg(file).args(["--concurrency", "2", "--log-level", "warn"]);
                command.args(["--disable-hot-restart"]);
                Ok(Proxy::Other(Program::start(&mut command, &stage.file("envoy.log"))?))
            })?;
        }
        Ok(stage)
    }

    fn add(
        &mut self,
        name: &'static str,
        number: u8,
        load: &Path,
        proxy: impl FnOnce(&Self, &Cgroup) -> anyhow::Result<Proxy>,
    ) -> anyhow::Result<()> {
        interrupt::check()?;
        println!("bench: setting up {name}");
        self.place.add_host(name, &[number])?;
        let cgroup = Cgroup::new(&format!("http-{name}"))?;
        let proxy = proxy(self, &cgroup)?;
        let address = match proxy {
            Proxy::None => address(SERVER),
            Proxy::Agent(_) => address(SERVICE),
            Proxy::Other(_) => Ipv4Addr::LOCALHOST,
        };
        let mut client = self.place.run(name, load);
        let client = Process::start(client.args(["load", "client", &address.to_string()]))?;
        cgroup.take(client.id())?;
        let mut case = Case { name, address, port: PORT, load: client, proxy, cgroup };
        self.wait(&mut case)?;
        self.cases.push(case);
        Ok(())
    }

    fn agent(
        &self,
        program: &Path,
        (name, log, number): (&str, &str, u8),
        cgroup: &Cgroup,
    ) -> anyhow::Result<Agent> {
        let mut agent = Agent::prepare(program.to_owned(), name)?;
        let pod = manifests::pod(name, name, address(number).into(), &self.place.path(name));
        let log = format!("annotations: {{sekisho.dev/access-log: '{log}', ");
        agent.write("mesh.yaml", manifests::MESH)?;
        agent.write("pod.yaml", &pod.replace("annotations: {", &log))?;
        agent.write("web.yaml", &web())?;
        agent.start(&self.place, Some(cgroup.path()))?;
        Ok(agent)
    }

    /// Until requests are answered over both protocols.
    fn wait(&self, case: &mut Case) -> anyhow::Result<()> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            interrupt::check()?;
            let asks = |option: &str, url: &str| {
                let mut command = self.run_in(case, "curl");
                command.args(["--silent", "--fail", "--max-time", "2", option, url]);
                command.stdout(Stdio::null()).status().is_ok_and(|status| status.success())
            };
            if asks("--http1.1", &case.url("/"))
                && asks("--http2-prior-knowledge", &case.url_h2("/"))
            {
                return Ok(());
            }
            if Instant::now() > deadline {
                bail!("{} answers no request", case.name);
            }
            thread::sleep(Duration::from_millis(50));
        }
    }

    /// A command in a case's pod.
    pub(super) fn run_in(&self, case: &Case, program: &str) -> Command {
        let mut command = self.place.run(case.name, "sh");
        cgroup::enter(&mut command, case.cgroup.path()).arg(program);
        command
    }

    /// A file of this run.
    pub(super) fn file(&self, name: &str) -> PathBuf {
        self.files.path().join(name)
    }
}

impl Case {
    /// The process of its proxy.
    pub(super) fn proxy(&self) -> Option<u32> {
        match &self.proxy {
            Proxy::None => None,
            Proxy::Agent(agent) => agent.pid(),
            Proxy::Other(program) => Some(program.0.id()),
        }
    }

    pub(super) fn url(&self, path: &str) -> String {
        format!("http://{}:{}{path}", self.address, self.port)
    }

    pub(super) fn url_h2(&self, path: &str) -> String {
        format!("http://{}:{H2_PORT}{path}", self.address)
    }
}

fn write(files: &TempDir, name: &str, text: &str) -> anyhow::Result<PathBuf> {
    let path = files.path().join(name);
    fs::write(&path, text)?;
    Ok(path)
}

/// The server as a Service, with two routes.
fn web() -> String {
    let (service, server) = (address(SERVICE), address(SERVER));
    format!(
        "\
apiVersion: v1
kind: Service
metadata: {{name: web, namespace: bench}}
spec:
  clusterIP: {service}
  clusterIPs: [{service}]
  selector: {{app: web}}
  ports: [{{name: http, port: {PORT}}}, {{name: http2, port: {H2_PORT}}}]
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {{name: web-1, namespace: bench, labels: {{kubernetes.io/service-name: web}}}}
addressType: IPv4
endpoints: [{{addresses: [{server}]}}]
ports: [{{name: http, port: {PORT}}}, {{name: http2, port: {H2_PORT}}}]
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{name: web, namespace: bench}}
spec:
  hosts: [web]
  http:
  - match: [{{headers: {{end-user: {{exact: jason}}}}}}]
    route: [{{destination: {{host: web}}}}]
  - timeout: 10s
    route: [{{destination: {{host: web}}}}]
"
    )
}
