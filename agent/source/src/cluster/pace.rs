//! How long to wait before the next try: longer each time, and never the same on two nodes, so
//! that a server that comes back is not met by all agents at once.

use std::time::Duration;

/// The first wait.
const LEAST: Duration = Duration::from_millis(250);
/// The longest: what a recovered server may go unnoticed for.
const MOST: Duration = Duration::from_secs(10);

/// Waits that double from [`LEAST`] to [`MOST`].
#[derive(Debug)]
pub struct Pace {
    next: Duration,
}

impl Default for Pace {
    fn default() -> Self {
        Self { next: LEAST }
    }
}

impl Pace {
    /// The next wait.
    pub fn wait(&mut self) -> Duration {
        let wait = jitter(self.next);
        self.next = (self.next * 2).min(MOST);
        wait
    }

    /// All is well: the next wait is short again.
    pub fn reset(&mut self) {
        *self = Self::default();
    }
}

/// Something between half of a time and all of it.
pub fn jitter(time: Duration) -> Duration {
    time.mul_f64(0.5 + fastrand::f64() / 2.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_the_bound_and_start_again() {
        let mut pace = Pace::default();
        let mut expected = LEAST;
        for _ in 0..10 {
            let wait = pace.wait();
            assert!(wait >= expected / 2 && wait <= expected, "{wait:?} of {expected:?}");
            expected = (expected * 2).min(MOST);
        }
        pace.reset();
        assert!(pace.wait() <= LEAST);
    }
}
