//! Runs inside a pod's namespace and group and does one thing there; says on its output, a line of
//! JSON a round, what came of it.
//!
//! ```text
//! out ERRAND     one way out; once more for each line on its input
//! borrow         what a process of the pod does with sockets that it is handed
//! ```

mod datagram;
mod exchange;
mod foreign;
mod frames;
mod raw;
mod ring;
mod stream;

use std::{
    io::{self, BufRead as _},
    time::Instant,
};

use crate::{
    errand::{Errand, Outcome, Report},
    way::Way,
};
use anyhow::{Context as _, Result, bail};

/// What a try left open, to be tried again after the rules have changed.
type Again = Box<dyn FnMut() -> io::Result<bool>>;

/// A try that the kernel did not refuse.
struct Attempt {
    /// The far end's answer came.
    answered: bool,
    /// How to send once more on what is open; none where nothing is.
    again: Option<Again>,
}

impl Attempt {
    /// Sends once now, and again on demand.
    fn new(mut send: impl FnMut() -> io::Result<bool> + 'static) -> io::Result<Self> {
        Ok(Self { answered: send()?, again: Some(Box::new(send)) })
    }
}

/// Does what its arguments say.
pub fn run(mut arguments: impl Iterator<Item = String>) -> Result<()> {
    let verb = arguments.next();
    let words: Vec<String> = arguments.collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match (verb.as_deref(), &words[..]) {
        (Some("out"), [errand]) => out(&serde_json::from_str(errand)?),
        (Some("borrow"), []) => foreign::borrow(),
        _ => bail!("the probe tries a way out, or borrows sockets"),
    }
}

fn out(errand: &Errand) -> Result<()> {
    let (mut held, fresh) = try_out(errand);
    print(&Report { held: None, fresh })?;
    for line in io::stdin().lock().lines() {
        line.context("reading the next round")?;
        let outcome = held.as_mut().map(|again| timed(&mut **again));
        let (newly_held, fresh) = try_out(errand);
        print(&Report { held: outcome, fresh })?;
        held = held.or(newly_held);
    }
    Ok(())
}

fn try_out(errand: &Errand) -> (Option<Again>, Outcome) {
    let mut held = None;
    let outcome = timed(|| {
        let attempt = dispatch(errand)?;
        held = attempt.again;
        Ok(attempt.answered)
    });
    (held, outcome)
}

fn timed(work: impl FnOnce() -> io::Result<bool>) -> Outcome {
    let start = Instant::now();
    let result = work();
    let took_ms = u64::try_from(start.elapsed().as_millis()).unwrap_or(u64::MAX);
    match result {
        Ok(answered) => Outcome { errno: None, answered, took_ms },
        Err(error) => {
            // Only the probe's own mistakes have no number; they must not pass for a verdict.
            let errno = error.raw_os_error().unwrap_or(libc::ENOTRECOVERABLE);
            if errno == libc::ENOTRECOVERABLE {
                eprintln!("the probe itself failed: {error}");
            }
            Outcome { errno: Some(errno), answered: false, took_ms }
        }
    }
}

fn print(report: &Report) -> Result<()> {
    println!("{}", serde_json::to_string(report)?);
    Ok(())
}

fn dispatch(errand: &Errand) -> io::Result<Attempt> {
    use Way as W;
    match errand.way {
        W::TcpConnect => stream::connect(errand, socket2::Protocol::TCP),
        W::TcpFastOpen => stream::fast_open(errand),
        W::TcpFastOpenConnect => stream::fast_open_connect(errand),
        W::TcpReconnect => stream::reconnect(errand),
        W::MptcpConnect => stream::connect(errand, socket2::Protocol::MPTCP),
        W::MptcpJoin => stream::join(errand),
        W::UdpSendTo => datagram::send_to(errand),
        W::UdpConnected => datagram::connected(errand),
        W::UdpSendMsg => datagram::send_msg(errand),
        W::UdpSendMmsg => datagram::send_mmsg(errand),
        W::UdpSendToBeside => datagram::beside(errand),
        W::UdpSourceRoute => datagram::source_route(errand),
        W::PingSendTo => datagram::ping(errand, false),
        W::PingConnected => datagram::ping(errand, true),
        W::RawIcmp | W::RawTcp | W::RawUdp | W::RawOther => raw::body(errand),
        W::RawHeaderTcp | W::RawHeaderUdp | W::RawHeaderForged => raw::whole(errand),
        W::UringConnect => ring::connect(errand, false),
        W::UringPolledConnect => ring::connect(errand, true),
        W::UringSendMsg => ring::send(errand),
        W::ForeignTcp | W::SiblingTcp => foreign::lend(errand, true),
        W::ForeignUdp | W::SiblingUdp => foreign::lend(errand, false),
        W::EnteringTcp => foreign::enter(errand, true),
        W::EnteringUdp => foreign::enter(errand, false),
        _ => frames::send(errand),
    }
}
