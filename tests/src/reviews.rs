//! A pod whose requests are split between two versions of a service, by HTTP/1.1, HTTP/2 and gRPC, a
//! server that it reaches straight, and one that a route for bytes leads to.

use std::time::Duration;

use crate::{
    agent::Agent,
    calls::Calls,
    manifest::{Mode, NAMESPACE, listed},
    pod::{
        http::is_share,
        steady::{Count, Counts, Kind, Steady},
    },
    process::{Process, probe},
    serve::Echo,
    service,
    stage::{DIRECT, Net, PROXIED},
    web::Web,
    world::{Host, Wiring, World},
};
use anyhow::{Result, ensure};

/// HTTP/1.1.
pub const HTTP: u16 = 9_080;
/// HTTP/2.
pub const HTTP2: u16 = 9_081;
/// gRPC.
pub const GRPC: u16 = 9_082;
/// The share of the second version at the start, of a hundred.
pub const SHARE: u32 = 25;
const PATIENCE: Duration = Duration::from_mins(1);

/// What serves requests.
#[derive(Debug)]
pub struct Server {
    _web: Web,
    _calls: [Calls; 2],
}

impl Server {
    /// On a host, under a version.
    pub fn start(host: &Host, version: &'static str) -> Result<Self> {
        Ok(Self {
            _web: Web::start(host, HTTP, version)?,
            _calls: [Calls::start(host, HTTP2, version)?, Calls::start(host, GRPC, version)?],
        })
    }
}

/// See the module.
#[derive(Debug)]
pub struct Case {
    /// The agent.
    pub agent: Agent,
    _servers: [Server; 2],
    _echoes: [Echo; 2],
    /// The two versions' hosts; the first one echoes as well.
    pub hosts: [Host; 2],
    /// The pod.
    pub pod: Host,
    /// What they live in.
    pub world: World,
}

impl Case {
    /// Everything, with the agent not started yet.
    pub fn new() -> Result<Self> {
        let world = World::new(Wiring::Routed)?;
        let (pod, v1, v2) = (world.pod("app")?, world.far("v1")?, world.far("v2")?);
        let servers = [Server::start(&v1, "v1")?, Server::start(&v2, "v2")?];
        let echo = |port| Echo::start(&v1, port, &v1.addresses());
        let echoes = [echo(DIRECT)?, echo(PROXIED)?];
        let agent = Agent::new(&world)?;
        agent.config().namespace(true)?;
        agent.config().mesh(Mode::RegistryOnly)?;
        agent.config().pod(&pod)?;
        agent.config().write("reviews", &reviews(&[(&v1, "v1"), (&v2, "v2")]))?;
        agent.config().write("routes", &routes(SHARE))?;
        let ports = [(DIRECT, "TCP"), (PROXIED, "TCP")];
        agent.config().service_entry("echo", &listed(&v1.addresses()), &ports)?;
        let hosts = [v1, v2];
        Ok(Self { agent, _servers: servers, _echoes: echoes, hosts, pod, world })
    }

    /// Everything, with the pod enrolled.
    pub fn ready() -> Result<Self> {
        let mut case = Self::new()?;
        case.start()?;
        Ok(case)
    }

    /// Starts the agent, and waits for the pod.
    pub fn start(&mut self) -> Result<()> {
        self.agent.start(&self.world)?;
        self.agent.wait_until("the pod is enrolled", |a| Ok(a.enrolment("app")? == "enrolled"))
    }

    /// Clients of all kinds in both families, at so many requests a second in all.
    pub fn burden(&self, rate: u32) -> Result<Burden> {
        let mut clients = Vec::new();
        for net in [Net::V4, Net::V6] {
            let kinds = [
                (Kind::KeptAlive, HTTP, rate * 3 / 20, 8),
                (Kind::Fresh, HTTP, rate / 20, 8),
                (Kind::Http2, HTTP2, rate * 3 / 20, 8),
                (Kind::Grpc, GRPC, rate * 3 / 20, 8),
                (Kind::Stream, GRPC, 4, 4),
            ];
            for (kind, port, rate, lanes) in kinds {
                clients.push(Steady { kind, to: service::at(net, port), rate, lanes });
            }
        }
        Burden::start(&self.pod, clients)
    }
}

/// Requests at a steady rate, while they go on.
#[derive(Debug)]
pub struct Burden {
    clients: Vec<Steady>,
    process: Process,
}

impl Burden {
    /// Starts it.
    pub fn start(pod: &Host, clients: Vec<Steady>) -> Result<Self> {
        let mut command = probe()?;
        command.arg("steady").arg(serde_json::to_string(&clients)?);
        let mut process = pod.run(command)?;
        process.line(PATIENCE)?;
        Ok(Self { clients, process })
    }

    /// Ends it: what came of each client, and after how many seconds.
    pub fn counts(mut self) -> Result<(Vec<(Steady, Count)>, f64)> {
        self.process.say("stop")?;
        let Counts { counts, millis } = self.process.answer(PATIENCE)?;
        let seconds = Duration::from_millis(millis).as_secs_f64();
        Ok((self.clients.into_iter().zip(counts).collect(), seconds))
    }

    /// Ends it: no request may have failed, and the second version has its share where one is given.
    pub fn end(self, what: &str, share: Option<f64>) -> Result<u32> {
        let (all, seconds) = self.counts()?;
        let mut answered = 0;
        for (client, count) in &all {
            println!(
                "{what}: {:?} {}: {} answers, {} connections, the slowest {} ms, {} failed",
                client.kind,
                client.to,
                count.answered(),
                count.connections,
                count.longest_ms,
                count.failed
            );
            answered += count.answered();
        }
        println!("{what}: {answered} answers, {:.0} a second", f64::from(answered) / seconds);
        for (client, count) in &all {
            ensure!(count.failed == 0, "{client:?}: {} failed: {:#?}", count.failed, count.words);
            ensure!(count.answered() > 0, "{client:?}: nothing was sent");
            let of = |version: &str| count.answers.get(version).copied().unwrap_or(0);
            ensure!(of("v1") + of("v2") == count.answered(), "{client:?}: {:?}", count.answers);
            if let Some(share) = share {
                let is_split = is_share(of("v2"), count.answered(), share);
                ensure!(is_split, "{client:?}: {:?}", count.answers);
            }
        }
        Ok(answered)
    }
}

/// The service, with the versions of these hosts.
pub fn reviews(hosts: &[(&Host, &str)]) -> String {
    let ports = [("http", HTTP), ("http2", HTTP2), ("grpc", GRPC)];
    service::with_versions("reviews", (service::addresses(), &ports), hosts)
}

/// The split, with the share of the second version.
pub fn routes(share: u32) -> String {
    let rest = 100 - share;
    format!(
        "apiVersion: networking.istio.io/v1\nkind: DestinationRule\n\
         metadata: {{name: reviews, namespace: {NAMESPACE}}}\n\
         spec: {{host: reviews, subsets: [{{name: v1, labels: {{version: v1}}}}, \
         {{name: v2, labels: {{version: v2}}}}]}}\n\
         ---\napiVersion: networking.istio.io/v1\nkind: VirtualService\n\
         metadata: {{name: reviews, namespace: {NAMESPACE}}}\n\
         spec: {{hosts: [reviews], http: [{{route: [\
         {{destination: {{host: reviews, subset: v1}}, weight: {rest}}}, \
         {{destination: {{host: reviews, subset: v2}}, weight: {share}}}]}}]}}\n\
         ---\napiVersion: networking.istio.io/v1\nkind: VirtualService\n\
         metadata: {{name: echo, namespace: {NAMESPACE}}}\n\
         spec: {{hosts: [echo-tcp.example.com], tcp: [{{match: [{{port: {PROXIED}}}], route: [\
         {{destination: {{host: echo-tcp.example.com, port: {{number: {PROXIED}}}}}}}]}}]}}\n"
    )
}
