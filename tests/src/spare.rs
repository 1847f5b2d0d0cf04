//! Links that a pod is given while it runs, and frames by packet socket that leave by one of them.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use nix::net::if_::if_nametoindex;
use socket2::{Domain, SockAddr, Socket, Type};

use crate::{
    capture::Capture,
    netns::Netns,
    packet::{self, Ends},
    skip,
    stage::{DENIED, Net},
    sys,
    world::{Host, World},
};

/// On a bridge without a router a frame arrives within a millisecond.
const ARRIVAL: Duration = Duration::from_millis(100);
const PAUSE: Duration = Duration::from_millis(1);
/// So many frames in a row that do not arrive mean that none will.
const ROW: u32 = 5;

/// A veth between a namespace and the bridge of a node; both ends are up.
pub fn add_link(world: &World, into: &Netns, outside: &str, inside: &str) -> Result<()> {
    wire_down(world, into, outside, inside)?;
    into.ip(&format!("link set {inside} up\n"))
}

/// The same, with its inner end down.
pub fn wire_down(world: &World, into: &Netns, outside: &str, inside: &str) -> Result<()> {
    world.node().ip(&format!(
        "link add {outside} type veth peer name {inside} netns {}\n\
         link set {outside} master br0\n\
         link set {outside} up\n",
        into.name(),
    ))
}

/// A pair on the node, `NAME` and `NAMEb`, of which the second is on the bridge: what is stacked on the
/// first gets there.
pub fn uplink(world: &World, name: &str) -> Result<()> {
    world.node().ip(&format!(
        "link add {name} type veth peer name {name}b\n\
         link set {name}b master br0\n\
         link set {name}b up\n\
         link set {name} up\n"
    ))
}

/// Whether this kernel has a kind of link, given as `ip` wants it after `type`. Where it has not, the
/// test is skipped, and that is said.
pub fn has_kind(kind: &str) -> Result<bool> {
    let trial = Netns::new(&crate::name::unique())?;
    trial.ip("link add t0 type veth peer name t1\n")?;
    let alone = trial.ip(&format!("link add t2 type {kind}\n"));
    if alone.is_ok() || trial.ip(&format!("link add link t0 name t2 type {kind}\n")).is_ok() {
        return Ok(true);
    }
    skip::say(&format!("the kernel has no {kind} links"));
    Ok(false)
}

/// Frames that leave a namespace by one of its links, for a far host's port that no rule names.
#[derive(Debug)]
pub struct Beacon<'a> {
    /// Where they are sent.
    pub from: &'a Netns,
    /// By which link.
    pub link: &'a str,
    /// For whom.
    pub far: &'a Host,
    /// What arrives there.
    pub capture: &'a Capture,
    /// In which family.
    pub net: Net,
}

impl Beacon<'_> {
    /// Sends one, and says whether it arrives. By a link that is down none does.
    pub fn arrives(&self) -> Result<bool> {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed).to_be_bytes();
        let payload = [&b"beacon "[..], &number].concat();
        if !self.send(&payload)? {
            return Ok(false);
        }
        let since = Instant::now();
        while since.elapsed() < ARRIVAL {
            let is_it = |bytes: &[u8]| bytes.windows(payload.len()).any(|part| part == payload);
            if self.capture.all().iter().any(|frame| is_it(frame.bytes())) {
                return Ok(true);
            }
            thread::sleep(PAUSE);
        }
        Ok(false)
    }

    /// Sends until none arrives any more; how long after `since` the last one did. Fails when they still
    /// arrive after `limit`.
    pub fn last(&self, since: Instant, limit: Duration) -> Result<Duration> {
        let (mut last, mut row) = (Duration::ZERO, 0);
        while row < ROW {
            row += 1;
            if self.arrives()? {
                (last, row) = (since.elapsed(), 0);
            }
            ensure!(last < limit, "frames of {} still arrive after {last:?}", self.link);
        }
        Ok(last)
    }

    fn send(&self, payload: &[u8]) -> Result<bool> {
        let (src, dst) = match self.net {
            Net::V4 => (crate::world::address4(99).into(), self.far.v4().into()),
            Net::V6 => (crate::world::address6(99).into(), self.far.v6().into()),
        };
        let ends = Ends { src, dst, src_port: 4_000, dst_port: DENIED };
        let datagram = packet::udp(&ends, payload);
        let station = [2, 0, 0, 0, 9, 9];
        let frame = packet::ethernet(self.far.station(), station, ends.ethertype(), &datagram);
        let sent = self.from.enter(|| {
            let interface = if_nametoindex(self.link).with_context(|| self.link.to_owned())?;
            let socket = Socket::new(Domain::PACKET, Type::RAW, None)?;
            let to: SockAddr = sys::link_address(interface, ends.ethertype(), self.far.station())?;
            Ok(socket.send_to(&frame, &to))
        })?;
        match sent {
            Err(error) if error.raw_os_error() == Some(libc::ENETDOWN) => Ok(false),
            sent => Ok(sent? == frame.len()),
        }
    }
}
