//! Limits of wall time that hold on a busy machine too: what a test measures is held against a
//! control in the same run.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use anyhow::{Result, anyhow};
use nix::time::{ClockId, clock_gettime};

/// The medians of what is tested and of its control.
#[derive(Clone, Copy, Debug)]
pub struct Compared {
    /// What is tested.
    pub subject: Duration,
    /// The same without it.
    pub control: Duration,
}

/// Does both by turns, so often that neither's median is an accident.
pub fn by_turns(
    mut subject: impl FnMut() -> Result<Duration>,
    mut control: impl FnMut() -> Result<Duration>,
) -> Result<Compared> {
    const TURNS: usize = 5;
    let (mut subjects, mut controls) = (Vec::new(), Vec::new());
    for _ in 0..TURNS {
        controls.push(control()?);
        subjects.push(subject()?);
    }
    Ok(Compared { subject: median(subjects), control: median(controls) })
}

/// The one in the middle.
pub fn median(mut times: Vec<Duration>) -> Duration {
    times.sort();
    times[times.len() / 2]
}

/// How many times longer work takes than on a machine that does nothing else, measured for as long as
/// this lives: by how long a thread has to wait for the time that it is given.
#[derive(Debug)]
pub struct Strain {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Result<f64>>,
}

/// What a thread does that mostly waits, such as an agent's upon a change.
pub const STEP: Duration = Duration::from_millis(2);
/// What a thread does that always has something to do: longer than it may before others have their turn.
pub const TURN: Duration = Duration::from_millis(20);
/// So many times as long it rests, so that the measurement is no strain itself.
const REST: u32 = 9;

impl Strain {
    /// Begins to measure, by work of the size that matters: [`STEP`] or [`TURN`].
    pub fn start(work: Duration) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = thread::spawn(move || {
            let (mut given, mut took) = (Duration::ZERO, Duration::ZERO);
            loop {
                let (wall, own) = (Instant::now(), own_time()?);
                while own_time()? < own + work {}
                given += work;
                took += wall.elapsed();
                if stopped.load(Ordering::Relaxed) {
                    return Ok(took.div_duration_f64(given).max(1.0));
                }
                thread::sleep(work * REST);
            }
        });
        Self { stop, thread }
    }

    /// Ends the measurement: what it was on average.
    pub fn end(self) -> Result<Slowdown> {
        self.stop.store(true, Ordering::Relaxed);
        let factor = self.thread.join().map_err(|_| anyhow!("the measuring thread panicked"))??;
        Ok(Slowdown(factor))
    }
}

/// What this thread has been given so far.
fn own_time() -> Result<Duration> {
    Ok(clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID)?.into())
}

/// By how much limits of an idle machine are changed: at least once.
#[derive(Clone, Copy, Debug)]
pub struct Slowdown(f64);

impl Slowdown {
    /// A time within which something is done on an idle machine.
    pub fn stretch(self, limit: Duration) -> Duration {
        limit.mul_f64(self.0)
    }

    /// What is at least counted in a given time on an idle machine.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_precision_loss,
        clippy::cast_sign_loss,
        reason = "a count of a few thousand, which does not grow"
    )]
    pub fn shrink(self, count: u64) -> u64 {
        (count as f64 / self.0) as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_median_is_no_outlier() {
        let times = [9, 1, 700, 2, 3].map(Duration::from_millis);
        assert_eq!(median(times.to_vec()), Duration::from_millis(3));
    }

    #[test]
    fn a_limit_is_never_tighter_than_on_an_idle_machine() -> Result<()> {
        let slowdown = Strain::start(STEP).end()?;
        let limit = Duration::from_millis(250);
        assert!(slowdown.stretch(limit) >= limit && slowdown.shrink(40) <= 40, "{slowdown:?}");
        Ok(())
    }

    #[test]
    fn a_machine_that_does_more_than_it_can_is_strained() -> Result<()> {
        let processors = thread::available_parallelism()?.get();
        let stop = AtomicBool::new(false);
        thread::scope(|scope| {
            for _ in 0..3 * processors {
                scope.spawn(|| {
                    while !stop.load(Ordering::Relaxed) {
                        std::hint::spin_loop();
                    }
                });
            }
            let strain = Strain::start(TURN);
            thread::sleep(Duration::from_secs(1));
            let slowdown = strain.end();
            stop.store(true, Ordering::Relaxed);
            assert!(slowdown?.0 > 1.5, "of {processors} processors");
            Ok(())
        })
    }
}
