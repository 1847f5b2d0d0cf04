//! A database that goes by a name: a pod under `REGISTRY_ONLY`, a far host with several addresses, a
//! name server, and an agent that asks it.

use std::{
    net::{IpAddr, SocketAddr},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::Value;

use crate::{
    agent::Agent,
    client::Client,
    dns::NameServer,
    manifest::{Mode, NAMESPACE},
    serve::Echo,
    world::{Host, Wiring, World},
};

/// The name.
pub const DB: &str = "db.example.com";
/// Declared as TCP by everything here.
pub const PORT: u16 = 3_306;
/// Declared by nothing, unless a test says so.
pub const OTHER_PORT: u16 = 3_307;
/// A port whose protocol is not declared, so its connections go through the proxy.
pub const PROXIED: u16 = 3_308;
/// For datagrams.
pub const UDP: u16 = 3_309;
/// Everything is as short as the agent allows: a second's TTL, a second's grace.
pub const TTL: u32 = 1;
pub const GRACE: u64 = 1;
/// TTL, grace, and a busy machine.
pub const MOVED: Duration = Duration::from_secs(15);
/// From an answer of the name server to the kernel.
pub const SOON: Duration = Duration::from_secs(1);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
/// A family of addresses.
pub enum Net {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

/// The database's address with this number.
pub fn at(net: Net, number: u8) -> IpAddr {
    match net {
        Net::V4 => [10, 0, 0, number].into(),
        Net::V6 => format!("2001:db8:a::{number}").parse().expect("an address"),
    }
}

/// The database's addresses with these numbers.
pub fn both(numbers: &[u8]) -> Vec<IpAddr> {
    numbers.iter().flat_map(|number| [at(Net::V4, *number), at(Net::V6, *number)]).collect()
}

/// A pod under `REGISTRY_ONLY`, a database at three addresses of each family, a name server, and an
/// agent that asks it.
#[derive(Debug)]
pub struct Case {
    /// A client in the pod.
    pub client: Client,
    /// The agent.
    pub agent: Agent,
    /// The name server.
    pub server: NameServer,
    _echoes: Vec<Echo>,
    _database: Host,
    _resolver: Host,
    /// The pod.
    pub pod: Host,
    /// What they live in.
    pub world: World,
}

impl Case {
    /// With the name at the first address.
    pub fn new(manifests: &str) -> Result<Self> {
        Self::with(manifests, |server| server.set(DB, TTL, &both(&[1])))
    }

    /// With a name server that was told something else.
    pub fn with(manifests: &str, prepare: impl FnOnce(&NameServer)) -> Result<Self> {
        let world = World::new(Wiring::Routed)?;
        let (pod, database, resolver) = (world.pod("app")?, world.far("db")?, world.far("dns")?);
        let addresses = both(&[1, 2, 9]);
        world.add_addresses(&database, &addresses)?;
        let ports = [PORT, OTHER_PORT, PROXIED, UDP];
        let echoes = ports.map(|port| Echo::start(&database, port, &addresses));
        let server = NameServer::start(&resolver)?;
        prepare(&server);
        let agent = Agent::new(&world)?
            .with("--dns-server", &server.address().to_string())
            .with("--dns-min-ttl", "1")
            .with("--dns-grace", &GRACE.to_string());
        agent.config().namespace(true)?;
        agent.config().mesh(Mode::RegistryOnly)?;
        agent.config().pod(&pod)?;
        agent.config().write("names", manifests)?;
        let mut case = Self {
            client: Client::start(&pod)?,
            agent,
            server,
            _echoes: echoes.into_iter().collect::<Result<_>>()?,
            _database: database,
            _resolver: resolver,
            pod,
            world,
        };
        case.start()?;
        Ok(case)
    }

    /// Starts the agent, and waits for the pod.
    pub fn start(&mut self) -> Result<()> {
        self.agent.start(&self.world)?;
        self.agent.wait_until("the pod is enrolled", |a| Ok(a.enrolment("app")? == "enrolled"))
    }

    /// Changes the manifests, and waits until a generation with the change is in force.
    pub fn apply(&mut self, manifests: &str) -> Result<()> {
        let before = self.agent.generation()?;
        self.agent.config().write("names", manifests)?;
        self.agent.wait_until("a new generation", |agent| Ok(agent.generation()? > before))
    }

    /// A new connection is served.
    pub fn is_served(&mut self, to: (IpAddr, u16)) -> Result<()> {
        self.client.echoes(SocketAddr::from(to)).with_context(|| format!("{to:?}"))
    }

    /// A new connection is refused.
    pub fn is_refused(&mut self, to: (IpAddr, u16)) -> Result<()> {
        let said = self.client.dial(SocketAddr::from(to))?;
        ensure!(said.is_refused(), "{to:?}: {said:?}");
        Ok(())
    }

    /// Dials until it is served or refused; returns when it was.
    pub fn wait(&mut self, to: (IpAddr, u16), served: bool) -> Result<Instant> {
        let start = Instant::now();
        loop {
            let outcome = if served { self.is_served(to) } else { self.is_refused(to) };
            match outcome {
                Ok(()) => return Ok(Instant::now()),
                Err(error) if start.elapsed() > MOVED => {
                    bail!("{error:#}\n{}\n{}", self.agent.status()?["names"], self.agent.words())
                }
                Err(_) => thread::sleep(Duration::from_millis(10)),
            }
        }
    }

    /// A connection that stays open.
    pub fn hold(&self, to: (IpAddr, u16)) -> Result<Client> {
        let mut client = Client::start(&self.pod)?;
        client.echoes(SocketAddr::from(to)).with_context(|| self.agent.words())?;
        Ok(client)
    }

    /// What the status says of the one name.
    pub fn name(&self) -> Result<Value> {
        let names = self.agent.status()?["names"].clone();
        ensure!(names.as_array().is_some_and(|names| names.len() == 1), "{names}");
        Ok(names[0].clone())
    }

    /// `sekisho why`, asked until its exit code is this: it knows what is in force a moment after
    /// the kernel does.
    pub fn why(&self, to: &str, code: i32) -> Result<Value> {
        self.why_until(to, code, |_| true)
    }

    /// As [`Case::why`], until the answer fits too.
    pub fn why_until(&self, to: &str, code: i32, fits: impl Fn(&Value) -> bool) -> Result<Value> {
        let start = Instant::now();
        loop {
            match self.why_now(to) {
                Ok((Some(found), answer)) if found == code && fits(&answer) => return Ok(answer),
                other if start.elapsed() > SOON => bail!("{to}: not {code} but {other:?}"),
                _ => thread::sleep(Duration::from_millis(50)),
            }
        }
    }

    fn why_now(&self, to: &str) -> Result<(Option<i32>, Value)> {
        let output = self.agent.ask(&["why", &format!("{NAMESPACE}/app"), to, "-o", "json"])?;
        let text = String::from_utf8_lossy(&output.stdout);
        let complaint = String::from_utf8_lossy(&output.stderr);
        let answer = serde_json::from_str(&text).with_context(|| format!("{text}{complaint}"))?;
        Ok((output.status.code(), answer))
    }
}

/// An open connection carries bytes both ways.
pub fn still_echoes(held: &mut Client) -> Result<()> {
    held.must("send hello")?;
    ensure!(held.must("read 5")? == "hello");
    Ok(())
}

/// An entry whose host is the name.
pub fn entry(resolution: &str) -> String {
    format!(
        "apiVersion: networking.istio.io/v1\nkind: ServiceEntry\n\
         metadata: {{name: db, namespace: {NAMESPACE}}}\n\
         spec:\n  hosts: [{DB}]\n  resolution: {resolution}\n  ports:\n  \
         - {{number: {PORT}, name: mysql, protocol: TCP}}\n  \
         - {{number: {PROXIED}, name: other}}\n  \
         - {{number: {UDP}, name: udp, protocol: UDP}}\n"
    )
}

/// A Service that is only a name.
pub fn external_name(name: &str, target: &str, port: u16) -> String {
    format!(
        "apiVersion: v1\nkind: Service\nmetadata: {{name: {name}, namespace: {NAMESPACE}}}\n\
         spec: {{type: ExternalName, externalName: {target}, ports: [{{name: tcp-mysql, port: {port}}}]}}\n"
    )
}

/// A Service whose address is the database's with this number.
pub fn cluster_ip(name: &str, net: Net, number: u8) -> String {
    let address = at(net, number);
    format!(
        "apiVersion: v1\nkind: Service\nmetadata: {{name: {name}, namespace: {NAMESPACE}}}\n\
         spec: {{clusterIP: \"{address}\", clusterIPs: [\"{address}\"], ports: [{{name: tcp-mysql, \
         port: {PORT}}}]}}\n"
    )
}
