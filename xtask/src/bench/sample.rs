//! Numbers from several rounds: the middle one, and how far they lie apart.

use std::fmt;

/// The median and the quartiles of a measurement.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Spread {
    pub(super) low: f64,
    pub(super) median: f64,
    pub(super) high: f64,
}

impl Spread {
    /// Of at least one number.
    pub(super) fn of(numbers: &[f64]) -> Self {
        let mut sorted = numbers.to_vec();
        sorted.sort_by(f64::total_cmp);
        let at = |quarter: usize| sorted[(sorted.len() - 1) * quarter / 4];
        Self { low: at(1), median: at(2), high: at(3) }
    }

    /// Of the ratios within each round, so that what disturbs a whole round cancels out.
    pub(super) fn of_ratios(numbers: &[f64], baseline: &[f64]) -> Self {
        let ratios: Vec<f64> = numbers.iter().zip(baseline).map(|(one, base)| one / base).collect();
        Self::of(&ratios)
    }
}

impl fmt::Display for Spread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let digits = f.precision().unwrap_or(1);
        let Self { low, median, high } = self;
        let width = f.width().unwrap_or_default();
        let text = format!("{median:.digits$} ({low:.digits$}..{high:.digits$})");
        write!(f, "{text:>width$}")
    }
}

/// The median, and what few measurements are above.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Tail {
    median: f64,
    /// The 99th of a hundred.
    high: f64,
    most: f64,
}

impl Tail {
    /// Of at least one number.
    pub(super) fn of(numbers: &[f64]) -> Self {
        let mut sorted = numbers.to_vec();
        sorted.sort_by(f64::total_cmp);
        // The nearest rank: so many of a hundred are not above it.
        let at = |hundredths: usize| sorted[(sorted.len() * hundredths).div_ceil(100).max(1) - 1];
        Self { median: at(50), high: at(99), most: at(100) }
    }
}

impl fmt::Display for Tail {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { median, high, most } = self;
        write!(f, "p50 {median:.1}, p99 {high:.1}, at the most {most:.1}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_of_a_hundred_may_be_above_the_99th() {
        let numbers: Vec<f64> = (1..=100).map(f64::from).collect();
        assert_eq!(Tail::of(&numbers), Tail { median: 50.0, high: 99.0, most: 100.0 });
        assert_eq!(Tail::of(&[7.0]), Tail { median: 7.0, high: 7.0, most: 7.0 });
    }

    #[test]
    fn the_median_and_quartiles_do_not_depend_on_order() {
        let spread = Spread::of(&[5.0, 1.0, 4.0, 2.0, 3.0]);
        assert_eq!(spread, Spread { low: 2.0, median: 3.0, high: 4.0 });
    }

    #[test]
    fn a_slow_round_does_not_change_the_ratios() {
        let spread = Spread::of_ratios(&[99.0, 9.9, 99.0], &[100.0, 10.0, 100.0]);
        assert!((spread.median - 0.99).abs() < 1e-9);
        assert!((spread.high - spread.low).abs() < 1e-9);
    }
}
