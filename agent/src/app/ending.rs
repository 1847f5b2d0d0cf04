//! How the agent ends: by a signal, by a task that should never end, or by another agent that takes
//! over. Whatever happens, the pinned programs judge on.

use std::{path::PathBuf, sync::Arc, time::Duration};

use agent_kernel::lifecycle::Kernel;
use agent_pods::enrol::Pods;
use agent_proxy::Proxy;
use agent_source::{observed::Reader, resolve::Ends};
use anyhow::Context as _;
use tokio::{sync::oneshot, task::JoinSet, time::sleep};

use super::Tasks;
use crate::{
    admin::rundir::RunDir,
    args,
    handover::{self, Door, Successor},
    publisher::{Parts, Publisher},
    signals::Signals,
    sync::Sync,
};

/// From when new connections come to the successor until the listeners close. One that was on its way
/// by then has arrived: it never leaves the pod's loopback.
const SETTLE: Duration = Duration::from_millis(200);
/// How often it is looked whether anything is open.
const LOOK: Duration = Duration::from_millis(20);

/// The publisher, as long as it runs.
pub(super) struct Publishing {
    task: JoinSet<anyhow::Result<Sync>>,
    stop: oneshot::Sender<()>,
}

impl Publishing {
    pub(super) fn start(parts: Parts, reader: Reader, names: Ends) -> Self {
        let (stop, stopped) = oneshot::channel();
        let mut task = JoinSet::new();
        task.spawn(Publisher::new(parts).run(reader, names, stopped));
        Self { task, stop }
    }

    /// Stops it after what it does now.
    async fn stop(mut self) -> anyhow::Result<Sync> {
        // It may have ended by itself.
        let _ = self.stop.send(());
        let ended = self.task.join_next().await.context("no publisher")?;
        ended.context("the publisher panicked")?
    }
}

/// What one agent has at a time.
pub(super) struct Place {
    pub(super) kernel: Arc<Kernel>,
    pub(super) run_dir: RunDir,
    pub(super) door: Door,
}

impl Place {
    /// Leaves it to another agent: where that was.
    fn leave(self) -> PathBuf {
        self.kernel.release();
        self.run_dir.path().to_owned()
    }
}

/// What ends, in which order.
pub(super) struct Running {
    pub(super) tasks: Tasks,
    /// What hears of connections and requests, as long as there are any.
    pub(super) observers: Tasks,
    pub(super) publishing: Publishing,
    pub(super) proxy: Arc<Proxy>,
    pub(super) place: Place,
    pub(super) drain_time: Duration,
}

impl Running {
    /// Waits for the end.
    pub(super) async fn until_end(mut self) -> anyhow::Result<()> {
        let mut signals = Signals::new()?;
        tokio::select! {
            () = signals.next() => self.wind_down(signals).await,
            successor = self.place.door.successor() => self.hand_over(successor, signals, false).await,
            Some(ended) = self.tasks.join_next() => failed(ended),
            Some(ended) = self.observers.join_next() => failed(ended),
            Some(ended) = self.publishing.task.join_next() => failed(ended),
        }
    }

    /// No other agent takes over: everything goes on as long as the proxy has anything open, and each
    /// connection ends with its next answer.
    async fn wind_down(self, mut signals: Signals) -> anyhow::Result<()> {
        tracing::info!(open = self.proxy.open(), "agent stops; the pinned programs judge on");
        self.proxy.end().wind_down(self.drain_time);
        let successor = tokio::select! {
            () = all_closed(&self.proxy) => return Ok(()),
            () = sleep(self.drain_time) => return Ok(()),
            () = signals.next() => return Ok(()),
            successor = self.place.door.successor() => successor,
        };
        self.hand_over(successor, signals, true).await
    }

    /// Gives everything to another agent, and serves what the proxy has to its end.
    async fn hand_over(
        mut self,
        mut successor: Successor,
        mut signals: Signals,
        mut is_to_end: bool,
    ) -> anyhow::Result<()> {
        tracing::info!("another agent takes over; what is open through the proxy goes on");
        let pods = self.publishing.stop().await?.into_pods();
        self.tasks.shutdown().await;
        let run_dir = self.place.leave();
        let released = successor.release().await.is_ok();
        let serves = loop {
            if !released {
                break false;
            }
            tokio::select! {
                serves = successor.serves() => break serves,
                () = signals.next() => is_to_end = true,
            }
        };
        if serves {
            sleep(SETTLE).await;
            self.proxy.end().drain(self.drain_time);
        }
        let standby = Standby { pods: Some(pods), run_dir, successor, is_to_end };
        if serves { standby.wait(signals).await } else { standby.resume().await }
    }
}

/// An agent that has handed over. A process that ended here would be started again by whatever
/// keeps it running, and take over from its successor.
struct Standby {
    /// While connections are open in them.
    pods: Option<Pods>,
    run_dir: PathBuf,
    successor: Successor,
    is_to_end: bool,
}

impl Standby {
    /// Waits for the end of what is open and for a signal, or for the end of the successor.
    async fn wait(mut self, mut signals: Signals) -> anyhow::Result<()> {
        while self.pods.is_some() || !self.is_to_end {
            let is_open = self.pods.is_some();
            tokio::select! {
                () = finish(&mut self.pods), if is_open => {
                    tracing::info!("nothing is open here any more");
                    self.pods = None;
                }
                () = signals.next() => {
                    if self.is_to_end {
                        break;
                    }
                    self.is_to_end = true;
                }
                () = self.successor.gone(), if !self.is_to_end => return self.resume().await,
            }
        }
        Ok(())
    }

    /// Takes everything back, where no one else has it, by beginning again.
    async fn resume(self) -> anyhow::Result<()> {
        if self.is_to_end {
            return Ok(());
        }
        tracing::warn!("the agent that took over has ended; this one begins again");
        handover::vacant(self.run_dir).await;
        Err(args::begin_again()).context("beginning again")
    }
}

async fn finish(pods: &mut Option<Pods>) {
    if let Some(pods) = pods {
        pods.finish().await;
    }
}

async fn all_closed(proxy: &Proxy) {
    while proxy.open() > 0 {
        sleep(LOOK).await;
    }
}

fn failed<T>(ended: Result<anyhow::Result<T>, tokio::task::JoinError>) -> anyhow::Result<()> {
    ended.context("a task of the agent panicked")??;
    anyhow::bail!("a task of the agent ended");
}
