//! How values are spread, in Envoy's buckets, which Istio's dashboards expect of all histograms.

/// The upper bounds, in whatever is counted.
pub(super) const BOUNDS: [f64; 19] = [
    0.5,
    1.0,
    5.0,
    10.0,
    25.0,
    50.0,
    100.0,
    250.0,
    500.0,
    1_000.0,
    2_500.0,
    5_000.0,
    10_000.0,
    30_000.0,
    60_000.0,
    300_000.0,
    600_000.0,
    1_800_000.0,
    3_600_000.0,
];

/// See the module.
#[derive(Clone, Debug, Default)]
pub(super) struct Distribution {
    sum: f64,
    count: u64,
    within: [u64; BOUNDS.len()],
}

impl Distribution {
    /// Counts a value.
    pub(super) fn observe(&mut self, value: f64) {
        self.sum += value;
        self.count += 1;
        if let Some(at) = BOUNDS.iter().position(|bound| value <= *bound) {
            self.within[at] += 1;
        }
    }

    pub(super) const fn sum(&self) -> f64 {
        self.sum
    }

    pub(super) const fn count(&self) -> u64 {
        self.count
    }

    /// How many values each bucket has that those before it do not.
    pub(super) fn buckets(&self) -> Vec<(f64, u64)> {
        let beyond = self.count - self.within.iter().sum::<u64>();
        let within = BOUNDS.into_iter().zip(self.within);
        within.chain([(f64::INFINITY, beyond)]).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_at_a_bound_is_within_it_and_one_beyond_all_is_counted() {
        let mut found = Distribution::default();
        for value in [0.5, 0.6, 4_000_000.0] {
            found.observe(value);
        }
        let buckets = found.buckets();
        assert_eq!(&buckets[..3], [(0.5, 1), (1.0, 1), (5.0, 0)]);
        assert_eq!(buckets.last().map(|last| last.1), Some(1));
        assert_eq!(found.count(), 3);
    }
}
