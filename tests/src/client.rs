//! The test's hand on a client that runs in a pod.

use std::{net::SocketAddr, time::Duration};

use anyhow::{Result, ensure};

use crate::{
    pod::talk::Said,
    process::{Process, probe},
    world::Host,
};

/// Longer than the client's own patience.
const PATIENCE: Duration = Duration::from_secs(15);

/// A client in a pod, with one socket at a time.
#[derive(Debug)]
pub struct Client(Process);

impl Client {
    /// Starts one.
    pub fn start(pod: &Host) -> Result<Self> {
        let mut command = probe()?;
        command.arg("talk");
        pod.run(command).map(Self)
    }

    /// Has it do something, and returns what came of it.
    pub fn tell(&mut self, line: &str) -> Result<Said> {
        self.0.say(line)?;
        self.0.answer(PATIENCE)
    }

    /// Has it do something that must work; returns what it read.
    pub fn must(&mut self, line: &str) -> Result<String> {
        let said = self.tell(line)?;
        ensure!(said.errno.is_none(), "{line}: {said:?}");
        Ok(said.text)
    }

    /// Connects, and says what came of it.
    pub fn dial(&mut self, to: SocketAddr) -> Result<Said> {
        self.tell(&format!("dial {to}"))
    }

    /// Sends a datagram to an echo server, and says what came of it.
    pub fn ask(&mut self, to: SocketAddr) -> Result<Said> {
        self.tell(&format!("ask {to}"))
    }

    /// Connects to an echo server and has a word echoed.
    pub fn echoes(&mut self, to: SocketAddr) -> Result<()> {
        self.must(&format!("dial {to}"))?;
        self.must("send hello")?;
        let echo = self.must("read 5")?;
        ensure!(echo == "hello", "{to} echoed {echo:?}");
        Ok(())
    }
}
