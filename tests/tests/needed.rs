//! HTTP goes straight out until an object gives the proxy something to do for it, and again once that
//! is gone. The Service has the address of its one server, as kube-proxy would lead there; the routes
//! lead to another one.

use std::{net::SocketAddr, time::Duration};

use anyhow::{Context as _, Result, ensure};
use rstest::rstest;
use sekisho_tests::{
    agent::Agent,
    manifest::{Mode, NAMESPACE, NODE},
    pod::http::{Answers, Requests},
    process::{Process, probe},
    service,
    stage::Net,
    web::Web,
    world::{Host, Wiring, World},
};
use serde_json::Value;

const PORT: u16 = 9_080;
/// Longer than all requests of one test.
const PATIENCE: Duration = Duration::from_mins(1);
/// All requests on one connection.
const ONE_CONNECTION: u32 = u32::MAX;
/// Why it goes straight out.
const AS_DIALLED: &str = "no object gives the proxy something to do for it";
/// What an object gives the proxy to do.
const BY_ROUTE: &str = "an object has a say in where it goes or how";

/// A pod, the server of a Service, another server, and an agent.
struct Case {
    net: Net,
    client: Process,
    agent: Agent,
    _servers: [Web; 2],
    v1: Host,
    _v2: Host,
    pod: Host,
    world: World,
}

impl Case {
    fn new(net: Net) -> Result<Self> {
        Self::with(net, |agent| agent)
    }

    /// With an agent that is started otherwise.
    fn with(net: Net, prepare: impl FnOnce(Agent) -> Agent) -> Result<Self> {
        let world = World::new(Wiring::Routed)?;
        let (pod, v1, v2) = (world.pod("app")?, world.far("v1")?, world.far("v2")?);
        let servers = [Web::start(&v1, PORT, "v1")?, Web::start(&v2, PORT, "v2")?];
        let agent = prepare(Agent::new(&world)?);
        agent.config().namespace(true)?;
        agent.config().mesh(Mode::RegistryOnly)?;
        agent.config().write("v1", &at_its_host("reviews", &v1))?;
        agent.config().write("v2", &at_its_host("others", &v2))?;
        let mut command = probe()?;
        command.arg("http");
        let client = pod.run(command)?;
        let mut case = Self { net, client, agent, _servers: servers, v1, _v2: v2, pod, world };
        case.annotate("")?;
        case.start()?;
        Ok(case)
    }

    fn start(&mut self) -> Result<()> {
        self.agent.start(&self.world)?;
        self.agent
            .wait_until("the pod is enrolled", |agent| Ok(agent.enrolment("app")? == "enrolled"))
    }

    /// The pod, with one more annotation.
    fn annotate(&self, more: &str) -> Result<()> {
        let ([v4, v6], netns) = (self.pod.addresses(), self.pod.netns().path());
        self.agent.config().write(
            "pod-app",
            &format!(
                "apiVersion: v1\nkind: Pod\nmetadata: {{name: app, namespace: {NAMESPACE}, \
                 annotations: {{sekisho.dev/netns: {}{more}}}}}\n\
                 spec: {{nodeName: {NODE}, containers: [{{name: app, image: none}}]}}\n\
                 status: {{podIP: {v4}, podIPs: [{{ip: {v4}}}, {{ip: \"{v6}\"}}]}}\n",
                netns.display()
            ),
        )
    }

    /// A `VirtualService` that leads from the one Service to the other.
    fn route(&self) -> Result<()> {
        self.agent.config().write(
            "routes",
            &format!(
                "apiVersion: networking.istio.io/v1\nkind: VirtualService\n\
                 metadata: {{name: reviews, namespace: {NAMESPACE}}}\n\
                 spec: {{hosts: [reviews], http: [{{route: [{{destination: {{host: others}}}}]}}]}}\n"
            ),
        )
    }

    fn requests(&self, host: &str, count: u32) -> Requests {
        Requests {
            to: SocketAddr::new(self.net.of(&self.v1), PORT),
            lines: vec!["GET / HTTP/1.1".to_owned(), format!("Host: {host}:{PORT}")],
            body: String::new(),
            count,
            millis: 0,
            each: 1,
            tls: None,
        }
    }

    fn begin(&mut self, requests: &Requests) -> Result<()> {
        self.client.say(&serde_json::to_string(requests)?)
    }

    fn answers(&mut self) -> Result<Answers> {
        self.client.answer(PATIENCE)
    }

    /// The one answer to some requests, each on a connection of its own.
    fn ask(&mut self, host: &str) -> Result<String> {
        self.begin(&self.requests(host, 5))?;
        let said = self.answers()?;
        Ok(said.only().with_context(|| format!("{said:?}"))?.to_owned())
    }

    /// Which way the Service's port goes by what the agent says, and why.
    fn path(&self) -> Result<(String, String)> {
        let said = self.agent.ask(&["config", "listeners", "shop/app", "-o", "json"])?;
        let rows: Vec<Value> = serde_json::from_slice(&said.stdout)?;
        let to = self.requests("reviews", 1).to;
        let is_it = |row: &&Value| {
            let address = row["address"].as_str().unwrap_or_default();
            row["port"] == PORT && address.split('/').next() == Some(&to.ip().to_string())
        };
        let row = rows.iter().find(is_it).with_context(|| format!("{to} in {rows:?}"))?;
        let word = |field: &str| row[field].as_str().unwrap_or_default().to_owned();
        Ok((word("path"), word("reason")))
    }

    fn is(&mut self, path: &str, reason: &str) -> Result<()> {
        let (mut last, wanted) = (String::new(), (path.to_owned(), reason.to_owned()));
        for _ in 0..500 {
            let found = self.path()?;
            if found == wanted {
                return Ok(());
            }
            last = format!("{found:?}");
            std::thread::sleep(Duration::from_millis(20));
        }
        anyhow::bail!("{last}, and not {wanted:?}\n{}", self.agent.words())
    }

    /// How many requests the proxy has counted.
    fn counted(&self) -> Result<f64> {
        let metrics = self.agent.metrics()?;
        let lines = metrics.lines().filter(|line| line.starts_with("istio_requests_total{"));
        let value =
            |line: &str| line.rsplit(' ').next().and_then(|value| value.parse::<f64>().ok());
        Ok(lines.filter_map(value).sum())
    }
}

/// A Service at the address of its only endpoint.
fn at_its_host(name: &str, host: &Host) -> String {
    let ports = [("http", PORT)];
    service::with_versions(name, (host.addresses(), &ports), &[(host, host.name())])
}

#[rstest]
fn requests_go_straight_out_until_a_route_has_a_say_and_open_connections_as_they_began(
    #[values(Net::V4, Net::V6)] net: Net,
) -> Result<()> {
    let mut case = Case::new(net)?;
    case.is("direct", AS_DIALLED)?;
    ensure!(case.ask("reviews")? == "200 v1", "before there is a route");
    let long = Requests { millis: 2_000, each: ONE_CONNECTION, ..case.requests("reviews", 1) };
    case.begin(&long)?;
    case.route()?;
    case.is("proxy", BY_ROUTE)?;
    let said = case.answers()?;
    ensure!(said.only() == Some("200 v1"), "opened before the route: {said:?}");
    ensure!(case.counted()? == 0.0, "the proxy has seen what went straight out");
    ensure!(case.ask("reviews")? == "200 v2", "with the route");
    case.begin(&long)?;
    case.agent.config().remove("routes")?;
    case.is("direct", AS_DIALLED)?;
    let said = case.answers()?;
    ensure!(said.failures.is_empty(), "opened while there was a route: {said:?}");
    ensure!(case.ask("reviews")? == "200 v1", "after the route");
    Ok(())
}

#[rstest]
fn the_way_is_the_same_after_a_restart(#[values(Net::V4, Net::V6)] net: Net) -> Result<()> {
    let mut case = Case::new(net)?;
    let long = Requests { millis: 3_000, each: ONE_CONNECTION, ..case.requests("reviews", 1) };
    case.begin(&long)?;
    case.agent.kill()?;
    case.start()?;
    case.is("direct", AS_DIALLED)?;
    let said = case.answers()?;
    ensure!(said.only() == Some("200 v1"), "over the restart: {said:?}");
    case.agent.kill()?;
    case.route()?;
    case.start()?;
    case.is("proxy", BY_ROUTE)?;
    ensure!(case.ask("reviews")? == "200 v2", "with a route of the first generation");
    Ok(())
}

#[rstest]
fn what_asks_to_be_observed_is_read_by_the_proxy_and_goes_where_it_was_dialled(
    #[values(Net::V4, Net::V6)] net: Net,
) -> Result<()> {
    let mut case = Case::new(net)?;
    ensure!(case.ask("reviews")? == "200 v1", "unobserved");
    ensure!(case.counted()? == 0.0, "an unobserved request was counted");
    case.annotate(", sekisho.dev/observe: requests")?;
    case.is("proxy", "all of the pod's requests are read")?;
    ensure!(case.ask("reviews")? == "200 v1", "observed");
    case.agent.wait_until("the requests are counted", |agent| {
        Ok(agent.metrics()?.contains("istio_requests_total{"))
    })?;
    case.annotate(", sekisho.dev/observe: none")?;
    case.is("direct", AS_DIALLED)?;
    // What cannot be read asks for it, and is told.
    case.annotate(", sekisho.dev/observe: everything")?;
    case.is("proxy", "all of the pod's requests are read")?;
    let status = case.agent.status()?.to_string();
    ensure!(status.contains("sekisho.dev/observe") && status.contains("everything"), "{status}");
    Ok(())
}

#[rstest]
fn always_reads_each_request_and_its_host_leads(
    #[values(Net::V4, Net::V6)] net: Net,
) -> Result<()> {
    let mut needed = Case::new(net)?;
    ensure!(needed.ask("others")? == "200 v1", "the address leads");
    drop(needed);
    let mut always = Case::with(net, |agent| agent.with("--http", "always"))?;
    always.is("proxy", "all of the pod's requests are read")?;
    ensure!(always.ask("reviews")? == "200 v1", "its own host");
    ensure!(always.ask("others")? == "200 v2", "another host at its address");
    Ok(())
}
