//! A database whose addresses come and go, and a pod that talks to it.

use std::{
    fmt::Write as _,
    net::{IpAddr, SocketAddr},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Result, ensure};
use sekisho_tests::{
    agent::Agent,
    client::Client,
    manifest::{Mode, NAMESPACE},
    serve::Echo,
    shared::Source,
    stage::Net,
    world::{Host, Wiring, World},
};

/// Straight out.
pub(crate) const PORT: u16 = 3_306;
/// Of no declared protocol, so through the proxy.
pub(crate) const PROXIED: u16 = 3_308;
/// For datagrams.
pub(crate) const UDP: u16 = 3_309;
/// What open connections have once their endpoint has left.
pub(crate) const GRACE: Duration = Duration::from_secs(4);
/// From a change to its effect, on a busy machine.
pub(crate) const SOON: Duration = Duration::from_secs(10);

/// The address with this number; those of IPv4 are in the range of the tests' API server.
pub(crate) fn at(net: Net, number: u8) -> IpAddr {
    match net {
        Net::V4 => [203, 0, 113, 150 + number].into(),
        Net::V6 => format!("2001:db8:a::{number}").parse().expect("an address"),
    }
}

/// How an endpoint is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Endpoint {
    Ready,
    /// Its readiness probe fails.
    Unready,
    /// It is shutting down, and still serves.
    Terminating,
}

impl Endpoint {
    pub(crate) fn conditions(self) -> &'static str {
        match self {
            Self::Ready => "{ready: true, serving: true, terminating: false}",
            Self::Unready => "{ready: false, serving: false, terminating: false}",
            Self::Terminating => "{ready: false, serving: true, terminating: true}",
        }
    }
}

/// A pod under `REGISTRY_ONLY`, a database at three addresses of each family, and an agent.
pub(crate) struct Case {
    pub(crate) net: Net,
    pub(crate) client: Client,
    pub(crate) agent: Agent,
    pub(crate) _servers: Vec<Echo>,
    pub(crate) _database: Host,
    pub(crate) pod: Host,
    pub(crate) world: World,
}

impl Case {
    pub(crate) fn new((net, source): (Net, Source), grace: Duration) -> Result<Self> {
        let world = World::new(Wiring::Routed)?;
        let (pod, database) = (world.pod("app")?, world.far("db")?);
        let addresses = [1, 2, 3].map(|number| [at(Net::V4, number), at(Net::V6, number)]).concat();
        world.add_addresses(&database, &addresses)?;
        let servers = [PORT, PROXIED, UDP].map(|port| Echo::start(&database, port, &addresses));
        let agent = source.agent(&world)?.with("--endpoint-grace", &grace.as_secs().to_string());
        agent.config().namespace(true)?;
        agent.config().mesh(Mode::RegistryOnly)?;
        agent.config().pod(&pod)?;
        let mut case = Self {
            net,
            client: Client::start(&pod)?,
            agent,
            _servers: servers.into_iter().collect::<Result<_>>()?,
            _database: database,
            pod,
            world,
        };
        case.headless("")?;
        case.endpoints(&[(1, Endpoint::Ready), (2, Endpoint::Ready)])?;
        case.start()?;
        Ok(case)
    }

    pub(crate) fn start(&mut self) -> Result<()> {
        self.agent.start(&self.world)?;
        self.agent.wait_until("the pod is enrolled", |a| Ok(a.enrolment("app")? == "enrolled"))
    }

    pub(crate) fn headless(&self, annotation: &str) -> Result<()> {
        self.agent.config().write(
            "service",
            &format!(
                "apiVersion: v1\nkind: Service\n\
                 metadata: {{name: db, namespace: {NAMESPACE}, annotations: {{{annotation}}}}}\n\
                 spec:\n  clusterIP: None\n  selector: {{app: db}}\n  ports:\n{}",
                ports("  ")
            ),
        )
    }

    /// A Service with an address of its own.
    pub(crate) fn vip(&self, number: u8) -> Result<()> {
        let address = at(self.net, number);
        self.agent.config().write(
            "vip",
            &format!(
                "apiVersion: v1\nkind: Service\nmetadata: {{name: vip, namespace: {NAMESPACE}}}\n\
                 spec:\n  clusterIP: \"{address}\"\n  clusterIPs: [\"{address}\"]\n  ports:\n{}",
                ports("  ")
            ),
        )
    }

    /// The endpoints, in a slice for each family.
    pub(crate) fn endpoints(&self, all: &[(u8, Endpoint)]) -> Result<()> {
        let mut text = String::new();
        for (net, family) in [(Net::V4, "IPv4"), (Net::V6, "IPv6")] {
            write!(
                text,
                "---\napiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\n\
                 metadata:\n  name: db-{}\n  namespace: {NAMESPACE}\n  \
                 labels: {{kubernetes.io/service-name: db}}\n\
                 addressType: {family}\nports:\n{}endpoints:\n",
                family.to_lowercase(),
                ports("")
            )?;
            for (number, how) in all {
                let (address, conditions) = (at(net, *number), how.conditions());
                writeln!(text, "- {{addresses: [\"{address}\"], conditions: {conditions}}}")?;
            }
            if all.is_empty() {
                text.truncate(text.trim_end().len());
                text.push_str(" []\n");
            }
        }
        self.agent.config().write("slices", &text)
    }

    pub(crate) fn to(&self, number: u8, port: u16) -> SocketAddr {
        SocketAddr::new(at(self.net, number), port)
    }

    /// New connections are served, or refused.
    pub(crate) fn wait(&mut self, to: SocketAddr, served: bool) -> Result<()> {
        let start = Instant::now();
        loop {
            let is_udp = to.port() == UDP;
            let said = if is_udp { self.client.ask(to)? } else { self.client.dial(to)? };
            if said.errno.is_none() == served && (served || said.is_refused()) {
                return Ok(());
            }
            ensure!(start.elapsed() < SOON, "{to}: {said:?} {}", self.agent.words());
            thread::sleep(Duration::from_millis(20));
        }
    }

    /// A connection that stays open.
    pub(crate) fn hold(&self, to: SocketAddr) -> Result<Client> {
        let mut client = Client::start(&self.pod)?;
        if to.port() == UDP {
            client.must(&format!("udp {to}"))?;
        } else {
            client.must(&format!("dial {to}"))?;
        }
        goes_on(&mut client)?;
        Ok(client)
    }
}

fn ports(indent: &str) -> String {
    format!(
        "{indent}- {{name: tcp-mysql, port: {PORT}}}\n\
         {indent}- {{name: other, port: {PROXIED}}}\n\
         {indent}- {{name: udp, port: {UDP}, protocol: UDP}}\n"
    )
}

/// It carries bytes both ways.
pub(crate) fn goes_on(held: &mut Client) -> Result<()> {
    held.must("send hello")?;
    ensure!(held.must("read 5")? == "hello");
    Ok(())
}
