//! One agent goes and another comes, and the requests of a pod do not notice: an upgrade as the
//! `DaemonSet` makes it, a stop, and a kill.

use std::{
    net::SocketAddr,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Result, ensure};
use rstest::rstest;
use sekisho_tests::{
    client::Client,
    pace::{STEP, Strain},
    pod::steady::{Kind, Steady},
    reviews::{Burden, Case, GRPC, HTTP, SHARE},
    service, skip,
    stage::{DIRECT, Net, PROXIED},
};

/// As long as the proxy may drain, and more.
const DRAINED: Duration = Duration::from_mins(1);
/// `ECONNREFUSED` and `ECONNRESET`.
const REFUSED: i32 = 111;
const RESET: i32 = 104;

/// So many upgrades, one after the other, at so many requests a second, or as many as the machine serves
/// with an agent that is not optimized.
fn check_upgrades(upgrades: u32, rate: u32) -> Result<u32> {
    let mut case = Case::ready()?;
    let burden = case.burden(rate)?;
    thread::sleep(Duration::from_secs(1));
    for upgrade in 1..=upgrades {
        let mut before = case.agent.succeed(&case.world)?;
        // Kubernetes waits as well, before it stops the one before.
        thread::sleep(Duration::from_millis(500));
        before.terminate()?;
        let status = before.finish(DRAINED)?;
        ensure!(status.success(), "upgrade {upgrade}: {status}; {}", before.complaints());
    }
    let answered = burden.end(&format!("{upgrades} upgrades"), Some(f64::from(SHARE) / 100.0));
    if answered.is_err() {
        println!("{}", case.agent.words());
    }
    answered
}

#[test]
fn three_upgrades_fail_no_request() -> Result<()> {
    check_upgrades(3, 400).map(drop)
}

#[test]
fn twenty_upgrades_at_up_to_3000_requests_a_second_fail_no_request() -> Result<()> {
    if skip::is_for_long_runs() {
        return Ok(());
    }
    check_upgrades(20, 3_000).map(drop)
}

/// Kubernetes stops an agent without another one beside it: what is under way goes on to its end.
#[rstest]
fn an_agent_that_is_stopped_alone_serves_to_the_end(
    #[values(Net::V4, Net::V6)] net: Net,
) -> Result<()> {
    let mut case = Case::ready()?;
    let stream = Steady { kind: Kind::Stream, to: service::at(net, GRPC), rate: 1, lanes: 1 };
    let calls = Burden::start(&case.pod, vec![stream])?;
    let mut client = Client::start(&case.pod)?;
    let mut idle = Client::start(&case.pod)?;
    for client in [&mut client, &mut idle] {
        client.must(&format!("dial {}", service::at(net, HTTP)))?;
        ask(client)?;
    }
    thread::sleep(Duration::from_millis(500));
    let mut agent = case.agent.let_go()?;
    let begun = Instant::now();
    agent.terminate()?;
    thread::sleep(Duration::from_millis(300));
    // New connections are served as long as there is no one else.
    let answer = ask(&mut client)?;
    ensure!(answer.contains("Connection: close"), "{answer}");
    ensure!(client.must("rest")?.is_empty(), "more than an answer");
    client.must(&format!("dial {}", service::at(net, HTTP)))?;
    let answer = ask(&mut client)?;
    ensure!(answer.contains("Connection: close"), "{answer}");
    let (all, _) = calls.counts()?;
    ensure!(all[0].1.failed == 0 && all[0].1.answered() > 0, "{all:?}");
    // A connection with no request ends in good order, and then the agent does.
    ensure!(idle.must("rest")?.is_empty(), "more than an end");
    let status = agent.finish(DRAINED)?;
    let took = begun.elapsed();
    println!("{net:?}: ended after {took:?}");
    ensure!(status.success(), "{status}; {}", agent.complaints());
    ensure!(took < Duration::from_secs(20), "it took {took:?}");
    let said = client.dial(service::at(net, HTTP))?;
    ensure!(said.errno == Some(REFUSED), "{said:?}");
    case.start()?;
    client.must(&format!("dial {}", service::at(net, HTTP)))?;
    ask(&mut client).map(drop)
}

/// What is carried as bytes has no end that the proxy could ask for.
#[rstest]
fn bytes_are_carried_on_until_the_drain_time_is_over(
    #[values(Net::V4, Net::V6)] net: Net,
) -> Result<()> {
    let mut case = Case::new()?;
    case.agent.set("--drain-time", "4");
    case.start()?;
    let mut client = Client::start(&case.pod)?;
    client.echoes(SocketAddr::new(net.of(&case.hosts[0]), PROXIED))?;
    let mut before = case.agent.succeed(&case.world)?;
    before.terminate()?;
    thread::sleep(Duration::from_secs(1));
    client.must("send still")?;
    ensure!(client.must("read 5")? == "still");
    let said = client.tell("rest")?;
    ensure!(said.errno == Some(RESET), "{said:?}");
    ensure!(before.finish(DRAINED)?.success(), "{}", before.complaints());
    client.echoes(SocketAddr::new(net.of(&case.hosts[0]), PROXIED))
}

/// A new version that dies leaves its node to the old one.
#[rstest]
fn an_agent_whose_successor_dies_begins_again(#[values(Net::V4, Net::V6)] net: Net) -> Result<()> {
    let mut case = Case::ready()?;
    let before = case.agent.succeed(&case.world)?;
    case.agent.kill()?;
    case.agent.adopt(before);
    case.agent.wait_until("it is ready again", |agent| {
        Ok(agent.status()?["state"]["state"] == "ready")
    })?;
    let mut client = Client::start(&case.pod)?;
    client.must(&format!("dial {}", service::at(net, HTTP)))?;
    ask(&mut client)?;
    // And it hands over again.
    let mut before = case.agent.succeed(&case.world)?;
    before.terminate()?;
    ensure!(before.finish(DRAINED)?.success(), "{}", before.complaints());
    Ok(())
}

/// `kill -9`: what goes through the proxy fails at once, what does not goes on, and the next agent
/// serves within two seconds.
#[rstest]
fn a_killed_agent_fails_its_requests_at_once_and_no_direct_connection(
    #[values(Net::V4, Net::V6)] net: Net,
) -> Result<()> {
    let mut case = Case::ready()?;
    let mut direct = Client::start(&case.pod)?;
    direct.echoes(SocketAddr::new(net.of(&case.hosts[0]), DIRECT))?;
    let mut waiting = Client::start(&case.pod)?;
    waiting.must(&format!("dial {}", service::at(net, HTTP)))?;
    waiting.must("get /silent reviews")?;
    let mut carried = Client::start(&case.pod)?;
    carried.echoes(SocketAddr::new(net.of(&case.hosts[0]), PROXIED))?;
    thread::sleep(Duration::from_millis(300));
    let strain = Strain::start(STEP);
    case.agent.kill()?;
    for client in [&mut waiting, &mut carried] {
        let said = client.tell("rest")?;
        ensure!(said.errno == Some(RESET) && said.took_ms < 1_000, "{said:?}");
    }
    let said = waiting.dial(service::at(net, HTTP))?;
    ensure!(said.errno == Some(REFUSED) && said.took_ms < 1_000, "{said:?}");
    direct.must("send still")?;
    ensure!(direct.must("read 5")? == "still");

    case.agent.launch(&case.world)?;
    let begun = Instant::now();
    loop {
        let said = waiting.dial(service::at(net, HTTP))?;
        if said.errno.is_none() && ask(&mut waiting).is_ok() {
            break;
        }
        ensure!(begun.elapsed() < DRAINED, "not served: {said:?} {}", case.agent.words());
        thread::sleep(Duration::from_millis(5));
    }
    let (took, slowdown) = (begun.elapsed(), strain.end()?);
    println!("{net:?}: served again {took:?} after the start; {slowdown:?}");
    ensure!(took < slowdown.stretch(Duration::from_secs(2)), "it took {took:?}");
    direct.must("send again")?;
    ensure!(direct.must("read 5")? == "again");
    Ok(())
}

/// A request and its answer.
fn ask(client: &mut Client) -> Result<String> {
    client.must("get / reviews")?;
    let answer = client.must("answer")?;
    ensure!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    Ok(answer)
}
