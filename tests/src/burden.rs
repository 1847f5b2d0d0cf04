//! Traffic from the pod of a [`Stage`] that is checked byte by byte while things happen to the
//! agent: streams that stay open, and connects at a steady rate, both to where a rule allows it and
//! to where none does.

use std::time::Duration;

use anyhow::{Result, ensure};

use crate::{
    pod::load::{Load, Tally},
    process::{Process, probe},
    stage::{DENIED, DIRECT, Net, Stage},
};

/// Opening a thousand streams takes a while on a busy machine.
const READY: Duration = Duration::from_secs(30);

/// The traffic while it runs.
#[derive(Debug)]
pub struct Burden {
    process: Process,
    streams: u32,
    seconds: u64,
}

impl Burden {
    /// Starts it, and returns once every stream is open.
    pub fn start(stage: &Stage, (streams, rate): (u32, u32), seconds: u64) -> Result<Self> {
        Self::over(Net::V4, stage, (streams, rate), seconds)
    }

    /// The same over a family of choice.
    pub fn over(
        net: Net,
        stage: &Stage,
        (streams, rate): (u32, u32),
        seconds: u64,
    ) -> Result<Self> {
        let load = Load {
            allowed: stage.at(net, DIRECT),
            denied: stage.at(net, DENIED),
            streams,
            rate,
            seconds,
        };
        let mut command = probe()?;
        command.arg("load").arg(serde_json::to_string(&load)?);
        let mut process = stage.pod.run(command)?;
        process.line(READY)?;
        Ok(Self { process, streams, seconds })
    }

    /// Waits for its end, and checks that no stream broke and that nothing denied was reached.
    pub fn end(mut self) -> Result<Tally> {
        let tally: Tally = self.process.answer(READY + Duration::from_secs(self.seconds))?;
        let complaints = &tally.complaints[..tally.complaints.len().min(5)];
        ensure!((tally.broken, tally.leaked, tally.wrong) == (0, 0, 0), "{complaints:#?}");
        ensure!(tally.exchanges >= u64::from(self.streams), "{} exchanges", tally.exchanges);
        ensure!(tally.made > 0 && tally.refused > 0, "{tally:?}");
        Ok(tally)
    }
}
