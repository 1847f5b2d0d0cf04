//! Those who write to the API server: the ones that fill it, the ones that keep changing it, and one
//! that holds an office.

use std::{
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, Ordering},
        mpsc,
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use anyhow::Context as _;
use serde_json::json;

use super::{
    api::Api,
    objects::{self, Made, Sizes, Slice},
};
use crate::interrupt;

/// The server answers so many at once without making them wait for each other.
const WRITERS: u32 = 16;
/// A write takes a few milliseconds, so a few writers keep any pace.
const CHANGERS: u32 = 4;

/// Creates everything; returns how many objects that are.
pub(super) fn fill(socket: &Path, sizes: Sizes, slices: &[Slice]) -> anyhow::Result<u32> {
    let mut api = Api::connect(socket)?;
    for Made { collection, object } in objects::namespaces() {
        api.create(&collection, &object)?;
    }
    let count = objects::count(sizes, slices);
    let next = AtomicU32::new(0);
    let write = || {
        let mut api = Api::connect(socket)?;
        loop {
            let number = next.fetch_add(1, Ordering::Relaxed);
            if number >= count {
                return Ok(());
            }
            interrupt::check()?;
            let Made { collection, object } = objects::nth(sizes, slices, number);
            api.create(&collection, &object)?;
        }
    };
    thread::scope(|scope| {
        let writers: Vec<_> = (0..WRITERS).map(|_| scope.spawn(write)).collect();
        writers.into_iter().try_for_each(|writer| joined(writer.join()))
    })?;
    Ok(count + objects::NAMESPACES)
}

fn joined<T>(outcome: thread::Result<anyhow::Result<T>>) -> anyhow::Result<T> {
    outcome.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

/// Changes that go on, at a pace, until they are stopped.
#[derive(Debug)]
pub(super) struct Churn {
    stop: Arc<AtomicBool>,
    done: Arc<AtomicU32>,
    since: Instant,
    writers: Vec<JoinHandle<anyhow::Result<()>>>,
}

/// What is changed.
#[derive(Clone, Debug)]
pub(super) struct World {
    pub(super) socket: PathBuf,
    pub(super) sizes: Sizes,
    pub(super) slices: Arc<[Slice]>,
}

impl Churn {
    pub(super) fn start(world: &World, a_second: u32) -> Self {
        let (stop, done) = (Arc::<AtomicBool>::default(), Arc::<AtomicU32>::default());
        let since = Instant::now();
        let writer = |first: u32| {
            let (stop, done, world) = (Arc::clone(&stop), Arc::clone(&done), world.clone());
            thread::spawn(move || {
                let mut api = Api::connect(&world.socket)?;
                for number in (first..).step_by(CHANGERS as usize) {
                    let at = Duration::from_secs_f64(f64::from(number) / f64::from(a_second));
                    thread::sleep((since + at).saturating_duration_since(Instant::now()));
                    if stop.load(Ordering::Relaxed) {
                        break;
                    }
                    let (path, change) = objects::change(world.sizes, &world.slices, number);
                    api.patch(&path, &change)?;
                    done.fetch_add(1, Ordering::Relaxed);
                }
                Ok(())
            })
        };
        let writers = (0..CHANGERS).map(writer).collect();
        Self { stop, done, since, writers }
    }

    /// Ends them; returns how many there were a second.
    pub(super) fn stop(self) -> anyhow::Result<f64> {
        self.stop.store(true, Ordering::Relaxed);
        for writer in self.writers {
            joined(writer.join()).context("changing objects")?;
        }
        Ok(f64::from(self.done.load(Ordering::Relaxed)) / self.since.elapsed().as_secs_f64())
    }
}

/// The Lease of the one agent that writes Events and conditions, and where it is.
const ELECTION: &str = "sekisho-status-writer";
const LEASES: &str = "/apis/coordination.k8s.io/v1/namespaces/sekisho-system/leases";
/// How often its holder renews it.
const RENEW: Duration = Duration::from_secs(3);

/// The office that one agent of a cluster has, held by another agent: all others do without its work.
#[derive(Debug)]
pub(super) struct Office {
    /// Dropped to end the holder.
    held: mpsc::Sender<()>,
    holder: JoinHandle<anyhow::Result<()>>,
}

impl Office {
    pub(super) fn take(socket: &Path) -> anyhow::Result<Self> {
        let lease = json!({
            "apiVersion": "coordination.k8s.io/v1",
            "kind": "Lease",
            "metadata": {"name": ELECTION},
            "spec": {"holderIdentity": "another-node", "leaseTransitions": 0},
        });
        let mut api = Api::connect(socket)?;
        api.create(LEASES, &lease)?;
        let (held, released) = mpsc::channel::<()>();
        let holder = thread::spawn(move || {
            let path = format!("{LEASES}/{ELECTION}");
            for number in 1.. {
                match released.recv_timeout(RENEW) {
                    Err(mpsc::RecvTimeoutError::Timeout) => {}
                    _ => break,
                }
                // Any change says that its holder is there.
                let change =
                    json!([{"op": "replace", "path": "/spec/leaseTransitions", "value": number}]);
                api.patch(&path, &change)?;
            }
            api.delete(&path)
        });
        Ok(Self { held, holder })
    }

    /// Leaves it to the agent.
    pub(super) fn leave(self) -> anyhow::Result<()> {
        drop(self.held);
        joined(self.holder.join()).context("holding the office")
    }
}
