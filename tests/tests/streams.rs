//! Connections that are carried as bytes: by the server name of their TLS, and by routes for TCP. Real
//! sockets, clients and servers of TLS, through the node's proxy.

use std::{net::SocketAddr, time::Duration};

use anyhow::{Context as _, Result, ensure};
use rstest::rstest;
use sekisho_tests::{
    agent::Agent,
    authority::{Authority, Kind},
    client::Client,
    manifest::{Mode, NAMESPACE},
    named::Net,
    pod::http::{Answers, Requests, is_share},
    process::{Process, probe},
    serve::Echo,
    web::Web,
    world::{Host, Wiring, World},
};
use serde_json::Value;

const TLS: u16 = 8_443;
const TCP: u16 = 5_432;
/// Servers speak first there.
const GREETED: u16 = 5_433;
const PATIENCE: Duration = Duration::from_mins(1);

/// An address that no host has: only the proxy knows where a connection to it leads.
fn nowhere(net: Net, port: u16) -> SocketAddr {
    let address = match net {
        Net::V4 => "10.96.7.7",
        Net::V6 => "2001:db8:96::7",
    };
    SocketAddr::new(address.parse().expect("an address"), port)
}

/// A pod, two servers of TLS, TCP and greetings, and an agent.
struct Case {
    net: Net,
    client: Process,
    agent: Agent,
    _servers: Vec<Web>,
    _echo: Echo,
    _hosts: [Host; 2],
    pod: Host,
    world: World,
}

impl Case {
    fn new(net: Net, mode: Mode) -> Result<Self> {
        let world = World::new(Wiring::Routed)?;
        let (pod, one, two) = (world.pod("app")?, world.far("v1")?, world.far("v2")?);
        let tls = Authority::new("any")?.sign(&["a.example.com"], Kind::Good)?.server(None)?;
        let servers = vec![
            Web::secured(&one, TLS, "v1", tls.clone())?,
            Web::secured(&two, TLS, "v2", tls)?,
            Web::start(&one, TCP, "v1")?,
            Web::start(&two, TCP, "v2")?,
        ];
        let echo = Echo::with_greeting(&one, GREETED, "220 ready")?;
        let agent = Agent::new(&world)?;
        agent.config().namespace(true)?;
        agent.config().mesh(mode)?;
        agent.config().pod(&pod)?;
        agent.config().write("entries", &entries(&[&one, &two]))?;
        let mut command = probe()?;
        command.arg("http");
        let client = pod.run(command)?;
        let hosts = [one, two];
        let mut case =
            Self { net, client, agent, _servers: servers, _echo: echo, _hosts: hosts, pod, world };
        case.start()?;
        Ok(case)
    }

    fn start(&mut self) -> Result<()> {
        self.agent.start(&self.world)?;
        self.agent.wait_until("the pod is enrolled", |a| Ok(a.enrolment("app")? == "enrolled"))
    }

    fn ask(&mut self, (port, name): (u16, Option<&str>), count: u32) -> Result<Answers> {
        let requests = Requests {
            to: nowhere(self.net, port),
            lines: vec!["GET / HTTP/1.1".into(), "Host: a".into()],
            body: String::new(),
            count,
            millis: 0,
            each: 1,
            tls: name.map(str::to_owned),
        };
        self.client.say(&serde_json::to_string(&requests)?)?;
        self.client.answer(PATIENCE)
    }

    /// What a connection for a server name comes to.
    fn named(&mut self, name: &str) -> Result<String> {
        let said = self.ask((TLS, Some(name)), 1)?;
        Ok(said.only().unwrap_or("failed").to_owned())
    }

    /// The flow of a connection with this reason, and this server name where one is given. Connections
    /// are told of once they have ended, which is after their client has seen it.
    fn flow(&mut self, reason: &str, name: Option<&str>) -> Result<Value> {
        let mut last = None;
        self.agent.wait_until("the connection is told of", |agent| {
            let flows = agent.flows()?;
            let is_it = |flow: &&Value| {
                flow["reason"] == reason
                    && flow["layer"] == "proxy"
                    && name.is_none_or(|name| flow["server_name"] == name)
            };
            last = flows.iter().rev().find(is_it).cloned();
            Ok(last.is_some())
        })?;
        last.context("a flow")
    }
}

/// A server with an entry of its own, at its own addresses.
fn tcp(name: &str, host: &Host) -> String {
    let [v4, v6] = host.addresses();
    format!(
        "---\napiVersion: networking.istio.io/v1\nkind: ServiceEntry\n\
         metadata: {{name: {name}, namespace: {NAMESPACE}}}\n\
         spec: {{hosts: [{name}.example.com], resolution: STATIC, addresses: [\"{v4}\", \"{v6}\"], \
         endpoints: [{{address: \"{v4}\"}}, {{address: \"{v6}\"}}], \
         ports: [{{number: {TCP}, name: tcp, protocol: TCP}}, \
         {{number: {GREETED}, name: greeted, protocol: TCP}}]}}\n"
    )
}

/// An address that no server has, on both ports.
fn db() -> String {
    format!(
        "---\napiVersion: networking.istio.io/v1\nkind: ServiceEntry\n\
         metadata: {{name: db, namespace: {NAMESPACE}}}\n\
         spec: {{hosts: [db.example.com], addresses: [\"{}\", \"{}\"], \
         ports: [{{number: {TCP}, name: tcp, protocol: TCP}}, \
         {{number: {GREETED}, name: greeted, protocol: TCP}}]}}\n",
        nowhere(Net::V4, TCP).ip(),
        nowhere(Net::V6, TCP).ip(),
    )
}

fn entries(hosts: &[&Host; 2]) -> String {
    let entry = |name: &str, hosts: &str, at: &[&Host]| {
        let addresses = at.iter().flat_map(|host| host.addresses());
        let all: Vec<String> = addresses.map(|at| format!("{{address: \"{at}\"}}")).collect();
        format!(
            "---\napiVersion: networking.istio.io/v1\nkind: ServiceEntry\n\
             metadata: {{name: {name}, namespace: {NAMESPACE}}}\n\
             spec: {{hosts: [\"{hosts}\"], resolution: STATIC, endpoints: [{}], \
             ports: [{{number: {TLS}, name: tls, protocol: TLS}}]}}\n",
            all.join(", ")
        )
    };
    let share = |host: &str, port: u16, weight: u32| {
        format!(
            "{{destination: {{host: {host}.example.com, port: {{number: {port}}}}}, weight: {weight}}}"
        )
    };
    let routes = |name: &str, spec: &str| {
        format!(
            "---\napiVersion: networking.istio.io/v1\nkind: VirtualService\n\
             metadata: {{name: {name}, namespace: {NAMESPACE}}}\nspec: {{{spec}}}\n"
        )
    };
    let [one, two] = *hosts;
    [
        entry("a", "a.example.com", &[one]),
        entry("wild", "*.example.com", &[two]),
        entry("other", "other.example.com", &[two]),
        entry("split", "split.example.com", &[one]),
        tcp("one", one),
        tcp("two", two),
        db(),
        routes(
            "split",
            &format!(
                "hosts: [split.example.com], tls: [{{match: [{{port: {TLS}, sniHosts: \
                 [split.example.com]}}], route: [{}, {}]}}]",
                share("a", TLS, 1),
                share("other", TLS, 3),
            ),
        ),
        routes(
            "db",
            &format!(
                "hosts: [db.example.com], tcp: [{{match: [{{port: {TCP}}}], route: [{}, {}]}}, \
                 {{match: [{{port: {GREETED}}}], route: [{}]}}]",
                share("one", TCP, 1),
                share("two", TCP, 3),
                share("one", GREETED, 1),
            ),
        ),
    ]
    .concat()
}

#[rstest]
fn a_server_name_decides_where_a_connection_goes_first_time_and_after_a_restart(
    #[values(Net::V4, Net::V6)] net: Net,
) -> Result<()> {
    let mut case = Case::new(net, Mode::RegistryOnly)?;
    for again in [false, true] {
        ensure!(case.named("a.example.com")? == "200 v1", "again: {again}");
        ensure!(case.named("A.Example.Com")? == "200 v1");
        ensure!(case.named("b.example.com")? == "200 v2");
        // The parent of a wildcard, a name that nothing declares, and none at all.
        for name in ["example.com", "a.example.com.evil.example", "192.0.2.1"] {
            ensure!(case.named(name)? == "failed", "{name}");
        }
        if !again {
            case.agent.kill()?;
            case.start()?;
        }
    }
    let flow = case.flow("unknown-server-name", Some("a.example.com.evil.example"))?;
    ensure!(flow["denied"] == true && flow["bytes_sent"] == 0, "{flow}");
    case.flow("needs-host-routing", None)?;
    Ok(())
}

#[rstest]
fn s1_10_shares_of_tls_and_tcp_routes_hold_for_connections(
    #[values(Net::V4, Net::V6)] net: Net,
) -> Result<()> {
    let mut case = Case::new(net, Mode::RegistryOnly)?;
    for to in [(TLS, Some("split.example.com")), (TCP, None)] {
        let said = case.ask(to, 400)?;
        ensure!(said.of("200 v1") + said.of("200 v2") == 400, "{to:?}: {said:?}");
        ensure!(is_share(said.of("200 v2"), 400, 0.75), "{to:?}: {said:?}");
    }
    Ok(())
}

#[rstest]
fn s0_14_a_routed_server_that_speaks_first_is_heard_at_once(
    #[values(Net::V4, Net::V6)] net: Net,
) -> Result<()> {
    let case = Case::new(net, Mode::RegistryOnly)?;
    let mut client = Client::start(&case.pod)?;
    client.must(&format!("dial {}", nowhere(net, GREETED)))?;
    ensure!(client.must("read 9")? == "220 ready");
    Ok(())
}
