//! What takes an address out of the rules although nobody revoked it: an endpoint that is not ready, or
//! left, a Service's address that moved, a list that comes back shorter. Open connections go on, new
//! ones are refused. What a person takes back ends at once.

use std::{
    fmt::Write as _,
    net::{IpAddr, SocketAddr},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail, ensure};
use rstest::rstest;
use sekisho_tests::{
    agent::Agent,
    client::Client,
    manifest::{Mode, NAMESPACE},
    serve::Echo,
    shared::Source,
    skip,
    stage::Net,
    world::{Host, Wiring, World},
};

/// Straight out.
const PORT: u16 = 3_306;
/// Of no declared protocol, so through the proxy.
const PROXIED: u16 = 3_308;
/// For datagrams.
const UDP: u16 = 3_309;
/// What open connections have once their endpoint has left.
const GRACE: Duration = Duration::from_secs(4);
/// From a change to its effect, on a busy machine.
const SOON: Duration = Duration::from_secs(10);

/// The address with this number; those of IPv4 are in the range of the tests' API server.
fn at(net: Net, number: u8) -> IpAddr {
    match net {
        Net::V4 => [203, 0, 113, 150 + number].into(),
        Net::V6 => format!("2001:db8:a::{number}").parse().expect("an address"),
    }
}

/// How an endpoint is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Endpoint {
    Ready,
    /// Its readiness probe fails.
    Unready,
    /// It is shutting down, and still serves.
    Terminating,
}

impl Endpoint {
    fn conditions(self) -> &'static str {
        match self {
            Self::Ready => "{ready: true, serving: true, terminating: false}",
            Self::Unready => "{ready: false, serving: false, terminating: false}",
            Self::Terminating => "{ready: false, serving: true, terminating: true}",
        }
    }
}

/// A pod under `REGISTRY_ONLY`, a database at three addresses of each family, and an agent.
struct Case {
    net: Net,
    client: Client,
    agent: Agent,
    _servers: Vec<Echo>,
    _database: Host,
    pod: Host,
    world: World,
}

impl Case {
    fn new((net, source): (Net, Source), grace: Duration) -> Result<Self> {
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

    fn start(&mut self) -> Result<()> {
        self.agent.start(&self.world)?;
        self.agent.wait_until("the pod is enrolled", |a| Ok(a.enrolment("app")? == "enrolled"))
    }

    fn headless(&self, annotation: &str) -> Result<()> {
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
    fn vip(&self, number: u8) -> Result<()> {
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
    fn endpoints(&self, all: &[(u8, Endpoint)]) -> Result<()> {
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

    fn to(&self, number: u8, port: u16) -> SocketAddr {
        SocketAddr::new(at(self.net, number), port)
    }

    /// New connections are served, or refused.
    fn wait(&mut self, to: SocketAddr, served: bool) -> Result<()> {
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
    fn hold(&self, to: SocketAddr) -> Result<Client> {
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
fn goes_on(held: &mut Client) -> Result<()> {
    held.must("send hello")?;
    ensure!(held.must("read 5")? == "hello");
    Ok(())
}

/// It is reset, within this time.
fn ends_within(held: &mut Client, patience: Duration) -> Result<Duration> {
    let start = Instant::now();
    while start.elapsed() < patience {
        if goes_on(held).is_err() {
            return Ok(start.elapsed());
        }
        thread::sleep(Duration::from_millis(50));
    }
    bail!("it still goes on after {patience:?}")
}

/// Whether a case is left out. The kernel does not know where a rule came from, so that a server has
/// the first case of each test only, where the run is not a long one.
fn is_left_out(source: Source, is_first: bool) -> bool {
    let repeats = source == Source::Server && !is_first;
    source.is_left_out() || (repeats && skip::is_for_long_runs())
}

#[rstest]
fn what_is_open_to_an_endpoint_that_is_not_ready_goes_on_until_it_has_left_for_good(
    #[values(PORT, PROXIED, UDP)] port: u16,
    #[values(Net::V4, Net::V6)] net: Net,
    #[values(Source::Directory, Source::Server)] source: Source,
) -> Result<()> {
    if is_left_out(source, (port, net) == (PORT, Net::V4)) {
        return Ok(());
    }
    let mut case = Case::new((net, source), GRACE)?;
    let (first, second) = (case.to(1, port), case.to(2, port));
    case.wait(first, true)?;
    let mut held = case.hold(first)?;

    // A probe that flaps.
    for how in [Endpoint::Unready, Endpoint::Ready, Endpoint::Unready] {
        case.endpoints(&[(1, how), (2, Endpoint::Ready)])?;
        case.wait(first, how == Endpoint::Ready)?;
        goes_on(&mut held).with_context(|| format!("{how:?}"))?;
    }
    // It is told to end, and takes longer than the grace.
    case.endpoints(&[(1, Endpoint::Terminating), (2, Endpoint::Ready)])?;
    case.wait(first, false)?;
    thread::sleep(GRACE + Duration::from_secs(3));
    goes_on(&mut held).context("terminating")?;
    case.wait(second, true)?;
    case.wait(first, false)?;

    // An agent that did not see it ready knows as well.
    case.agent.kill()?;
    case.start()?;
    if port == PROXIED {
        // A proxied connection ends with the agent.
        case.endpoints(&[(1, Endpoint::Ready), (2, Endpoint::Ready)])?;
        case.wait(first, true)?;
        held = case.hold(first)?;
    }
    goes_on(&mut held).context("after a restart")?;

    case.endpoints(&[(2, Endpoint::Ready)])?;
    case.wait(first, false)?;
    goes_on(&mut held).context("within the grace")?;
    let took = ends_within(&mut held, GRACE + SOON)?;
    println!("{net:?} {port} {source:?}: ended {took:?} after it left");
    Ok(())
}

#[rstest]
fn what_is_open_to_an_address_that_a_service_has_left_goes_on_for_the_grace(
    #[values(PORT, PROXIED)] port: u16,
    #[values(Net::V4, Net::V6)] net: Net,
    #[values(Source::Directory, Source::Server)] source: Source,
) -> Result<()> {
    // The tests' server gives out addresses of one family.
    if source.is_left_out() || (source, net) == (Source::Server, Net::V6) {
        return Ok(());
    }
    let mut case = Case::new((net, source), GRACE)?;
    case.endpoints(&[])?;
    case.vip(1)?;
    case.wait(case.to(1, port), true)?;
    let mut held = case.hold(case.to(1, port))?;

    // An address cannot be changed: the Service is made again.
    case.agent.config().remove("vip")?;
    case.vip(2)?;
    case.wait(case.to(2, port), true)?;
    case.wait(case.to(1, port), false)?;
    thread::sleep(GRACE / 4);
    goes_on(&mut held).context("within the grace")?;
    ends_within(&mut held, GRACE + SOON)?;
    Ok(())
}

/// A selector that selects nothing for a moment, and objects that are not listed for one: what comes
/// back within the grace was never missed.
#[rstest]
fn what_is_gone_for_a_moment_is_not_missed(
    #[values(PORT, UDP)] port: u16,
    #[values(Source::Directory, Source::Server)] source: Source,
) -> Result<()> {
    if is_left_out(source, port == PORT) {
        return Ok(());
    }
    let long = Duration::from_mins(1);
    let mut case = Case::new((Net::V4, source), long)?;
    let all = [(1, Endpoint::Ready), (2, Endpoint::Ready)];
    let first = case.to(1, port);
    case.wait(first, true)?;
    let mut held = case.hold(first)?;

    case.endpoints(&[])?;
    case.wait(first, false)?;
    goes_on(&mut held).context("without endpoints")?;
    case.endpoints(&all)?;
    case.wait(first, true)?;

    case.agent.config().remove("slices")?;
    case.agent.config().remove("service")?;
    case.wait(first, false)?;
    goes_on(&mut held).context("without the Service")?;

    // The next agent knows what left, and for how long.
    case.agent.wait_until("it is saved", |agent| {
        let saved = std::fs::read_to_string(agent.run_dir().join("departed.snapshot"));
        Ok(saved.is_ok_and(|text| text.contains(&at(Net::V4, 1).to_string())))
    })?;
    case.agent.kill()?;
    case.start()?;
    case.wait(first, false)?;
    goes_on(&mut held).context("after a restart")?;

    case.headless("")?;
    case.endpoints(&all)?;
    case.wait(first, true)?;
    goes_on(&mut held).context("all is back")
}

/// What a person does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Narrows {
    /// A Sidecar without the Service.
    Sidecar,
    /// A Service that other namespaces alone see.
    ExportTo,
}

#[rstest]
fn what_a_person_takes_back_ends_at_once(
    #[values(Narrows::Sidecar, Narrows::ExportTo)] narrows: Narrows,
    #[values(Some(Endpoint::Ready), Some(Endpoint::Unready), None)] how: Option<Endpoint>,
    #[values(Source::Directory, Source::Server)] source: Source,
) -> Result<()> {
    if is_left_out(source, how == Some(Endpoint::Ready)) {
        return Ok(());
    }
    let long = Duration::from_mins(10);
    let mut case = Case::new((Net::V4, source), long)?;
    let first = case.to(1, PORT);
    case.wait(first, true)?;
    let mut held = case.hold(first)?;
    // No rule changes where the endpoint had none any more.
    let left: Vec<_> = how.map(|how| (1, how)).into_iter().collect();
    case.endpoints(&left)?;
    case.wait(first, how == Some(Endpoint::Ready))?;
    goes_on(&mut held)?;

    match narrows {
        Narrows::Sidecar => case.agent.config().write(
            "sidecar",
            &format!(
                "apiVersion: networking.istio.io/v1\nkind: Sidecar\n\
                 metadata: {{name: narrow, namespace: {NAMESPACE}}}\n\
                 spec: {{egress: [{{hosts: [\"istio-system/*\"]}}]}}\n"
            ),
        )?,
        Narrows::ExportTo => case.headless("networking.istio.io/exportTo: elsewhere")?,
    }
    ends_within(&mut held, SOON)?;
    case.wait(first, false)
}

#[rstest]
fn what_an_entry_allowed_ends_with_it(
    #[values(PORT, UDP)] port: u16,
    #[values(Source::Directory, Source::Server)] source: Source,
) -> Result<()> {
    if is_left_out(source, port == PORT) {
        return Ok(());
    }
    let long = Duration::from_mins(10);
    let mut case = Case::new((Net::V4, source), long)?;
    let address = [format!("{}/32", at(Net::V4, 3))];
    let ports = [(PORT, "TCP"), (UDP, "UDP")];
    case.agent.config().service_entry("db-entry", &address, &ports)?;
    let third = case.to(3, port);
    case.wait(third, true)?;
    let mut held = case.hold(third)?;
    let elsewhere = ["203.0.113.99/32".to_owned()];
    case.agent.config().service_entry("db-entry", &elsewhere, &ports)?;
    ends_within(&mut held, SOON)?;
    case.agent.config().service_entry("db-entry", &address, &ports)?;
    case.wait(third, true)?;
    held = case.hold(third)?;
    case.agent.config().remove("db-entry")?;
    ends_within(&mut held, SOON)?;
    Ok(())
}
