//! The external database of the acceptance cases (S0), at the socket: a server-first service
//! outside the mesh, and what a `ServiceEntry` changes. Each holds on either source.

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use rstest::rstest;
use sekisho_tests::{
    agent::Agent,
    client::Client,
    manifest::{Config, Mode, NODE, service_entry},
    pace,
    serve::Echo,
    shared::Source,
    world::{Host, Wiring, World},
};

use Named::{Elsewhere, One, Prefix};
use Step::{Entry, Refused, Served};

const GREETING: &str = "8.0.36 ready for you\n";
const PORT: u16 = 3_306;
const OTHER_PORT: u16 = 3_307;
/// What the agent may add to the time of a connection: less than any wait of its own.
const HARDLY_SEEN: Duration = Duration::from_millis(50);

/// The addresses of the cases, and the same cases over IPv6.
#[derive(Clone, Copy, Debug)]
enum Net {
    V4,
    V6,
}

impl Net {
    /// The database's address with this number: `10.0.0.1` is the first.
    fn at(self, number: u8) -> String {
        match self {
            Self::V4 => format!("10.0.0.{number}"),
            Self::V6 => format!("2001:db8:a::{number}"),
        }
    }

    fn single(self, number: u8) -> String {
        format!("{}/{}", self.at(number), if matches!(self, Self::V4) { 32 } else { 128 })
    }

    fn prefix(self) -> String {
        format!("{}/{}", self.at(0), if matches!(self, Self::V4) { 24 } else { 120 })
    }

    fn socket(self, number: u8, port: u16) -> Result<SocketAddr> {
        Ok(SocketAddr::new(self.at(number).parse()?, port))
    }
}

/// A pod, a database at three addresses and two ports, and an agent.
struct Case {
    net: Net,
    client: Client,
    agent: Agent,
    _servers: [Echo; 2],
    _database: Host,
    pod: Host,
    world: World,
}

impl Case {
    fn new(
        (net, source): (Net, Source),
        mode: Mode,
        prepare: impl FnOnce(&Config, &Host) -> Result<()>,
    ) -> Result<Self> {
        let world = World::new(Wiring::Routed)?;
        let (pod, database) = (world.pod("sampleapp")?, world.far("db")?);
        let addresses: Vec<_> =
            [1, 2, 9].map(|number| net.at(number).parse()).into_iter().collect::<Result<_, _>>()?;
        world.add_addresses(&database, &addresses)?;
        let servers = [
            Echo::with_greeting(&database, PORT, GREETING)?,
            Echo::with_greeting(&database, OTHER_PORT, GREETING)?,
        ];
        let mut agent = source.agent(&world)?;
        agent.config().namespace(true)?;
        agent.config().mesh(mode)?;
        agent.config().pod(&pod)?;
        prepare(agent.config(), &pod)?;
        agent.start(&world)?;
        let client = Client::start(&pod)?;
        let mut case =
            Self { net, client, agent, _servers: servers, _database: database, pod, world };
        case.agent.wait_until("the pod is enrolled", |agent| {
            Ok(agent.enrolment("sampleapp")? == "enrolled")
        })?;
        Ok(case)
    }

    /// Applies the `ServiceEntry` of the cases, with some of it changed, and waits for its effect.
    fn apply(&mut self, host: &str, addresses: &[String]) -> Result<()> {
        let before = self.agent.generation()?;
        let text = service_entry("mysql", host, addresses, &[(PORT, "TCP")])?;
        self.agent.config().write("mysql", &text)?;
        self.agent.wait_until("a new generation", |agent| Ok(agent.generation()? > before))
    }

    fn take(&mut self, step: Step) -> Result<()> {
        match step {
            Entry(host, named) => {
                let net = self.net;
                let addresses: Vec<_> = named.iter().flat_map(|named| named.text(net)).collect();
                self.apply(host, &addresses)
            }
            Served(number, port) => self.is_served(number, port),
            Refused(number, port) => self.is_refused(number, port),
        }
    }

    fn is_served(&mut self, number: u8, port: u16) -> Result<()> {
        let address = self.net.socket(number, port)?;
        self.client.must(&format!("dial {address}"))?;
        let greeting = self.client.must(&format!("read {}", GREETING.len()))?;
        ensure!(greeting == GREETING, "{address} says {greeting:?}");
        Ok(())
    }

    fn is_refused(&mut self, number: u8, port: u16) -> Result<()> {
        let address = self.net.socket(number, port)?;
        let said = self.client.dial(address)?;
        ensure!(said.is_refused(), "{address}: {said:?}");
        Ok(())
    }
}

/// Hosts of an entry: only the first is the name of the database.
const RIGHT: &str = "db.example.com";
const WRONG: &str = "unrelated.example.com";

/// What a case does, a step at a time.
#[derive(Clone, Copy, Debug)]
enum Step {
    /// The `ServiceEntry` now has this host and these addresses.
    Entry(&'static str, &'static [Named]),
    /// The database at this address and port greets.
    Served(u8, u16),
    /// A call there is refused.
    Refused(u8, u16),
}

/// What an entry lists.
#[derive(Clone, Copy, Debug)]
enum Named {
    /// The address with this number.
    One(u8),
    /// All of them, by a prefix.
    Prefix,
    /// Addresses of other hosts.
    Elsewhere,
}

impl Named {
    fn text(self, net: Net) -> Vec<String> {
        match self {
            Self::One(number) => vec![net.single(number)],
            Self::Prefix => vec![net.prefix()],
            Self::Elsewhere => vec!["10.9.9.9/32".into(), "2001:db8:9::9/128".into()],
        }
    }
}

/// Every step is taken by the same process in the pod, without a restart.
#[rstest]
#[case::s0_3_and_s0_4_a_database_is_out_of_reach_until_an_entry_names_it(
    Mode::RegistryOnly,
    &[Refused(1, PORT), Entry(RIGHT, &[One(1)]), Served(1, PORT)],
)]
#[case::s0_5_both_the_address_and_the_port_bind(
    Mode::RegistryOnly,
    &[Entry(RIGHT, &[One(1)]), Refused(2, PORT), Refused(1, OTHER_PORT), Served(1, PORT)],
)]
#[case::s0_6_and_s0_7_the_name_neither_helps_nor_hinders_tcp(
    Mode::RegistryOnly,
    &[Entry(WRONG, &[One(1)]), Served(1, PORT), Entry(RIGHT, &[Elsewhere]), Refused(1, PORT)],
)]
#[case::s0_8_each_address_is_listed_or_refused(
    Mode::RegistryOnly,
    &[Entry(RIGHT, &[One(1), One(2)]), Served(1, PORT), Served(2, PORT), Refused(9, PORT)],
)]
#[case::s0_9_a_prefix_covers_a_database_that_moves(
    Mode::RegistryOnly,
    &[Entry(RIGHT, &[Prefix]), Served(1, PORT), Served(9, PORT)],
)]
#[case::s0_13_an_open_mesh_needs_no_entry(
    Mode::AllowAny,
    &[Served(1, PORT), Served(2, OTHER_PORT)],
)]
fn at_the_socket(
    #[case] mode: Mode,
    #[case] steps: &[Step],
    #[values(Net::V4, Net::V6)] net: Net,
    #[values(Source::Directory, Source::Server)] source: Source,
) -> Result<()> {
    if source.is_left_out() {
        return Ok(());
    }
    let mut case = Case::new((net, source), mode, |_, _| Ok(()))?;
    for (number, step) in steps.iter().enumerate() {
        case.take(*step).with_context(|| format!("step {number}: {step:?}"))?;
    }
    Ok(())
}

#[rstest]
#[case::by_address("traffic.sidecar.istio.io/excludeOutboundIPRanges", "10.0.0.1/32", true)]
#[case::by_port("traffic.sidecar.istio.io/excludeOutboundPorts", "3306", false)]
fn s0_11_an_exclusion_of_the_pod_lets_it_out(
    #[case] annotation: &str,
    #[case] value: &str,
    #[case] binds_address: bool,
    #[values(Source::Directory, Source::Server)] source: Source,
) -> Result<()> {
    if source.is_left_out() {
        return Ok(());
    }
    let mut case = Case::new((Net::V4, source), Mode::RegistryOnly, |config, pod| {
        config.annotated_pod(pod, NODE, &[(annotation, value)])
    })?;
    case.is_served(1, PORT)?;
    if binds_address {
        case.is_refused(2, PORT)
    } else {
        case.is_served(2, PORT)?;
        case.is_refused(1, OTHER_PORT)
    }
}

/// A node's operator has the last word.
#[rstest]
fn s0_11_a_node_that_ignores_exclusions_lets_no_pod_out(
    #[values(Source::Directory, Source::Server)] source: Source,
) -> Result<()> {
    if source.is_left_out() {
        return Ok(());
    }
    let annotation = ("traffic.sidecar.istio.io/excludeOutboundPorts", "3306");
    let mut case = Case::new((Net::V4, source), Mode::RegistryOnly, |config, pod| {
        config.annotated_pod(pod, NODE, &[annotation])
    })?;
    case.is_served(1, PORT)?;
    case.agent.kill()?;
    case.agent.set("--pod-exclusions", "ignore");
    case.agent.start(&case.world)?;
    let told = |agent: &Agent| {
        let status = agent.status()?;
        let findings = status["findings"].as_array().cloned().unwrap_or_default();
        Ok(findings.iter().any(|one| one["code"] == "SK0103" && one["kind"] == "Pod"))
    };
    case.agent.wait_until("the finding", told)?;
    case.is_refused(1, PORT)?;
    case.apply(RIGHT, &[case.net.single(1)])?;
    case.is_served(1, PORT)
}

#[rstest]
fn s0_12_without_its_entry_the_database_is_out_of_reach_again(
    #[values(Net::V4, Net::V6)] net: Net,
    #[values(Source::Directory, Source::Server)] source: Source,
) -> Result<()> {
    if source.is_left_out() {
        return Ok(());
    }
    let mut case = Case::new((net, source), Mode::RegistryOnly, |_, _| Ok(()))?;
    case.apply(RIGHT, &[net.single(1)])?;
    case.is_served(1, PORT)?;
    let mut idle = Client::start(&case.pod)?;
    idle.must(&format!("dial {}", net.socket(1, PORT)?))?;
    idle.must(&format!("read {}", GREETING.len()))?;

    let before = case.agent.generation()?;
    case.agent.config().remove("mysql")?;
    case.agent.wait_until("a new generation", |agent| Ok(agent.generation()? > before))?;
    // An idle connection is reset too: it learns of it without sending anything.
    let said = idle.tell("rest")?;
    assert!(said.errno.is_some() && said.took_ms < 1_000, "an open connection: {said:?}");
    case.is_refused(1, PORT)
}

/// A sniffer would wait for bytes that a client of such a database never sends first. The control is a
/// host beside the pod, of which no agent knows.
#[rstest]
fn s0_14_a_server_that_speaks_first_is_heard_at_once(
    #[values(Net::V4, Net::V6)] net: Net,
    #[values(Source::Directory, Source::Server)] source: Source,
) -> Result<()> {
    if source.is_left_out() {
        return Ok(());
    }
    let mut case = Case::new((net, source), Mode::RegistryOnly, |_, _| Ok(()))?;
    case.apply(RIGHT, &[net.single(1)])?;
    let peer = case.world.far("peer")?;
    let mut others = Client::start(&peer)?;
    let database = net.socket(1, PORT)?;
    let greeting = |client: &mut Client| {
        let start = Instant::now();
        client.must(&format!("dial {database}"))?;
        let greeting = client.must(&format!("read {}", GREETING.len()))?;
        ensure!(greeting == GREETING, "{greeting:?}");
        Ok(start.elapsed())
    };
    let took = pace::by_turns(|| greeting(&mut case.client), || greeting(&mut others))?;
    println!("{net:?}: {took:?} to the greeting");
    assert!(took.subject < took.control * 3 + HARDLY_SEEN, "{took:?}");
    Ok(())
}
