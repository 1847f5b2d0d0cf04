//! A pod under `REGISTRY_ONLY`, a far host with three ports, and an agent: one port that a rule
//! lets straight out, one that goes through the proxy, and one that nothing names.

use std::net::{IpAddr, SocketAddr};

use anyhow::{Result, ensure};

use crate::{
    agent::Agent,
    client::Client,
    links,
    manifest::{Mode, listed},
    serve::Echo,
    shared::Source,
    world::{Host, Wiring, World},
};

/// A rule by address: straight out.
pub const DIRECT: u16 = 7_001;
/// A rule by address whose protocol has to be found out: through the proxy.
pub const PROXIED: u16 = 7_002;
/// No rule.
pub const DENIED: u16 = 7_003;

/// Which of a host's two addresses is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Net {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

impl Net {
    /// The host's address of this family.
    pub fn of(self, host: &Host) -> IpAddr {
        match self {
            Self::V4 => host.v4().into(),
            Self::V6 => host.v6().into(),
        }
    }

    /// Loopback of this family.
    pub fn loopback(self) -> IpAddr {
        match self {
            Self::V4 => std::net::Ipv4Addr::LOCALHOST.into(),
            Self::V6 => std::net::Ipv6Addr::LOCALHOST.into(),
        }
    }
}

/// The pod, the far host and the agent.
#[derive(Debug)]
pub struct Stage {
    /// The agent, which a test may kill.
    pub agent: Agent,
    _servers: Vec<Echo>,
    /// The far host.
    pub far: Host,
    /// The pod.
    pub pod: Host,
    /// What they live in.
    pub world: World,
}

impl Stage {
    /// Everything, with the agent not started yet.
    pub fn set() -> Result<Self> {
        Self::set_on(Source::Directory)
    }

    /// The same, with the configuration on either source.
    pub fn set_on(source: Source) -> Result<Self> {
        let world = World::new(Wiring::Routed)?;
        let (pod, far) = (world.pod("app")?, world.far("far")?);
        let servers = [DIRECT, PROXIED, DENIED]
            .map(|port| Echo::start(&far, port, &far.addresses()))
            .into_iter()
            .collect::<Result<Vec<_>>>()?;
        // No object has a say in the far port that is proxied: undeclared, it is read all the same.
        let agent = source.agent(&world)?.with("--http", "always");
        agent.config().namespace(true)?;
        agent.config().mesh(Mode::RegistryOnly)?;
        agent.config().pod(&pod)?;
        let stage = Self { agent, _servers: servers, far, pod, world };
        stage.name_far("far")?;
        Ok(stage)
    }

    /// Everything, with the pod enrolled.
    pub fn ready() -> Result<Self> {
        Self::ready_on(Source::Directory)
    }

    /// The same, on either source.
    pub fn ready_on(source: Source) -> Result<Self> {
        let mut stage = Self::set_on(source)?;
        stage.start()?;
        Ok(stage)
    }

    /// Starts the agent, and waits for the pod.
    pub fn start(&mut self) -> Result<()> {
        self.agent.start(&self.world)?;
        self.agent
            .wait_until("the pod is enrolled", |agent| Ok(agent.enrolment("app")? == "enrolled"))
    }

    /// Starts the agent, and waits only until it answers.
    pub fn start_unready(&mut self) -> Result<()> {
        self.agent.launch(&self.world)?;
        self.agent.wait_until("the agent answers", |agent| agent.status().map(|_| true))
    }

    /// Writes the rule for the far host's ports under some name.
    pub fn name_far(&self, name: &str) -> Result<()> {
        let ports = [(DIRECT, "TCP"), (PROXIED, "")];
        self.agent.config().service_entry(name, &listed(&self.far.addresses()), &ports)
    }

    /// A client in the pod.
    pub fn client(&self) -> Result<Client> {
        Client::start(&self.pod)
    }

    /// The far host at a port.
    pub fn at(&self, net: Net, port: u16) -> SocketAddr {
        SocketAddr::new(net.of(&self.far), port)
    }

    /// Changes the configuration, and waits until a generation with the change is in force.
    pub fn change(&mut self, change: impl FnOnce(&Self) -> Result<()>) -> Result<()> {
        let before = self.agent.generation()?;
        change(self)?;
        self.agent.wait_until("a new generation", |agent| Ok(agent.generation()? > before))
    }

    /// Tears a hook off.
    pub fn detach(&self, hook: &str) -> Result<()> {
        let pins = links::pins_of(self.agent.pins(), hook)?;
        ensure!(!pins.is_empty(), "no link of {hook} is pinned");
        pins.iter().try_for_each(|pin| links::detach(pin))
    }

    /// Checks that each port is treated as its rule says.
    pub fn check_verdicts(&self) -> Result<()> {
        let mut client = self.client()?;
        for net in [Net::V4, Net::V6] {
            client.echoes(self.at(net, DIRECT))?;
            client.echoes(self.at(net, PROXIED))?;
            let said = client.dial(self.at(net, DENIED))?;
            ensure!(said.is_refused(), "{net:?}: {said:?}");
        }
        Ok(())
    }
}
