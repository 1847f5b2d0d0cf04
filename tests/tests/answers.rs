//! A pod that serves others under a policy that lets nothing out: what it sends are answers, and
//! they pass. What is no answer does not.

use std::{
    io::{Read as _, Write as _},
    net::{Shutdown, SocketAddr, TcpStream, UdpSocket},
    time::Duration,
};

use anyhow::{Context as _, Result};
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
/// Where nobody listens.
const SHUT_PORT: u16 = 8_081;
const PATIENCE: Duration = Duration::from_secs(3);

/// A pod that serves, a stranger far away, and an agent that lets nothing out.
struct Case {
    net: Net,
    servers: [Process; 2],
    agent: Agent,
    far: Host,
    pod: Host,
    _world: World,
}

impl Case {
    fn new(net: Net) -> Result<Self> {
        Self::by("auto", net)
    }

    fn by(layer3: &str, net: Net) -> Result<Self> {
        let world = World::new(Wiring::Routed)?;
        let (pod, far) = (world.pod("server")?, world.far("client")?);
        far.netns().set(&[("ipv4/ping_group_range", "0 2147483647")])?;
        let mut agent = Agent::new(&world)?.with("--layer3", layer3);
        agent.config().namespace(true)?;
        agent.config().mesh(Mode::RegistryOnly)?;
        agent.config().pod(&pod)?;
        agent.start(&world)?;
        agent.wait_until("the pod is enrolled", |agent| {
            Ok(agent.enrolment("server")? == "enrolled")
        })?;
        let servers = [serve(&pod, "tcp")?, serve(&pod, "udp")?];
        Ok(Self { net, servers, agent, far, pod, _world: world })
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
    let mut command = probe()?;
    command.args(["serve", protocol, &PORT.to_string()]);
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
    // A port where nobody listens: a reset, and an ICMP error.
    let refused = case.visit(SHUT_PORT).expect_err("nobody listens there");
    let kind = refused.downcast_ref::<std::io::Error>().map(std::io::Error::kind);
    assert_eq!(kind, Some(std::io::ErrorKind::ConnectionRefused), "{refused:#}");
    let socket = case.ask(SHUT_PORT)?;
    socket.send(b"anybody?")?;
    let error = socket.recv(&mut [0; 16]).expect_err("nobody listens there");
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
    assert!(socket.recv(&mut [0; 16]).is_err(), "an answer nobody could know");
    assert!(!case.ping()?, "an echo reply nobody could know");
    Ok(())
}
