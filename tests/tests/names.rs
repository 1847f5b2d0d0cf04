//! Names at the socket level: what a `ServiceEntry` or an `ExternalName` Service allows is what its
//! name resolves to, from one answer of the name server to the next.

use std::{
    net::{IpAddr, SocketAddr},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail, ensure};
use rstest::rstest;
use sekisho_tests::{
    agent::Agent,
    client::Client,
    dns::{Mood, NameServer},
    manifest::{Mode, NAMESPACE},
    maps,
    serve::Echo,
    world::{Host, Wiring, World},
};
use serde_json::Value;

const DB: &str = "db.example.com";
const PORT: u16 = 3_306;
const OTHER_PORT: u16 = 3_307;
/// A port whose protocol is not declared, so its connections go through the proxy.
const PROXIED: u16 = 3_308;
const UDP: u16 = 3_309;
/// Everything is as short as the agent allows: a second's TTL, a second's grace.
const TTL: u32 = 1;
const GRACE: u64 = 1;
/// TTL, grace, and a busy machine.
const MOVED: Duration = Duration::from_secs(15);
/// From an answer of the name server to the kernel.
const SOON: Duration = Duration::from_secs(1);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Net {
    V4,
    V6,
}

/// The database's address with this number.
fn at(net: Net, number: u8) -> IpAddr {
    match net {
        Net::V4 => [10, 0, 0, number].into(),
        Net::V6 => format!("2001:db8:a::{number}").parse().expect("an address"),
    }
}

fn both(numbers: &[u8]) -> Vec<IpAddr> {
    numbers.iter().flat_map(|number| [at(Net::V4, *number), at(Net::V6, *number)]).collect()
}

/// A pod under `REGISTRY_ONLY`, a database at three addresses of each family, a name server, and an
/// agent that asks it.
struct Case {
    client: Client,
    agent: Agent,
    server: NameServer,
    _echoes: Vec<Echo>,
    _database: Host,
    _resolver: Host,
    pod: Host,
    world: World,
}

impl Case {
    /// With the name at the first address.
    fn new(manifests: &str) -> Result<Self> {
        Self::with(manifests, |server| server.set(DB, TTL, &both(&[1])))
    }

    fn with(manifests: &str, prepare: impl FnOnce(&NameServer)) -> Result<Self> {
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

    fn start(&mut self) -> Result<()> {
        self.agent.start(&self.world)?;
        self.agent.wait_until("the pod is enrolled", |a| Ok(a.enrolment("app")? == "enrolled"))
    }

    /// Changes the manifests, and waits until a generation with the change is in force.
    fn apply(&mut self, manifests: &str) -> Result<()> {
        let before = self.agent.generation()?;
        self.agent.config().write("names", manifests)?;
        self.agent.wait_until("a new generation", |agent| Ok(agent.generation()? > before))
    }

    fn is_served(&mut self, to: (IpAddr, u16)) -> Result<()> {
        self.client.echoes(SocketAddr::from(to)).with_context(|| format!("{to:?}"))
    }

    fn is_refused(&mut self, to: (IpAddr, u16)) -> Result<()> {
        let said = self.client.dial(SocketAddr::from(to))?;
        ensure!(said.is_refused(), "{to:?}: {said:?}");
        Ok(())
    }

    /// Dials until it is served or refused; returns when it was.
    fn wait(&mut self, to: (IpAddr, u16), served: bool) -> Result<Instant> {
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
    fn hold(&self, to: (IpAddr, u16)) -> Result<Client> {
        let mut client = Client::start(&self.pod)?;
        client.echoes(SocketAddr::from(to))?;
        Ok(client)
    }

    /// What the status says of the one name.
    fn name(&self) -> Result<Value> {
        let names = self.agent.status()?["names"].clone();
        ensure!(names.as_array().is_some_and(|names| names.len() == 1), "{names}");
        Ok(names[0].clone())
    }

    /// `sekisho why`, asked until its exit code is this: it knows what is in force a moment after
    /// the kernel does.
    fn why(&self, to: &str, code: i32) -> Result<Value> {
        self.why_until(to, code, |_| true)
    }

    fn why_until(&self, to: &str, code: i32, fits: impl Fn(&Value) -> bool) -> Result<Value> {
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

fn still_echoes(held: &mut Client) -> Result<()> {
    held.must("send hello")?;
    ensure!(held.must("read 5")? == "hello");
    Ok(())
}

fn entry(resolution: &str) -> String {
    format!(
        "apiVersion: networking.istio.io/v1\nkind: ServiceEntry\n\
         metadata: {{name: db, namespace: {NAMESPACE}}}\n\
         spec:\n  hosts: [{DB}]\n  resolution: {resolution}\n  ports:\n  \
         - {{number: {PORT}, name: mysql, protocol: TCP}}\n  \
         - {{number: {PROXIED}, name: other}}\n  \
         - {{number: {UDP}, name: udp, protocol: UDP}}\n"
    )
}

fn external_name(name: &str, target: &str, port: u16) -> String {
    format!(
        "apiVersion: v1\nkind: Service\nmetadata: {{name: {name}, namespace: {NAMESPACE}}}\n\
         spec: {{type: ExternalName, externalName: {target}, ports: [{{name: tcp-mysql, port: {port}}}]}}\n"
    )
}

fn cluster_ip(name: &str, net: Net, number: u8) -> String {
    let address = at(net, number);
    format!(
        "apiVersion: v1\nkind: Service\nmetadata: {{name: {name}, namespace: {NAMESPACE}}}\n\
         spec: {{clusterIP: \"{address}\", clusterIPs: [\"{address}\"], ports: [{{name: tcp-mysql, \
         port: {PORT}}}]}}\n"
    )
}

#[rstest]
fn s0_10_an_external_name_allows_what_it_resolves_to_and_follows_it(
    #[values(Net::V4, Net::V6)] net: Net,
) -> Result<()> {
    let mut case = Case::new(&external_name("mysql", DB, PORT))?;
    case.wait((at(net, 1), PORT), true)?;
    case.is_refused((at(net, 2), PORT))?;
    case.is_refused((at(net, 1), OTHER_PORT))?;

    case.server.set(DB, TTL, &both(&[2]));
    let served = case.wait((at(net, 2), PORT), true)?;
    let answered = case.server.answered(DB).context("it was never asked")?;
    let took = served.duration_since(answered);
    println!("{net:?}: from the answer to the first connection {took:?}");
    ensure!(took < SOON, "{took:?} from the answer to the kernel");
    case.wait((at(net, 1), PORT), false)?;
    case.is_served((at(net, 2), PORT))
}

#[rstest]
fn an_entry_allows_what_its_host_resolves_to(
    #[values("DNS", "DNS_ROUND_ROBIN")] resolution: &str,
    #[values(Net::V4, Net::V6)] net: Net,
) -> Result<()> {
    let mut case = Case::with(&entry(resolution), |server| {
        server.alias(DB, TTL, "a.example.net");
        server.alias("a.example.net", TTL, "b.example.net");
        server.set("b.example.net", TTL, &both(&[1, 2]));
    })?;
    for number in [1, 2] {
        case.wait((at(net, number), PORT), true)?;
        case.is_served((at(net, number), PROXIED))?;
        let to = SocketAddr::new(at(net, number), UDP);
        case.client.must(&format!("udp {to}"))?;
        case.client.must("send hello")?;
        ensure!(case.client.must("read 5")? == "hello", "datagrams to {to}");
    }
    case.is_refused((at(net, 9), PORT))?;
    case.is_refused((at(net, 1), OTHER_PORT))?;
    case.is_refused((at(net, 1), UDP))?;
    let said = case.client.tell(&format!("udp {}", SocketAddr::new(at(net, 9), UDP)))?;
    ensure!(said.is_refused(), "datagrams to elsewhere: {said:?}");
    Ok(())
}

/// What clients dial is the entry's address, and what it leads to is what the name resolves to.
#[rstest]
fn an_entry_with_an_address_leads_where_its_host_resolves_to(
    #[values(Net::V4, Net::V6)] net: Net,
) -> Result<()> {
    // Nobody has this address, so whoever is served was carried elsewhere.
    let text = entry("DNS") + &format!("  addresses: [\"{}\"]\n", at(net, 77));
    let mut case = Case::new(&text)?;
    case.wait((at(net, 77), PORT), true)?;
    case.is_refused((at(net, 1), PORT))
}

#[rstest]
fn a_name_server_that_fails_changes_nothing(
    #[values(Some(Mood::Broken), Some(Mood::Silent), None)] mood: Option<Mood>,
) -> Result<()> {
    let mut case = Case::new(&entry("DNS"))?;
    case.wait((at(Net::V4, 1), PORT), true)?;
    match mood {
        Some(mood) => case.server.feels(mood),
        None => case.server.remove(DB),
    }
    case.agent.wait_until("the failure shows", |agent| {
        Ok(agent.status()?["names"][0]["error"].is_string())
    })?;
    // Longer than TTL and grace.
    thread::sleep(Duration::from_secs(3));
    for net in [Net::V4, Net::V6] {
        case.is_served((at(net, 1), PORT))?;
        case.is_refused((at(net, 2), PORT))?;
    }
    let name = case.name()?;
    println!("{name}");
    ensure!(name["answered"].is_string(), "{name}");
    ensure!(name["wanted_by"][0] == format!("ServiceEntry {NAMESPACE}/db"), "{name}");

    case.server.feels(Mood::Well);
    case.server.set(DB, TTL, &both(&[2]));
    case.wait((at(Net::V6, 2), PORT), true)?;
    ensure!(case.name()?["error"].is_null());
    Ok(())
}

#[rstest]
fn a_connection_to_an_address_that_the_name_has_left_goes_on_until_the_entry_goes(
    #[values(PORT, PROXIED)] port: u16,
    #[values(Net::V4, Net::V6)] net: Net,
) -> Result<()> {
    let mut case = Case::new(&entry("DNS"))?;
    case.wait((at(net, 1), port), true)?;
    let mut held = case.hold((at(net, 1), port))?;

    case.server.set(DB, TTL, &both(&[2]));
    let moved = case.wait((at(net, 2), port), true)?;
    case.is_served((at(net, 1), port)).context("within TTL and grace")?;
    // The proxied port is open by name, so there it is the proxy that would refuse.
    let refused = case.wait((at(net, 1), PORT), false)?;
    println!("{net:?} {port}: new connections are refused {:?} after the move", refused - moved);
    still_echoes(&mut held).context("after the move")?;

    // A change that has nothing to do with it goes through all open connections, too.
    let other = external_name("other", "other.example.com", OTHER_PORT);
    case.server.set("other.example.com", TTL, &both(&[9]));
    case.apply(&format!("{}---\n{other}", entry("DNS")))?;
    case.wait((at(net, 9), OTHER_PORT), true)?;
    still_echoes(&mut held).context("after another change")?;

    case.agent.kill()?;
    if port == PORT {
        still_echoes(&mut held).context("without the agent")?;
        case.start()?;
        case.wait((at(net, 2), port), true)?;
        still_echoes(&mut held).context("after a restart")?;
    } else {
        // A proxied connection ends with the agent.
        case.start()?;
        held = case.hold((at(net, 2), port))?;
    }

    case.agent.wait_until("a generation", |agent| Ok(agent.generation()? > 0))?;
    case.apply(&other)?;
    let said = held.tell("rest")?;
    ensure!(said.errno.is_some() && said.took_ms < 1_000, "without its entry: {said:?}");
    Ok(())
}

#[rstest]
fn an_agent_that_starts_without_a_name_server_knows_what_its_predecessor_knew(
    #[values(Net::V4, Net::V6)] net: Net,
) -> Result<()> {
    let mut case = Case::new(&entry("DNS"))?;
    case.wait((at(net, 1), PORT), true)?;
    let mut held = case.hold((at(net, 1), PORT))?;
    let file = case.agent.run_dir().join("names.snapshot");
    case.agent.wait_until("the answer is saved", |_| Ok(file.exists()))?;
    case.agent.kill()?;
    case.server.feels(Mood::Silent);

    case.start()?;
    case.is_served((at(net, 1), PORT))?;
    case.is_refused((at(net, 2), PORT))?;
    still_echoes(&mut held)?;
    case.agent.wait_until("the failure shows", |agent| {
        Ok(agent.status()?["names"][0]["error"].is_string())
    })?;
    // Longer than TTL and grace, after which the first answer would be gone.
    thread::sleep(Duration::from_secs(3));
    case.is_served((at(net, 1), PORT))?;
    still_echoes(&mut held)?;
    case.server.feels(Mood::Well);
    case.server.set(DB, TTL, &both(&[2]));
    case.wait((at(net, 2), PORT), true)?;
    still_echoes(&mut held)
}

#[test]
fn why_knows_addresses_by_name_and_names_by_address() -> Result<()> {
    let mut case = Case::new(&format!("{}---\n{}", entry("DNS"), external_name("my", DB, PORT)))?;
    case.wait((at(Net::V4, 1), PORT), true)?;
    case.wait((at(Net::V6, 1), PORT), true)?;
    for name in [DB, &format!("my.{NAMESPACE}")] {
        let answer = case.why(&format!("{name}:{PORT}"), 0)?;
        ensure!(answer["answers"].as_array().is_some_and(|all| all.len() == 2), "{answer}");
        case.why(&format!("{name}:{OTHER_PORT}"), 3)?;
    }
    let answer = case.why(&format!("{}:{PORT}", at(Net::V4, 1)), 0)?;
    ensure!(answer["explanation"]["names"][0]["name"] == DB, "{answer}");
    let output = case.agent.ask(&["why", "app", "nobody.example.com:1"])?;
    let complaint = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.code() == Some(1) && complaint.contains("named by no object"));

    case.server.set(DB, TTL, &both(&[2]));
    case.wait((at(Net::V4, 1), PORT), false)?;
    case.why_until(&format!("{}:{PORT}", at(Net::V4, 1)), 3, |answer| {
        answer["explanation"]["names"][0]["standing"] == "former"
    })
    .map(drop)
}

/// 200 addresses do not fit into a datagram; 300 are more than one destination has.
#[test]
fn an_answer_comes_whole_by_tcp_and_one_that_is_too_large_is_told() -> Result<()> {
    let many = |count: u16| -> Vec<IpAddr> {
        let others = (0..count).map(|at| {
            let [high, low] = at.to_be_bytes();
            [10, 1, high, low].into()
        });
        others.chain([at(Net::V4, 1)]).collect()
    };
    let mut case = Case::with(&entry("DNS"), |server| server.set(DB, TTL, &many(199)))?;
    case.wait((at(Net::V4, 1), PORT), true)?;
    ensure!(case.name()?["addresses"].as_array().is_some_and(|all| all.len() == 200));
    case.server.set(DB, TTL, &many(299));
    case.agent.wait_until("a finding", |agent| {
        let findings = agent.status()?["findings"].clone();
        let all = findings.as_array().context("no findings")?.clone();
        Ok(all.iter().any(|one| {
            one["code"] == "SK0332" && one["field"] == "spec.hosts[0]" && one["name"] == "db"
        }))
    })?;
    ensure!(case.name()?["addresses"].as_array().is_some_and(|all| all.len() == 200));
    case.is_served((at(Net::V4, 1), PORT))
}

/// The table of endpoints is kube-proxy's business; here the Service's address is a host's own.
#[rstest]
fn s2_10_a_service_is_reached_at_its_address_and_its_endpoints_are_not(
    #[values(Net::V4, Net::V6)] net: Net,
) -> Result<()> {
    let endpoints = format!(
        "---\napiVersion: v1\nkind: Endpoints\nmetadata: {{name: wiki, namespace: {NAMESPACE}}}\n\
         subsets: [{{addresses: [{{ip: \"{}\"}}], ports: [{{name: tcp-mysql, port: {PORT}}}]}}]\n",
        at(net, 2)
    );
    let mut case = Case::new(&(cluster_ip("wiki", net, 1) + &endpoints))?;
    case.is_served((at(net, 1), PORT))?;
    case.is_refused((at(net, 2), PORT))
}

#[rstest]
fn s2_12_and_s2_13_what_is_removed_leaves_nothing_behind(
    #[values(Net::V4, Net::V6)] net: Net,
) -> Result<()> {
    let headless = |numbers: &[u8]| {
        let list: Vec<String> =
            numbers.iter().map(|number| format!("{{ip: \"{}\"}}", at(net, *number))).collect();
        format!(
            "apiVersion: v1\nkind: Service\nmetadata: {{name: wiki, namespace: {NAMESPACE}}}\n\
             spec: {{clusterIP: None, ports: [{{name: tcp, port: {PORT}}}]}}\n---\n\
             apiVersion: v1\nkind: Endpoints\nmetadata: {{name: wiki, namespace: {NAMESPACE}}}\n\
             subsets: [{{addresses: [{}], ports: [{{name: tcp, port: {PORT}}}]}}]\n",
            list.join(", ")
        )
    };
    let anchor = format!("---\n{}", cluster_ip("anchor", net, 9));
    let mut case = Case::new(&anchor)?;
    case.is_served((at(net, 9), PORT))?;
    let before = maps::counts(case.agent.pins())?;

    case.apply(&(headless(&[1, 2]) + &anchor))?;
    case.is_served((at(net, 1), PORT))?;
    case.is_served((at(net, 2), PORT))?;
    case.apply(&(headless(&[2]) + &anchor))?;
    case.is_refused((at(net, 1), PORT))?;
    case.is_served((at(net, 2), PORT))?;
    case.apply(&(headless(&[]) + &anchor))?;
    case.is_refused((at(net, 2), PORT))?;

    case.server.set("other.example.com", TTL, &both(&[1]));
    let all = format!(
        "{}---\n{}---\n{}",
        headless(&[1, 2]),
        entry("DNS"),
        external_name("my", "other.example.com", OTHER_PORT)
    );
    case.apply(&(all + &anchor))?;
    case.wait((at(net, 1), OTHER_PORT), true)?;
    ensure!(maps::counts(case.agent.pins())? > before);
    case.apply(&anchor)?;
    for (number, port) in [(1, PORT), (2, PORT), (1, OTHER_PORT), (1, PROXIED)] {
        case.is_refused((at(net, number), port))?;
    }
    // What is not needed goes after a grace period.
    case.agent.wait_until("the maps are as before", |agent| {
        Ok(maps::counts(agent.pins())? == before && agent.status()?["names"].is_null())
    })?;
    case.is_served((at(net, 9), PORT))
}

#[rstest]
fn s2_14_and_s2_15_a_name_that_is_pointed_elsewhere_keeps_working(
    #[values(Net::V4, Net::V6)] net: Net,
) -> Result<()> {
    let real = format!("---\n{}", cluster_ip("real", net, 2));
    let mut case = Case::new(&(external_name("my", DB, PORT) + &real))?;
    case.wait((at(net, 1), PORT), true)?;
    // Within the cluster: the name leads to that Service's address.
    let inside = format!("real.{NAMESPACE}.svc.cluster.local");
    case.apply(&(external_name("my", &inside, OTHER_PORT) + &real))?;
    case.is_served((at(net, 2), PORT))?;
    case.is_refused((at(net, 1), PORT))?;
    case.is_refused((at(net, 2), OTHER_PORT))?;
    // A Service of its own.
    case.apply(&(cluster_ip("my", net, 9) + &real))?;
    case.is_served((at(net, 9), PORT))?;
    // And outside again.
    case.apply(&(external_name("my", DB, PORT) + &real))?;
    case.wait((at(net, 1), PORT), true)?;
    case.is_refused((at(net, 9), PORT))
}
