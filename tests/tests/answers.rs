//! A pod that serves others under a policy that lets nothing out: what it sends are answers, and
//! they pass. What is no answer does not.

use std::{
    io::{Read as _, Write as _},
    net::{Shutdown, SocketAddr, TcpStream, UdpSocket},
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use rstest::rstest;
use sekisho_tests::{
    agent::Agent,
    client::Client,
    links,
    manifest::Mode,
    packet::{self, Ends},
    process::{Process, probe},
    stage::Net,
    world::{Host, Wiring, World},
};
use socket2::{Domain, Protocol, Socket, Type};

const PORT: u16 = 8_080;
/// Without a listener.
const SHUT_PORT: u16 = 8_081;
/// Where each peer gets a socket of its own.
const PEERS_PORT: u16 = 7_101;
const PATIENCE: Duration = Duration::from_secs(3);

/// A pod that serves, a stranger far away, and an agent that lets nothing out.
struct Case {
    net: Net,
    servers: [Process; 2],
    agent: Agent,
    far: Host,
    pod: Host,
    world: World,
}

impl Case {
    fn new(net: Net) -> Result<Self> {
        Self::by("auto", net)
    }

    fn by(layer3: &str, net: Net) -> Result<Self> {
        let world = World::new(Wiring::Routed)?;
        let (pod, far) = (world.pod("server")?, world.far("client")?);
        far.netns().set(&[("ipv4/ping_group_range", "0 2147483647")])?;
        let agent = Agent::new(&world)?.with("--layer3", layer3);
        agent.config().namespace(true)?;
        agent.config().mesh(Mode::RegistryOnly)?;
        agent.config().pod(&pod)?;
        let servers = [serve(&pod, "tcp")?, serve(&pod, "udp")?];
        let mut case = Self { net, servers, agent, far, pod, world };
        case.start()?;
        Ok(case)
    }

    fn start(&mut self) -> Result<()> {
        self.agent.start(&self.world)?;
        self.agent
            .wait_until("the pod is enrolled", |agent| Ok(agent.enrolment("server")? == "enrolled"))
    }

    fn at(&self, port: u16) -> SocketAddr {
        SocketAddr::new(self.net.of(&self.pod), port)
    }

    /// Connects from far away.
    fn visit(&self, port: u16) -> Result<TcpStream> {
        let address = self.at(port);
        let stream = self.far.netns().enter(|| {
            let stream = TcpStream::connect_timeout(&address, PATIENCE);
            stream.with_context(|| format!("connecting to {address}"))
        })?;
        stream.set_read_timeout(Some(PATIENCE))?;
        Ok(stream)
    }

    /// A UDP socket far away, connected to the pod.
    fn ask(&self, port: u16) -> Result<UdpSocket> {
        let own = SocketAddr::new(self.net.of(&self.far), 0);
        let socket = self.far.netns().enter(|| Ok(UdpSocket::bind(own)?))?;
        socket.connect(self.at(port))?;
        socket.set_read_timeout(Some(PATIENCE))?;
        Ok(socket)
    }

    fn ping(&self) -> Result<bool> {
        let (src, dst) = (self.net.of(&self.far), self.net.of(&self.pod));
        let ends = Ends { src, dst, src_port: 77, dst_port: 77 };
        let protocol = if dst.is_ipv4() { Protocol::ICMPV4 } else { Protocol::ICMPV6 };
        let socket = self.far.netns().enter(|| {
            Ok(Socket::new(Domain::for_address((dst, 0).into()), Type::DGRAM, Some(protocol))?)
        })?;
        socket.set_read_timeout(Some(PATIENCE))?;
        let (_, echo) = packet::icmp_body(&ends, b"are you there?");
        socket.send_to(&echo, &SocketAddr::new(dst, 0).into())?;
        let mut answer = [0; 128];
        Ok((&socket).read(&mut answer).is_ok())
    }
}

fn serve(pod: &Host, protocol: &str) -> Result<Process> {
    serve_at(pod, protocol, PORT)
}

fn serve_at(pod: &Host, protocol: &str, port: u16) -> Result<Process> {
    let mut command = probe()?;
    command.args(["serve", protocol, &port.to_string()]);
    let mut process = pod.run(command)?;
    process.line(PATIENCE)?;
    Ok(process)
}

#[rstest]
fn a_tcp_server_is_heard_and_both_ends_close(#[values(Net::V4, Net::V6)] net: Net) -> Result<()> {
    let case = Case::new(net)?;
    let mut stream = case.visit(PORT)?;
    let message = vec![b'x'; 200_000];
    let mut echo = Vec::new();
    std::thread::scope(|scope| {
        let writer = scope.spawn(|| {
            (&stream).write_all(&message)?;
            stream.shutdown(Shutdown::Write)
        });
        (&stream).read_to_end(&mut echo)?;
        writer.join().expect("the writer does not panic")
    })?;
    assert_eq!(echo.len(), message.len());
    // The far end has seen the server's FIN, so a second visit on fresh ports works as well.
    stream = case.visit(PORT)?;
    stream.write_all(b"again")?;
    let mut word = [0; 5];
    stream.read_exact(&mut word)?;
    assert_eq!(&word, b"again");
    Ok(())
}

#[rstest]
fn a_udp_server_answers_from_a_socket_that_is_never_connected(
    #[values(Net::V4, Net::V6)] net: Net,
    // The second is longer than a frame: its later fragments have no ports.
    #[values(12, 4_000)] length: usize,
    #[values("tcx", "clsact")] layer3: &str,
) -> Result<()> {
    let case = Case::by(layer3, net)?;
    let socket = case.ask(PORT)?;
    socket.send(&vec![b'q'; length])?;
    let mut answer = vec![0; 8_192];
    assert_eq!(socket.recv(&mut answer)?, length);
    Ok(())
}

#[rstest]
fn the_kernel_answers_for_the_pod(
    #[values(Net::V4, Net::V6)] net: Net,
    #[values("tcx", "clsact")] layer3: &str,
) -> Result<()> {
    let case = Case::by(layer3, net)?;
    assert!(case.ping()?, "an echo reply");
    // A port without a listener: a reset, and an ICMP error.
    let refused = case.visit(SHUT_PORT).expect_err("the port has no listener");
    let kind = refused.downcast_ref::<std::io::Error>().map(std::io::Error::kind);
    assert_eq!(kind, Some(std::io::ErrorKind::ConnectionRefused), "{refused:#}");
    let socket = case.ask(SHUT_PORT)?;
    socket.send(b"hello?")?;
    let error = socket.recv(&mut [0; 16]).expect_err("the port has no listener");
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionRefused, "{error}");
    Ok(())
}

/// The pod may answer who asked it, and still not call them.
#[rstest]
fn a_visitor_is_answered_and_not_called_back(#[values(Net::V4, Net::V6)] net: Net) -> Result<()> {
    let case = Case::new(net)?;
    let stream = case.visit(PORT)?;
    let listener = case
        .far
        .netns()
        .enter(|| Ok(std::net::TcpListener::bind(SocketAddr::new(net.of(&case.far), 0))?))?;
    let mut client = Client::start(&case.pod)?;
    let said = client.dial(listener.local_addr()?)?;
    assert!(said.is_refused(), "a call back: {said:?}");
    let said = client.dial(stream.local_addr()?)?;
    assert!(said.is_refused(), "a call back to the visitor's own port: {said:?}");
    Ok(())
}

/// Without the hook that learns from what comes in, answers are not known as such.
#[rstest]
fn answers_stop_where_nothing_is_learnt(#[values(Net::V4, Net::V6)] net: Net) -> Result<()> {
    let case = Case::new(net)?;
    assert_eq!(case.servers.len(), 2);
    // It would put the hook back.
    case.agent.pause()?;
    for pin in links::pins_of(case.agent.pins(), "tcx_egress")? {
        links::detach(&pin)?;
    }
    let socket = case.ask(PORT)?;
    socket.send(b"hello?")?;
    assert!(socket.recv(&mut [0; 16]).is_err(), "an answer to no known request");
    assert!(!case.ping()?, "an echo reply to no known request");
    Ok(())
}

/// What a peer sends comes back.
fn echoes(peer: &UdpSocket, word: &[u8]) -> Result<()> {
    peer.send(word)?;
    let mut answer = [0; 64];
    let length = peer.recv(&mut answer).context("no answer")?;
    ensure!(&answer[..length] == word, "{:?}", &answer[..length]);
    Ok(())
}

/// A server that answers each peer by a connected socket of its own, as DTLS and QUIC servers do: in its
/// own family, and with IPv4-mapped addresses on a socket of both.
#[rstest]
#[case::v4(Net::V4, "udp4-peers")]
#[case::mapped(Net::V4, "udp-peers")]
#[case::v6(Net::V6, "udp6-peers")]
#[case::v6_of_both(Net::V6, "udp-peers")]
fn a_udp_server_answers_from_sockets_that_are_connected(
    #[case] net: Net,
    #[case] protocol: &str,
    #[values("tcx", "clsact")] layer3: &str,
) -> Result<()> {
    let mut case = Case::by(layer3, net)?;
    let mut server = serve_at(&case.pod, protocol, PEERS_PORT)?;
    let peers = [case.ask(PEERS_PORT)?, case.ask(PEERS_PORT)?];
    for word in [&b"hello"[..], b"and", b"again"] {
        for peer in &peers {
            echoes(peer, word).with_context(|| server.complaints())?;
        }
    }
    // Their sockets stay connected when rules change, and known ones and new ones are answered by
    // what is pinned while the agent is away, and after its return.
    let before = case.agent.generation()?;
    let entry = (&["203.0.113.77/32".to_owned()][..], &[(9, "TCP")][..]);
    case.agent.config().service_entry("other", entry.0, entry.1)?;
    case.agent.wait_until("a generation", |agent| Ok(agent.generation()? > before))?;
    case.agent.kill()?;
    let third = case.ask(PEERS_PORT)?;
    for peer in peers.iter().chain([&third]) {
        echoes(peer, b"without the agent").with_context(|| server.complaints())?;
    }
    case.start()?;
    let fourth = case.ask(PEERS_PORT)?;
    for peer in peers.iter().chain([&third, &fourth]) {
        echoes(peer, b"after its return").with_context(|| server.complaints())?;
    }
    assert!(server.is_running());
    Ok(())
}

/// The peer must have sent to this very port, and the socket must have it.
#[rstest]
#[case::v4(Net::V4, false)]
#[case::mapped(Net::V4, true)]
#[case::v6(Net::V6, false)]
fn a_datagram_socket_connects_to_who_has_sent_to_its_port_alone(
    #[case] net: Net,
    #[case] mapped: bool,
) -> Result<()> {
    let case = Case::new(net)?;
    let peer = case.ask(PORT)?;
    echoes(&peer, b"hello")?;
    let peer_at = peer.local_addr()?;
    let form = |at: SocketAddr| match at {
        SocketAddr::V4(v4) if mapped => SocketAddr::new(v4.ip().to_ipv6_mapped().into(), v4.port()),
        other => other,
    };
    let own = |port| {
        let any: std::net::IpAddr = if net == Net::V4 && !mapped {
            std::net::Ipv4Addr::UNSPECIFIED.into()
        } else {
            std::net::Ipv6Addr::UNSPECIFIED.into()
        };
        SocketAddr::new(any, port)
    };
    let silent = case.ask(SHUT_PORT)?.local_addr()?;
    let mut client = Client::start(&case.pod)?;
    for (port, to, why) in [
        (PEERS_PORT, silent, "a peer that sent nothing"),
        (PEERS_PORT, peer_at, "a peer that sent to another port"),
        (0, peer_at, "a peer that sent to another port than one yet to be chosen"),
        (PEERS_PORT, SocketAddr::new(peer_at.ip(), 53), "another port of the peer"),
    ] {
        let said = client.tell(&format!("meet {} {}", own(port), form(to)))?;
        assert!(said.is_refused(), "{why}: {said:?}");
        let said = client.tell(&format!("udp {}", form(to)))?;
        assert!(said.is_refused(), "{why}, without a port: {said:?}");
    }
    // The far end writes first; then that one socket may be connected to it, and no other.
    let second = case.ask(PEERS_PORT)?;
    second.send(b"hello?")?;
    let to = form(second.local_addr()?);
    let start = std::time::Instant::now();
    while client.tell(&format!("meet {} {to}", own(PEERS_PORT)))?.is_refused() {
        ensure!(start.elapsed() < PATIENCE, "a peer that has sent to this port");
    }
    client.must("send hello")?;
    let mut answer = [0; 16];
    // The port was closed when it sent, so an error may have come back first.
    let length = second.recv(&mut answer).or_else(|_| second.recv(&mut answer))?;
    assert_eq!(&answer[..length], b"hello");
    let said = client.tell(&format!("meet {} {to}", own(SHUT_PORT)))?;
    assert!(said.is_refused(), "from another port: {said:?}");
    Ok(())
}
