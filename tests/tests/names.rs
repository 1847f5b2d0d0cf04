//! Names at the socket level: what a `ServiceEntry` or an `ExternalName` Service allows is what its
//! name resolves to, from one answer of the name server to the next.

use std::{
    net::{IpAddr, SocketAddr},
    thread,
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use rstest::rstest;
use sekisho_tests::{
    dns::Mood,
    manifest::NAMESPACE,
    named::{
        Case, DB, Net, OTHER_PORT, PORT, PROXIED, SOON, TTL, UDP, at, both, entry, external_name,
        still_echoes,
    },
};

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
    // No host has this address, so a client that is answered was carried elsewhere.
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
    // The address of one family may have come while the other was still refused.
    case.agent.wait_until("the failure is over", |agent| {
        Ok(agent.status()?["names"][0]["error"].is_null())
    })
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
        // A proxied connection ends with the agent. What it saved may be older than what it knew: then
        // its successor asks first.
        case.start()?;
        case.wait((at(net, 2), port), true)?;
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
        answer["explanation"]["names"][0]["age"] == "former"
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
