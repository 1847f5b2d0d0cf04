//! What comes to a pod with a strict port: who is let in, who is refused, what becomes of what is open,
//! with the agent dead too.

use std::{
    io::{ErrorKind, Read as _, Write as _},
    net::{IpAddr, SocketAddr, TcpStream, UdpSocket},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail, ensure};
use nix::net::if_::if_nametoindex;
use rstest::rstest;
use sekisho_tests::{
    agent::Agent,
    client::Client,
    links,
    manifest::{Mode, NAMESPACE},
    netns::Netns,
    packet::{self, Ends},
    serve::Echo,
    stage::Net,
    sys,
    world::{Host, Wiring, World},
};
use socket2::{Domain, Socket, Type};

/// Strict, and nothing else.
const STRICT: u16 = 8080;
/// Strict, and the kubelet probes it.
const PROBED: u16 = 8081;
/// Takes plaintext by `portLevelMtls`.
const OPEN: u16 = 9090;
/// No process listens.
const EMPTY: u16 = 8099;

/// The kernel refuses at once.
const AT_ONCE: Duration = Duration::from_millis(100);
const PATIENCE: Duration = Duration::from_secs(2);

/// A server and a client in the mesh, a pod that is not, a far host.
struct Scene {
    agent: Agent,
    _servers: Vec<Echo>,
    server: Host,
    client: Host,
    stranger: Host,
    far: Host,
    world: World,
    net: Net,
}

/// What came of a connection.
#[derive(Debug, PartialEq, Eq)]
enum Reached {
    Echoed,
    Refused,
}

impl Scene {
    fn set(wiring: Wiring, net: Net) -> Result<Self> {
        let world = World::new(wiring)?;
        let [server, client, stranger] =
            [world.pod("server")?, world.pod("client")?, world.pod("stranger")?];
        let far = world.far("far")?;
        let addresses = server.addresses();
        let servers = [STRICT, PROBED, OPEN].map(|port| Echo::start(&server, port, &addresses));
        let agent = Agent::new(&world)?;
        agent.config().namespace(true)?;
        agent.config().mesh(Mode::AllowAny)?;
        agent.config().pod(&client)?;
        agent.config().write("server", &server_pod(&server))?;
        let echoes = servers.into_iter().collect::<Result<_>>()?;
        Ok(Self { agent, _servers: echoes, server, client, stranger, far, world, net })
    }

    /// With the agent started, and the server's ports strict.
    fn strict(wiring: Wiring, net: Net) -> Result<Self> {
        let mut scene = Self::set(wiring, net)?;
        scene.agent.config().write("strict", &policy("STRICT"))?;
        scene.start()?;
        Ok(scene)
    }

    fn start(&mut self) -> Result<()> {
        self.agent.start(&self.world)?;
        self.agent.wait_until("the pods are enrolled", |agent| {
            Ok(["server", "client"]
                .iter()
                .all(|pod| agent.enrolment(pod).is_ok_and(|enrolment| enrolment == "enrolled")))
        })
    }

    fn change(&mut self, mode: &str) -> Result<()> {
        let before = self.agent.generation()?;
        self.agent.config().write("strict", &policy(mode))?;
        self.agent.wait_until("a new generation", |agent| Ok(agent.generation()? > before))
    }

    fn at(&self, port: u16) -> SocketAddr {
        SocketAddr::new(self.net.of(&self.server), port)
    }

    fn node_address(&self) -> IpAddr {
        match self.net {
            Net::V4 => sekisho_tests::world::address4(1).into(),
            Net::V6 => sekisho_tests::world::address6(1).into(),
        }
    }

    fn from(&self, netns: &Netns, port: u16) -> Result<Reached> {
        let to = self.at(port);
        netns.enter(|| reach(to))
    }

    /// Who is refused and who is let in, from everywhere.
    fn check(&self) -> Result<()> {
        let inside = self.server.netns();
        let loopback = SocketAddr::new(self.net.loopback(), STRICT);
        ensure!(inside.enter(|| reach(loopback))? == Reached::Echoed, "by loopback");
        ensure!(self.from(inside, STRICT)? == Reached::Echoed, "by its own address");
        for stranger in [self.far.netns(), self.stranger.netns()] {
            for port in [STRICT, PROBED, EMPTY] {
                let reached = self.from(stranger, port)?;
                ensure!(reached == Reached::Refused, "{} to {port}", stranger.name());
            }
            let reached = self.from(stranger, OPEN)?;
            ensure!(reached == Reached::Echoed, "{} to the open port", stranger.name());
        }
        let node = self.world.node();
        ensure!(self.from(node, PROBED)? == Reached::Echoed, "the node's probe");
        ensure!(self.from(node, STRICT)? == Reached::Refused, "the node to another port");
        let mut client = Client::start(&self.client)?;
        for port in [STRICT, PROBED, OPEN] {
            client.echoes(self.at(port)).context("a pod of this node's mesh")?;
        }
        Ok(())
    }

    fn refusals(&self) -> Result<Vec<serde_json::Value>> {
        let mut flows = self.agent.flows()?;
        flows.retain(|flow| flow["direction"] == "inbound" && flow["reason"] == "plaintext");
        Ok(flows)
    }
}

/// Connects and has a word echoed.
fn reach(to: SocketAddr) -> Result<Reached> {
    let since = Instant::now();
    match TcpStream::connect_timeout(&to, PATIENCE) {
        Ok(mut stream) => {
            echo(&mut stream)?;
            Ok(Reached::Echoed)
        }
        Err(error) if error.kind() == ErrorKind::ConnectionRefused => {
            let took = since.elapsed();
            ensure!(took < AT_ONCE, "refused after {took:?}");
            Ok(Reached::Refused)
        }
        Err(error) => bail!("{to}: {error}"),
    }
}

fn echo(stream: &mut TcpStream) -> Result<()> {
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.write_all(b"hello")?;
    let mut answer = [0; 5];
    stream.read_exact(&mut answer)?;
    ensure!(&answer == b"hello", "{answer:?}");
    Ok(())
}

/// Whether a stream was reset.
fn is_reset(stream: &mut TcpStream) -> Result<bool> {
    stream.set_read_timeout(Some(PATIENCE))?;
    match stream.read(&mut [0]) {
        Err(error) if error.kind() == ErrorKind::ConnectionReset => Ok(true),
        Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(false),
        other => bail!("{other:?}"),
    }
}

fn server_pod(host: &Host) -> String {
    let ([v4, v6], netns) = (host.addresses(), host.netns().path());
    format!(
        "apiVersion: v1\nkind: Pod\nmetadata:\n  name: server\n  namespace: {NAMESPACE}\n  \
         labels: {{app: server}}\n  annotations: {{sekisho.dev/netns: {}}}\n\
         spec:\n  nodeName: node-1\n  containers:\n  - name: app\n    image: none\n    \
         ports: [{{name: health, containerPort: {PROBED}}}]\n    \
         readinessProbe: {{httpGet: {{port: health, path: /}}}}\n\
         status: {{podIP: {v4}, podIPs: [{{ip: {v4}}}, {{ip: \"{v6}\"}}]}}\n",
        netns.display()
    )
}

fn policy(mode: &str) -> String {
    format!(
        "apiVersion: security.istio.io/v1\nkind: PeerAuthentication\n\
         metadata: {{name: server, namespace: {NAMESPACE}}}\n\
         spec:\n  selector: {{matchLabels: {{app: server}}}}\n  mtls: {{mode: {mode}}}\n  \
         portLevelMtls: {{{OPEN}: {{mode: PERMISSIVE}}}}\n"
    )
}

#[rstest]
fn a_strict_port_lets_in_who_is_known_and_nobody_else(
    #[values(Wiring::Routed, Wiring::Bridged)] wiring: Wiring,
    #[values(Net::V4, Net::V6)] net: Net,
) -> Result<()> {
    let mut scene = Scene::strict(wiring, net)?;
    scene.check()?;
    let far = net.of(&scene.far).to_string();
    scene.agent.wait_until("the refusal is told", |agent| {
        let flows = agent.flows()?;
        Ok(flows.iter().any(|flow| flow["reason"] == "plaintext" && flow["dst"] == far.as_str()))
    })?;
    for flow in scene.refusals()? {
        ensure!(flow["verdict"] == "deny" && flow["layer"] == "inbound", "{flow}");
        ensure!(flow["pod"] == "shop/server", "{flow}");
    }
    let metrics = scene.agent.metrics()?;
    ensure!(metrics.contains("outcome=\"deny_inbound\"} 7"), "{metrics}");
    Ok(())
}

#[rstest]
fn datagrams_are_no_business_of_mutual_tls(#[values(Net::V4, Net::V6)] net: Net) -> Result<()> {
    let scene = Scene::strict(Wiring::Routed, net)?;
    let (from, to) = (net.of(&scene.far), scene.at(STRICT));
    scene.far.netns().enter(|| {
        let socket = UdpSocket::bind(SocketAddr::new(from, 0))?;
        socket.set_read_timeout(Some(PATIENCE))?;
        socket.send_to(b"hello", to)?;
        let mut answer = [0; 8];
        let (length, _) = socket.recv_from(&mut answer).context("no echo")?;
        ensure!(&answer[..length] == b"hello", "{answer:?}");
        Ok(())
    })
}

#[rstest]
fn verdicts_hold_while_the_agent_is_dead_and_after_a_restart(
    #[values(Net::V4, Net::V6)] net: Net,
) -> Result<()> {
    let mut scene = Scene::strict(Wiring::Routed, net)?;
    scene.agent.kill()?;
    scene.check().context("with the agent dead")?;
    scene.start()?;
    scene.check().context("after a restart")?;
    scene.change("PERMISSIVE")?;
    ensure!(scene.from(scene.far.netns(), STRICT)? == Reached::Echoed, "permissive again");
    Ok(())
}

/// The address of the node is worth nothing: what counts is where the packet was made.
#[rstest]
fn a_forged_address_of_the_node_is_refused(#[values(Net::V4, Net::V6)] net: Net) -> Result<()> {
    const SYN: u8 = 2;
    let mut scene = Scene::strict(Wiring::Bridged, net)?;
    let ends = Ends {
        src: scene.node_address(),
        dst: net.of(&scene.server),
        src_port: 40_001,
        dst_port: PROBED,
    };
    let frame = packet::ethernet(
        scene.server.station(),
        scene.stranger.station(),
        ends.ethertype(),
        &packet::tcp(&ends, SYN, &[]),
    );
    scene.stranger.netns().enter(|| {
        let socket = Socket::new(Domain::PACKET, Type::RAW, None)?;
        let link = sys::link_address(if_nametoindex("eth0")?, ends.ethertype(), [0; 6])?;
        socket.send_to(&frame, &link)?;
        Ok(())
    })?;
    let node = scene.node_address().to_string();
    scene.agent.wait_until("the forged segment is refused", |agent| {
        let flows = agent.flows()?;
        Ok(flows.iter().any(|flow| {
            flow["reason"] == "plaintext"
                && flow["dst"] == node.as_str()
                && flow["dst_port"] == ends.src_port
        }))
    })?;
    ensure!(scene.from(scene.world.node(), PROBED)? == Reached::Echoed, "the node's own probe");
    Ok(())
}

#[rstest]
fn a_port_that_becomes_strict_resets_the_plaintext_of_strangers_alone(
    #[values(Net::V4, Net::V6)] net: Net,
) -> Result<()> {
    let mut scene = Scene::set(Wiring::Routed, net)?;
    scene.agent.config().write("strict", &policy("PERMISSIVE"))?;
    scene.start()?;
    let connect = |netns: &Netns, to: SocketAddr| {
        netns.enter(|| {
            let mut stream = TcpStream::connect_timeout(&to, PATIENCE)?;
            echo(&mut stream)?;
            Ok(stream)
        })
    };
    let mut strangers = connect(scene.far.netns(), scene.at(STRICT))?;
    let mut open = connect(scene.far.netns(), scene.at(OPEN))?;
    let mut probe = connect(scene.world.node(), scene.at(PROBED))?;
    let mut loopback = connect(scene.server.netns(), SocketAddr::new(net.loopback(), STRICT))?;
    let mut own = connect(scene.server.netns(), scene.at(STRICT))?;
    let mut client = Client::start(&scene.client)?;
    client.echoes(scene.at(STRICT))?;
    scene.change("STRICT")?;
    ensure!(is_reset(&mut strangers)?, "the stranger's connection goes on");
    for (name, stream) in [
        ("the open port", &mut open),
        ("the probe", &mut probe),
        ("loopback", &mut loopback),
        ("its own address", &mut own),
    ] {
        echo(stream).with_context(|| format!("{name} was cut"))?;
    }
    client.must("send again")?;
    ensure!(client.must("read 5")? == "again", "a pod of this node's mesh was cut");
    scene.check()?;
    let far = net.of(&scene.far).to_string();
    let reset = |flow: &serde_json::Value| flow["dst"] == far.as_str() && flow["dst_port"] != 0;
    ensure!(scene.refusals()?.iter().any(reset), "the reset is not told");
    Ok(())
}

#[rstest]
fn what_is_attached_goes_with_its_reason_and_is_put_back_where_it_was_taken(
    #[values(Net::V4, Net::V6)] net: Net,
) -> Result<()> {
    let mut scene = Scene::set(Wiring::Routed, net)?;
    scene.start()?;
    let pins = |scene: &Scene| links::pins_of(scene.agent.pins(), "sk_lookup");
    ensure!(pins(&scene)?.is_empty(), "attached without a strict port");
    scene.change("STRICT")?;
    let attached = pins(&scene)?;
    ensure!(attached.len() == 1, "{attached:?}");
    links::detach(&attached[0])?;
    ensure!(scene.from(scene.far.netns(), STRICT)? == Reached::Echoed, "detached, nothing judges");
    let deadline = Instant::now() + Duration::from_secs(5);
    while scene.from(scene.far.netns(), STRICT)? == Reached::Echoed {
        ensure!(Instant::now() < deadline, "it is not put back");
    }
    scene.check()?;
    scene.change("DISABLE")?;
    ensure!(scene.from(scene.far.netns(), STRICT)? == Reached::Echoed, "no longer strict");
    scene.agent.wait_until("it is taken away", |agent| {
        Ok(links::pins_of(agent.pins(), "sk_lookup")?.is_empty())
    })?;
    scene.change("STRICT")?;
    scene.check()?;
    scene.agent.kill()?;
    ensure!(scene.agent.uninstall()?.status.success(), "uninstall");
    ensure!(scene.from(scene.far.netns(), STRICT)? == Reached::Echoed, "after uninstall");
    Ok(())
}

/// A pod that goes takes nothing along, and its pins do not stay.
#[rstest]
fn a_strict_pod_that_goes_leaves_nothing(#[values(Net::V4)] net: Net) -> Result<()> {
    let mut scene = Scene::strict(Wiring::Routed, net)?;
    scene.agent.config().remove("server")?;
    scene.agent.wait_until("it is forgotten", |agent| {
        Ok(links::pins_of(agent.pins(), "sk_lookup")?.is_empty())
    })?;
    ensure!(scene.from(scene.far.netns(), STRICT)? == Reached::Echoed, "a pod of no mesh");
    Ok(())
}
