//! Routes, endpoints and pods change all the time while requests go on, and nothing of it stays: no
//! memory, descriptor, thread or connection, and no request fails.
//!
//! `SEKISHO_SOAK_SECONDS=3600 cargo test -p sekisho-tests --test soak` is the long form.

use std::{
    fs, thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use sekisho_tests::{
    client::Client,
    reviews::{Case, HTTP, SHARE, Server, reviews, routes},
    service,
    stage::Net,
    world::Host,
};

/// How long the short form goes on.
const SECONDS: u64 = 60;
/// Requests a second.
const RATE: u32 = 200;
/// The first rounds fill what is kept for good.
const WARM: u32 = 8;
/// What ends by itself has ended.
const SETTLED: Duration = Duration::from_mins(3);
/// Longer than the proxy keeps an idle connection to a destination.
const IDLE: Duration = Duration::from_secs(70);
/// A canary keeps some threads of the runtime's pool busy.
const SLACK_THREADS: usize = 8;
/// What the allocator may keep, however long it goes on.
const SLACK_KIB: u64 = 16 * 1_024;

/// What the agent has at one moment.
#[derive(Clone, Copy, Debug)]
struct Footprint {
    descriptors: usize,
    threads: usize,
    kib: u64,
}

impl Footprint {
    fn of(case: &Case) -> Result<Self> {
        let proc = format!("/proc/{}", case.agent.pid().context("the agent does not run")?);
        let status = fs::read_to_string(format!("{proc}/status"))?;
        let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kib = resident.and_then(|text| text.trim().strip_suffix("kB"));
        Ok(Self {
            descriptors: fs::read_dir(format!("{proc}/fd"))?.count(),
            threads: fs::read_dir(format!("{proc}/task"))?.count(),
            kib: kib.context("no VmRSS")?.trim().parse()?,
        })
    }

    fn is_within(&self, before: &Self) -> bool {
        self.descriptors <= before.descriptors
            && self.threads <= before.threads + SLACK_THREADS
            && self.kib <= before.kib + SLACK_KIB
    }
}

/// A third endpoint comes or goes, the shares change, and a pod comes, asks, and goes.
fn round(case: &mut Case, third: &Host, number: u32) -> Result<()> {
    let [v1, v2] = &case.hosts;
    let all = [(v1, "v1"), (v2, "v2"), (third, "v2")];
    let there = if number.is_multiple_of(2) { &all[..] } else { &all[..2] };
    case.agent.config().write("reviews", &reviews(there))?;
    case.agent.config().write("routes", &routes(10 + number % 80))?;
    let name = format!("guest-{number}");
    // The addresses of one that has gone.
    let guest = case.world.pod_at(&name, 150)?;
    case.agent.config().pod(&guest)?;
    case.agent.wait_until("the guest is enrolled", |a| Ok(a.enrolment(&name)? == "enrolled"))?;
    for net in [Net::V4, Net::V6] {
        let mut client = Client::start(&guest)?;
        client.must(&format!("dial {}", service::at(net, HTTP)))?;
        client.must("get / reviews")?;
        let answer = client.must("answer")?;
        ensure!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    }
    case.agent.config().remove(&format!("pod-{name}"))?;
    drop(guest);
    case.agent.wait_until("the guest is forgotten", |a| Ok(a.enrolment(&name)? == "unknown"))
}

#[test]
fn routes_endpoints_and_pods_that_change_leave_nothing_behind() -> Result<()> {
    let seconds = std::env::var("SEKISHO_SOAK_SECONDS");
    let time = Duration::from_secs(seconds.map_or(Ok(SECONDS), |text| text.parse())?);
    let mut case = Case::ready()?;
    let third = case.world.far("v3")?;
    let _server = Server::start(&third, "v2")?;
    for number in 0..WARM {
        round(&mut case, &third, number)?;
    }
    let quiet = case.burden(RATE)?;
    thread::sleep(Duration::from_secs(2));
    quiet.end("before", None)?;
    let before = settled(&case, |_| true)?;
    println!("before: {before:?}");

    let burden = case.burden(RATE)?;
    let (begun, mut rounds) = (Instant::now(), WARM);
    while begun.elapsed() < time {
        round(&mut case, &third, rounds)?;
        rounds += 1;
    }
    case.agent.config().write("routes", &routes(SHARE))?;
    burden.end(&format!("{} rounds", rounds - WARM), None)?;
    let after = settled(&case, |after| after.is_within(&before))?;
    println!("after: {after:?}");
    ensure!(after.is_within(&before), "{after:?} after {before:?}");
    Ok(())
}

/// What is left once all has ended, or when it is as little as asked for.
fn settled(case: &Case, is_enough: impl Fn(&Footprint) -> bool) -> Result<Footprint> {
    let begun = Instant::now();
    thread::sleep(IDLE);
    loop {
        let now = Footprint::of(case)?;
        if is_enough(&now) || begun.elapsed() > SETTLED {
            return Ok(now);
        }
        thread::sleep(Duration::from_millis(500));
    }
}
