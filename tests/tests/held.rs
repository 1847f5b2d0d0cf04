//! A pod that no object has named, under an agent that holds such pods: it talks to itself and answers
//! those who connect to it, as a kubelet's probes do. What it begins with others it does not.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    time::Duration,
};

use anyhow::{Result, ensure};
use rstest::rstest;
use sekisho_tests::{
    agent::Agent,
    client::Client,
    manifest::Mode,
    process::{Process, probe},
    serve::Echo,
    way::Family,
    world::{Host, Wiring, World},
};

const PORT: u16 = 8_080;
const PORT_V4: u16 = 8_081;
const FAR_PORT: u16 = 7_000;

struct Case {
    _servers: [Process; 3],
    _echo: Echo,
    agent: Agent,
    far: Host,
    pod: Host,
    _world: World,
}

impl Case {
    fn new() -> Result<Self> {
        let world = World::new(Wiring::Routed)?;
        let (pod, far) = (world.pod("app")?, world.far("far")?);
        let mut agent = Agent::new(&world)?.with("--unknown-pods", "hold");
        agent.config().namespace(true)?;
        agent.config().mesh(Mode::RegistryOnly)?;
        agent.start(&world)?;
        let servers =
            [serve(&pod, "tcp", PORT)?, serve(&pod, "tcp4", PORT_V4)?, serve(&pod, "udp", PORT)?];
        let echo = Echo::start(&far, FAR_PORT, &far.addresses())?;
        Ok(Self { _servers: servers, _echo: echo, agent, far, pod, _world: world })
    }
}

fn serve(pod: &Host, protocol: &str, port: u16) -> Result<Process> {
    let mut command = probe()?;
    command.args(["serve", protocol, &port.to_string()]);
    let mut server = pod.run(command)?;
    ensure!(server.line(Duration::from_secs(5))? == "ready");
    Ok(server)
}

/// An address as a socket of the family dials it.
fn dialled(family: Family, v4: Ipv4Addr, v6: Ipv6Addr) -> IpAddr {
    match family {
        Family::V4 => v4.into(),
        Family::V6 => v6.into(),
        Family::Mapped => v4.to_ipv6_mapped().into(),
    }
}

fn of(host: &Host, family: Family) -> IpAddr {
    dialled(family, host.v4(), host.v6())
}

fn is_held(client: &mut Client, line: &str) -> Result<()> {
    let said = client.tell(line)?;
    ensure!(said.errno == Some(libc::EAGAIN) && said.took_ms < 1_000, "{line}: {said:?}");
    Ok(())
}

#[rstest]
fn a_held_pod_reaches_only_itself(
    #[values(Family::V4, Family::V6, Family::Mapped)] family: Family,
) -> Result<()> {
    let case = Case::new()?;
    let capture = case.far.capture()?;
    let mut client = Client::start(&case.pod)?;
    let loopback = dialled(family, Ipv4Addr::LOCALHOST, Ipv6Addr::LOCALHOST);
    let unspecified = dialled(family, Ipv4Addr::UNSPECIFIED, Ipv6Addr::UNSPECIFIED);
    for address in [loopback, unspecified] {
        client.echoes(SocketAddr::new(address, PORT))?;
    }
    let echo = client.ask(SocketAddr::new(loopback, PORT))?;
    ensure!(echo.errno.is_none() && echo.text == "hello", "a datagram to itself: {echo:?}");
    client.must(&format!("udp {}", SocketAddr::new(loopback, PORT)))?;

    // Its own addresses are not known, and nothing beyond it is.
    for host in [&case.pod, &case.far] {
        let at = SocketAddr::new(of(host, family), FAR_PORT);
        is_held(&mut client, &format!("dial {at}"))?;
        is_held(&mut client, &format!("udp {at}"))?;
        is_held(&mut client, &format!("ask {at}"))?;
    }
    let seen = capture.traffic();
    ensure!(seen.is_empty(), "frames of a held pod: {seen:?}");
    Ok(())
}

#[rstest]
#[case::one_socket_for_both_families(PORT, Family::V4)]
#[case::one_socket_for_both_families(PORT, Family::V6)]
#[case::a_socket_of_its_own(PORT_V4, Family::V4)]
fn a_held_pods_server_answers_and_goes_on_when_it_is_judged(
    #[case] port: u16,
    #[case] family: Family,
) -> Result<()> {
    let mut case = Case::new()?;
    let mut visitor = Client::start(&case.far)?;
    visitor.echoes(SocketAddr::new(of(&case.pod, family), port))?;

    // A datagram's answer cannot be told from what the pod begins.
    let capture = case.far.capture()?;
    let asked = visitor.ask(SocketAddr::new(of(&case.pod, family), PORT))?;
    ensure!(asked.errno == Some(libc::EAGAIN), "no answer in time: {asked:?}");
    let seen = capture.traffic();
    ensure!(seen.is_empty(), "frames of a held pod: {seen:?}");

    visitor.must("send again")?;
    ensure!(visitor.must("read 5")? == "again");
    case.agent.config().pod(&case.pod)?;
    case.agent.wait_until("it is judged", |agent| Ok(agent.enrolment("app")? == "enrolled"))?;
    visitor.must("send after")?;
    ensure!(visitor.must("read 5")? == "after");
    let mut fresh = Client::start(&case.far)?;
    fresh.echoes(SocketAddr::new(of(&case.pod, family), port))
}
