//! What an application sees of us (SL): nothing, whether its connection goes straight out or
//! through the proxy, and nothing at all where its pod is not in the mesh.

use std::{
    net::SocketAddr,
    process::Command,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use rstest::rstest;
use sekisho_tests::{
    agent::{Agent, PATIENCE},
    client::Client,
    ground::Ground,
    manifest::{Mode, NAMESPACE},
    posture::{Posture, judged, judged_by},
    shared::Source,
    stage::{DIRECT, Net, PROXIED, Stage},
    way::{Family, Way},
    world::{Host, Wiring, World},
};
use serde_json::Value;

/// A stage with a client.
struct Case {
    net: Net,
    client: Client,
    stage: Stage,
}

impl Case {
    fn new(net: Net) -> Result<Self> {
        Self::on(Source::Directory, net)
    }

    fn on(source: Source, net: Net) -> Result<Self> {
        let stage = Stage::ready_on(source)?;
        Ok(Self { net, client: stage.client()?, stage })
    }

    fn at(&self, port: u16) -> SocketAddr {
        self.stage.at(self.net, port)
    }

    /// Both ends of a new connection, as the application is told.
    fn names(&mut self, port: u16) -> Result<String> {
        let address = self.at(port);
        self.client.echoes(address)?;
        self.client.must("names")
    }

    fn true_names(&self, port: u16) -> String {
        format!("{} {}", self.net.of(&self.stage.pod), self.at(port))
    }
}

#[rstest]
fn sl_1_a_pods_network_is_as_it_was() -> Result<()> {
    let world = World::new(Wiring::Routed)?;
    let pod = world.pod("app")?;
    settle(&pod)?;
    let before = description(&pod)?;
    let mut agent = Agent::new(&world)?;
    agent.config().namespace(true)?;
    agent.config().mesh(Mode::RegistryOnly)?;
    agent.config().pod(&pod)?;
    let manifest = std::fs::read(agent.config().path("pod-app"))?;
    agent.start(&world)?;
    agent.wait_until("the pod is enrolled", |agent| Ok(agent.enrolment("app")? == "enrolled"))?;
    assert_eq!(description(&pod)?, before);
    assert_eq!(std::fs::read(agent.config().path("pod-app"))?, manifest);
    Ok(())
}

/// Links, addresses, routes and rules, without counters and lifetimes.
fn description(pod: &Host) -> Result<String> {
    let asked = [&["addr"][..], &["route", "show", "table", "all"], &["-6", "rule"], &["rule"]];
    asked.iter().map(|words| ip(pod, words)).collect()
}

/// Waits until the kernel is done with a link that has just been brought up. It gives it an address of
/// its own, takes that for tentative until a worker has had its turn, and has other workers tell the
/// routes that the other end is up.
fn settle(pod: &Host) -> Result<()> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let own = ip(pod, &["-6", "addr", "show", "dev", "eth0", "scope", "link"])?;
        let link = ip(pod, &["link", "show", "dev", "eth0"])?;
        let routes = ip(pod, &["route", "show", "table", "all"])?;
        let is_settled = own.contains("inet6 fe80:")
            && !own.contains("tentative")
            && link.contains("state UP")
            && !routes.contains("linkdown");
        if is_settled {
            return Ok(());
        }
        ensure!(Instant::now() < deadline, "the pod's link is not ready: {link}{own}{routes}");
        thread::sleep(Duration::from_millis(10));
    }
}

fn ip(pod: &Host, words: &[&str]) -> Result<String> {
    let mut command = Command::new("ip");
    let output = command.args(["-netns", pod.netns().name(), "-o"]).args(words).output();
    Ok(String::from_utf8(output.context("running ip")?.stdout)?)
}

#[rstest]
fn sl_2_both_ends_have_the_names_that_the_application_knows(
    #[values(Net::V4, Net::V6)] net: Net,
    #[values(DIRECT, PROXIED)] port: u16,
    #[values(Source::Directory, Source::Server)] source: Source,
) -> Result<()> {
    if source.is_left_out() {
        return Ok(());
    }
    let mut case = Case::on(source, net)?;
    assert_eq!(case.names(port)?, case.true_names(port));
    Ok(())
}

/// The hooks that keep up appearances for a proxied connection: torn off, the names show it.
#[rstest]
#[case(Net::V4, "getpeername4")]
#[case(Net::V6, "getpeername6")]
#[case(Net::V4, "getsockname4")]
#[case(Net::V6, "getsockname6")]
fn sl_2_a_detached_name_hook_is_found(#[case] net: Net, #[case] hook: &str) -> Result<()> {
    let mut case = Case::new(net)?;
    assert_eq!(case.names(PROXIED)?, case.true_names(PROXIED));
    case.stage.detach(hook)?;
    assert_ne!(case.names(PROXIED)?, case.true_names(PROXIED));
    Ok(())
}

/// Without the hook that remembers what was dialled the proxy refuses, and guesses nothing.
#[rstest]
fn a_proxy_that_does_not_know_where_to_refuses(#[values(Net::V4, Net::V6)] net: Net) -> Result<()> {
    let mut case = Case::new(net)?;
    case.stage.detach("sock_ops")?;
    let proxied = case.at(PROXIED);
    assert!(case.client.echoes(proxied).is_err(), "an echo from where?");
    let direct = case.at(DIRECT);
    case.client.echoes(direct)
}

/// No process of the pod has the port of the proxy's listeners.
#[rstest]
#[case(Net::V4, "bind4")]
#[case(Net::V6, "bind6")]
fn no_process_of_a_pod_takes_the_proxys_port(#[case] net: Net, #[case] hook: &str) -> Result<()> {
    let mut case = Case::new(net)?;
    let status = case.stage.agent.status()?;
    let port = status["pods"][0]["proxy_port"].as_u64().context("no proxy port in the status")?;
    let port = u16::try_from(port)?;
    for address in [net.loopback(), net.of(&case.stage.pod)] {
        let address = SocketAddr::new(address, port);
        let said = case.client.tell(&format!("bind {address}"))?;
        assert!(said.is_refused(), "{address}: {said:?}");
    }
    case.stage.detach(hook)?;
    let said = case.client.tell(&format!("bind {}", SocketAddr::new(net.loopback(), port)))?;
    assert!(!said.is_refused(), "without {hook}: {said:?}");
    Ok(())
}

/// Every frame that the way's probe made by hand arrives as it does without an agent, and nothing
/// is reported of the pod.
#[rstest]
fn sl_3_a_pod_outside_the_mesh_is_unaffected(
    #[values(Family::V4, Family::V6)] family: Family,
) -> Result<()> {
    let (plain, beside) = (Ground::new(Wiring::Bridged)?, Ground::new(Wiring::Bridged)?);
    let agent = judged(&beside, Posture::Unenrolled)?;
    let (_held, expected) = plain.first_round(Way::ALL, family)?;
    let (_held, found) = beside.first_round(Way::ALL, family)?;
    assert_eq!(expected.len(), found.len());
    for (expected, found) in expected.iter().zip(&found) {
        assert_eq!(found.report.fresh.errno, None, "{}", found.way);
        assert_eq!(found.report.fresh.answered, expected.report.fresh.answered, "{}", found.way);
        if found.way.is_hand_made() {
            assert_eq!(found.frames.first(), expected.frames.first(), "{}", found.way);
        } else {
            assert!(!found.frames.is_empty(), "{}", found.way);
        }
    }
    let flows = agent.flows()?;
    assert!(flows.is_empty(), "flows of a pod that is not in the mesh: {flows:?}");
    Ok(())
}

/// UDP has no way through the proxy: it goes straight out or not at all, in both families.
#[rstest]
fn sl_6_udp_is_never_redirected(
    #[values(Family::V4, Family::V6, Family::Mapped)] family: Family,
) -> Result<()> {
    let ground = Ground::new(Wiring::Bridged)?;
    let agent = Agent::new(ground.world())?.with("--http", "always");
    let mut agent = judged_by(agent, &ground, Posture::AllowAny)?;
    let wide = ["203.0.113.64/26".to_owned(), "2001:db8::40/122".to_owned()];
    // A port whose TCP goes to the proxy, by the same number.
    let ports = [(sekisho_tests::ground::PORT, "HTTP")];
    let before = agent.generation()?;
    agent.config().service_entry("web", &wide, &ports)?;
    agent.wait_until("a new generation", |agent| Ok(agent.generation()? > before))?;
    let udp = [Way::UdpSendTo, Way::UdpConnected, Way::UdpSendMsg, Way::UdpSendMmsg];
    let (_held, rows) = ground.first_round(&udp, family)?;
    for row in &rows {
        assert!(row.report.fresh.answered, "{}: {}", row.way, row.report.fresh);
        assert_eq!(
            row.frames.first().and_then(sekisho_tests::frame::Frame::source),
            Some(ground.pod().station()),
            "{}",
            row.way
        );
    }
    Ok(())
}

#[rstest]
fn sl_8_half_close_works_both_ways(
    #[values(Net::V4, Net::V6)] net: Net,
    #[values(DIRECT, PROXIED)] port: u16,
) -> Result<()> {
    let mut case = Case::new(net)?;
    let address = case.at(port);
    // The application ends first: what it has sent still comes back, and then the end.
    case.client.must(&format!("dial {address}"))?;
    case.client.must("send before the end")?;
    case.client.must("shut")?;
    assert_eq!(case.client.must("rest")?, "before the end");
    // The far end resets or ends, and a new connection is like the first.
    case.client.echoes(address)
}

/// Open while unrelated rules change and the agent dies and comes back.
#[rstest]
fn sl_8_a_long_lived_connection_outlives_changes(
    #[values(Net::V4, Net::V6)] net: Net,
    #[values(DIRECT, PROXIED)] port: u16,
    #[values(Source::Directory, Source::Server)] source: Source,
) -> Result<()> {
    if source.is_left_out() {
        return Ok(());
    }
    let mut case = Case::on(source, net)?;
    let address = case.at(port);
    case.client.echoes(address)?;
    for number in 0..5_u8 {
        let other = [format!("203.0.113.{}", 100 + number)];
        case.stage.change(|stage| {
            stage.agent.config().service_entry("other", &other, &[(5_432, "TCP")])
        })?;
        case.client.must("send still")?;
        assert_eq!(case.client.must("read 5")?, "still");
    }
    if port == DIRECT {
        case.stage.agent.kill()?;
        case.client.must("send alone")?;
        assert_eq!(case.client.must("read 5")?, "alone");
        case.stage.start()?;
        case.client.must("send again")?;
        assert_eq!(case.client.must("read 5")?, "again");
    }
    Ok(())
}

/// A connection's end is reported with what it carried, the application's bytes without the sequence
/// numbers that SYN and FIN take, and under the id of its verdict.
#[rstest]
fn the_end_of_a_connection_is_reported_under_the_id_of_its_verdict(
    #[values(DIRECT, PROXIED)] port: u16,
    #[values(Net::V4, Net::V6)] net: Net,
) -> Result<()> {
    let mut case = Case::new(net)?;
    let address = case.at(port);
    case.client.must(&format!("dial {address}"))?;
    case.client.must("send 0123456789")?;
    case.client.must("read 10")?;
    case.client.must("shut")?;
    case.client.must("rest")?;
    case.client.must("close")?;
    let pod = format!("{NAMESPACE}/app");
    let reported = |agent: &Agent| -> Result<bool> {
        let flows = agent.flows()?;
        let of_it = |flow: &&Value| flow["pod"] == *pod && flow["dst"] == *address.ip().to_string();
        let end = flows.iter().filter(of_it).find(|flow| {
            flow["event"] == "close" && flow["bytes_sent"] == 10 && flow["bytes_received"] == 10
        });
        let Some(end) = end else { return Ok(false) };
        let same =
            |flow: &&Value| flow["event"] == "verdict" && flow["connection"] == end["connection"];
        Ok(end["connection"].is_u64() && flows.iter().filter(of_it).any(|flow| same(&flow)))
    };
    let outcome = case.stage.agent.wait_until("the end is reported", reported);
    outcome.with_context(|| format!("{:#?}", case.stage.agent.flows()))
}
