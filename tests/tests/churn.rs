//! Pods come and go by the dozen, and nothing of them stays: no namespace, link, map entry, pin,
//! descriptor, thread or memory. A namespace whose number was another's before inherits nothing.
//!
//! `SEKISHO_CHURN_SECONDS=600 cargo test -p sekisho-tests --test churn` is the long form.

use std::{
    collections::BTreeMap,
    fs,
    os::{fd::AsFd as _, unix::fs::MetadataExt as _},
    path::Path,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail, ensure};
use rstest::rstest;
use sekisho_tests::{
    client::Client,
    maps,
    stage::{DENIED, DIRECT, Net, PROXIED, Stage},
    world::Host,
};

/// How long the short form goes on.
const SECONDS: u64 = 20;
/// Pods in a round.
const PODS: u8 = 50;
const FIRST: u8 = 100;
/// Pods of a round that talk.
const TALKERS: usize = 6;
/// What ends by itself has ended: the runtime keeps an idle thread for ten seconds.
const SETTLED: Duration = Duration::from_secs(30);
/// A canary a second keeps some more of the runtime's threads busy than another; a thread that stays
/// with each pod makes fifty a round.
const SLACK_THREADS: usize = 8;
/// What the allocator may keep of a round, however many rounds there were.
const SLACK_KIB: u64 = 8 * 1_024;

/// What the agent and the node have of pods at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Footprint {
    entries: BTreeMap<&'static str, usize>,
    pins: usize,
    links: usize,
    descriptors: usize,
    namespaces: usize,
    threads: usize,
}

impl Footprint {
    fn of(stage: &Stage) -> Result<Self> {
        let proc = process(stage)?;
        let mut found = Self {
            entries: maps::entries(stage.agent.pins())?,
            pins: fs::read_dir(stage.agent.pins().join("links"))?.count(),
            links: stage
                .world
                .node()
                .enter(|| Ok(nix::net::if_::if_nameindex()?.iter().count()))?,
            threads: fs::read_dir(format!("{proc}/task"))?.count(),
            ..Self::default()
        };
        for entry in fs::read_dir(format!("{proc}/fd"))? {
            // One that is closed meanwhile does not count.
            let Ok(target) = fs::read_link(entry?.path()) else { continue };
            found.descriptors += 1;
            found.namespaces += usize::from(target.to_string_lossy().starts_with("net:["));
        }
        Ok(found)
    }

    /// Whether nothing of it is more than before, but for the threads of a pool.
    fn is_within(&self, before: &Self) -> bool {
        self.entries == before.entries
            && self.pins == before.pins
            && self.links == before.links
            && self.descriptors <= before.descriptors
            && self.namespaces <= before.namespaces
            && self.threads <= before.threads + SLACK_THREADS
    }
}

fn process(stage: &Stage) -> Result<String> {
    Ok(format!("/proc/{}", stage.agent.pid().context("the agent does not run")?))
}

/// The agent's own memory, in KiB.
fn memory(stage: &Stage) -> Result<u64> {
    let status = fs::read_to_string(format!("{}/status", process(stage)?))?;
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:"));
    let words = line.context("no RssAnon")?.trim().trim_end_matches(" kB").trim();
    Ok(words.parse()?)
}

/// Waits until nothing is more than before.
fn settle(stage: &Stage, before: &Footprint) -> Result<()> {
    let deadline = Instant::now() + SETTLED;
    loop {
        let now = Footprint::of(stage)?;
        if now.is_within(before) {
            return Ok(());
        }
        if Instant::now() > deadline {
            bail!("left over:\nbefore {before:?}\nnow    {now:?}");
        }
        thread::sleep(Duration::from_millis(200));
    }
}

/// A pod with addresses that another had. The kernel takes a namespace and its link away some time
/// after the last of its users has gone; that it never does is what fails here.
fn new_pod(stage: &Stage, name: &str, number: u8) -> Result<Host> {
    let link = format!("h{number}");
    let deadline = Instant::now() + SETTLED;
    while stage.world.node().enter(|| Ok(nix::net::if_::if_nametoindex(&*link).is_ok()))? {
        ensure!(Instant::now() < deadline, "{link} of the pod before is still there");
        thread::sleep(Duration::from_millis(5));
    }
    stage.world.pod_at(name, number)
}

/// Makes the pods of a round, has some of them talk, and takes all away.
fn round(stage: &mut Stage) -> Result<()> {
    let mut hosts = Vec::new();
    for number in FIRST..FIRST + PODS {
        let host = new_pod(stage, &format!("p{number}"), number)?;
        stage.agent.config().pod(&host)?;
        hosts.push(host);
    }
    stage.agent.wait_until("all are enrolled", |agent| {
        let status = agent.status()?;
        let pods = status["pods"].as_array().context("no pods")?;
        let enrolled = pods.iter().filter(|pod| pod["enrolment"] == "enrolled").count();
        Ok(enrolled == usize::from(PODS) + 1)
    })?;
    let mut talking = Vec::new();
    for host in hosts.iter().step_by(usize::from(PODS) / TALKERS) {
        talking.push(talk(stage, host)?);
    }
    // Some lose their namespace first and some their Pod; some while they talk.
    for (index, host) in hosts.into_iter().enumerate() {
        let file = format!("pod-{}", host.name());
        if index % 2 == 0 {
            drop(host);
            stage.agent.config().remove(&file)?;
        } else {
            stage.agent.config().remove(&file)?;
            drop(host);
        }
    }
    drop(talking);
    stage.agent.wait_until("all are gone", |agent| {
        Ok(agent.status()?["pods"].as_array().context("no pods")?.len() == 1)
    })
}

/// A client with a connection through the proxy still open.
fn talk(stage: &Stage, host: &Host) -> Result<Client> {
    let mut client = Client::start(host)?;
    for net in [Net::V4, Net::V6] {
        client.echoes(stage.at(net, DIRECT))?;
        let said = client.dial(stage.at(net, DENIED))?;
        ensure!(said.is_refused(), "{}: {said:?}", host.name());
    }
    client.echoes(stage.at(Net::V4, PROXIED))?;
    Ok(client)
}

#[test]
fn fifty_pods_that_come_and_go_leave_nothing() -> Result<()> {
    let seconds = match std::env::var("SEKISHO_CHURN_SECONDS") {
        Ok(text) => text.parse().context("SEKISHO_CHURN_SECONDS")?,
        Err(_) => SECONDS,
    };
    let mut stage = Stage::set()?;
    stage.agent.set("--unknown-pods", "hold");
    stage.agent.set("--canary-interval", "1");
    stage.start()?;
    // What is set up once and kept, such as buffers, threads and the sockets of a first question.
    round(&mut stage)?;
    thread::sleep(Duration::from_secs(12));
    let (before, memory_before) = (Footprint::of(&stage)?, memory(&stage)?);
    let (since, mut rounds) = (Instant::now(), 0_u32);
    while since.elapsed() < Duration::from_secs(seconds) {
        round(&mut stage)?;
        rounds += 1;
    }
    settle(&stage, &before)?;
    let now = memory(&stage)?;
    println!(
        "{rounds} rounds of {PODS} pods in {:?}: {memory_before} KiB, then {now} KiB; {before:?}",
        since.elapsed()
    );
    ensure!(rounds > 1, "only {rounds} rounds");
    ensure!(now <= memory_before + SLACK_KIB, "{memory_before} KiB, and then {now} KiB");
    stage.check_verdicts()
}

fn inode(path: &Path) -> Result<u64> {
    Ok(fs::metadata(path)?.ino())
}

/// How often another number is tried for, where the one that was wanted is taken.
const TRIES: u32 = 10;
/// How long a number is tried for.
const PATIENCE: Duration = Duration::from_secs(5);

/// A pod whose namespace has the number of one that is gone, at the same path. The kernel gives out
/// the lowest number that is free, also to files of `/proc/net`, so another test may have it for
/// long: then there is none.
fn heir(stage: &Stage, wanted: u64) -> Result<Option<Host>> {
    let deadline = Instant::now() + PATIENCE;
    let mut others = Vec::new();
    while Instant::now() < deadline {
        let host = new_pod(stage, "heir", FIRST)?;
        let number = inode(&host.netns().path())?;
        if number == wanted {
            return Ok(Some(host));
        }
        if number > wanted {
            others.clear();
            continue;
        }
        // Below the wanted one: it stays taken.
        others.push(host.netns().as_fd().try_clone_to_owned()?);
        stage.world.node().ip(&format!("link del {}", host.port()))?;
    }
    Ok(None)
}

#[rstest]
#[case::the_agent_is_dead(true)]
#[case::the_agent_runs(false)]
fn a_namespace_with_anothers_number_inherits_nothing(#[case] dead: bool) -> Result<()> {
    for _ in 0..TRIES {
        if inherits_nothing(dead)? {
            return Ok(());
        }
    }
    bail!("no namespace got the number of another in {TRIES} tries")
}

/// Whether it came to that.
fn inherits_nothing(dead: bool) -> Result<bool> {
    let mut stage = Stage::set()?;
    stage.agent.set("--unknown-pods", "hold");
    stage.start()?;
    let first = stage.world.pod_at("heir", FIRST)?;
    stage.agent.config().pod(&first)?;
    stage.agent.wait_until("it is enrolled", |a| Ok(a.enrolment("heir")? == "enrolled"))?;
    Client::start(&first)?.echoes(stage.at(Net::V4, DIRECT))?;
    let (number, path) = (inode(&first.netns().path())?, first.netns().path());
    if dead {
        stage.agent.kill()?;
    } else {
        stage.agent.config().remove("pod-heir")?;
        stage.agent.wait_until("it is gone", |a| Ok(a.enrolment("heir")? == "unknown"))?;
    }
    drop(first);
    let Some(second) = heir(&stage, number)? else { return Ok(false) };
    assert_eq!((inode(&second.netns().path())?, second.netns().path()), (number, path));
    for net in [Net::V4, Net::V6] {
        let said = Client::start(&second)?.dial(stage.at(net, DIRECT))?;
        ensure!(said.errno == Some(libc::EAGAIN), "{net:?}: what the other was allowed: {said:?}");
    }
    if dead {
        // Its Pod is still there, and the new namespace has its place.
        stage.start()?;
    } else {
        stage.agent.config().pod(&second)?;
    }
    stage.agent.wait_until("it is enrolled", |a| Ok(a.enrolment("heir")? == "enrolled"))?;
    let mut client = Client::start(&second)?;
    client.echoes(stage.at(Net::V4, DIRECT))?;
    ensure!(client.dial(stage.at(Net::V4, DENIED))?.is_refused());
    Ok(true)
}
