//! Two nodes with one CA, each with an agent and a pod: a client on the first, a server on the second.
//! Both nodes' agents are on one machine, in the network between the pods, and each knows its own pod.
//! Or one node with both.

use std::{
    collections::BTreeSet, fmt::Write as _, fs, net::SocketAddr, os::unix::fs::PermissionsExt as _,
    path::PathBuf, time::Duration,
};

use anyhow::{Context as _, Result};
use sekisho_tests::{
    agent::Agent,
    authority::Authority,
    manifest::{Mode, NAMESPACE},
    name,
    pod::http::{Answers, Requests},
    process::{Process, probe},
    service,
    stage::Net,
    web::Web,
    world::{Host, Wiring, World},
};
use serde_json::Value;

/// Declared as HTTP.
pub(crate) const HTTP: u16 = 9_080;
/// Declared as TCP.
pub(crate) const TCP: u16 = 9_090;
/// The same, and the server does not listen.
pub(crate) const HTTP_OF_NOBODY: u16 = 9_081;
pub(crate) const TCP_OF_NOBODY: u16 = 9_091;
/// Where agents reach pods.
pub(crate) const HBONE: u16 = 15_008;
/// As whom the client speaks.
pub(crate) const CLIENT: &str = "spiffe://cluster.local/ns/shop/sa/client";
/// Longer than all requests of one test.
const PATIENCE: Duration = Duration::from_mins(1);

/// See the module.
pub(crate) struct Mesh {
    pub(crate) net: Net,
    pub(crate) client: Process,
    /// One a node.
    pub(crate) agents: Vec<Agent>,
    /// The client's node and the server's.
    nodes: [&'static str; 2],
    _servers: [Web; 2],
    pub(crate) pod: Host,
    pub(crate) server: Host,
    /// A host of no node.
    pub(crate) far: Host,
    pub(crate) world: World,
    pub(crate) ca: Authority,
    _ca_dir: Folder,
}

/// A folder of its own that goes when this does.
struct Folder(PathBuf);

impl Drop for Folder {
    fn drop(&mut self) {
        // It is in the way of no other test.
        let _ = fs::remove_dir_all(&self.0);
    }
}

impl Mesh {
    pub(crate) fn new(net: Net) -> Result<Self> {
        Self::with(net, |agent| agent)
    }

    /// With agents that are started otherwise.
    pub(crate) fn with(net: Net, prepare: impl Fn(Agent) -> Agent) -> Result<Self> {
        Self::on(["node-1", "node-2"], net, prepare)
    }

    /// With both pods on one node.
    pub(crate) fn of_one_node(net: Net) -> Result<Self> {
        Self::on(["node-1"; 2], net, |agent| agent)
    }

    fn on(nodes: [&'static str; 2], net: Net, prepare: impl Fn(Agent) -> Agent) -> Result<Self> {
        let ca_dir = Folder(std::env::temp_dir().join(name::unique()));
        let ca = Authority::new("mesh")?;
        fs::create_dir_all(&ca_dir.0)?;
        for (file, content) in
            [("ca-cert.pem", ca.pem()), ("root-cert.pem", ca.pem()), ("ca-key.pem", ca.key_pem())]
        {
            let path = ca_dir.0.join(file);
            fs::write(&path, content)?;
            fs::set_permissions(&path, fs::Permissions::from_mode(0o600))?;
        }
        let world = World::new(Wiring::Routed)?;
        let (pod, server) = (world.pod("client")?, world.pod("server")?);
        let far = world.far("far")?;
        let servers = [Web::start(&server, HTTP, "v1")?, Web::start(&server, TCP, "v1")?];
        let agent = |node| -> Result<Agent> {
            let agent = Agent::new(&world)?.with("--node-name", node);
            Ok(prepare(agent.with("--ca-dir", &ca_dir.0.display().to_string())))
        };
        let agents = nodes.iter().collect::<BTreeSet<_>>().into_iter();
        let agents = agents.map(|node| agent(node)).collect::<Result<Vec<_>>>()?;
        let mut command = probe()?;
        command.arg("http");
        let client = pod.run(command)?;
        let mut mesh = Self {
            net,
            client,
            agents,
            nodes,
            _servers: servers,
            pod,
            server,
            far,
            world,
            ca,
            _ca_dir: ca_dir,
        };
        mesh.write("pods", &mesh.pods("server"))?;
        mesh.write("service", &service_of(&mesh.server))?;
        for agent in &mesh.agents {
            agent.config().namespace(true)?;
            agent.config().mesh(Mode::AllowAny)?;
        }
        for node in 0..mesh.agents.len() {
            mesh.start(node)?;
        }
        Ok(mesh)
    }

    /// Starts a node's agent, and waits until its pod is in the mesh and has a certificate.
    pub(crate) fn start(&mut self, node: usize) -> Result<()> {
        let agent = &mut self.agents[node];
        agent.start(&self.world)?;
        let name = format!("node-{}", node + 1);
        let pods = ["client", "server"].into_iter().zip(self.nodes);
        let pods: Vec<&str> =
            pods.filter(|(_, node)| *node == name.as_str()).map(|(pod, _)| pod).collect();
        for pod in &pods {
            agent.wait_until("the pod is enrolled", |agent| {
                Ok(agent.enrolment(pod)? == "enrolled")
            })?;
        }
        agent.wait_until("the pods have certificates", |agent| {
            let status = agent.status()?;
            let all = status["identity"]["certificates"].as_array().cloned().unwrap_or_default();
            Ok(all.iter().filter(|one| one["state"] == "valid").count() == pods.len())
        })
    }

    /// A manifest for both.
    pub(crate) fn write(&self, name: &str, text: &str) -> Result<()> {
        self.agents.iter().try_for_each(|agent| agent.config().write(name, text))
    }

    /// Requests to the Service's port.
    pub(crate) fn requests(&self, port: u16, count: u32) -> Requests {
        Requests {
            to: service::at(self.net, port),
            lines: vec!["GET / HTTP/1.1".to_owned(), format!("Host: server:{port}")],
            body: String::new(),
            count,
            millis: 0,
            each: 1,
            tls: None,
        }
    }

    /// What came of some requests.
    pub(crate) fn send(&mut self, requests: &Requests) -> Result<Answers> {
        self.client.say(&serde_json::to_string(requests)?)?;
        self.client.answer(PATIENCE)
    }

    /// What the one connection that was asked for came to.
    pub(crate) fn only(&mut self, port: u16) -> Result<String> {
        let said = self.send(&self.requests(port, 1))?;
        let failure = said.failures.first().map(|text| format!("failed: {text}"));
        said.answers.into_keys().next().or(failure).context("neither an answer nor a failure")
    }

    /// Waits until the one answer to a request, or how it failed, is as wanted.
    pub(crate) fn wait_for(&mut self, port: u16, is_it: impl Fn(&str) -> bool) -> Result<()> {
        let mut last = String::new();
        for _ in 0..500 {
            last = self.only(port)?;
            if is_it(&last) {
                return Ok(());
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        anyhow::bail!("{port}: still {last}")
    }

    /// The flows of a node that came from another's agent.
    pub(crate) fn received(&self, node: usize) -> Result<Vec<Value>> {
        let flows = self.agents[node].flows()?;
        Ok(flows.into_iter().filter(|flow| flow["direction"] == "inbound").collect())
    }

    /// Where the server's agent is.
    pub(crate) fn hbone(&self) -> SocketAddr {
        SocketAddr::new(self.net.of(&self.server), HBONE)
    }

    /// The pods' manifests, with a `ServiceAccount` of the server.
    pub(crate) fn pods(&self, of_server: &str) -> String {
        let mut text = String::new();
        let of_client = self.pod.name();
        let [first, second] = self.nodes;
        for (node, host, account) in
            [(first, &self.pod, of_client), (second, &self.server, of_server)]
        {
            let ([v4, v6], name) = (host.addresses(), host.name());
            let _ = write!(
                text,
                "---\napiVersion: v1\nkind: Pod\nmetadata: {{name: {name}, \
                 namespace: {NAMESPACE}, labels: {{app: {name}}}, \
                 annotations: {{sekisho.dev/netns: {}}}}}\n\
                 spec: {{nodeName: {node}, serviceAccountName: {account}, \
                 containers: [{{name: app, image: none}}]}}\n\
                 status: {{podIP: {v4}, podIPs: [{{ip: {v4}}}, {{ip: \"{v6}\"}}]}}\n",
                host.netns().path().display()
            );
        }
        text
    }
}

/// The Service of the server, with addresses that only proxies know.
fn service_of(server: &Host) -> String {
    let [v4, v6] = service::addresses();
    let ports = format!(
        "[{{name: http, port: {HTTP}}}, {{name: tcp, port: {TCP}}}, \
         {{name: http-none, port: {HTTP_OF_NOBODY}}}, {{name: tcp-none, port: {TCP_OF_NOBODY}}}]"
    );
    let mut text = format!(
        "apiVersion: v1\nkind: Service\nmetadata: {{name: server, namespace: {NAMESPACE}}}\n\
         spec:\n  clusterIP: {v4}\n  clusterIPs: [{v4}, \"{v6}\"]\n  ipFamilies: [IPv4, IPv6]\n  \
         selector: {{app: server}}\n  ports: {ports}\n"
    );
    for (family, address) in ["IPv4", "IPv6"].iter().zip(server.addresses()) {
        let _ = write!(
            text,
            "---\napiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\n\
             metadata: {{name: server-{}, namespace: {NAMESPACE}, \
             labels: {{kubernetes.io/service-name: server}}}}\naddressType: {family}\n\
             endpoints: [{{addresses: [\"{address}\"]}}]\nports: {ports}\n",
            family.to_lowercase(),
        );
    }
    text
}
