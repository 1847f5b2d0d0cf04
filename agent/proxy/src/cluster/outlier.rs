//! When an endpoint that fails is left out for a while, as Envoy's outlier detection does it. Pure: it
//! is told what time it is.

use std::time::Duration;

use agent_model::requests::policy::Ejection;
use tokio::time::Instant;

/// No endpoint is left out for longer, unless the base alone is (Envoy's `max_ejection_time`).
const LONGEST: Duration = Duration::from_mins(5);

/// What came of a request to an endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Seen {
    /// It answered with this status.
    Answer(u16),
    /// No answer came: no connection, one that ended, or no time left. Envoy's local origin failure.
    NoAnswer,
}

/// How one endpoint has done.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Health {
    server_errors: u32,
    gateway_errors: u32,
    local_errors: u32,
    /// How often it was left out, less the intervals that it has done well since.
    times: u32,
    /// When it comes back, or came back.
    until: Option<Instant>,
}

impl Health {
    /// Counts what came of a request. Says whether so many have failed in a row that it is to be
    /// left out.
    pub(super) fn see(&mut self, seen: Seen, rules: &Ejection) -> bool {
        match seen {
            Seen::Answer(status) => {
                self.local_errors = 0;
                self.count_answer(status, rules)
            }
            Seen::NoAnswer if rules.split => {
                count(&mut self.local_errors, true, rules.local_errors)
            }
            // Counted as the answer that the client is told.
            Seen::NoAnswer => self.count_answer(503, rules),
        }
    }

    fn count_answer(&mut self, status: u16, rules: &Ejection) -> bool {
        let is_server = matches!(status, 500..=599);
        let by_server = count(&mut self.server_errors, is_server, rules.server_errors);
        let is_gateway = matches!(status, 502..=504);
        let by_gateway = count(&mut self.gateway_errors, is_gateway, rules.gateway_errors);
        by_server || by_gateway
    }

    /// Whether it is left out now.
    pub(super) fn is_out(&self, now: Instant) -> bool {
        self.until.is_some_and(|until| now < until)
    }

    /// Leaves it out: for the base time, times how often it was. Endpoints come back at the end of an
    /// interval, and intervals are counted from `began`.
    pub(super) fn eject(&mut self, now: Instant, began: Instant, rules: &Ejection) {
        let interval = rules.interval.max(Duration::from_millis(1));
        let intervals = |time: Duration| time.as_nanos().div_ceil(interval.as_nanos());
        let well = self.until.map_or(0, |until| now.saturating_duration_since(until).as_nanos());
        let forgiven = u32::try_from(well / interval.as_nanos()).unwrap_or(u32::MAX);
        let times = self.times.saturating_sub(forgiven).saturating_add(1);
        let time = rules.base.saturating_mul(times).min(LONGEST.max(rules.base));
        let ticks = intervals(now.saturating_duration_since(began) + time);
        let until = began + interval.saturating_mul(u32::try_from(ticks).unwrap_or(u32::MAX));
        *self = Self { times, until: Some(until), ..Self::default() };
    }
}

/// Counts failures in a row; says whether the limit is reached, and begins again then.
fn count(failures: &mut u32, failed: bool, limit: Option<u32>) -> bool {
    *failures = if failed { failures.saturating_add(1) } else { 0 };
    let is_reached = limit.is_some_and(|limit| limit > 0 && *failures >= limit);
    if is_reached {
        *failures = 0;
    }
    is_reached
}

/// Whether one more of `all` endpoints may be left out besides those that are; one always may.
pub(super) fn may_eject(out: usize, all: usize, rules: &Ejection) -> bool {
    out == 0 || (out + 1) * 100 <= rules.most_percent as usize * all
}

/// Whether so few are well that none is left out.
pub(super) fn is_panic(well: usize, all: usize, rules: &Ejection) -> bool {
    well * 100 < rules.panic_percent as usize * all
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn rules() -> Ejection {
        Ejection {
            server_errors: Some(3),
            gateway_errors: None,
            local_errors: None,
            split: false,
            interval: 10 * SECOND,
            base: 30 * SECOND,
            most_percent: 10,
            panic_percent: 0,
        }
    }

    fn reached(rules: &Ejection, seen: &[Seen]) -> Vec<bool> {
        let mut health = Health::default();
        seen.iter().map(|one| health.see(*one, rules)).collect()
    }

    #[test]
    fn failures_count_in_a_row() {
        use Seen::{Answer, NoAnswer};
        let is_reached = |rules: &Ejection, seen: &[Seen]| reached(rules, seen).contains(&true);
        assert!(is_reached(&rules(), &[Answer(500), Answer(501), NoAnswer]));
        assert!(!is_reached(&rules(), &[Answer(500), Answer(404), Answer(500), Answer(500)]));
        let off = Ejection { server_errors: Some(0), ..rules() };
        assert!(!is_reached(&off, &[Answer(500); 9]));
        let gateway = Ejection { server_errors: None, gateway_errors: Some(2), ..rules() };
        assert!(!is_reached(&gateway, &[Answer(503), Answer(500), Answer(503)]));
        assert!(is_reached(&gateway, &[Answer(502), NoAnswer]));
    }

    #[test]
    fn failures_of_this_side_are_told_apart_only_when_asked() {
        use Seen::{Answer, NoAnswer};
        let split = Ejection { split: true, local_errors: Some(2), ..rules() };
        assert_eq!(reached(&split, &[NoAnswer, NoAnswer]), [false, true]);
        assert_eq!(reached(&split, &[NoAnswer, Answer(500), NoAnswer]), [false; 3]);
    }

    #[test]
    fn it_is_out_longer_each_time_and_comes_back_at_the_end_of_an_interval() {
        let (began, rules) = (Instant::now(), rules());
        let mut health = Health::default();
        health.eject(began + 4 * SECOND, began, &rules);
        assert!(health.is_out(began + 39 * SECOND));
        assert!(!health.is_out(began + 40 * SECOND));
        health.eject(began + 41 * SECOND, began, &rules);
        assert!(health.is_out(began + 109 * SECOND));
        assert!(!health.is_out(began + 110 * SECOND));
        // Two intervals without a failure forgive both.
        health.eject(began + 131 * SECOND, began, &rules);
        assert!(!health.is_out(began + 170 * SECOND));
        for _ in 0..50 {
            health.eject(began, began, &rules);
        }
        assert!(!health.is_out(began + LONGEST));
    }

    #[test]
    fn one_may_always_be_left_out_and_more_up_to_the_share() {
        let rules = Ejection { most_percent: 50, panic_percent: 40, ..rules() };
        assert!(may_eject(0, 1, &Ejection { most_percent: 0, ..rules }));
        assert!(may_eject(1, 4, &rules));
        assert!(!may_eject(2, 4, &rules));
        assert!(!is_panic(2, 4, &rules));
        assert!(is_panic(1, 4, &rules));
        assert!(!is_panic(0, 4, &Ejection { panic_percent: 0, ..rules }));
    }
}
