//! The ground on which every way out is tried: a pod, a far host with an address for each way, and
//! an honest host (the *door*) that is always allowed.

use std::{
    fmt::Write as _,
    net::{IpAddr, SocketAddr},
    thread,
    time::Duration,
};

use anyhow::{Context as _, Result};

use crate::{
    capture::Capture,
    errand::{Errand, Report},
    frame::Frame,
    process::{Place, Process, probe},
    serve::Echo,
    way::{Family, Stand, Way},
    world::{Host, Wiring, World},
};

/// The port of every destination, for TCP and UDP.
pub const PORT: u16 = 7_000;

/// A probe does two tries of less than a second each in a round; the rest is for a busy machine.
const ROUND: Duration = Duration::from_secs(20);
/// What may still be on its way behind the fence, on the other processor's backlog.
const SETTLE: Duration = Duration::from_millis(60);

/// The pod and what it may try to reach.
#[derive(Debug)]
pub struct Ground {
    captures: [Capture; 2],
    _echoes: [Echo; 2],
    door: Host,
    far: Host,
    pod: Host,
    world: World,
}

/// Marks in the captures, to count frames from.
#[derive(Clone, Copy, Debug)]
pub struct Mark([usize; 2]);

/// One way out, and what came of it in one round.
#[derive(Clone, Debug)]
pub struct Row {
    /// The way.
    pub way: Way,
    /// What the process in the pod saw.
    pub report: Report,
    /// What the far end saw.
    pub frames: Vec<Frame>,
}

/// A probe for each way, with what it holds open.
#[derive(Debug)]
pub struct Probes {
    family: Family,
    running: Vec<(Way, Process)>,
}

impl Ground {
    /// A pod and its far hosts, with no agent anywhere.
    pub fn new(wiring: Wiring) -> Result<Self> {
        let world = World::new(wiring)?;
        let (pod, far, door) = (world.pod("app")?, world.far("far")?, world.far("door")?);
        let both = [Family::V4, Family::V6];
        let (announced, plain): (Vec<_>, Vec<_>) = Way::ALL
            .iter()
            .flat_map(|way| both.map(|family| (*way, way.destination(family))))
            .filter(|(_, address)| !address.is_loopback())
            .partition(|(way, _)| *way == Way::MptcpJoin);
        let addresses = |ways: &[(Way, IpAddr)], own: &Host| {
            let mut all: Vec<_> = ways.iter().map(|(_, address)| *address).collect();
            all.extend(own.addresses());
            all
        };
        let (at_far, at_door) = (addresses(&plain, &far), addresses(&announced, &door));
        world.add_addresses(&far, &at_far[..plain.len()])?;
        world.add_addresses(&door, &at_door[..announced.len()])?;
        prepare(&pod, &door, &at_door[..announced.len()])?;
        Ok(Self {
            captures: [far.capture()?, door.capture()?],
            _echoes: [Echo::start(&far, PORT, &at_far)?, Echo::start(&door, PORT, &at_door)?],
            door,
            far,
            pod,
            world,
        })
    }

    /// The node and its groups.
    pub fn world(&self) -> &World {
        &self.world
    }

    /// The pod.
    pub fn pod(&self) -> &Host {
        &self.pod
    }

    /// What is always allowed: both hosts' own addresses.
    pub fn honest_addresses(&self) -> Vec<IpAddr> {
        [self.far.addresses(), self.door.addresses()].concat()
    }

    /// Tries every way of `ways` that speaks `family` for the first time.
    pub fn first_round(&self, ways: &[Way], family: Family) -> Result<(Probes, Vec<Row>)> {
        let mark = self.mark();
        let mut running = Vec::new();
        for &way in ways.iter().filter(|way| way.speaks(family)) {
            running.push((way, self.start(&self.errand(way, family))?));
        }
        let mut probes = Probes { family, running };
        let rows = self.gather(&mut probes, mark)?;
        Ok((probes, rows))
    }

    /// Tries them all again: on what they hold open, and from the start.
    pub fn next_round(&self, probes: &mut Probes, mark: Mark) -> Result<Vec<Row>> {
        for (_, probe) in &mut probes.running {
            probe.say("again")?;
        }
        self.gather(probes, mark)
    }

    /// Frames are counted from here.
    pub fn mark(&self) -> Mark {
        Mark([self.captures[0].mark(), self.captures[1].mark()])
    }

    /// Waits until what was sent before has arrived: a datagram to each honest host, which takes
    /// the same path and is seen to arrive. It comes from outside the hooked groups, since a pod
    /// that is held has no destination of its own.
    pub fn fence(&self, family: Family) -> Result<()> {
        for (host, capture) in [&self.far, &self.door].into_iter().zip(&self.captures) {
            let address = if family == Family::V6 { host.v6().into() } else { host.v4().into() };
            let mark = capture.mark();
            let errand = Errand { dst: address, ..self.errand(Way::UdpSendTo, family) };
            let place = Place { netns: Some(self.pod.netns()), cgroup: None };
            let report: Report = send_out(&errand, place)?.answer(ROUND)?;
            anyhow::ensure!(report.fresh.answered, "the fence to {address}: {}", report.fresh);
            capture.wait_for(mark, |frame| frame.destination() == Some(address))?;
        }
        thread::sleep(SETTLE);
        Ok(())
    }

    fn gather(&self, probes: &mut Probes, mark: Mark) -> Result<Vec<Row>> {
        let mut rows = Vec::new();
        for (way, probe) in &mut probes.running {
            let report = probe.answer(ROUND).with_context(|| format!("{way}"))?;
            rows.push(Row { way: *way, report, frames: Vec::new() });
        }
        self.fence(probes.family)?;
        let seen: Vec<Frame> = self
            .captures
            .iter()
            .zip(mark.0)
            .flat_map(|(capture, mark)| capture.traffic_since(mark))
            .collect();
        for row in &mut rows {
            let destination = Some(row.way.destination(probes.family));
            row.frames =
                seen.iter().filter(|frame| frame.destination() == destination).cloned().collect();
        }
        Ok(rows)
    }

    fn errand(&self, way: Way, family: Family) -> Errand {
        let v6 = family == Family::V6;
        let pick = |host: &Host| if v6 { host.v6().into() } else { IpAddr::from(host.v4()) };
        Errand {
            way,
            family,
            dst: way.destination(family),
            port: PORT,
            src: pick(&self.pod),
            door: pick(&self.door),
            next_hop: self.world.next_hop(&self.pod, &self.far),
            station: self.pod.station(),
            cgroup: self.pod.place().cgroup.map(Into::into).unwrap_or_default(),
            netns: self.pod.netns().path(),
        }
    }

    fn start(&self, errand: &Errand) -> Result<Process> {
        let inside = Some(self.pod.netns());
        let sibling = Some(self.world.agent_cgroup());
        let place = match errand.way.profile().stand {
            Stand::Pod => self.pod.place(),
            Stand::ForeignGroup => Place { netns: inside, cgroup: None },
            Stand::SiblingGroup => Place { netns: inside, cgroup: sibling },
            Stand::Node => Place { netns: Some(self.world.node()), cgroup: sibling },
        };
        send_out(errand, place)
    }

    /// A destination of the door's that is always allowed.
    pub fn door_at(&self, v6: bool) -> SocketAddr {
        let address = if v6 { self.door.v6().into() } else { IpAddr::from(self.door.v4()) };
        SocketAddr::new(address, PORT)
    }
}

/// A probe on an errand.
fn send_out(errand: &Errand, place: Place<'_>) -> Result<Process> {
    let mut command = probe()?;
    command.arg("out").arg(serde_json::to_string(errand)?);
    Process::start(command, place)
}

/// What some ways need: ping sockets for everybody, data in a SYN without a cookie, and a far host
/// that announces more addresses.
fn prepare(pod: &Host, door: &Host, announced: &[IpAddr]) -> Result<()> {
    pod.netns().set(&[("ipv4/ping_group_range", "0 2147483647"), ("ipv4/tcp_fastopen", "5")])?;
    pod.netns().ip("mptcp limits set subflow 4 add_addr_accepted 4")?;
    let mut lines = String::from("mptcp limits set subflow 4 add_addr_accepted 0\n");
    for address in announced {
        writeln!(lines, "mptcp endpoint add {address} signal")?;
    }
    door.netns().ip(&lines)
}
