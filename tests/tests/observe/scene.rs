//! A pod whose requests to a Service are served by the proxy, a database that it reaches directly, and
//! one that it reaches through the proxy as bytes.

use std::{
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use anyhow::{Context as _, Result};
use sekisho_tests::{
    agent::Agent,
    client::Client,
    manifest::{Mode, NAMESPACE, NODE},
    pod::http::{Answers, Requests},
    process::{Process, probe},
    serve::Echo,
    web::Web,
    world::{Host, Wiring, World},
};

pub(crate) const PORT: u16 = 9_080;
pub(crate) const DB_PORT: u16 = 3_306;
/// Longer than all requests of one test.
const PATIENCE: Duration = Duration::from_mins(1);

#[derive(Clone, Copy, Debug)]
pub(crate) enum Net {
    V4,
    V6,
}

impl Net {
    /// The Service's address. No host has it: only the proxy knows where it leads.
    fn service(self) -> SocketAddr {
        let address = if matches!(self, Self::V4) { "10.96.7.7" } else { "2001:db8:96::7" };
        SocketAddr::new(address.parse().expect("an address"), PORT)
    }

    /// The address of the database that is elsewhere.
    fn moved(self) -> IpAddr {
        let address = if matches!(self, Self::V4) { "10.96.7.8" } else { "2001:db8:96::8" };
        address.parse().expect("an address")
    }
}

/// See the module.
pub(crate) struct Scene {
    net: Net,
    web_client: Process,
    pub(crate) client: Client,
    pub(crate) agent: Agent,
    _servers: (Web, Echo),
    v1: Host,
    pub(crate) pod: Host,
    pub(crate) world: World,
}

impl Scene {
    pub(crate) fn new(net: Net) -> Result<Self> {
        Self::with(net, Ok)
    }

    /// With an agent that is started otherwise.
    pub(crate) fn with(net: Net, prepare: impl FnOnce(Agent) -> Result<Agent>) -> Result<Self> {
        Self::prepared(net, |_, agent| prepare(agent))
    }

    /// The same, with something else in its world.
    pub(crate) fn prepared(
        net: Net,
        prepare: impl FnOnce(&World, Agent) -> Result<Agent>,
    ) -> Result<Self> {
        let world = World::new(Wiring::Routed)?;
        let (pod, v1) = (world.pod("app")?, world.far("v1")?);
        let servers = (Web::start(&v1, PORT, "v1")?, Echo::start(&v1, DB_PORT, &[])?);
        let agent = Agent::new(&world)?;
        let agent = prepare(&world, agent)?;
        agent.config().namespace(true)?;
        agent.config().mesh(Mode::RegistryOnly)?;
        agent.config().write("reviews", &reviews(&v1))?;
        agent.config().write("databases", &databases(net, &v1))?;
        let mut command = probe()?;
        command.arg("http");
        let (web_client, client) = (pod.run(command)?, Client::start(&pod)?);
        let mut scene = Self { net, web_client, client, agent, _servers: servers, v1, pod, world };
        scene.annotate("")?;
        scene.start()?;
        Ok(scene)
    }

    pub(crate) fn start(&mut self) -> Result<()> {
        self.agent.start(&self.world)?;
        self.agent
            .wait_until("the pod is enrolled", |agent| Ok(agent.enrolment("app")? == "enrolled"))
    }

    /// The pod, with more lines of annotations.
    pub(crate) fn annotate(&self, more: &str) -> Result<()> {
        let ([v4, v6], netns) = (self.pod.addresses(), self.pod.netns().path());
        self.agent.config().write(
            "pod-app",
            &format!(
                "apiVersion: v1\nkind: Pod\nmetadata:\n  name: app\n  namespace: {NAMESPACE}\n  \
                 labels: {{app: shop, version: v7, pod-template-hash: 5d8}}\n  ownerReferences:\n  \
                 - {{apiVersion: apps/v1, kind: ReplicaSet, name: shop-v7-5d8, uid: u1, controller: true}}\n  \
                 annotations:\n    sekisho.dev/netns: {}\n{more}\
                 spec: {{nodeName: {NODE}, containers: [{{name: app, image: none}}]}}\n\
                 status: {{podIP: {v4}, podIPs: [{{ip: {v4}}}, {{ip: \"{v6}\"}}]}}\n",
                netns.display()
            ),
        )
    }

    /// The database itself.
    pub(crate) fn database(&self) -> SocketAddr {
        let [v4, v6] = self.v1.addresses();
        let address = if matches!(self.net, Net::V4) { v4 } else { v6 };
        SocketAddr::new(address, DB_PORT)
    }

    /// Where requests are sent in the end.
    pub(crate) fn upstream(&self) -> SocketAddr {
        SocketAddr::new(self.database().ip(), PORT)
    }

    /// The address that stands for it.
    pub(crate) fn moved(&self) -> SocketAddr {
        SocketAddr::new(self.net.moved(), DB_PORT)
    }

    /// Sends the same request so often.
    pub(crate) fn send(&mut self, lines: &[&str], count: u32) -> Result<Answers> {
        let mut lines: Vec<String> = lines.iter().map(|line| (*line).to_owned()).collect();
        if !lines.iter().any(|line| line.starts_with("Host:")) {
            lines.insert(1, format!("Host: reviews:{PORT}"));
        }
        let (to, body) = (self.net.service(), String::new());
        let requests = Requests { to, lines, body, count, millis: 0, each: 10, tls: None };
        self.web_client.say(&serde_json::to_string(&requests)?)?;
        self.web_client.answer(PATIENCE)
    }

    /// The one answer to a request.
    pub(crate) fn ask(&mut self, lines: &[&str]) -> Result<String> {
        let said = self.send(lines, 1)?;
        Ok(said.only().with_context(|| format!("{said:?}"))?.to_owned())
    }

    /// Waits until the sum of the samples whose lines have all of these parts is this.
    pub(crate) fn is_counted(&mut self, parts: &[&str], wanted: f64) -> Result<()> {
        let what = format!("{parts:?} is {wanted}");
        let mut last = String::new();
        let outcome = self.agent.wait_until(&what, |agent| {
            last = agent.metrics()?;
            Ok((sum(&last, parts) - wanted).abs() < f64::EPSILON)
        });
        outcome.with_context(|| {
            let ours =
                last.lines().filter(|line| line.starts_with("istio_") && !line.contains("_bucket"));
            ours.collect::<Vec<_>>().join("\n")
        })
    }
}

fn sum(metrics: &str, parts: &[&str]) -> f64 {
    let is_one =
        |line: &&str| !line.starts_with('#') && parts.iter().all(|part| line.contains(part));
    let value = |line: &str| line.rsplit(' ').next().and_then(|value| value.parse::<f64>().ok());
    metrics.lines().filter(is_one).filter_map(value).sum()
}

/// A Service with one version, and a `VirtualService` that gives the proxy something to do.
fn reviews(v1: &Host) -> String {
    let [v4, v6] = v1.addresses();
    let slice = |family: &str, address: &IpAddr| {
        format!(
            "---\napiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\n\
             metadata: {{name: reviews-{}, namespace: {NAMESPACE}, \
             labels: {{kubernetes.io/service-name: reviews}}}}\naddressType: {family}\n\
             endpoints: [{{addresses: [\"{address}\"]}}]\nports: [{{name: http, port: {PORT}}}]\n",
            family.to_lowercase()
        )
    };
    format!(
        "apiVersion: v1\nkind: Service\nmetadata: {{name: reviews, namespace: {NAMESPACE}}}\n\
         spec:\n  clusterIP: {own4}\n  clusterIPs: [{own4}, \"{own6}\"]\n  ipFamilies: [IPv4, IPv6]\n  \
         selector: {{app: reviews}}\n  ports: [{{name: http, port: {PORT}}}]\n\
         ---\napiVersion: v1\nkind: Pod\nmetadata: {{name: reviews-v1-7c9-abcde, \
         generateName: reviews-v1-7c9-, namespace: {NAMESPACE}, \
         labels: {{app: reviews, version: v1, pod-template-hash: 7c9}}}}\n\
         spec: {{nodeName: node-2, containers: [{{name: app, image: none}}]}}\n\
         status: {{podIP: {v4}, podIPs: [{{ip: {v4}}}, {{ip: \"{v6}\"}}]}}\n{}{}\
         ---\napiVersion: networking.istio.io/v1\nkind: VirtualService\n\
         metadata: {{name: reviews, namespace: {NAMESPACE}}}\n\
         spec: {{hosts: [reviews], http: [{{name: all, timeout: 10s, retries: {{attempts: 0}}, \
         route: [{{destination: {{host: reviews}}}}]}}]}}\n",
        slice("IPv4", &v4),
        slice("IPv6", &v6),
        own4 = Net::V4.service().ip(),
        own6 = Net::V6.service().ip(),
    )
}

/// The database at its own address, and at one whose endpoint it is.
fn databases(net: Net, v1: &Host) -> String {
    let [v4, v6] = v1.addresses();
    let own = if matches!(net, Net::V4) { v4 } else { v6 };
    format!(
        "apiVersion: networking.istio.io/v1\nkind: ServiceEntry\n\
         metadata: {{name: db, namespace: {NAMESPACE}}}\n\
         spec:\n  hosts: [db.example.com]\n  addresses: [\"{own}\"]\n  resolution: NONE\n  \
         ports: [{{number: {DB_PORT}, name: tcp, protocol: TCP}}]\n\
         ---\napiVersion: networking.istio.io/v1\nkind: ServiceEntry\n\
         metadata: {{name: moved, namespace: {NAMESPACE}}}\n\
         spec:\n  hosts: [moved.example.com]\n  addresses: [\"{}\"]\n  resolution: STATIC\n  \
         endpoints: [{{address: \"{own}\"}}]\n  \
         ports: [{{number: {DB_PORT}, name: tcp, protocol: TCP}}]\n",
        net.moved()
    )
}
