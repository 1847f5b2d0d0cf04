//! A bucket of tokens: a burst is let through, then a rate holds.

use std::time::{Duration, Instant};

/// See the module. A token is one line, or one request.
#[derive(Clone, Copy, Debug)]
pub struct RateLimit {
    burst: u32,
    every: Duration,
    /// Less than nothing where more was spent than there was.
    tokens: i64,
    refilled: Option<Instant>,
    suppressed: u64,
}

impl RateLimit {
    /// A full bucket of `burst` that gets one back `every` so often.
    pub const fn new(burst: u32, every: Duration) -> Self {
        Self { burst, every, tokens: burst as i64, refilled: None, suppressed: 0 }
    }

    /// Takes a token if there is one; with it the number of those that were asked for in vain.
    pub fn take(&mut self, now: Instant) -> Option<u64> {
        self.refill(now);
        if self.tokens <= 0 {
            self.suppressed += 1;
            return None;
        }
        self.tokens -= 1;
        Some(std::mem::take(&mut self.suppressed))
    }

    /// Spends a token whether there is one or not: what was begun is ended, and waited for later.
    pub fn spend(&mut self) {
        self.tokens -= 1;
    }

    /// How many there are.
    pub fn left(&self) -> u32 {
        u32::try_from(self.tokens).unwrap_or(0)
    }

    /// Puts back what has come since.
    pub fn refill(&mut self, now: Instant) {
        let refilled = *self.refilled.get_or_insert(now);
        let periods = now.duration_since(refilled).as_nanos() / self.every.as_nanos().max(1);
        let periods = u32::try_from(periods).unwrap_or(u32::MAX);
        if periods > 0 {
            self.tokens = self.tokens.saturating_add(periods.into()).min(self.burst.into());
            // The remainder of a period counts on, save when the bucket has overflowed.
            self.refilled = refilled.checked_add(self.every.saturating_mul(periods)).or(Some(now));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_passes_then_the_rate_holds_and_the_rest_is_counted() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let mut limit = RateLimit::new(2, Duration::from_millis(100));
        assert_eq!(limit.take(at(0)), Some(0));
        assert_eq!(limit.take(at(0)), Some(0));
        assert_eq!(limit.take(at(50)), None);
        assert_eq!(limit.take(at(99)), None);
        assert_eq!(limit.take(at(100)), Some(2));
        assert_eq!(limit.take(at(150)), None);
        assert_eq!(limit.take(at(10_000)), Some(1));
        assert_eq!(limit.take(at(10_000)), Some(0));
        assert_eq!(limit.take(at(10_000)), None);
    }

    #[test]
    fn over_a_long_time_the_rate_is_exact() {
        let start = Instant::now();
        let mut limit = RateLimit::new(1, Duration::from_millis(70));
        let passed = (0..7_000_u64)
            .filter(|ms| limit.take(start + Duration::from_millis(*ms)).is_some())
            .count();
        assert_eq!(passed, 100);
        // What is left of a period counts on: looking every 30 ms loses nothing of 70.
        let mut limit = RateLimit::new(1, Duration::from_millis(70));
        let passed = (0..7_000_u64)
            .step_by(30)
            .filter(|ms| limit.take(start + Duration::from_millis(*ms)).is_some())
            .count();
        assert_eq!(passed, 100);
    }

    #[test]
    fn what_is_spent_beyond_the_bucket_is_waited_for() {
        let start = Instant::now();
        let mut limit = RateLimit::new(2, Duration::from_millis(100));
        limit.refill(start);
        assert_eq!(limit.left(), 2);
        (0..3).for_each(|_| limit.spend());
        assert_eq!(limit.left(), 0);
        limit.refill(start + Duration::from_millis(100));
        assert_eq!(limit.left(), 0);
        limit.refill(start + Duration::from_millis(200));
        assert_eq!(limit.left(), 1);
    }
}
